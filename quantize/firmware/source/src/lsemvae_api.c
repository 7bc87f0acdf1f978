/* What callers call; see lsemvae.h. */
#include "lsemvae_core.h"

/* Stops the compiler where two buffers of the arena that live at once would share bytes. */
#define APART(a, a_bytes, b, b_bytes) \
    typedef char lsemvae_##a##_and_##b##_lie_apart[LSEMVAE_AT_##a + (a_bytes) <= LSEMVAE_AT_##b || \
                                                           LSEMVAE_AT_##b + (b_bytes) <= LSEMVAE_AT_##a ? 1 : -1]
#define INSIDE(a, bytes) \
    typedef char lsemvae_##a##_lies_inside[LSEMVAE_AT_##a + (bytes) <= LSEMVAE_ARENA_BYTES ? 1 : -1]

#define PLACES_BYTES (sizeof(uint16_t) * LSEMVAE_MAX_BEATS)
#define INPUT_BYTES (sizeof(int16_t) * LSEMVAE_LEADS * LSEMVAE_BEAT)
#define LATENT_BYTES (sizeof(int16_t) * LSEMVAE_LEADS * LSEMVAE_LATENT)

INSIDE(WINDOW, sizeof(lsemvae_window));
INSIDE(BEATS, sizeof(lsemvae_beats));
INSIDE(SCRATCH, LSEMVAE_QUALITY_SCRATCH_BYTES);
INSIDE(PLACES, PLACES_BYTES);
INSIDE(INPUT, INPUT_BYTES);
INSIDE(ACTIVATIONS, LSEMVAE_ACTIVATION_BYTES);
INSIDE(MU, LATENT_BYTES);
INSIDE(LOGVAR, LATENT_BYTES);
INSIDE(ANSWER, sizeof(lsemvae_answer));
APART(WINDOW, sizeof(lsemvae_window), BEATS, sizeof(lsemvae_beats));
APART(WINDOW, sizeof(lsemvae_window), SCRATCH, LSEMVAE_QUALITY_SCRATCH_BYTES);
APART(WINDOW, sizeof(lsemvae_window), PLACES, PLACES_BYTES);
APART(WINDOW, sizeof(lsemvae_window), INPUT, INPUT_BYTES);
APART(BEATS, sizeof(lsemvae_beats), SCRATCH, LSEMVAE_QUALITY_SCRATCH_BYTES);
APART(BEATS, sizeof(lsemvae_beats), PLACES, PLACES_BYTES);
APART(PLACES, PLACES_BYTES, INPUT, INPUT_BYTES);
APART(INPUT, INPUT_BYTES, ACTIVATIONS, LSEMVAE_ACTIVATION_BYTES);
APART(INPUT, INPUT_BYTES, MU, LATENT_BYTES);
APART(INPUT, INPUT_BYTES, LOGVAR, LATENT_BYTES);
APART(ACTIVATIONS, LSEMVAE_ACTIVATION_BYTES, MU, LATENT_BYTES);
APART(ACTIVATIONS, LSEMVAE_ACTIVATION_BYTES, LOGVAR, LATENT_BYTES);
APART(MU, LATENT_BYTES, LOGVAR, LATENT_BYTES);
APART(MU, LATENT_BYTES, ANSWER, sizeof(lsemvae_answer));
APART(LOGVAR, LATENT_BYTES, ANSWER, sizeof(lsemvae_answer));

/* Volatile, so that no compiler drops it for memory that is not read again. */
static void overwrite(void *from, size_t n) {
    volatile uint8_t *bytes = from;
    while (n > 0) {
        *bytes++ = 0;
        n--;
    }
}

/* ---- the image ---- */

#define MAX_RATE_HZ 32768u /* keeps the sums of a half second in int64 */
#define MAX_DOWN (1u << 20)
#define MAX_BRIDGE_MS 1000u /* bounds the time of a push */
/* Weights up to 3 in all keep any sum of int32 samples times 30-bit taps in int64. */
#define MAX_WEIGHT ((int64_t)3 << 30)

static int64_t weight(const int32_t *taps, uint32_t n) {
    int64_t sum = 0;
    for (uint32_t k = 0; k < n; k++) {
        sum += lsemvae_abs64(taps[k]);
    }
    return sum;
}

static int filters_hold(const struct lsemvae_image *image) {
    for (uint32_t k = 0; k < LSEMVAE_RATES; k++) {
        const struct lsemvae_rate *rate = &image->rates[k];
        if (rate->rate_hz < LSEMVAE_FS_HZ / 2 || rate->rate_hz > MAX_RATE_HZ || rate->reach == 0 || rate->up == 0 ||
            rate->down == 0 || rate->down > MAX_DOWN || rate->reach > LSEMVAE_RESAMPLE_TAPS_MAX / 2 ||
            rate->taps != 2 * rate->reach || rate->at > LSEMVAE_RESAMPLE_TAPS_TOTAL ||
            rate->up > (LSEMVAE_RESAMPLE_TAPS_TOTAL - rate->at) / rate->taps) {
            return 0;
        }
        for (uint32_t phase = 0; phase < rate->up; phase++) {
            if (weight(&image->resample_taps[rate->at + phase * rate->taps], rate->taps) > MAX_WEIGHT) {
                return 0;
            }
        }
    }
    return image->max_bridge_ms <= MAX_BRIDGE_MS &&
           2 * weight(image->band_taps, (LSEMVAE_BAND_TAPS + 1) / 2) <= MAX_WEIGHT;
}

static int indices_hold(const struct lsemvae_image *image) {
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        const struct lsemvae_task *task = &image->tasks[k];
        if (task->output < 0 || task->output >= (int32_t)LSEMVAE_OUTPUTS || task->asked_task < -1 ||
            task->asked_task >= (int32_t)LSEMVAE_TASKS) {
            return 0;
        }
    }
    for (uint32_t k = 0; k < LSEMVAE_GUARDS; k++) {
        if (image->guards[k].output < 0 || image->guards[k].output >= (int32_t)LSEMVAE_OUTPUTS) {
            return 0;
        }
    }
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        if (image->group[lead] < 0 || image->group[lead] >= (int32_t)LSEMVAE_GROUPS) {
            return 0;
        }
    }
    return image->model_id[sizeof image->model_id - 1] == 0;
}

/* Whether an image is whole and of these sources. Who made it is for the bootloader to check. */
static int image_holds(const struct lsemvae_image *image) {
    size_t from = offsetof(struct lsemvae_image, layout);
    return image->magic == LSEMVAE_IMAGE_MAGIC && image->format == LSEMVAE_IMAGE_FORMAT &&
           image->bytes == sizeof *image && image->layout == LSEMVAE_IMAGE_LAYOUT &&
           image->crc == lsemvae_crc32((const uint8_t *)image + from, sizeof *image - from) && filters_hold(image) &&
           indices_hold(image) && lsemvae_model_holds(image);
}

/* ---- begin, feed, forget ---- */

/* Half a second in samples; a half sample goes to the even number, as in Python. */
static uint32_t half_second(uint32_t rate_hz) {
    uint32_t whole = rate_hz / 2;
    return whole + (rate_hz & whole & 1u);
}

static uint32_t turns(uint64_t numerator, uint64_t denominator) {
    return (uint32_t)(((numerator << 32) + denominator / 2) / denominator);
}

lsemvae_status lsemvae_init(lsemvae_context *context, const lsemvae_config *config) {
    if (context == NULL) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    overwrite(context, sizeof *context);
    if (config == NULL || config->pv_per_lsb == 0 ||
        (config->mains_hz != 0 && config->mains_hz != 50 && config->mains_hz != 60) ||
        (uintptr_t)config->image % sizeof(uint32_t) != 0) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    const struct lsemvae_image *image = config->image == NULL ? &lsemvae_linked_image : config->image;
    if (!image_holds(image)) {
        return LSEMVAE_BAD_IMAGE;
    }
    uint32_t rate = 0;
    while (rate < LSEMVAE_RATES && image->rates[rate].rate_hz != config->rate_hz) {
        rate++;
    }
    if (rate == LSEMVAE_RATES) {
        return LSEMVAE_BAD_RATE;
    }
    context->config = *config;
    context->image = image;
    context->rate = rate;
    context->max_bridge = (uint32_t)(((uint64_t)image->max_bridge_ms * config->rate_hz + 500) / 1000);
    context->block_samples = half_second(config->rate_hz);
    context->rail_samples = (8 * config->rate_hz + 500) / 1000;
    if (context->rail_samples < 3) {
        context->rail_samples = 3;
    }
    context->hann_step = turns(1, context->block_samples - 1);
    /* Too near to half the sampling rate, mains cannot be measured. */
    context->mains_step = 5 * config->rate_hz > 11 * config->mains_hz ? turns(config->mains_hz, config->rate_hz) : 0;
    lsemvae_stream_begin(context);
    context->begun = LSEMVAE_BEGUN;
    return LSEMVAE_OK;
}

static int32_t nanovolts(int32_t sample, uint32_t pv_per_lsb) {
    int64_t nv = lsemvae_div((int64_t)sample * pv_per_lsb, 1000);
    return nv > INT32_MAX ? INT32_MAX : nv < INT32_MIN ? INT32_MIN : (int32_t)nv;
}

lsemvae_status lsemvae_push(lsemvae_context *context, const int32_t *lead_i, const int32_t *lead_ii, size_t n,
                            uint32_t status) {
    if (status != 0) {
        return lsemvae_push_gap(context, n);
    }
    if (context == NULL || (n > 0 && (lead_i == NULL || lead_ii == NULL))) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    if (context->begun != LSEMVAE_BEGUN) {
        return LSEMVAE_NOT_BEGUN;
    }
    for (size_t k = 0; k < n; k++) {
        lsemvae_stream_sample(context, nanovolts(lead_i[k], context->config.pv_per_lsb),
                              nanovolts(lead_ii[k], context->config.pv_per_lsb));
    }
    return LSEMVAE_OK;
}

lsemvae_status lsemvae_push_gap(lsemvae_context *context, size_t n) {
    if (context == NULL) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    if (context->begun != LSEMVAE_BEGUN) {
        return LSEMVAE_NOT_BEGUN;
    }
    lsemvae_stream_gap(context, n);
    return LSEMVAE_OK;
}

int lsemvae_ready(const lsemvae_context *context) {
    /* Read afresh each time: an interrupt may push while a caller waits. */
    return context != NULL && context->begun == LSEMVAE_BEGUN &&
           *(const volatile uint32_t *)&context->filtered_count >= LSEMVAE_WINDOW;
}

lsemvae_status lsemvae_set_person(lsemvae_context *context, const lsemvae_person *person) {
    if (context == NULL || person == NULL) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    if (context->begun != LSEMVAE_BEGUN) {
        return LSEMVAE_NOT_BEGUN;
    }
    context->person = *person;
    return LSEMVAE_OK;
}

void lsemvae_reset(lsemvae_context *context, void *arena, size_t arena_bytes, lsemvae_result *result) {
    if (context != NULL) {
        LSEMVAE_LOCK();
        overwrite(&context->person, sizeof *context - offsetof(lsemvae_context, person));
        if (context->begun == LSEMVAE_BEGUN) {
            lsemvae_stream_begin(context);
        }
        LSEMVAE_UNLOCK();
    }
    if (arena != NULL) {
        overwrite(arena, arena_bytes);
    }
    if (result != NULL) {
        overwrite(result, sizeof *result);
    }
}

/* ---- run ---- */

static void refuse(lsemvae_result *result) {
    result->state = LSEMVAE_UNUSABLE;
    result->outcome = LSEMVAE_INCONCLUSIVE;
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        result->tasks[k].outcome = LSEMVAE_INCONCLUSIVE;
        result->tasks[k].reason = LSEMVAE_REASON_QUALITY;
    }
}

lsemvae_status lsemvae_run(lsemvae_context *context, void *arena, size_t arena_bytes, lsemvae_result *result) {
    if (result == NULL) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    memset(result, 0, sizeof *result);
    if (context == NULL || arena == NULL || arena_bytes < LSEMVAE_ARENA_BYTES ||
        (uintptr_t)arena % LSEMVAE_ARENA_ALIGN != 0) {
        return LSEMVAE_BAD_ARGUMENT;
    }
    if (context->begun != LSEMVAE_BEGUN) {
        return LSEMVAE_NOT_BEGUN;
    }
    const struct lsemvae_image *image = context->image;
    uint8_t *bytes = arena;
    lsemvae_window *window = (void *)(bytes + LSEMVAE_AT_WINDOW);
    lsemvae_beats *beats = (void *)(bytes + LSEMVAE_AT_BEATS);
    uint16_t *places = (void *)(bytes + LSEMVAE_AT_PLACES);
    int16_t(*input)[LSEMVAE_BEAT] = (void *)(bytes + LSEMVAE_AT_INPUT);
    int16_t(*mu)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_MU);
    int16_t(*logvar)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_LOGVAR);
    lsemvae_answer *answer = (void *)(bytes + LSEMVAE_AT_ANSWER);

    LSEMVAE_LOCK();
    int ready = lsemvae_ready(context);
    if (ready) {
        lsemvae_take_window(context, window);
    }
    LSEMVAE_UNLOCK();
    if (!ready) {
        return LSEMVAE_OK;
    }
    lsemvae_find_beats(window->lead[0], window->lead[1], image, beats);
    lsemvae_judge(window, beats, &context->config, image, bytes + LSEMVAE_AT_SCRATCH, result);
    result->first_sample = window->first_sample;
    if (result->state == LSEMVAE_UNUSABLE) {
        refuse(result);
        return LSEMVAE_OK;
    }
    uint32_t count = lsemvae_typical_beats(beats, places);
    if (count == 0) {
        result->advice = LSEMVAE_ADVICE_FEW_ALIKE_BEATS;
        result->flags |= LSEMVAE_FLAG_FEW_ALIKE_BEATS;
        refuse(result);
        return LSEMVAE_OK;
    }
    lsemvae_align_beats(window, places, count);
    if (!lsemvae_average_beat(window, places, count, input)) {
        result->advice = LSEMVAE_ADVICE_FLAT;
        refuse(result);
        return LSEMVAE_OK;
    }
    result->beats_averaged = (uint16_t)count;
    /* C99 has no implicit way from an array of arrays to one of constant arrays. */
    if (!lsemvae_encode_leads(image, (const int16_t(*)[LSEMVAE_BEAT])input, bytes + LSEMVAE_AT_ACTIVATIONS, mu,
                              logvar)) {
        memset(result, 0, sizeof *result);
        return LSEMVAE_NOT_ENCODED;
    }
    lsemvae_fuse(image, (const int16_t(*)[LSEMVAE_LATENT])mu, (const int16_t(*)[LSEMVAE_LATENT])logvar, answer);
    lsemvae_decide(image, answer, &context->person, result);
    result->state = LSEMVAE_RAN;
    return LSEMVAE_OK;
}

/* ---- what this is ---- */

const char *lsemvae_version(void) {
    return LSEMVAE_VERSION;
}

const uint8_t *lsemvae_spec_sha256(const lsemvae_context *context) {
    return context != NULL && context->begun == LSEMVAE_BEGUN ? context->image->spec_sha256 : NULL;
}

const char *lsemvae_model_id(const lsemvae_context *context) {
    return context != NULL && context->begun == LSEMVAE_BEGUN ? (const char *)context->image->model_id : NULL;
}

size_t lsemvae_rates(const uint32_t **rates_hz) {
    static const uint32_t linked[LSEMVAE_RATES] = LSEMVAE_RATES_HZ;
    if (rates_hz != NULL) {
        *rates_hz = linked;
    }
    return LSEMVAE_RATES;
}
