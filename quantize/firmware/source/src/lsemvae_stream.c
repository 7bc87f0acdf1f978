/* From a front end's samples to the ring of filtered leads I and II: lsemvae_edge.preprocess.condition, as they come.
 *
 * Where Python excludes what a long gap touches, a long gap here begins a new segment: it starts with the first sample
 * received after the gap, and its first filtered sample is the first whose whole support lies in the segment. */
#include "lsemvae_core.h"

#define TAP_SHIFT 30
#define HALF_MICROVOLT_NV 500

static int32_t saturated(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

/* Weight a ring, oldest sample first. No sum leaves int64: lsemvae_init bounds the taps. */
static int32_t resampled(const int32_t *ring, uint32_t oldest, const int32_t *taps, uint32_t n) {
    int64_t sum = (int64_t)1 << (TAP_SHIFT - 1);
    for (uint32_t k = oldest; k < n; k++) {
        sum += (int64_t)*taps++ * ring[k];
    }
    for (uint32_t k = 0; k < oldest; k++) {
        sum += (int64_t)*taps++ * ring[k];
    }
    return saturated(sum >> TAP_SHIFT);
}

/* The taps are symmetric, so one serves the sample from the oldest end and the one from the newest. */
static int64_t band_passed(const int32_t *ring, uint32_t oldest, const int32_t *taps) {
    int64_t sum = 0;
    uint32_t old = oldest, fresh = oldest;
    for (uint32_t k = 0; k < LSEMVAE_BAND_TAPS / 2; k++) {
        fresh = fresh == 0 ? LSEMVAE_BAND_TAPS - 1 : fresh - 1;
        sum += (int64_t)taps[k] * ring[old];
        sum += (int64_t)taps[k] * ring[fresh];
        old = old == LSEMVAE_BAND_TAPS - 1 ? 0 : old + 1;
    }
    sum += (int64_t)taps[LSEMVAE_BAND_TAPS / 2] * ring[old];
    return lsemvae_div(sum, (int64_t)HALF_MICROVOLT_NV << TAP_SHIFT);
}

/* Take one sample at the model's rate; once the band's support is whole, each gives one filtered sample. */
static void filter(lsemvae_context *context, const int32_t nv[2]) {
    for (int lead = 0; lead < 2; lead++) {
        context->resampled_nv[lead][context->resampled_at] = nv[lead];
    }
    context->resampled_at = context->resampled_at == LSEMVAE_BAND_TAPS - 1 ? 0 : context->resampled_at + 1;
    if (context->resampled_count < LSEMVAE_BAND_TAPS) {
        context->resampled_count++;
    }
    if (context->resampled_count < LSEMVAE_BAND_TAPS) {
        return;
    }
    int clipped = 0;
    for (int lead = 0; lead < 2; lead++) {
        int64_t value = band_passed(context->resampled_nv[lead], context->resampled_at, context->image->band_taps);
        if (value > INT16_MAX || value < INT16_MIN) {
            clipped = 1;
            value = value > 0 ? INT16_MAX : INT16_MIN;
        }
        context->window[lead][context->window_at] = (int16_t)value;
    }
    context->window_at = context->window_at == LSEMVAE_WINDOW - 1 ? 0 : context->window_at + 1;
    context->filtered_count++;
    if (clipped != 0) {
        context->clipped_at = context->filtered_count;
    }
}

/* Take one sample, received or bridged. */
static void take(lsemvae_context *context, const int32_t nv[2]) {
    const struct lsemvae_rate *rate = &context->image->rates[context->rate];
    lsemvae_raw_sample(context, nv);
    for (int lead = 0; lead < 2; lead++) {
        context->raw_nv[lead][context->raw_at] = nv[lead];
    }
    context->raw_at = context->raw_at == rate->taps - 1 ? 0 : context->raw_at + 1;
    context->until_output--;
    while (context->until_output == 0) {
        const int32_t *taps = &context->image->resample_taps[rate->at + context->phase * rate->taps];
        int32_t out[2];
        for (int lead = 0; lead < 2; lead++) {
            out[lead] = resampled(context->raw_nv[lead], context->raw_at, taps, rate->taps);
        }
        filter(context, out);
        context->phase += rate->down;
        context->until_output = context->phase / rate->up;
        context->phase %= rate->up;
    }
}

/* First model-rate sample of a segment whose support in the resampler is whole. */
static uint32_t first_output(const struct lsemvae_rate *rate) {
    return ((rate->reach - 1) * rate->up + rate->down - 1) / rate->down;
}

void lsemvae_stream_begin(lsemvae_context *context) {
    const struct lsemvae_rate *rate = &context->image->rates[context->rate];
    uint32_t position = first_output(rate) * rate->down;
    context->received = 0;
    context->gap = 0;
    context->raw_at = 0;
    context->until_output = position / rate->up + rate->reach + 1;
    context->phase = position % rate->up;
    context->resampled_at = 0;
    context->resampled_count = 0;
    context->window_at = 0;
    context->filtered_count = 0;
    context->clipped_at = 0;
    lsemvae_raw_begin(context);
}

void lsemvae_stream_sample(lsemvae_context *context, int32_t i_nv, int32_t ii_nv) {
    const int32_t nv[2] = {i_nv, ii_nv};
    /* No counter wraps: after a year without a gap the window begins anew. */
    if (context->filtered_count > UINT32_MAX - LSEMVAE_WINDOW) {
        lsemvae_stream_begin(context);
    }
    for (uint32_t k = 1; k <= context->gap; k++) {
        int32_t bridge[2];
        for (int lead = 0; lead < 2; lead++) {
            int64_t rise = (int64_t)nv[lead] - context->last_nv[lead];
            bridge[lead] = (int32_t)(context->last_nv[lead] + lsemvae_div(rise * k, (int64_t)context->gap + 1));
        }
        take(context, bridge);
    }
    take(context, nv);
    context->received = 1;
    context->gap = 0;
    for (int lead = 0; lead < 2; lead++) {
        context->last_nv[lead] = nv[lead];
    }
}

void lsemvae_stream_gap(lsemvae_context *context, size_t n) {
    if (context->received == 0) {
        return;
    }
    if (n > context->max_bridge - context->gap) {
        lsemvae_stream_begin(context);
    } else {
        context->gap += (uint32_t)n;
    }
}

void lsemvae_take_window(const lsemvae_context *context, lsemvae_window *window) {
    const struct lsemvae_rate *rate = &context->image->rates[context->rate];
    uint32_t at = context->window_at;
    for (int lead = 0; lead < 2; lead++) {
        memcpy(window->lead[lead], &context->window[lead][at], (LSEMVAE_WINDOW - at) * sizeof(int16_t));
        memcpy(&window->lead[lead][LSEMVAE_WINDOW - at], context->window[lead], at * sizeof(int16_t));
    }
    window->first_sample =
        first_output(rate) + LSEMVAE_BAND_TAPS / 2 + context->filtered_count - LSEMVAE_WINDOW;
    window->clipped =
        context->clipped_at != 0 && context->filtered_count - context->clipped_at < LSEMVAE_WINDOW;
    /* Samples at the recorder's rate that came after the instant of the window's newest sample. */
    uint32_t lag = rate->reach + ((LSEMVAE_BAND_TAPS / 2 + 1) * rate->down - context->phase + rate->up - 1) / rate->up;
    lsemvae_take_blocks(context, lag - context->until_output, LSEMVAE_WINDOW * rate->down / rate->up, window);
}
