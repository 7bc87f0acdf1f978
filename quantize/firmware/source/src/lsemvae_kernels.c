/* The one kernel: a convolution over time with int16 activations, int8 weights and TFLite's 16x8 arithmetic.
 *
 * Activations are channels last, so that the products of one output sample are contiguous over kernel and input
 * channels: a dot product, cut where the kernel reaches over an end (what lies outside is zero). Two output channels
 * are made at a time, and away from the ends two samples, so that each number that is read is used twice. The sums fit
 * 32 bits: lsemvae_model_holds refuses an image for which they might not. */
#include "lsemvae_core.h"

#if !defined(LSEMVAE_USE_CMSIS_NN)

/* SPARE: how many activations are read beyond `width`, at most. */

/* Weights of two output channels. */
typedef struct {
    const int8_t *a, *b;
#if defined(LSEMVAE_USE_DSP) && !defined(LSEMVAE_USE_MVE)
    uint32_t pairs[LSEMVAE_WIDTH_MAX + 1]; /* two of a, two of b, and so on: widened once for all samples */
#endif
} weights;

#if defined(LSEMVAE_USE_MVE)

#include <arm_mve.h>

#define SPARE(width) 0u

static void prepare(weights *rows, uint32_t n) {
    (void)rows;
    (void)n;
}

/* Add n products at one sample, from weight `from` on, to the sums of both channels. */
static void one_sample(const int16_t *x, const weights *rows, uint32_t from, uint32_t n, int32_t sums[2]) {
    const int8_t *a = rows->a + from, *b = rows->b + from;
    int32_t p = sums[0], q = sums[1];
    for (uint32_t k = 0; k < n; k += 8) {
        mve_pred16_t some = vctp16q(n - k);
        int16x8_t now = vldrhq_z_s16(&x[k], some);
        p = vmladavaq_s16(p, now, vldrbq_z_s16(&a[k], some));
        q = vmladavaq_s16(q, now, vldrbq_z_s16(&b[k], some));
    }
    sums[0] = p;
    sums[1] = q;
}

/* Add n products at each of two samples. */
static void two_samples(const int16_t *x, const int16_t *y, const weights *rows, uint32_t n, int32_t sums[4]) {
    const int8_t *a = rows->a, *b = rows->b;
    int32_t p = sums[0], q = sums[1], r = sums[2], s = sums[3];
    for (uint32_t left = n / 8; left > 0; left--) {
        int16x8_t one = vldrbq_s16(a), other = vldrbq_s16(b), now = vldrhq_s16(x), then = vldrhq_s16(y);
        p = vmladavaq_s16(p, now, one);
        q = vmladavaq_s16(q, now, other);
        r = vmladavaq_s16(r, then, one);
        s = vmladavaq_s16(s, then, other);
        x += 8;
        y += 8;
        a += 8;
        b += 8;
    }
    if (n % 8 != 0) {
        mve_pred16_t some = vctp16q(n % 8);
        int16x8_t one = vldrbq_z_s16(a, some), other = vldrbq_z_s16(b, some);
        int16x8_t now = vldrhq_z_s16(x, some), then = vldrhq_z_s16(y, some);
        p = vmladavaq_s16(p, now, one);
        q = vmladavaq_s16(q, now, other);
        r = vmladavaq_s16(r, then, one);
        s = vmladavaq_s16(s, then, other);
    }
    sums[0] = p;
    sums[1] = q;
    sums[2] = r;
    sums[3] = s;
}

#elif defined(LSEMVAE_USE_DSP)

#include <arm_acle.h>

#define SPARE(width) ((width) % 2u)

static int16x2_t pair_at(const int16_t *x) {
    int16x2_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

/* Four weights as two pairs: SXTB16 widens every second byte, the halves are put in order again. */
static void widen(const int8_t *w, uint32_t *pairs) {
    uint32_t four;
    memcpy(&four, w, sizeof four);
    uint32_t even = (uint32_t)__sxtb16((int8x4_t)four);
    uint32_t odd = (uint32_t)__sxtb16((int8x4_t)((four >> 8) | (four << 24)));
    pairs[0] = (even & 0xFFFFu) | (odd << 16);
    pairs[2] = (even >> 16) | (odd & 0xFFFF0000u);
}

static uint32_t paired(int32_t first, int32_t second) {
    return ((uint32_t)first & 0xFFFFu) | ((uint32_t)second << 16);
}

/* An odd number of weights is filled up with a zero. */
static void prepare(weights *rows, uint32_t n) {
    uint32_t k = 0;
    for (; k + 4 <= n; k += 4) {
        widen(&rows->a[k], &rows->pairs[k]);
        widen(&rows->b[k], &rows->pairs[k + 1]);
    }
    for (; k < n; k += 2) {
        rows->pairs[k] = paired(rows->a[k], k + 1 < n ? rows->a[k + 1] : 0);
        rows->pairs[k + 1] = paired(rows->b[k], k + 1 < n ? rows->b[k + 1] : 0);
    }
}

static void one_sample(const int16_t *x, const weights *rows, uint32_t from, uint32_t n, int32_t sums[2]) {
    int32_t p = sums[0], q = sums[1];
    const int8_t *a = rows->a + from, *b = rows->b + from;
    /* Weights that begin inside a pair, which only a layer with an odd number of channels has, are taken one by one. */
    if (from % 2 == 0) {
        const uint32_t *pairs = &rows->pairs[from];
        for (uint32_t left = n / 4; left > 0; left--) {
            int16x2_t now = pair_at(x), then = pair_at(x + 2);
            p = __smlad(now, (int16x2_t)pairs[0], p);
            q = __smlad(now, (int16x2_t)pairs[1], q);
            p = __smlad(then, (int16x2_t)pairs[2], p);
            q = __smlad(then, (int16x2_t)pairs[3], q);
            x += 4;
            pairs += 4;
        }
        a += n - n % 4;
        b += n - n % 4;
        n %= 4;
    }
    for (; n > 0; n--) {
        int32_t now = *x++;
        p += now * *a++;
        q += now * *b++;
    }
    sums[0] = p;
    sums[1] = q;
}

static void two_samples(const int16_t *x, const int16_t *y, const weights *rows, uint32_t n, int32_t sums[4]) {
    const uint32_t *pairs = rows->pairs;
    int32_t p = sums[0], q = sums[1], r = sums[2], s = sums[3];
    n += n % 2;
    for (uint32_t left = n / 4; left > 0; left--) {
        int16x2_t one = (int16x2_t)pairs[0], other = (int16x2_t)pairs[1], now = pair_at(x), then = pair_at(y);
        p = __smlad(now, one, p);
        q = __smlad(now, other, q);
        r = __smlad(then, one, r);
        s = __smlad(then, other, s);
        one = (int16x2_t)pairs[2];
        other = (int16x2_t)pairs[3];
        now = pair_at(x + 2);
        then = pair_at(y + 2);
        p = __smlad(now, one, p);
        q = __smlad(now, other, q);
        r = __smlad(then, one, r);
        s = __smlad(then, other, s);
        x += 4;
        y += 4;
        pairs += 4;
    }
    if (n % 4 != 0) {
        int16x2_t one = (int16x2_t)pairs[0], other = (int16x2_t)pairs[1], now = pair_at(x), then = pair_at(y);
        p = __smlad(now, one, p);
        q = __smlad(now, other, q);
        r = __smlad(then, one, r);
        s = __smlad(then, other, s);
    }
    sums[0] = p;
    sums[1] = q;
    sums[2] = r;
    sums[3] = s;
}

#else

#define SPARE(width) 0u

static void prepare(weights *rows, uint32_t n) {
    (void)rows;
    (void)n;
}

static void one_sample(const int16_t *x, const weights *rows, uint32_t from, uint32_t n, int32_t sums[2]) {
    const int8_t *a = rows->a + from, *b = rows->b + from;
    int32_t p = sums[0], q = sums[1];
    for (; n > 0; n--) {
        int32_t now = *x++;
        p += now * *a++;
        q += now * *b++;
    }
    sums[0] = p;
    sums[1] = q;
}

static void two_samples(const int16_t *x, const int16_t *y, const weights *rows, uint32_t n, int32_t sums[4]) {
    const int8_t *a = rows->a, *b = rows->b;
    int32_t p = sums[0], q = sums[1], r = sums[2], s = sums[3];
    for (; n > 0; n--) {
        int32_t now = *x++, then = *y++, one = *a++, other = *b++;
        p += now * one;
        q += now * other;
        r += then * one;
        s += then * other;
    }
    sums[0] = p;
    sums[1] = q;
    sums[2] = r;
    sums[3] = s;
}

#endif

/* How a channel's sums become steps of its output: by TFLite's MultiplyByQuantizedMultiplier for 64-bit sums, with a
 * multiplier of 15 bits and a shift to the right that rounds halves up. Shifts are made 32, so that the upper half of
 * a product is the result, by bits that the multiplier has room for or that a product loses before. */
typedef struct {
    int32_t bias, multiplier, lost;
} scaling;

static scaling scaling_of(const struct lsemvae_encoder *encoder, uint32_t channel) {
    int32_t more = 17 + encoder->shift[channel]; /* 32 less the shift to the right; 16 at most, or of nothing 17 */
    scaling made = {encoder->bias[channel], encoder->multiplier[channel], more < 0 ? -more : 0};
    if (more > 0) {
        made.multiplier *= (int32_t)1 << more;
    }
    return made;
}

static int16_t rescaled(int32_t sum, const scaling *by, int32_t least) {
    int64_t product = (int64_t)sum * by->multiplier;
    int32_t value = by->lost == 0 ? (int32_t)((product + 0x80000000) >> 32) : lsemvae_upper(product >> by->lost);
    return (int16_t)(value < least ? least : value > INT16_MAX ? INT16_MAX : value);
}

/* Sums at one sample near an end, or at one that is left over: without what reaches over the ends. */
static void near_end(const lsemvae_layer *layer, const int16_t *in, const weights *rows, uint32_t t, int32_t sums[2]) {
    uint32_t at = t * layer->stride, cut = at < layer->padding ? layer->padding - at : 0;
    uint32_t from = at + cut - layer->padding, taps = layer->kernel - cut;
    if (taps > layer->in_samples - from) {
        taps = layer->in_samples - from;
    }
    one_sample(&in[from * layer->in_channels], rows, cut * layer->in_channels, taps * layer->in_channels, sums);
}

void lsemvae_convolve(const lsemvae_layer *layer, const struct lsemvae_encoder *encoder, const int16_t *in,
                      int16_t *out) {
    const uint32_t width = (uint32_t)layer->kernel * layer->in_channels, channels = layer->out_channels;
    const uint32_t samples = layer->out_samples, step = (uint32_t)layer->stride * layer->in_channels;
    const uint32_t before = (uint32_t)layer->padding * layer->in_channels;
    const int32_t least = layer->rectified ? 0 : INT16_MIN;
    /* Samples for which all that is read lies on the input. */
    const uint32_t reached = (uint32_t)layer->in_samples + layer->padding;
    const uint32_t needed = layer->kernel + SPARE(width);
    const uint32_t whole_from = ((uint32_t)layer->padding + layer->stride - 1) / layer->stride;
    const uint32_t whole_to = reached < needed ? 0 : (reached - needed) / layer->stride + 1;
    for (uint32_t c = 0; c < channels; c += 2) {
        /* Of an odd number of channels the last is made twice. */
        const uint32_t d = c + 1 < channels ? c + 1 : c;
        const scaling by_a = scaling_of(encoder, layer->channel_at + c);
        const scaling by_b = scaling_of(encoder, layer->channel_at + d);
        weights rows;
        rows.a = &encoder->weights[layer->weight_at + c * width];
        rows.b = &encoder->weights[layer->weight_at + d * width];
        prepare(&rows, width);
        int16_t *a = &out[c], *b = &out[d];
        for (uint32_t t = 0; t < samples; t++, a += channels, b += channels) {
            int32_t sums[4] = {by_a.bias, by_b.bias, by_a.bias, by_b.bias};
            if (t >= whole_from && t + 1 < whole_to) {
                const int16_t *x = &in[t * step - before];
                two_samples(x, x + step, &rows, width, sums);
                *a = rescaled(sums[0], &by_a, least);
                *b = rescaled(sums[1], &by_b, least);
                sums[0] = sums[2];
                sums[1] = sums[3];
                t++;
                a += channels;
                b += channels;
            } else {
                near_end(layer, in, &rows, t, sums);
            }
            *a = rescaled(sums[0], &by_a, least);
            *b = rescaled(sums[1], &by_b, least);
        }
    }
}

#endif
