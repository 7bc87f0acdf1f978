/* Contact measures of the raw signal by half seconds: what lsemvae_edge.quality.contact.measure_raw takes from the raw
 * samples of a window, kept so that no raw sample has to be. Blocks follow each other from the segment's start, not
 * from the window's, so a window has the 13 or 14 that lie wholly in it. */
#include "lsemvae_core.h"

void lsemvae_raw_begin(lsemvae_context *context) {
    memset(context->making, 0, sizeof context->making);
    context->weight_sum = context->weight_cos_sum = context->weight_sin_sum = 0;
    context->block_at = 0;
    context->block_fill = 0;
    context->blocks_complete = 0;
}

static uint16_t one_more(uint16_t count, uint32_t added) {
    return added < (uint32_t)(UINT16_MAX - count) ? (uint16_t)(count + added) : UINT16_MAX;
}

/* What the newest sample adds to the samples on a rail, `run` being how many up to it have the same value. */
static uint32_t newly_on_rail(const lsemvae_context *context, uint32_t run) {
    return run < context->rail_samples ? 0 : run == context->rail_samples ? run : 1;
}

static void measure(const lsemvae_context *context, lsemvae_making *making, int32_t nv) {
    int first = context->block_fill == 0;
    int follows = context->blocks_complete != 0 || !first;
    making->unchanged = follows && nv == making->last_nv ? one_more(making->unchanged, 1) : 0;
    if (first) {
        making->sum_nv = making->cos_sum = making->sin_sum = 0;
        making->low_nv = making->high_nv = making->first_nv = nv;
        making->held = making->on_low = making->on_high = 0;
    } else if (nv < making->low_nv) {
        making->low_nv = nv;
        making->on_low = 0;
    } else if (nv > making->high_nv) {
        making->high_nv = nv;
        making->on_high = 0;
    }
    uint32_t on_rail = newly_on_rail(context, (uint32_t)making->unchanged + 1);
    if (nv == making->low_nv) {
        making->on_low = one_more(making->on_low, on_rail);
    }
    if (nv == making->high_nv) {
        making->on_high = one_more(making->on_high, on_rail);
    }
    if (making->unchanged > making->held) {
        making->held = making->unchanged;
    }
    making->sum_nv += nv;
    making->last_nv = nv;
}

/* Correlate with a Hann-windowed wave at the mains frequency; the offset of the first sample keeps the sums small. */
static void add_tone(lsemvae_context *context, const int32_t nv[2]) {
    uint32_t turn = context->block_fill * context->mains_step;
    int32_t weight = (32767 - lsemvae_cosine(context->block_fill * context->hann_step)) / 2;
    int32_t cosine = weight * lsemvae_cosine(turn) / 32767;
    int32_t sine = weight * lsemvae_cosine(turn - 0x40000000u) / 32767;
    context->weight_sum += weight;
    context->weight_cos_sum += cosine;
    context->weight_sin_sum += sine;
    for (int lead = 0; lead < 2; lead++) {
        lsemvae_making *making = &context->making[lead];
        int64_t value = (int64_t)nv[lead] - making->first_nv;
        making->cos_sum += value * cosine;
        making->sin_sum += value * sine;
    }
}

static int32_t tone_nv(const lsemvae_context *context, const lsemvae_making *making, int32_t mean_nv) {
    if (context->weight_sum == 0) {
        return 0;
    }
    int64_t offset = (int64_t)mean_nv - making->first_nv;
    int64_t real = lsemvae_div(making->cos_sum - offset * context->weight_cos_sum, context->weight_sum);
    int64_t imaginary = lsemvae_div(making->sin_sum - offset * context->weight_sin_sum, context->weight_sum);
    /* Each is a weighted mean of what lies within 2^32. */
    uint64_t a = (uint64_t)lsemvae_abs64(real) >> 1, b = (uint64_t)lsemvae_abs64(imaginary) >> 1;
    uint64_t doubled = 4 * (uint64_t)lsemvae_root(a * a + b * b);
    return doubled > INT32_MAX ? INT32_MAX : (int32_t)doubled;
}

static void finish(lsemvae_context *context) {
    for (int lead = 0; lead < 2; lead++) {
        const lsemvae_making *making = &context->making[lead];
        lsemvae_block *block = &context->blocks[lead][context->block_at];
        block->mean_nv = (int32_t)lsemvae_div(making->sum_nv, context->block_samples);
        block->low_nv = making->low_nv;
        block->high_nv = making->high_nv;
        block->mains_nv = tone_nv(context, making, block->mean_nv);
        block->samples = (uint16_t)context->block_samples;
        block->held = making->held;
        block->on_low = making->on_low;
        block->on_high = making->on_high;
    }
    context->weight_sum = context->weight_cos_sum = context->weight_sin_sum = 0;
    context->block_at = context->block_at == LSEMVAE_BLOCKS_KEPT - 1 ? 0 : context->block_at + 1;
    context->block_fill = 0;
    if (context->blocks_complete < LSEMVAE_BLOCKS_KEPT) {
        context->blocks_complete++;
    }
}

void lsemvae_raw_sample(lsemvae_context *context, const int32_t nv[2]) {
    for (int lead = 0; lead < 2; lead++) {
        measure(context, &context->making[lead], nv[lead]);
    }
    if (context->mains_step != 0) {
        add_tone(context, nv);
    }
    context->block_fill++;
    if (context->block_fill == context->block_samples) {
        finish(context);
    }
}

void lsemvae_take_blocks(const lsemvae_context *context, uint32_t lag, uint32_t window_samples,
                         lsemvae_window *window) {
    uint32_t length = context->block_samples, fill = context->block_fill;
    uint32_t skipped = lag > fill ? (lag - fill + length - 1) / length : 0;
    uint32_t spare = skipped * length + fill - lag; /* from the last block taken to the window's end */
    uint32_t n = window_samples > spare ? (window_samples - spare) / length : 0;
    uint32_t kept = context->blocks_complete > skipped ? context->blocks_complete - skipped : 0;
    if (n > kept) {
        n = kept;
    }
    if (n > LSEMVAE_BLOCKS) {
        n = LSEMVAE_BLOCKS;
    }
    window->n_blocks = n;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t at = (context->block_at + 2 * LSEMVAE_BLOCKS_KEPT - skipped - n + k) % LSEMVAE_BLOCKS_KEPT;
        uint32_t most = (k + 1) * length;
        for (int lead = 0; lead < 2; lead++) {
            window->blocks[lead][k] = context->blocks[lead][at];
            /* What was held before the first of these blocks is not of this window. */
            if (window->blocks[lead][k].held > most) {
                window->blocks[lead][k].held = (uint16_t)most;
            }
        }
    }
}
