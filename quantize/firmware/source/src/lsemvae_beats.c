/* Where the QRS complexes are and what they have in common, see lsemvae_edge/beats.py. */
#include "lsemvae_core.h"

#define STEP (LSEMVAE_SAMPLES(8u) > 0u ? LSEMVAE_SAMPLES(8u) : 1u)
#define ENVELOPE (LSEMVAE_SAMPLES(88u) | 1u)
#define REFRACTORY LSEMVAE_SAMPLES(200u)
#define BLOCK LSEMVAE_SAMPLES(2000u)
#define ALIGN 3u
#define REACH (LSEMVAE_QRS_HALF + ALIGN)
#define COMPLEX (2u * LSEMVAE_QRS_HALF + 1u)

#if (LSEMVAE_WINDOW + REFRACTORY - 1u) / REFRACTORY > LSEMVAE_MAX_BEATS
#error "More beats fit into a window than LSEMVAE_MAX_BEATS."
#endif
/* A squared speed has less than 35 bits, an inner product of two samples less than 33, with a sign. */
#if ENVELOPE > 42u || COMPLEX * COMPLEX > 682u
#error "Sums at this rate leave 64 bits: give the envelope or the norms fewer fractional bits."
#endif

typedef struct {
    uint16_t at[LSEMVAE_MAX_BEATS];
    uint32_t count;
} places;

static uint64_t speed(const int16_t *lead_i, const int16_t *lead_ii, uint32_t k) {
    if (k < STEP || k + STEP >= LSEMVAE_WINDOW) {
        return 0;
    }
    int32_t i = lead_i[k + STEP] - lead_i[k - STEP], ii = lead_ii[k + STEP] - lead_ii[k - STEP];
    return (uint64_t)lsemvae_dot(i, ii, i, ii);
}

void lsemvae_speed_envelope(const int16_t *lead_i, const int16_t *lead_ii, uint32_t *envelope) {
    uint64_t sum = 0;
    for (uint32_t k = 0; k < ENVELOPE / 2; k++) {
        sum += speed(lead_i, lead_ii, k);
    }
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        sum += speed(lead_i, lead_ii, k + ENVELOPE / 2);
        envelope[k] = lsemvae_root(sum << 24); /* 12 fractional bits, so that rounding makes few ties */
        sum -= k < ENVELOPE / 2 ? 0 : speed(lead_i, lead_ii, k - ENVELOPE / 2);
    }
}

/* Median of the highest values of half-overlapping blocks. */
static uint32_t typical_height(const uint32_t *envelope) {
    uint32_t highest[2u * LSEMVAE_WINDOW / BLOCK + 2u], count = 0;
    for (uint32_t start = 0; start == 0 || start + BLOCK / 2 < LSEMVAE_WINDOW; start += BLOCK / 2) {
        uint32_t most = 0;
        for (uint32_t k = start; k < start + BLOCK && k < LSEMVAE_WINDOW; k++) {
            most = envelope[k] > most ? envelope[k] : most;
        }
        highest[count++] = most;
    }
    lsemvae_sort_u32(highest, count);
    return (uint32_t)(((uint64_t)highest[(count - 1) / 2] + highest[count / 2]) / 2);
}

static void mark(uint8_t *bits, uint32_t k) {
    bits[k / 8] = (uint8_t)(bits[k / 8] | (1u << (k % 8)));
}

static int marked(const uint8_t *bits, uint32_t k) {
    return (bits[k / 8] >> (k % 8)) & 1;
}

/* Local maxima, the higher one kept of any two closer than the refractory time, and not too low. */
static void find_peaks(const uint32_t *envelope, uint32_t height, places *peaks) {
    uint8_t covered[(LSEMVAE_WINDOW + 7) / 8] = {0}, kept[(LSEMVAE_WINDOW + 7) / 8] = {0};
    /* Two of them are a refractory time apart, so that no window holds more. */
    for (uint32_t round = 0; round < LSEMVAE_MAX_BEATS; round++) {
        uint32_t best = 0, most = 0;
        for (uint32_t k = 1; k + 1 < LSEMVAE_WINDOW; k++) {
            if (envelope[k] > most && envelope[k] > envelope[k - 1] && envelope[k] >= envelope[k + 1] &&
                !marked(covered, k)) {
                best = k;
                most = envelope[k];
            }
        }
        if (best == 0) {
            break;
        }
        mark(kept, best);
        uint32_t from = best >= REFRACTORY ? best - REFRACTORY + 1 : 0;
        for (uint32_t k = from; k < best + REFRACTORY && k < LSEMVAE_WINDOW; k++) {
            mark(covered, k);
        }
    }
    peaks->count = 0;
    for (uint32_t k = 0; k < LSEMVAE_WINDOW && peaks->count < LSEMVAE_MAX_BEATS; k++) {
        if (marked(kept, k) && (uint64_t)20 * envelope[k] > height) {
            peaks->at[peaks->count++] = (uint16_t)k;
        }
    }
}

/* Whether a peak comes so soon after another that it may be its T wave: within 0.36 s. */
static int soon(uint32_t before, uint32_t after) {
    return (after - before) * 1000u < 360u * LSEMVAE_FS_HZ;
}

static void take_beats(const uint32_t *envelope, uint32_t height, const places *peaks, places *taken) {
    taken->count = 0;
    for (uint32_t k = 0; k < peaks->count; k++) {
        uint32_t at = peaks->at[k];
        if ((uint64_t)100 * envelope[at] < (uint64_t)35 * height) {
            continue;
        }
        uint32_t last = taken->count > 0 ? taken->at[taken->count - 1] : 0;
        if (taken->count > 0 && soon(last, at) && (uint64_t)10 * envelope[at] < (uint64_t)6 * envelope[last]) {
            continue;
        }
        taken->at[taken->count++] = (uint16_t)at;
    }
}

/* Takes a lower peak where an interval is so long that a beat was probably missed. */
static void search_back(const uint32_t *envelope, uint32_t height, const places *peaks, places *taken) {
    if (taken->count < 3) {
        return;
    }
    uint32_t intervals[LSEMVAE_MAX_BEATS], n = taken->count - 1;
    for (uint32_t k = 0; k < n; k++) {
        intervals[k] = (uint32_t)(taken->at[k + 1] - taken->at[k]);
    }
    lsemvae_sort_u32(intervals, n);
    uint32_t twice_typical = intervals[(n - 1) / 2] + intervals[n / 2];
    places found = *taken;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t before = taken->at[k], after = taken->at[k + 1], best = 0, most = 0;
        if (10u * (after - before) <= 8u * twice_typical) {
            continue;
        }
        for (uint32_t j = 0; j < peaks->count; j++) {
            uint32_t at = peaks->at[j];
            if (at > before && (at - before) * 1000u > 360u * LSEMVAE_FS_HZ && at < after &&
                (after - at) * 1000u > 200u * LSEMVAE_FS_HZ &&
                (uint64_t)100 * envelope[at] > (uint64_t)18 * height && envelope[at] > most) {
                best = at;
                most = envelope[at];
            }
        }
        if (best > 0 && found.count < LSEMVAE_MAX_BEATS) {
            uint32_t place = found.count++;
            for (; place > 0 && found.at[place - 1] > best; place--) {
                found.at[place] = found.at[place - 1];
            }
            found.at[place] = (uint16_t)best;
        }
    }
    *taken = found;
}

/* Highest peak that was not taken for a beat, over the lower quartile of those that were. */
static lsemvae_q16 doubt_of(const uint32_t *envelope, const places *peaks, const places *taken) {
    if (taken->count == 0) {
        return 65536;
    }
    uint32_t rest = 0;
    for (uint32_t k = 0; k < peaks->count; k++) {
        int near = 0;
        for (uint32_t j = 0; j < taken->count; j++) {
            int32_t since = 1000 * (peaks->at[k] - taken->at[j]);
            near |= since >= -200 * (int32_t)LSEMVAE_FS_HZ && since < 450 * (int32_t)LSEMVAE_FS_HZ;
        }
        if (!near && envelope[peaks->at[k]] > rest) {
            rest = envelope[peaks->at[k]];
        }
    }
    uint32_t heights[LSEMVAE_MAX_BEATS], last = taken->count - 1;
    for (uint32_t k = 0; k <= last; k++) {
        heights[k] = envelope[taken->at[k]];
    }
    lsemvae_sort_u32(heights, taken->count);
    uint64_t low = heights[last / 4], high = heights[last / 4 + (last % 4 > 0 ? 1 : 0)];
    return lsemvae_ratio((uint64_t)4 * rest, (4 - last % 4) * low + last % 4 * high);
}

/* Sums of one complex, and its norm without its mean with 11 fractional bits. */
typedef struct {
    int32_t i, ii;
    uint32_t norm;
} sums;

/* Inner product of two complexes without their means, times their length. */
static int64_t product(const int16_t *i, const int16_t *ii, const sums *one, const int16_t *other_i,
                       const int16_t *other_ii, const sums *other) {
    int64_t sum = 0;
    for (uint32_t k = 0; k < COMPLEX; k++) {
        sum += lsemvae_dot(i[k], ii[k], other_i[k], other_ii[k]);
    }
    return COMPLEX * sum - lsemvae_dot(one->i, one->ii, other->i, other->ii);
}

static sums sums_of(const int16_t *i, const int16_t *ii) {
    sums made = {0, 0, 0};
    for (uint32_t k = 0; k < COMPLEX; k++) {
        made.i += i[k];
        made.ii += ii[k];
    }
    int64_t square = product(i, ii, &made, i, ii, &made);
    made.norm = lsemvae_root((uint64_t)(square < 0 ? 0 : square) << 22); /* less than 2^42, and 22 bits */
    return made;
}

/* Whether value >= least * |one| * |other|, both sides with 22 fractional bits. */
static int alike(int64_t value, const sums *one, const sums *other, lsemvae_q16 least) {
    uint64_t norms = (uint64_t)one->norm * other->norm, of = (uint32_t)least;
    return norms > 0 && value > 0 && (uint64_t)value << 22 >= (norms >> 16) * of + ((norms & 0xFFFFu) * of >> 16);
}

static void compare(const int16_t *lead_i, const int16_t *lead_ii, const struct lsemvae_image *image,
                    lsemvae_beats *beats) {
    sums still[LSEMVAE_MAX_BEATS];
    for (uint32_t b = 0; b < beats->count; b++) {
        uint32_t from = beats->at[b] - LSEMVAE_QRS_HALF;
        still[b] = sums_of(&lead_i[from], &lead_ii[from]);
        beats->alike[b] = beats->averaged[b] = 0;
    }
    for (uint32_t a = 0; a < beats->count; a++) {
        for (uint32_t shift = 0; shift <= 2 * ALIGN; shift++) {
            uint32_t from = beats->at[a] + shift - REACH;
            sums moved = sums_of(&lead_i[from], &lead_ii[from]);
            for (uint32_t b = 0; b < beats->count; b++) {
                uint32_t other = beats->at[b] - LSEMVAE_QRS_HALF;
                int64_t value = product(&lead_i[from], &lead_ii[from], &moved, &lead_i[other], &lead_ii[other],
                                        &still[b]);
                if (alike(value, &moved, &still[b], image->limits.min_beat_correlation)) {
                    beats->alike[a] |= (uint64_t)1 << b;
                    beats->alike[b] |= (uint64_t)1 << a;
                }
                if (alike(value, &moved, &still[b], image->min_correlation)) {
                    beats->averaged[a] |= (uint64_t)1 << b;
                    beats->averaged[b] |= (uint64_t)1 << a;
                }
            }
        }
    }
}

void lsemvae_find_beats(const int16_t *lead_i, const int16_t *lead_ii, const struct lsemvae_image *image,
                        lsemvae_beats *beats) {
    places peaks, taken;
    lsemvae_speed_envelope(lead_i, lead_ii, beats->envelope);
    beats->height = typical_height(beats->envelope);
    find_peaks(beats->envelope, beats->height, &peaks);
    if (beats->height == 0) {
        peaks.count = 0;
    }
    take_beats(beats->envelope, beats->height, &peaks, &taken);
    search_back(beats->envelope, beats->height, &peaks, &taken);
    beats->count = 0;
    for (uint32_t k = 0; k < taken.count; k++) {
        /* A complex cut by the window's edge has no shape to compare. */
        if (taken.at[k] >= REACH && taken.at[k] < LSEMVAE_WINDOW - REACH) {
            beats->at[beats->count++] = taken.at[k];
        }
    }
    beats->doubt = doubt_of(beats->envelope, &peaks, &taken);
    compare(lead_i, lead_ii, image, beats);
}

uint64_t lsemvae_dominant(const uint64_t *alike_to, uint32_t count) {
    uint64_t best = 0;
    uint32_t most = 0;
    for (uint32_t k = 0; k < count; k++) {
        uint32_t members = lsemvae_bits(alike_to[k]);
        if (members > most) {
            most = members;
            best = alike_to[k];
        }
    }
    return best;
}
