/* Faults of single leads: lsemvae_edge.quality.contact.
 *
 * Raw samples are not kept, so a raw lead is judged by its half seconds (lsemvae_raw.c), of which those count that lie
 * wholly in the window; and a lead's size is that of the filtered lead, which is never larger without mains. */
#include "lsemvae_quality.h"

#define BUSY_HALF LSEMVAE_SAMPLES(100u)
#define SLOW LSEMVAE_SAMPLES(400u)
#define RAW_LEADS 2u /* leads I and II are the measured ones */

/* Each lead, doubled, as so many times lead I and lead II. */
static const int8_t OF_PAIR[LSEMVAE_LEADS][2] = {{2, 0}, {0, 2}, {-2, 2}, {-1, -1}, {2, -1}, {-1, 2}};

typedef struct {
    uint32_t values[LSEMVAE_WINDOW];
    uint8_t busy[LSEMVAE_WINDOW];
} places;

typedef char places_fit_into_scratch[sizeof(places) <= LSEMVAE_QUALITY_SCRATCH_BYTES ? 1 : -1];

/* What flags_of judges; sizes are relative to the typical QRS. */
typedef struct {
    lsemvae_q16 size, mains, wander, jump, hiss, unexplained;
    int held, on_rail; /* whether for too long */
} measures;

static int32_t doubled(const lsemvae_window *window, uint32_t lead, uint32_t at) {
    return OF_PAIR[lead][0] * window->lead[0][at] + OF_PAIR[lead][1] * window->lead[1][at];
}

static uint32_t size_of(int32_t value) {
    return (uint32_t)(value < 0 ? -value : value);
}

/* ---- the filtered lead ---- */

static void mark_busy(const lsemvae_beats *beats, uint8_t *busy) {
    uint32_t count = 0;
    memset(busy, 0, LSEMVAE_WINDOW);
    for (uint32_t k = 0; k < beats->count; k++) {
        uint32_t from = beats->at[k] < BUSY_HALF ? 0 : beats->at[k] - BUSY_HALF;
        for (uint32_t at = from; at < beats->at[k] + BUSY_HALF && at < LSEMVAE_WINDOW; at++) {
            count += busy[at] == 0;
            busy[at] = 1;
        }
    }
    if (10 * count > 9 * LSEMVAE_WINDOW) {
        memset(busy, 0, LSEMVAE_WINDOW);
    }
}

static void measure_conditioned(const lsemvae_window *window, uint32_t lead, uint32_t qrs_size, places *room,
                                measures *made) {
    int32_t slow = 0;
    uint32_t jump = 0, n = 0, n_quiet = 0;
    uint64_t power = 0;
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        int32_t value = doubled(window, lead, k);
        slow += value;
        if (k >= SLOW) {
            slow -= doubled(window, lead, k - SLOW);
        }
        if (k + 1 >= SLOW && size_of(slow) > jump) {
            jump = size_of(slow);
        }
        if (!room->busy[k]) {
            power += (uint64_t)((int64_t)value * value);
            n_quiet++;
        }
        if (k >= 3 && !room->busy[k - 1]) {
            room->values[n++] = size_of(value - 3 * doubled(window, lead, k - 1) + 3 * doubled(window, lead, k - 2) -
                                        doubled(window, lead, k - 3));
        }
    }
    lsemvae_sort_u32(room->values, n);
    /* Doubled leads in half microvolts over a size in sixteenths of them: 8 times too small. */
    made->jump = lsemvae_ratio((uint64_t)jump * 8, (uint64_t)SLOW * qrs_size);
    made->hiss = lsemvae_ratio(lsemvae_quantile(room->values, n, 500) * 8, (uint64_t)1000 * qrs_size);
    made->unexplained = lsemvae_root_ratio(power * 64, (uint64_t)n_quiet * qrs_size * qrs_size);
}

/* ---- the raw lead ---- */

static lsemvae_q16 size_without_trend(const lsemvae_window *window, uint32_t lead, uint32_t qrs_size,
                                      uint32_t *values) {
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        values[k] = (uint32_t)(window->lead[lead][k] - INT16_MIN);
    }
    lsemvae_sort_u32(values, LSEMVAE_WINDOW);
    uint64_t range = lsemvae_quantile(values, LSEMVAE_WINDOW, 995) - lsemvae_quantile(values, LSEMVAE_WINDOW, 5);
    return lsemvae_ratio(range * 16, (uint64_t)1000 * qrs_size);
}

/* Range of the one-second means. They overlap by half, so that it matters less where the half seconds begin. */
static uint64_t doubled_wander_nv(const lsemvae_block *blocks, uint32_t n) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t k = 1; k < n; k++) {
        int64_t both = (int64_t)blocks[k - 1].mean_nv + blocks[k].mean_nv;
        low = both < low ? both : low;
        high = both > high ? both : high;
    }
    return (uint64_t)(high - low);
}

static uint64_t mains_thousandths_nv(const lsemvae_block *blocks, uint32_t n) {
    uint32_t amplitudes[LSEMVAE_BLOCKS];
    for (uint32_t k = 0; k < n; k++) {
        amplitudes[k] = size_of(blocks[k].mains_nv);
    }
    lsemvae_sort_u32(amplitudes, n);
    return lsemvae_quantile(amplitudes, n, 500);
}

static void measure_held(const lsemvae_block *blocks, uint32_t n, uint32_t rate_hz, const struct lsemvae_limits *limits,
                         measures *made) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    uint64_t held = 0, on_rail = 0;
    for (uint32_t k = 0; k < n; k++) {
        low = blocks[k].low_nv < low ? blocks[k].low_nv : low;
        high = blocks[k].high_nv > high ? blocks[k].high_nv : high;
        held = blocks[k].held > held ? blocks[k].held : held;
    }
    for (uint32_t k = 0; k < n; k++) {
        on_rail += blocks[k].low_nv == low ? blocks[k].on_low : 0;
        on_rail += blocks[k].high_nv == high ? blocks[k].on_high : 0;
    }
    made->held = held * 1000 > (uint64_t)limits->max_held_ms * rate_hz;
    made->on_rail = on_rail * 1000 > (uint64_t)limits->max_rail_ms * rate_hz;
}

static void measure_raw(const lsemvae_window *window, uint32_t lead, const lsemvae_config *config,
                        const struct lsemvae_limits *limits, uint32_t qrs_size, places *room, measures *made) {
    const lsemvae_block *blocks = window->blocks[lead];
    uint32_t n = window->n_blocks;
    /* Nothing is known of a lead without two half seconds: it is taken for flat. */
    if (n < 2) {
        made->held = 1;
        return;
    }
    uint64_t unit_nv = (uint64_t)qrs_size * 125; /* times 4: a sixteenth of half a microvolt is 125 / 4 nV */
    measure_held(blocks, n, config->rate_hz, limits, made);
    made->size = size_without_trend(window, lead, qrs_size, room->values);
    made->wander = lsemvae_ratio(doubled_wander_nv(blocks, n) * 2, unit_nv);
    made->mains = lsemvae_ratio(mains_thousandths_nv(blocks, n) * 4, 1000 * unit_nv);
}

/* ---- both ---- */

static uint32_t flag(int found, uint32_t bit) {
    return found ? bit : 0;
}

static uint32_t flags_of(const measures *made, const struct lsemvae_limits *limits) {
    return flag(made->held || made->size < limits->min_lead_size, LSEMVAE_LEAD_FLAT) |
           flag(made->on_rail, LSEMVAE_LEAD_SATURATED) |
           flag(made->unexplained > limits->max_unexplained, LSEMVAE_LEAD_OFF) |
           flag(made->jump > limits->max_jump, LSEMVAE_LEAD_MOTION) |
           flag(made->hiss > limits->max_hiss, LSEMVAE_LEAD_MUSCLE_NOISE) |
           flag(made->wander > limits->max_wander, LSEMVAE_LEAD_WANDER) |
           flag(made->mains > limits->max_mains, LSEMVAE_LEAD_MAINS) |
           flag(made->wander > limits->notable_wander && made->wander <= limits->max_wander,
                LSEMVAE_LEAD_WANDER_PRESENT) |
           flag(made->mains > limits->notable_mains && made->mains <= limits->max_mains, LSEMVAE_LEAD_MAINS_PRESENT);
}

void lsemvae_flag_leads(const lsemvae_window *window, const lsemvae_beats *beats, const lsemvae_config *config,
                        const struct lsemvae_limits *limits, uint32_t qrs_size, void *scratch,
                        uint32_t flags[LSEMVAE_LEADS]) {
    places *room = scratch;
    mark_busy(beats, room->busy);
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        measures made = {INT32_MAX, 0, 0, 0, 0, 0, 0, 0}; /* what was not measured is no fault */
        measure_conditioned(window, lead, qrs_size, room, &made);
        if (lead < RAW_LEADS) {
            measure_raw(window, lead, config, limits, qrs_size, room, &made);
        }
        flags[lead] = flags_of(&made, limits);
    }
}
