/* A recorder. A timer gives samples as a front end's task would, a queue carries them, one task pushes and asks: nothing
 * is locked. */
#include <stdio.h>

#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/queue.h"

#include "lsemvae_selftest.h"
#include "lsemvae_vectors.h"

#define QUEUE_SAMPLES 256 /* longer than lsemvae_run takes, at 500 Hz */

typedef struct {
    int32_t lead_i, lead_ii;
    uint32_t lost; /* samples that found the queue full before this one */
} sample;

static const lsemvae_vector *const recording = &lsemvae_vectors[0];
static lsemvae_context context;
static lsemvae_result result;
static uint64_t arena[(LSEMVAE_ARENA_BYTES + 7) / 8];
static esp_timer_handle_t front_end;
static QueueHandle_t queue;

/* In the timer's task: put the reader of your front end here. The recording begins anew at its end. */
static void on_sample(void *unused) {
    static uint32_t at, lost;
    (void)unused;
    const sample next = {recording->raw_uv[0][at], recording->raw_uv[1][at], lost};
    at = (at + 1) % recording->samples;
    lost = xQueueSend(queue, &next, 0) == pdTRUE ? 0 : lost + 1;
}

void app_main(void) {
    char line[LSEMVAE_SELFTEST_LINE];
    const int failed = lsemvae_selftest(&context, arena, line, sizeof line);
    printf("%s\n", line);
    if (failed != 0) {
        return;
    }

    const lsemvae_config config = {
        .rate_hz = recording->rate_hz,
        .pv_per_lsb = 1000000, /* the recording has microvolts */
        .mains_hz = 50,
    };
    const esp_timer_create_args_t timer = {.callback = on_sample, .name = "front end"};
    queue = xQueueCreate(QUEUE_SAMPLES, sizeof(sample));
    if (queue == NULL || lsemvae_init(&context, &config) != LSEMVAE_OK || esp_timer_create(&timer, &front_end) != ESP_OK ||
        esp_timer_start_periodic(front_end, 1000000 / recording->rate_hz) != ESP_OK) {
        printf("lsemvae: init failed\n");
        return;
    }
    while (lsemvae_ready(&context) == 0) {
        sample next;
        (void)xQueueReceive(queue, &next, portMAX_DELAY);
        if (next.lost > 0) {
            (void)lsemvae_push_gap(&context, next.lost);
        }
        (void)lsemvae_push(&context, &next.lead_i, &next.lead_ii, 1, 0);
    }
    const lsemvae_status status = lsemvae_run(&context, arena, sizeof arena, &result);
    if (status == LSEMVAE_OK) {
        printf("lsemvae: state %d, outcome %d, advice %d, %u.%u beats a minute\n", (int)result.state, (int)result.outcome,
               (int)result.advice, result.heart_rate_tenths / 10u, result.heart_rate_tenths % 10u);
    }
    (void)esp_timer_stop(front_end);
    /* The next person. */
    lsemvae_reset(&context, arena, sizeof arena, &result);
}
