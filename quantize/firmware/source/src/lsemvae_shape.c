/* What makes a signal an ECG, as numbers measured on one window: lsemvae_edge.quality.shape.
 *
 * Sums over n beats stand for their averages, and n times the sum of squares minus the square of the sum for the
 * deviations from them, so that nothing is rounded before a measure's last division. */
#include "lsemvae_quality.h"

#define GAP LSEMVAE_SAMPLES(130u)
#define AFTER LSEMVAE_SAMPLES(460u)
#define AFTER_LEAST (GAP + LSEMVAE_SAMPLES(64u))
#define ALIGNED LSEMVAE_SAMPLES(24u)
#define NEAR LSEMVAE_SAMPLES(60u)
#define SHIFTS 3
#define QRS (2u * LSEMVAE_QRS_HALF + 1u)
#define BEFORE LSEMVAE_QRS_HALF
#define CUT_MOST (BEFORE + AFTER + 1u)

/* ---- numbers ---- */

lsemvae_q16 lsemvae_root_ratio(uint64_t a, uint64_t b) {
    if (a == 0) {
        return 0;
    }
    if (b == 0) {
        return INT32_MAX;
    }
    int doublings = 32; /* of the quotient, so that its root is q16 */
    for (; a < (uint64_t)1 << 63; a <<= 1) {
        doublings--;
    }
    for (; b >= (uint64_t)1 << 32; b >>= 1) {
        doublings--;
    }
    for (; b < (uint64_t)1 << 31; b <<= 1) {
        doublings++;
    }
    uint64_t quotient = a / b; /* below 2^33 */
    if (doublings > 31) {
        return INT32_MAX;
    }
    if (doublings < -63) {
        return 0;
    }
    uint32_t root = lsemvae_root(doublings < 0 ? quotient >> -doublings : quotient << doublings);
    return root > INT32_MAX ? INT32_MAX : (lsemvae_q16)root;
}

uint64_t lsemvae_quantile(const uint32_t *sorted, uint32_t n, uint32_t permille) {
    uint32_t position = permille * (n - 1), below = position / 1000;
    uint32_t low = sorted[below], high = sorted[below + 1 < n ? below + 1 : below];
    return (uint64_t)low * 1000 + (uint64_t)(high - low) * (position % 1000);
}

/* Second over first axis of a cloud of frontal vectors, from its sums of I I, II II and I II. With the factor 4/3 left
 * out, the squares of the axes have the sum `trace` and the product `product` / 4. */
static lsemvae_q16 axis_ratio(int64_t of_i, int64_t of_ii, int64_t across) {
    if (of_i == 0 && of_ii == 0) {
        return 0;
    }
    const int64_t most = (int64_t)1 << 29; /* keeps what follows in 63 bits */
    while (of_i >= most || of_ii >= most) {
        of_i /= 2;
        of_ii /= 2;
        across /= 2;
    }
    while (of_i < most / 2 && of_ii < most / 2) {
        of_i *= 2;
        of_ii *= 2;
        across *= 2;
    }
    int64_t product = 3 * (of_i * of_ii - across * across);
    if (product < 0) {
        product = 0;
    }
    int64_t trace = of_i - across + of_ii;
    uint64_t first = (uint64_t)trace + lsemvae_root((uint64_t)(trace * trace - product));
    return lsemvae_ratio(lsemvae_root((uint64_t)product), first);
}

/* ---- the average beat ---- */

typedef struct {
    uint32_t count, samples; /* beats, and samples of each cut; the QRS lies in the first 2 half + 1 */
    uint16_t at[LSEMVAE_MAX_BEATS];
    int32_t sum[2][CUT_MOST]; /* over the beats */
    int64_t spread[CUT_MOST]; /* n sum |v|^2 - |sum v|^2 */
    int32_t first[2][QRS];    /* twice a first guess of the average, of I and of 2 II - I */
} average;

typedef char average_fits_into_scratch[sizeof(average) <= LSEMVAE_QUALITY_SCRATCH_BYTES ? 1 : -1];

/* Samples after a beat's centre: the next beat must not enter the average of a fast rhythm. */
static uint32_t samples_after(const lsemvae_beats *beats) {
    uint32_t intervals[LSEMVAE_MAX_BEATS];
    uint32_t n = 0;
    for (uint32_t k = 1; k < beats->count; k++) {
        intervals[n++] = (uint32_t)beats->at[k] - beats->at[k - 1];
    }
    if (n == 0) {
        return AFTER;
    }
    lsemvae_sort_u32(intervals, n);
    uint64_t quartile = lsemvae_quantile(intervals, n, 250);
    uint64_t room = quartile > LSEMVAE_QRS_HALF * 1000u ? 3 * (quartile - LSEMVAE_QRS_HALF * 1000u) : 0;
    uint32_t whole = (uint32_t)(room / 4000), rest = (uint32_t)(room % 4000);
    uint32_t after = whole + (rest > 2000 || (rest == 2000 && whole % 2 == 1));
    return after < AFTER_LEAST ? AFTER_LEAST : after > AFTER ? AFTER : after;
}

static int32_t upright(const lsemvae_window *window, uint32_t at) {
    return 2 * (int32_t)window->lead[1][at] - window->lead[0][at];
}

static void guess(const lsemvae_window *window, average *mean) {
    uint32_t n = mean->count;
    int32_t values[LSEMVAE_MAX_BEATS];
    for (uint32_t offset = 0; offset < QRS; offset++) {
        for (int part = 0; part < 2; part++) {
            for (uint32_t k = 0; k < n; k++) {
                uint32_t at = mean->at[k] + offset - BEFORE;
                values[k] = part == 0 ? window->lead[0][at] : upright(window, at);
            }
            lsemvae_sort_i32(values, n);
            mean->first[part][offset] = values[(n - 1) / 2] + values[n / 2];
        }
    }
}

static uint32_t clipped(int32_t value, uint32_t low, uint32_t high) {
    return value < (int32_t)low ? low : value > (int32_t)high ? high : (uint32_t)value;
}

/* Move each beat by up to three samples to where it fits the first guess best. */
static void align(const lsemvae_window *window, average *mean, uint32_t after) {
    for (uint32_t k = 0; k < mean->count; k++) {
        int64_t best_fit = 0;
        int32_t best = 0;
        for (int32_t shift = -SHIFTS; shift <= SHIFTS; shift++) {
            int64_t fit = 0;
            for (uint32_t offset = 0; offset < QRS; offset++) {
                uint32_t at =
                    clipped((int32_t)(mean->at[k] + offset) - (int32_t)BEFORE + shift, 0, LSEMVAE_WINDOW - 1);
                fit += 3 * (int64_t)window->lead[0][at] * mean->first[0][offset];
                fit += (int64_t)upright(window, at) * mean->first[1][offset];
            }
            if (shift == -SHIFTS || fit > best_fit) {
                best_fit = fit;
                best = shift;
            }
        }
        mean->at[k] = (uint16_t)clipped(mean->at[k] + best, BEFORE, LSEMVAE_WINDOW - after - 2);
    }
}

static void add_up(const lsemvae_window *window, average *mean) {
    for (uint32_t t = 0; t < mean->samples; t++) {
        int32_t sum_i = 0, sum_ii = 0;
        int64_t squares = 0;
        for (uint32_t k = 0; k < mean->count; k++) {
            uint32_t at = mean->at[k] + t - BEFORE;
            int32_t i = window->lead[0][at], ii = window->lead[1][at];
            sum_i += i;
            sum_ii += ii;
            squares += lsemvae_dot(i, ii, i, ii);
        }
        mean->sum[0][t] = sum_i;
        mean->sum[1][t] = sum_ii;
        mean->spread[t] = squares * (int64_t)mean->count - lsemvae_dot(sum_i, sum_ii, sum_i, sum_ii);
    }
}

/* Average the beats of the dominant group; 0 if they are too few. */
static int average_beat(const lsemvae_window *window, const lsemvae_beats *beats, uint64_t dominant, average *mean) {
    uint32_t after = samples_after(beats);
    mean->count = 0;
    mean->samples = BEFORE + after + 1;
    for (uint32_t k = 0; k < beats->count; k++) {
        uint32_t at = beats->at[k];
        if ((dominant >> k & 1u) != 0 && at >= BEFORE && at + after + 1 < LSEMVAE_WINDOW) {
            mean->at[mean->count++] = (uint16_t)at;
        }
    }
    if (mean->count < 2) {
        return 0;
    }
    guess(window, mean);
    align(window, mean, after);
    add_up(window, mean);
    return 1;
}

/* Samples times the sum of (v - mean) (w - mean), for two leads of the QRS. */
static int64_t covariance(const int32_t *a, const int32_t *b) {
    int64_t products = 0, sum_a = 0, sum_b = 0;
    for (uint32_t t = 0; t < QRS; t++) {
        products += (int64_t)a[t] * b[t];
        sum_a += a[t];
        sum_b += b[t];
    }
    return products * (int64_t)QRS - sum_a * sum_b;
}

static uint64_t spread_within(const average *mean, uint32_t from, uint32_t to) {
    int64_t total = 0;
    for (uint32_t t = from; t < to; t++) {
        total += mean->spread[t];
    }
    return (uint64_t)total;
}

static lsemvae_q16 qrs_s(const average *mean) {
    int64_t speed[QRS], most = 0; /* squared */
    for (uint32_t t = 0; t < QRS; t++) {
        speed[t] = 0;
        if (t > 0 && t + 1 < mean->samples) {
            int32_t i = mean->sum[0][t + 1] - mean->sum[0][t - 1], ii = mean->sum[1][t + 1] - mean->sum[1][t - 1];
            speed[t] = lsemvae_dot(i, ii, i, ii);
        }
        most = speed[t] > most ? speed[t] : most;
    }
    uint32_t fast = 0;
    for (uint32_t t = 0; t < QRS; t++) {
        fast += 100 * speed[t] > 9 * most;
    }
    return lsemvae_ratio(fast, LSEMVAE_FS_HZ);
}

/* 16 times the power, summed, of what follows the average QRS, without its trend. */
static uint64_t power_after(const average *mean) {
    uint32_t from = BEFORE + GAP;
    int32_t n = (int32_t)(mean->samples - from);
    int64_t sum[2] = {0, 0}, rise[2] = {0, 0}, steps = 0;
    for (int32_t k = 0; k < n; k++) {
        int32_t x = 2 * k - (n - 1);
        steps += (int64_t)x * x;
        for (int lead = 0; lead < 2; lead++) {
            sum[lead] += mean->sum[lead][from + (uint32_t)k];
            rise[lead] += (int64_t)x * mean->sum[lead][from + (uint32_t)k];
        }
    }
    int64_t power = 0;
    for (int32_t k = 0; k < n; k++) {
        int32_t x = 2 * k - (n - 1), rest[2];
        for (int lead = 0; lead < 2; lead++) {
            int64_t value = mean->sum[lead][from + (uint32_t)k];
            rest[lead] = (int32_t)lsemvae_div(
                4 * (steps * (n * value - sum[lead]) - n * (int64_t)x * rise[lead]), n * steps);
        }
        power += lsemvae_dot(rest[0], rest[1], rest[0], rest[1]);
    }
    return (uint64_t)power;
}

/* One lead's average of the beats over its own standard error. */
static lsemvae_q16 coherence(const lsemvae_window *window, const average *mean, int lead) {
    int64_t all = 0, n = mean->count;
    for (uint32_t k = 0; k < mean->count; k++) {
        const int16_t *cut = &window->lead[lead][mean->at[k] - BEFORE];
        int64_t squares = 0, sum = 0;
        for (uint32_t t = 0; t < QRS; t++) {
            squares += (int64_t)cut[t] * cut[t];
            sum += cut[t];
        }
        all += squares * (int64_t)QRS - sum * sum;
    }
    int64_t common = covariance(mean->sum[lead], mean->sum[lead]);
    return lsemvae_root_ratio((uint64_t)(common * (n - 1)), (uint64_t)(n * all - common));
}

/* Smallest relative difference between the QRS and its even or odd mirror image about any nearby centre. */
static lsemvae_q16 asymmetry(const average *mean) {
    lsemvae_q16 best = LSEMVAE_Q16_UNKNOWN;
    for (uint32_t centre = BEFORE - LSEMVAE_QRS_HALF / 2; centre <= BEFORE + LSEMVAE_QRS_HALF / 2; centre++) {
        /* Enough is kept after the beat for any of them. */
        uint32_t reach = centre < LSEMVAE_QRS_HALF ? centre : LSEMVAE_QRS_HALF;
        int64_t size = 0, across = 0;
        int32_t sum_i = 0, sum_ii = 0;
        for (uint32_t t = centre - reach, mirrored = centre + reach; t <= centre + reach; t++, mirrored--) {
            int32_t i = mean->sum[0][t], ii = mean->sum[1][t];
            sum_i += i;
            sum_ii += ii;
            size += lsemvae_dot(i, ii, i, ii);
            across += lsemvae_dot(i, ii, mean->sum[0][mirrored], mean->sum[1][mirrored]);
        }
        int64_t n = 2 * (int64_t)reach + 1, of_mean = lsemvae_dot(sum_i, sum_ii, sum_i, sum_ii);
        size = n * size - of_mean;
        across = n * across - of_mean;
        if (size > 0) {
            lsemvae_q16 found = lsemvae_root_ratio(2 * (uint64_t)(size - lsemvae_abs64(across)), (uint64_t)size);
            best = best == LSEMVAE_Q16_UNKNOWN || found < best ? found : best;
        }
    }
    return best;
}

static void measure_average(const lsemvae_window *window, const average *mean, lsemvae_shape *shape) {
    uint64_t n = mean->count, samples_later = mean->samples - (BEFORE + GAP);
    int64_t of_i = covariance(mean->sum[0], mean->sum[0]), of_ii = covariance(mean->sum[1], mean->sum[1]);
    int64_t across = covariance(mean->sum[0], mean->sum[1]);
    uint64_t qrs = 2 * (uint64_t)(of_i - across + of_ii);
    uint64_t later = power_after(mean);
    shape->qrs_s = qrs_s(mean);
    shape->residual = lsemvae_root_ratio(spread_within(mean, 0, QRS) * QRS * n, (n - 1) * qrs);
    shape->after = lsemvae_root_ratio(later * QRS * QRS, qrs * 16 * samples_later);
    shape->after_snr = lsemvae_root_ratio(later * (n - 1), 16 * spread_within(mean, BEFORE + GAP, mean->samples));
    shape->coherence = coherence(window, mean, 0);
    lsemvae_q16 second = coherence(window, mean, 1);
    shape->coherence = second < shape->coherence ? second : shape->coherence;
    shape->roundness = axis_ratio(of_i, of_ii, across);
    shape->asymmetry = asymmetry(mean);
}

/* ---- the whole window ---- */

static void measure_envelope(const lsemvae_beats *beats, void *scratch, lsemvae_shape *shape) {
    uint32_t *sorted = scratch;
    uint64_t height = beats->height > 0 ? beats->height : 1;
    uint32_t quiet = 0;
    memcpy(sorted, beats->envelope, sizeof beats->envelope);
    lsemvae_sort_u32(sorted, LSEMVAE_WINDOW);
    while (quiet < LSEMVAE_WINDOW && 5 * (uint64_t)sorted[quiet] < height) {
        quiet++;
    }
    shape->quiet = lsemvae_ratio(quiet, LSEMVAE_WINDOW);
    shape->contrast = lsemvae_ratio(lsemvae_quantile(sorted, LSEMVAE_WINDOW, 500), 1000 * height);
}

static void measure_lengths(const lsemvae_window *window, void *scratch, lsemvae_shape *shape) {
    uint32_t *lengths = scratch;
    int64_t of_i = 0, of_ii = 0, across = 0;
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        int32_t i = window->lead[0][k], ii = window->lead[1][k];
        of_i += (int64_t)i * i;
        of_ii += (int64_t)ii * ii;
        across += (int64_t)i * ii;
        lengths[k] = lsemvae_root((uint64_t)lsemvae_dot(i, ii, i, ii) << 16);
    }
    lsemvae_sort_u32(lengths, LSEMVAE_WINDOW);
    shape->rank_one = axis_ratio(of_i, of_ii, across);
    shape->peakedness = lsemvae_ratio(lsemvae_quantile(lengths, LSEMVAE_WINDOW, 995),
                                      lsemvae_quantile(lengths, LSEMVAE_WINDOW, 500));
}

/* Scale an envelope to 15 bits and take its mean away. */
static void take_mean_away(int32_t *values) {
    int32_t most = 0;
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        most = values[k] > most ? values[k] : most;
    }
    int32_t divisor = 1, factor = 1;
    while (most / divisor > INT16_MAX) {
        divisor *= 2;
    }
    while (most > 0 && most * factor <= INT16_MAX / 2) {
        factor *= 2;
    }
    int64_t sum = 0;
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        values[k] = values[k] / divisor * factor;
        sum += values[k];
    }
    int32_t mean = (int32_t)(sum / (int64_t)LSEMVAE_WINDOW);
    for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
        values[k] -= mean;
    }
}

static int64_t correlation(const int32_t *ahead, const int32_t *values, uint32_t lag) {
    int64_t sum = 0;
    for (uint32_t k = lag; k < LSEMVAE_WINDOW; k++) {
        sum += (int64_t)ahead[k] * values[k - lag];
    }
    return sum;
}

/* Common motion of leads I and II at no delay, over that at any other. */
static lsemvae_q16 alignment(const lsemvae_window *window, void *scratch) {
    uint32_t *envelope = scratch;
    int32_t *first = scratch, *second = first + LSEMVAE_WINDOW;
    lsemvae_speed_envelope(window->lead[0], window->lead[0], envelope);
    lsemvae_speed_envelope(window->lead[1], window->lead[1], envelope + LSEMVAE_WINDOW);
    take_mean_away(first);
    take_mean_away(second);
    int64_t near = INT64_MIN, elsewhere = 0; /* no motion is common at a lag of a whole window */
    for (uint32_t lag = 0; lag < LSEMVAE_WINDOW; lag++) {
        if (lag > ALIGNED && lag <= NEAR) {
            continue;
        }
        int64_t ahead = correlation(first, second, lag), behind = correlation(second, first, lag);
        int64_t most = ahead > behind ? ahead : behind;
        if (lag <= ALIGNED) {
            near = most > near ? most : near;
        } else {
            elsewhere = most > elsewhere ? most : elsewhere;
        }
    }
    return near > 0 ? lsemvae_ratio((uint64_t)near, (uint64_t)elsewhere) : 0;
}

void lsemvae_measure_shape(const lsemvae_window *window, const lsemvae_beats *beats, const struct lsemvae_image *image,
                           void *scratch, lsemvae_shape *shape) {
    uint64_t dominant = beats->count > 0 ? lsemvae_dominant(beats->alike, beats->count) : 0;
    shape->n_beats = (int32_t)beats->count;
    shape->alike = lsemvae_ratio(lsemvae_bits(dominant), beats->count);
    shape->doubt = beats->doubt;
    measure_envelope(beats, scratch, shape);
    shape->qrs_s = shape->residual = shape->after = shape->after_snr = LSEMVAE_Q16_UNKNOWN;
    shape->coherence = shape->roundness = shape->asymmetry = LSEMVAE_Q16_UNKNOWN;
    average *mean = scratch;
    if (average_beat(window, beats, dominant, mean)) {
        measure_average(window, mean, shape);
    }
    measure_lengths(window, scratch, shape);
    shape->alignment = alignment(window, scratch);
    lsemvae_measure_spectrum(window, image, scratch, shape);
}
