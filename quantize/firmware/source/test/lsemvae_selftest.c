#include "lsemvae_selftest.h"

#include "lsemvae_core.h"
#include "lsemvae_vectors.h"

#define PV_PER_UV 1000000u
#define STEADY_TENTHS 700 /* the known outcomes are those at 70 beats a minute */
#define WINDOW_WITHIN 1
#define INPUT_WITHIN 1
#ifdef LSEMVAE_FLOAT_TAIL
#define LOGIT_WITHIN 1 /* 1.5e-5 */
#else
#define LOGIT_WITHIN 0
#endif

static int near16(const int16_t *found, const int16_t *known, uint32_t n, int32_t within) {
    for (uint32_t k = 0; k < n; k++) {
        int32_t apart = (int32_t)found[k] - known[k];
        if (apart > within || apart < -within) {
            return 0;
        }
    }
    return 1;
}

static int outcomes_are(const lsemvae_result *result, const lsemvae_vector *known) {
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        if (result->tasks[k].outcome != known->outcomes[k]) {
            return 0;
        }
    }
    return 1;
}

/* Push the recording sample by sample until its first window is there. */
static int pushed(lsemvae_context *context, const lsemvae_vector *known) {
    for (uint32_t n = 0; n < known->samples && lsemvae_ready(context) == 0; n++) {
        int32_t lead_i = known->raw_uv[0][n], lead_ii = known->raw_uv[1][n];
        if (lsemvae_push(context, &lead_i, &lead_ii, 1, 0) != LSEMVAE_OK) {
            return 0;
        }
    }
    return lsemvae_ready(context);
}

/* From the window to the model's input, in the places that lsemvae_run gives them. */
static lsemvae_stage way_to_input(const lsemvae_context *context, uint8_t *arena, const lsemvae_vector *known) {
    lsemvae_window *window = (void *)(arena + LSEMVAE_AT_WINDOW);
    lsemvae_beats *beats = (void *)(arena + LSEMVAE_AT_BEATS);
    uint16_t *places = (void *)(arena + LSEMVAE_AT_PLACES);
    int16_t(*input)[LSEMVAE_BEAT] = (void *)(arena + LSEMVAE_AT_INPUT);
    lsemvae_take_window(context, window);
    for (uint32_t lead = 0; lead < 2; lead++) {
        if (!near16(window->lead[lead], known->window[lead], LSEMVAE_WINDOW, WINDOW_WITHIN)) {
            return LSEMVAE_STAGE_WINDOW;
        }
    }
    lsemvae_find_beats(window->lead[0], window->lead[1], context->image, beats);
    uint32_t count = lsemvae_typical_beats(beats, places);
    if (count == 0) {
        return LSEMVAE_STAGE_INPUT;
    }
    lsemvae_align_beats(window, places, count);
    if (!lsemvae_average_beat(window, places, count, input)) {
        return LSEMVAE_STAGE_INPUT;
    }
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        if (!near16(input[lead], known->input[lead], LSEMVAE_BEAT, INPUT_WITHIN)) {
            return LSEMVAE_STAGE_INPUT;
        }
    }
    return LSEMVAE_STAGE_PASS;
}

/* From the known input, so that what follows is exact, to the outcomes. */
static lsemvae_stage way_from_input(const lsemvae_context *context, uint8_t *arena, const lsemvae_vector *known) {
    int16_t(*mu)[LSEMVAE_LATENT] = (void *)(arena + LSEMVAE_AT_MU);
    int16_t(*logvar)[LSEMVAE_LATENT] = (void *)(arena + LSEMVAE_AT_LOGVAR);
    lsemvae_answer *answer = (void *)(arena + LSEMVAE_AT_ANSWER);
    if (!lsemvae_encode_leads(context->image, known->input, arena + LSEMVAE_AT_ACTIVATIONS, mu, logvar)) {
        return LSEMVAE_STAGE_ENCODER;
    }
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        if (!near16(mu[lead], known->mu[lead], LSEMVAE_LATENT, 0) ||
            !near16(logvar[lead], known->logvar[lead], LSEMVAE_LATENT, 0)) {
            return LSEMVAE_STAGE_ENCODER;
        }
    }
    lsemvae_fuse(context->image, known->mu, known->logvar, answer);
    for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
        int64_t apart = (int64_t)answer->logits[k] - known->logits[k];
        if (lsemvae_abs64(apart) > LOGIT_WITHIN) {
            return LSEMVAE_STAGE_TAIL;
        }
    }
    const lsemvae_person nobody = {0};
    lsemvae_result result;
    memset(&result, 0, sizeof result);
    result.heart_rate_tenths = STEADY_TENTHS;
    lsemvae_decide(context->image, answer, &nobody, &result);
    return outcomes_are(&result, known) ? LSEMVAE_STAGE_PASS : LSEMVAE_STAGE_DECISION;
}

static lsemvae_stage whole_way(lsemvae_context *context, void *arena, const lsemvae_vector *known) {
    lsemvae_result result;
    if (lsemvae_run(context, arena, LSEMVAE_ARENA_BYTES, &result) != LSEMVAE_OK || result.state != LSEMVAE_RAN ||
        !outcomes_are(&result, known)) {
        return LSEMVAE_STAGE_RUN;
    }
    return LSEMVAE_STAGE_PASS;
}

static lsemvae_stage tried(lsemvae_context *context, void *arena, const lsemvae_vector *known) {
    const lsemvae_config config = {.rate_hz = known->rate_hz, .pv_per_lsb = PV_PER_UV};
    if (lsemvae_init(context, &config) != LSEMVAE_OK) {
        return LSEMVAE_STAGE_IMAGE;
    }
    if (!pushed(context, known)) {
        return LSEMVAE_STAGE_WINDOW;
    }
    lsemvae_stage stage = way_to_input(context, arena, known);
    if (stage == LSEMVAE_STAGE_PASS) {
        stage = way_from_input(context, arena, known);
    }
    return stage == LSEMVAE_STAGE_PASS ? whole_way(context, arena, known) : stage;
}

/* ---- the line ---- */

typedef struct {
    char *line;
    size_t at, size;
} lsemvae_text;

static void add(lsemvae_text *text, const char *more) {
    while (*more != 0 && text->at + 1 < text->size) {
        text->line[text->at++] = *more++;
    }
    if (text->size > 0) {
        text->line[text->at] = 0;
    }
}

static void add_number(lsemvae_text *text, uint32_t value) {
    char digits[11];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    add(text, digits + at);
}

static void add_hex(lsemvae_text *text, const uint8_t *bytes, size_t n) {
    static const char digits[] = "0123456789abcdef";
    for (size_t k = 0; k < n; k++) {
        const char pair[3] = {digits[bytes[k] >> 4], digits[bytes[k] & 15], 0};
        add(text, pair);
    }
}

int lsemvae_selftest(lsemvae_context *context, void *arena, char *line, size_t size) {
    static const char *const names[] = {"pass", "image", "window", "input", "encoder", "tail", "decision", "run"};
    lsemvae_text text = {line, 0, line == NULL ? 0 : size};
    lsemvae_stage stage = LSEMVAE_STAGE_PASS;
    uint32_t k = 0;
    while (k < lsemvae_vector_count) {
        stage = tried(context, arena, &lsemvae_vectors[k]);
        if (stage != LSEMVAE_STAGE_PASS) {
            break;
        }
        k++;
    }
    add(&text, "lsemvae selftest: ");
    if (stage == LSEMVAE_STAGE_PASS) {
        add(&text, "PASS model=");
        add(&text, lsemvae_model_id(context));
        add(&text, " spec=");
        add_hex(&text, lsemvae_spec_sha256(context), 8);
        add(&text, " vectors=");
        add_number(&text, lsemvae_vector_count);
    } else {
        add(&text, "FAIL stage=");
        add(&text, names[stage]);
        add(&text, " vector=");
        add(&text, lsemvae_vectors[k].name);
    }
    lsemvae_reset(context, arena, LSEMVAE_ARENA_BYTES, NULL);
    return (int)stage;
}
