/* A board without an operating system: the self-test, then a recording as a front end would give it, and a result.
 * Everything is counted: instructions by the emulator's clock, stack by paint. */
#include "board.h"
#include "lsemvae_core.h" /* only to count the parts of a run; an application needs lsemvae.h alone */
#include "lsemvae_selftest.h"
#include "lsemvae_vectors.h"
#include "measure.h"

static lsemvae_context context;
static lsemvae_result result;
static uint64_t arena[(LSEMVAE_ARENA_BYTES + 7) / 8];

static void show(const char *name, uint64_t value) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    board_write("measured ");
    board_write(name);
    board_write(" ");
    board_write(digits + at);
}

/* Push one known recording a sample at a time, as a data-ready interrupt would. */
static void push_recording(const lsemvae_vector *recording) {
    uint64_t all = 0, most = 0, n = 0;
    stack_paint();
    while (n < recording->samples && lsemvae_ready(&context) == 0) {
        const int32_t lead_i = recording->raw_uv[0][n], lead_ii = recording->raw_uv[1][n];
        count_begin();
        (void)lsemvae_push(&context, &lead_i, &lead_ii, 1, 0);
        const uint64_t counted = count_end();
        all += counted;
        most = counted > most ? counted : most;
        n++;
    }
    show("push_stack_bytes", stack_used());
    show("push_mean_instructions", all / (n == 0 ? 1 : n));
    show("push_most_instructions", most);
}

/* The longest push: the first sample after the longest gap that is bridged, which brings the gap's samples with it. */
static void push_after_gap(const lsemvae_vector *recording) {
    const uint32_t gap = (uint32_t)((uint64_t)lsemvae_linked_image.max_bridge_ms * recording->rate_hz / 1000);
    const int32_t lead_i = recording->raw_uv[0][0], lead_ii = recording->raw_uv[1][0];
    (void)lsemvae_push_gap(&context, gap);
    count_begin();
    (void)lsemvae_push(&context, &lead_i, &lead_ii, 1, 0);
    show("push_after_gap_instructions", count_end());
    show("gap_samples", gap);
}

/* What each part of a run takes, in the places that lsemvae_run gives them; the first keeps interrupts off that push. */
static void parts_of_run(void) {
    uint8_t *bytes = (uint8_t *)arena;
    lsemvae_window *window = (void *)(bytes + LSEMVAE_AT_WINDOW);
    lsemvae_beats *beats = (void *)(bytes + LSEMVAE_AT_BEATS);
    uint16_t *places = (void *)(bytes + LSEMVAE_AT_PLACES);
    int16_t(*input)[LSEMVAE_BEAT] = (void *)(bytes + LSEMVAE_AT_INPUT);
    int16_t(*mu)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_MU);
    int16_t(*logvar)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_LOGVAR);
    lsemvae_answer *answer = (void *)(bytes + LSEMVAE_AT_ANSWER);
    const lsemvae_person nobody = {0};
    count_begin();
    lsemvae_take_window(&context, window);
    show("locked_instructions", count_end());
    count_begin();
    lsemvae_find_beats(window->lead[0], window->lead[1], context.image, beats);
    show("beats_instructions", count_end());
    count_begin();
    lsemvae_judge(window, beats, &context.config, context.image, bytes + LSEMVAE_AT_SCRATCH, &result);
    show("quality_instructions", count_end());
    count_begin();
    const uint32_t count = lsemvae_typical_beats(beats, places);
    lsemvae_align_beats(window, places, count);
    (void)lsemvae_average_beat(window, places, count, input);
    show("input_instructions", count_end());
    count_begin();
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        lsemvae_encode(context.image, lead, input[lead], bytes + LSEMVAE_AT_ACTIVATIONS, mu[lead], logvar[lead], NULL,
                       NULL);
    }
    show("encoder_instructions", count_end());
    count_begin();
    lsemvae_fuse(context.image, (const int16_t(*)[LSEMVAE_LATENT])mu, (const int16_t(*)[LSEMVAE_LATENT])logvar, answer);
    lsemvae_decide(context.image, answer, &nobody, &result);
    show("tail_instructions", count_end());
}

int main(void) {
    char line[LSEMVAE_SELFTEST_LINE];
    if (!count_calibrate()) {
        board_write("The counter does not follow the instructions.\n");
        return 98;
    }
    stack_paint();
    const int failed = lsemvae_selftest(&context, arena, line, sizeof line);
    show("selftest_stack_bytes", stack_used());
    board_write(line);
    board_write("\n");
    if (failed != 0) {
        return failed;
    }

    const lsemvae_vector *recording = &lsemvae_vectors[0];
    const lsemvae_config config = {.rate_hz = recording->rate_hz, .pv_per_lsb = 1000000u};
    stack_paint();
    count_begin();
    if (lsemvae_init(&context, &config) != LSEMVAE_OK) {
        return 97;
    }
    show("init_instructions", count_end());
    show("init_stack_bytes", stack_used());
    push_recording(recording);
    stack_paint();
    count_begin();
    const lsemvae_status status = lsemvae_run(&context, arena, sizeof arena, &result);
    show("run_instructions", count_end());
    show("run_stack_bytes", stack_used());
    show("result_state", (uint64_t)result.state);
    show("result_outcome", (uint64_t)result.outcome);
    parts_of_run();
    push_after_gap(recording);
    show("context_bytes", sizeof context);
    show("arena_bytes", LSEMVAE_ARENA_BYTES);
    show("result_bytes", sizeof result);
    show("multiply_adds", LSEMVAE_MULTIPLY_ADDS);
    show("rate_hz", recording->rate_hz);
    lsemvae_reset(&context, arena, sizeof arena, &result);
    return status == LSEMVAE_OK ? 0 : 96;
}
