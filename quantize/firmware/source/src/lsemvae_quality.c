/* The verdict on a window: lsemvae_edge.quality.assessment, without a choice among windows: the newest is judged. Which
 * electrode is at fault is not told: where Python names one, the recording is refused already. */
#include "lsemvae_quality.h"

#define QRS_SEARCH LSEMVAE_SAMPLES(100u)
#define UPPER (LSEMVAE_WINDOW / 100u + 2u) /* so many of a window's samples decide its quantile of 99 % */
#define LEAST_STEPS 32u /* a QRS of less is lost in the rounding to half microvolts */
#define FATAL                                                                                            \
    (LSEMVAE_FLAG_WRONG_SCALE | LSEMVAE_FLAG_IDENTICAL_LEADS | LSEMVAE_FLAG_NOT_AN_ECG |                  \
     LSEMVAE_FLAG_RATE_IMPLAUSIBLE | LSEMVAE_FLAG_FEW_ALIKE_BEATS)

/* ---- the size of a QRS ---- */

static uint32_t length(const lsemvae_window *window, uint32_t at) {
    int32_t i = window->lead[0][at], ii = window->lead[1][at];
    return lsemvae_root((uint64_t)lsemvae_dot(i, ii, i, ii) * 512 / 3); /* sixteenths; see lsemvae_dot */
}

static uint32_t longest(const lsemvae_window *window, uint32_t centre) {
    uint32_t most = 0;
    for (uint32_t at = centre < QRS_SEARCH ? 0 : centre - QRS_SEARCH; at <= centre + QRS_SEARCH && at < LSEMVAE_WINDOW;
         at++) {
        uint32_t found = length(window, at);
        most = found > most ? found : most;
    }
    return most;
}

/* The 99 % quantile of all lengths, from the longest alone. */
static uint32_t size_without_beats(const lsemvae_window *window) {
    uint32_t longest_first[UPPER] = {0};
    for (uint32_t at = 0; at < LSEMVAE_WINDOW; at++) {
        uint32_t found = length(window, at);
        for (uint32_t k = 0; k < UPPER; k++) {
            if (found > longest_first[k]) {
                uint32_t shorter = longest_first[k];
                longest_first[k] = found;
                found = shorter;
            }
        }
    }
    uint32_t position = 990 * (LSEMVAE_WINDOW - 1), from_end = LSEMVAE_WINDOW - 1 - position / 1000;
    uint32_t low = longest_first[from_end], high = longest_first[from_end - 1];
    return low + (uint32_t)((uint64_t)(high - low) * (position % 1000) / 1000);
}

uint32_t lsemvae_qrs_size(const lsemvae_window *window, const lsemvae_beats *beats) {
    if (beats->count == 0) {
        return size_without_beats(window);
    }
    uint32_t sizes[LSEMVAE_MAX_BEATS];
    for (uint32_t k = 0; k < beats->count; k++) {
        sizes[k] = longest(window, beats->at[k]);
    }
    lsemvae_sort_u32(sizes, beats->count);
    return (uint32_t)(lsemvae_quantile(sizes, beats->count, 500) / 1000);
}

/* ---- checks ---- */

/* What could not be measured, or is too large to be told, passes no check. */
static int within(lsemvae_q16 value, const struct lsemvae_bounds *bounds) {
    return value != LSEMVAE_Q16_UNKNOWN && value != INT32_MAX && value >= bounds->low && value <= bounds->high;
}

static int all_within(const lsemvae_shape *shape, const struct lsemvae_limits *limits) {
    return shape->n_beats >= limits->n_beats_low && shape->n_beats <= limits->n_beats_high &&
           within(shape->alike, &limits->alike) && within(shape->doubt, &limits->doubt) &&
           within(shape->quiet, &limits->quiet) && within(shape->contrast, &limits->contrast) &&
           within(shape->qrs_s, &limits->qrs_s) && within(shape->residual, &limits->residual) &&
           within(shape->after, &limits->after) && within(shape->after_snr, &limits->after_snr) &&
           within(shape->coherence, &limits->coherence) && within(shape->roundness, &limits->roundness) &&
           within(shape->rank_one, &limits->rank_one) && within(shape->alignment, &limits->alignment) &&
           within(shape->line, &limits->line) && within(shape->fast, &limits->fast) &&
           within(shape->slow, &limits->slow) && within(shape->peakedness, &limits->peakedness) &&
           within(shape->asymmetry, &limits->asymmetry);
}

/* Whether a lead may be the one whose samples left 16 bits. */
static int reaches_end(const lsemvae_window *window, int lead) {
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        if (window->lead[lead][k] == INT16_MAX || window->lead[lead][k] == INT16_MIN) {
            return 1;
        }
    }
    return 0;
}

static uint32_t flags_of(const lsemvae_window *window, const lsemvae_beats *beats, const lsemvae_config *config,
                         const struct lsemvae_limits *limits, uint32_t qrs_size, lsemvae_result *result) {
    const lsemvae_shape *shape = &result->shape;
    uint32_t flags = 0;
    uint16_t averaged[LSEMVAE_MAX_BEATS];
    int reliable = shape->doubt <= limits->max_rhythm_doubt && within(shape->alike, &limits->alike) &&
                   within(shape->contrast, &limits->contrast);
    /* A guessed scale need only be one that half microvolts can hold. */
    if (config->uncalibrated ? window->clipped != 0 || qrs_size < LEAST_STEPS * 16
                             : qrs_size < limits->qrs_low || qrs_size > limits->qrs_high) {
        flags |= LSEMVAE_FLAG_WRONG_SCALE;
    }
    if (!within(shape->rank_one, &limits->rank_one)) {
        flags |= LSEMVAE_FLAG_IDENTICAL_LEADS;
    }
    if (!all_within(shape, limits)) {
        flags |= LSEMVAE_FLAG_NOT_AN_ECG;
    }
    if (beats->count >= 3) {
        /* In tenths of a beat a minute, times the span. */
        int64_t span = (int64_t)beats->at[beats->count - 1] - beats->at[0];
        int64_t beats_rate = 600 * (int64_t)LSEMVAE_FS_HZ * ((int64_t)beats->count - 1);
        result->heart_rate_tenths = (uint16_t)lsemvae_div(beats_rate, span);
        if (beats_rate < limits->rate_low_tenths * span || beats_rate > limits->rate_high_tenths * span) {
            flags |= LSEMVAE_FLAG_RATE_IMPLAUSIBLE;
        }
    } else {
        reliable = 0;
    }
    if (lsemvae_typical_beats(beats, averaged) == 0) {
        flags |= LSEMVAE_FLAG_FEW_ALIKE_BEATS;
    }
    return reliable ? flags : flags | LSEMVAE_FLAG_RHYTHM_UNRELIABLE;
}

/* In order of what to put right first. */
static lsemvae_advice advice_on(uint32_t flags, uint32_t lead_flags) {
    static const struct {
        uint32_t flag, lead_flag;
        lsemvae_advice advice;
    } order[] = {
        {LSEMVAE_FLAG_WRONG_SCALE, 0, LSEMVAE_ADVICE_WRONG_SCALE},
        {LSEMVAE_FLAG_IDENTICAL_LEADS, 0, LSEMVAE_ADVICE_IDENTICAL_LEADS},
        {0, LSEMVAE_LEAD_FLAT, LSEMVAE_ADVICE_FLAT},
        {0, LSEMVAE_LEAD_SATURATED, LSEMVAE_ADVICE_SATURATED},
        {0, LSEMVAE_LEAD_MAINS, LSEMVAE_ADVICE_MAINS},
        {0, LSEMVAE_LEAD_MOTION, LSEMVAE_ADVICE_MOTION},
        {0, LSEMVAE_LEAD_WANDER, LSEMVAE_ADVICE_WANDER},
        {0, LSEMVAE_LEAD_MUSCLE_NOISE, LSEMVAE_ADVICE_MUSCLE_NOISE},
        {0, LSEMVAE_LEAD_OFF, LSEMVAE_ADVICE_LEAD_OFF},
        {LSEMVAE_FLAG_RATE_IMPLAUSIBLE, 0, LSEMVAE_ADVICE_RATE},
        {LSEMVAE_FLAG_NOT_AN_ECG, 0, LSEMVAE_ADVICE_NOT_AN_ECG},
        {LSEMVAE_FLAG_FEW_ALIKE_BEATS, 0, LSEMVAE_ADVICE_FEW_ALIKE_BEATS},
    };
    for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
        if ((flags & order[k].flag) != 0 || (lead_flags & order[k].lead_flag) != 0) {
            return order[k].advice;
        }
    }
    return LSEMVAE_ADVICE_NONE;
}

void lsemvae_judge(const lsemvae_window *window, const lsemvae_beats *beats, const lsemvae_config *config,
                   const struct lsemvae_image *image, void *scratch, lsemvae_result *result) {
    const struct lsemvae_limits *limits = &image->limits;
    uint32_t qrs_size = lsemvae_qrs_size(window, beats), on_any_lead = 0;
    lsemvae_measure_shape(window, beats, image, scratch, &result->shape);
    lsemvae_flag_leads(window, beats, config, limits, qrs_size, scratch, result->lead_flags);
    result->heart_rate_tenths = 0;
    result->flags = flags_of(window, beats, config, limits, qrs_size, result);
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        if (lead < 2 && window->clipped != 0 && reaches_end(window, (int)lead)) {
            result->lead_flags[lead] |= LSEMVAE_LEAD_SATURATED;
        }
        on_any_lead |= result->lead_flags[lead];
    }
    result->advice = LSEMVAE_ADVICE_NONE;
    if ((result->flags & FATAL) != 0 || (on_any_lead & LSEMVAE_LEAD_FATAL) != 0) {
        result->state = LSEMVAE_UNUSABLE;
        result->advice = advice_on(result->flags, on_any_lead);
    }
}
