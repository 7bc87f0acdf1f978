/* The few of ESP-IDF's declarations that the example uses, over one thread of the host; see freertos/queue.h. */
#ifndef STUB_ESP_TIMER_H
#define STUB_ESP_TIMER_H

#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
#define ESP_OK 0

typedef void (*esp_timer_cb_t)(void *arg);
typedef enum { ESP_TIMER_TASK } esp_timer_dispatch_t;
typedef struct esp_timer {
    esp_timer_cb_t callback;
    void *arg;
    uint64_t period;
} *esp_timer_handle_t;
typedef struct {
    esp_timer_cb_t callback;
    void *arg;
    esp_timer_dispatch_t dispatch_method;
    const char *name;
    int skip_unhandled_events;
} esp_timer_create_args_t;

static esp_timer_handle_t stub_running;

static inline esp_err_t esp_timer_create(const esp_timer_create_args_t *args, esp_timer_handle_t *out) {
    static struct esp_timer made;
    made.callback = args->callback;
    made.arg = args->arg;
    *out = &made;
    return ESP_OK;
}

static inline esp_err_t esp_timer_start_periodic(esp_timer_handle_t timer, uint64_t period_us) {
    timer->period = period_us;
    stub_running = timer;
    return ESP_OK;
}

static inline esp_err_t esp_timer_stop(esp_timer_handle_t timer) {
    (void)timer;
    stub_running = NULL;
    return ESP_OK;
}

#endif
