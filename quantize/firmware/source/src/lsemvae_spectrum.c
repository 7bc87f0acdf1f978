/* Where the power of a window lies, by a direct transform: as many products as the model has, and no tables but two. */
#include "lsemvae_quality.h"

#define HALF (LSEMVAE_WINDOW / 2u)
#define QUARTER (LSEMVAE_WINDOW / 4u)
#define FAST_HZ 15u
#define SLOW_DECIHZ 15u
#define LINE_REACH 2u /* a Hann window spreads a pure tone over three to five bins */
#define AMPLITUDE_DIVISOR 1024

/* The windowed leads, folded: a cosine sees only the sum of two samples that lie mirrored, a sine only their
 * difference. */
typedef struct {
    int16_t even[2][HALF + 1];
    int16_t odd[2][HALF + 1];
    uint32_t power[HALF + 1];
} spectrum;

typedef char spectrum_fits_into_scratch[sizeof(spectrum) <= LSEMVAE_QUALITY_SCRATCH_BYTES ? 1 : -1];

static int32_t windowed(const lsemvae_window *window, const struct lsemvae_image *image, int lead, uint32_t at) {
    return (int32_t)window->lead[lead][at] * image->hann[at < HALF ? at : LSEMVAE_WINDOW - 1 - at];
}

/* Fold the windowed leads, scaled by a common factor to what 16 bits hold. */
static void fold(const lsemvae_window *window, const struct lsemvae_image *image, spectrum *made) {
    int64_t most = 0;
    for (int lead = 0; lead < 2; lead++) {
        for (uint32_t k = 0; k < LSEMVAE_WINDOW; k++) {
            int64_t size = lsemvae_abs64(windowed(window, image, lead, k));
            most = size > most ? size : most;
        }
    }
    int64_t divisor = 1;
    while (2 * most / divisor >= INT16_MAX) {
        divisor *= 2;
    }
    for (int lead = 0; lead < 2; lead++) {
        for (uint32_t k = 0; k <= HALF; k++) {
            int64_t value = windowed(window, image, lead, k);
            int64_t mirrored = k == 0 || k == HALF ? 0 : windowed(window, image, lead, LSEMVAE_WINDOW - k);
            made->even[lead][k] = (int16_t)lsemvae_div(value + mirrored, divisor);
            made->odd[lead][k] = k == 0 || k == HALF ? (int16_t)0 : (int16_t)lsemvae_div(value - mirrored, divisor);
        }
    }
}

/* Of the transform's bins, all together, before AMPLITUDE_DIVISOR and the table's scale: Parseval's theorem. */
static uint64_t power_at_most(const spectrum *made) {
    int64_t energy = 0;
    for (uint32_t k = 0; k <= HALF; k++) {
        energy += lsemvae_dot(made->even[0][k], made->even[1][k], made->even[0][k], made->even[1][k]);
        energy += lsemvae_dot(made->odd[0][k], made->odd[1][k], made->odd[0][k], made->odd[1][k]);
    }
    return (uint64_t)energy * LSEMVAE_WINDOW;
}

static int32_t cosine(const struct lsemvae_image *image, uint32_t at) {
    uint32_t half = at > HALF ? LSEMVAE_WINDOW - at : at;
    return half > QUARTER ? -(int32_t)image->cosine[HALF - half] : image->cosine[half];
}

static uint64_t power_of(const int64_t parts[2]) {
    int32_t i = (int32_t)(parts[0] / AMPLITUDE_DIVISOR), ii = (int32_t)(parts[1] / AMPLITUDE_DIVISOR);
    return (uint64_t)lsemvae_dot(i, ii, i, ii);
}

/* Powers of bin `bin` and of its mirror image below half the sampling rate: at odd samples their waves differ in sign.
 */
static void transform(const struct lsemvae_image *image, spectrum *made, uint32_t bin, uint32_t shift) {
    int64_t real[2][2] = {{0, 0}, {0, 0}}, imaginary[2][2] = {{0, 0}, {0, 0}}; /* of even and odd samples; leads */
    uint32_t turn = 0;
    for (uint32_t k = 0; k <= HALF; k++) {
        int32_t c = cosine(image, turn);
        int32_t s = cosine(image, turn >= QUARTER ? turn - QUARTER : turn + LSEMVAE_WINDOW - QUARTER);
        for (int lead = 0; lead < 2; lead++) {
            real[k % 2][lead] += c * made->even[lead][k];
            imaginary[k % 2][lead] += s * made->odd[lead][k];
        }
        turn += bin;
        turn -= turn >= LSEMVAE_WINDOW ? LSEMVAE_WINDOW : 0;
    }
    int64_t sums[4][2];
    for (int lead = 0; lead < 2; lead++) {
        sums[0][lead] = real[0][lead] + real[1][lead];
        sums[1][lead] = imaginary[0][lead] + imaginary[1][lead];
        sums[2][lead] = real[0][lead] - real[1][lead];
        sums[3][lead] = imaginary[0][lead] - imaginary[1][lead];
    }
    made->power[bin] = (uint32_t)((power_of(sums[0]) + power_of(sums[1])) >> shift);
    made->power[HALF - bin] = (uint32_t)((power_of(sums[2]) + power_of(sums[3])) >> shift);
}

void lsemvae_measure_spectrum(const lsemvae_window *window, const struct lsemvae_image *image, void *scratch,
                              lsemvae_shape *shape) {
    spectrum *made = scratch;
    fold(window, image, made);
    /* A 15-bit cosine, and the amplitudes divided by 2^10: the powers below are 2^10 times those of unit waves. */
    uint64_t most = power_at_most(made) << 10;
    uint32_t shift = 0;
    while (most >> shift > INT32_MAX) {
        shift++;
    }
    for (uint32_t bin = 0; bin <= QUARTER; bin++) {
        transform(image, made, bin, shift);
    }
    uint64_t all = 0, fast = 0, slow = 0, line = 0;
    for (uint32_t bin = 0; bin <= HALF; bin++) {
        uint64_t near = 0;
        uint32_t last = bin + LINE_REACH < HALF ? bin + LINE_REACH : HALF;
        for (uint32_t k = bin < LINE_REACH ? 0 : bin - LINE_REACH; k <= last; k++) {
            near += made->power[k];
        }
        line = near > line ? near : line;
        all += made->power[bin];
        fast += bin * LSEMVAE_FS_HZ > FAST_HZ * LSEMVAE_WINDOW ? made->power[bin] : 0;
        slow += 10 * bin * LSEMVAE_FS_HZ < SLOW_DECIHZ * LSEMVAE_WINDOW ? made->power[bin] : 0;
    }
    shape->line = lsemvae_ratio(line, all);
    shape->fast = lsemvae_ratio(fast, all);
    shape->slow = lsemvae_ratio(slow, all);
}
