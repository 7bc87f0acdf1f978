/* A recorder. A timer gives samples as a front end's interrupt would, a queue carries them, one thread pushes and asks:
 * no interrupt touches the context, so nothing is locked. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "lsemvae_selftest.h"
#include "lsemvae_vectors.h"

#define QUEUE_SAMPLES 256 /* longer than lsemvae_run takes on a slow core, at 500 Hz */

struct sample {
    int32_t lead_i, lead_ii;
    uint32_t lost; /* samples that found the queue full before this one */
};

K_MSGQ_DEFINE(queue, sizeof(struct sample), QUEUE_SAMPLES, 4);

static const lsemvae_vector *const recording = &lsemvae_vectors[0];
static lsemvae_context context;
static lsemvae_result result;
static uint64_t arena[(LSEMVAE_ARENA_BYTES + 7) / 8];

/* In interrupt context: put your front end's data-ready handler here. The recording begins anew at its end. */
static void on_sample(struct k_timer *timer) {
    static uint32_t at, lost;
    ARG_UNUSED(timer);
    const struct sample next = {recording->raw_uv[0][at], recording->raw_uv[1][at], lost};
    at = (at + 1) % recording->samples;
    lost = k_msgq_put(&queue, &next, K_NO_WAIT) == 0 ? 0 : lost + 1;
}

K_TIMER_DEFINE(front_end, on_sample, NULL);

int main(void) {
    char line[LSEMVAE_SELFTEST_LINE];
    const int failed = lsemvae_selftest(&context, arena, line, sizeof line);
    printk("%s\n", line);
    if (failed != 0) {
        return failed;
    }

    const lsemvae_config config = {
        .rate_hz = recording->rate_hz,
        .pv_per_lsb = 1000000, /* the recording has microvolts */
        .mains_hz = 50,
    };
    if (lsemvae_init(&context, &config) != LSEMVAE_OK) {
        printk("lsemvae: init failed\n");
        return 1;
    }
    k_timer_start(&front_end, K_NO_WAIT, K_USEC(1000000 / recording->rate_hz));
    while (lsemvae_ready(&context) == 0) {
        struct sample next;
        (void)k_msgq_get(&queue, &next, K_FOREVER);
        if (next.lost > 0) {
            (void)lsemvae_push_gap(&context, next.lost);
        }
        (void)lsemvae_push(&context, &next.lead_i, &next.lead_ii, 1, 0);
    }
    const lsemvae_status status = lsemvae_run(&context, arena, sizeof arena, &result);
    printk("lsemvae: state %d, outcome %d, advice %d, %u.%u beats a minute\n", (int)result.state, (int)result.outcome,
           (int)result.advice, result.heart_rate_tenths / 10u, result.heart_rate_tenths % 10u);
    k_timer_stop(&front_end);
    /* The next person. */
    lsemvae_reset(&context, arena, sizeof arena, &result);
    return status == LSEMVAE_OK ? 0 : 1;
}
