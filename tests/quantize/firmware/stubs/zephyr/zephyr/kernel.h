/* The few of Zephyr's declarations that the sample uses, as its documentation has them, over one thread of the host:
 * waiting for a queue lets the timer expire. */
#ifndef STUB_ZEPHYR_KERNEL_H
#define STUB_ZEPHYR_KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARG_UNUSED(x) (void)(x)

typedef struct {
    int64_t us;
} k_timeout_t;
#define K_NO_WAIT ((k_timeout_t){0})
#define K_FOREVER ((k_timeout_t){-1})
#define K_USEC(us_) ((k_timeout_t){us_})

struct k_timer;
typedef void (*k_timer_expiry_t)(struct k_timer *timer);
typedef void (*k_timer_stop_t)(struct k_timer *timer);
struct k_timer {
    k_timer_expiry_t expired;
    k_timer_stop_t stopped;
    k_timeout_t period;
};
#define K_TIMER_DEFINE(name, expiry, stop) struct k_timer name = {expiry, stop, {0}}

static struct k_timer *stub_running;

static inline void k_timer_start(struct k_timer *timer, k_timeout_t first, k_timeout_t period) {
    (void)first;
    timer->period = period;
    stub_running = timer;
}

static inline void k_timer_stop(struct k_timer *timer) {
    if (stub_running == timer) {
        stub_running = NULL;
    }
}

struct k_msgq {
    size_t size;
    uint32_t room, used, at;
    char *bytes;
};
#define K_MSGQ_DEFINE(name, message_size, max, align)                       \
    static char __attribute__((aligned(align))) name##_bytes[(message_size) * (max)]; \
    struct k_msgq name = {message_size, max, 0, 0, name##_bytes}

static inline int k_msgq_put(struct k_msgq *queue, const void *data, k_timeout_t timeout) {
    if (timeout.us != 0) {
        abort(); /* an interrupt does not wait */
    }
    if (queue->used == queue->room) {
        return -35;
    }
    memcpy(queue->bytes + queue->size * ((queue->at + queue->used) % queue->room), data, queue->size);
    queue->used++;
    return 0;
}

static inline int k_msgq_get(struct k_msgq *queue, void *data, k_timeout_t timeout) {
    (void)timeout;
    while (queue->used == 0) {
        if (stub_running == NULL || stub_running->period.us != 2000) {
            abort(); /* nobody would ever wake this thread, or at another rate than the recording's */
        }
        stub_running->expired(stub_running);
    }
    memcpy(data, queue->bytes + queue->size * queue->at, queue->size);
    queue->at = (queue->at + 1) % queue->room;
    queue->used--;
    return 0;
}

#endif
