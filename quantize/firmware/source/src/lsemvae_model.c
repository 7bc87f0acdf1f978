/* One lead's encoder: convolutions in turn between two places, an average over time, and two dense layers. */
#include "lsemvae_core.h"

/* TFLite's average pool over all samples, in place: a channel's mean lands where its first sample has been read. */
static void average(int16_t *values, uint32_t samples, uint32_t channels) {
    int32_t n = (int32_t)samples;
    for (uint32_t c = 0; c < channels; c++) {
        int32_t sum = 0;
        for (uint32_t t = 0; t < samples; t++) {
            sum += values[t * channels + c];
        }
        values[c] = (int16_t)(sum > 0 ? (sum + n / 2) / n : (sum - n / 2) / n);
    }
}

void lsemvae_encode(const struct lsemvae_image *image, uint32_t lead, const int16_t *input, uint8_t *scratch,
                    int16_t *mu, int16_t *logvar, lsemvae_watch watch, void *seen_by) {
    const struct lsemvae_encoder *encoder = &image->encoders[lead];
    const lsemvae_layer *layer = lsemvae_layers;
    const int16_t *in = input;
    int16_t *out = NULL;
    for (uint32_t k = 0; k < LSEMVAE_CONVOLUTIONS; k++, layer++, in = out) {
        out = (void *)(scratch + (k % 2 == 0 ? LSEMVAE_ACTIVATION_A : LSEMVAE_ACTIVATION_B));
        lsemvae_convolve(layer, encoder, in, out);
        if (watch != NULL) {
            watch(seen_by, k, out, (uint32_t)layer->out_samples * layer->out_channels);
        }
    }
    average(out, layer[-1].out_samples, layer[-1].out_channels);
    lsemvae_convolve(layer, encoder, out, mu);
    lsemvae_convolve(layer + 1, encoder, out, logvar);
    if (watch != NULL) {
        watch(seen_by, LSEMVAE_LAYERS, out, layer[-1].out_channels);
        watch(seen_by, LSEMVAE_CONVOLUTIONS, mu, LSEMVAE_LATENT);
        watch(seen_by, LSEMVAE_CONVOLUTIONS + 1, logvar, LSEMVAE_LATENT);
    }
}

#if !defined(LSEMVAE_OWN_ENCODERS)

int lsemvae_encode_leads(const struct lsemvae_image *image, const int16_t (*input)[LSEMVAE_BEAT], uint8_t *scratch,
                         int16_t (*mu)[LSEMVAE_LATENT], int16_t (*logvar)[LSEMVAE_LATENT]) {
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        lsemvae_encode(image, lead, input[lead], scratch, mu[lead], logvar[lead], NULL, NULL);
    }
    return 1;
}

#endif

/* ---- an image whose numbers could leave their bits is refused, whatever its CRC ---- */

static int encoder_holds(const struct lsemvae_encoder *encoder) {
    for (uint32_t k = 0; k < LSEMVAE_LAYERS; k++) {
        const lsemvae_layer *layer = &lsemvae_layers[k];
        const uint32_t width = (uint32_t)layer->kernel * layer->in_channels;
        const int8_t *row = &encoder->weights[layer->weight_at];
        for (uint32_t c = layer->channel_at; c < layer->channel_at + layer->out_channels; c++, row += width) {
            uint64_t most = (uint64_t)lsemvae_abs64(encoder->bias[c]);
            for (uint32_t j = 0; j < width; j++) {
                most += (uint64_t)lsemvae_abs64(row[j]) << 15;
            }
            /* A channel that is nothing has neither multiplier nor shift. */
            const int32_t most_shift = encoder->multiplier[c] == 0 ? 0 : -1;
            if (most > INT32_MAX || encoder->multiplier[c] < 0 || encoder->shift[c] > most_shift ||
                encoder->shift[c] < -31) {
                return 0;
            }
        }
    }
    return 1;
}

static int heads_hold(const struct lsemvae_image *image) {
    for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
        uint64_t most = (uint64_t)lsemvae_abs64(image->head_bias_q24[k]) << 20;
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            /* No mean is larger, nor is a part of one. */
            uint64_t mean = ((uint64_t)lsemvae_abs64(image->mu_scale_q36[lead]) >> 1) + 1;
            for (uint32_t d = 0; d < LSEMVAE_LATENT; d++) {
                most += (uint64_t)(lsemvae_abs64(image->fused_head_q24[k][d]) +
                                   lsemvae_abs64(image->lead_heads_q24[lead][k][d])) * mean;
                if (most > INT64_MAX) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

static int distance_holds(const struct lsemvae_image *image) {
    for (uint32_t row = 0; row < LSEMVAE_LATENT; row++) {
        uint64_t most = 0;
        for (uint32_t d = 0; d < LSEMVAE_LATENT; d++) {
            uint64_t away = ((uint64_t)1 << 31) + (uint64_t)lsemvae_abs64(image->latent_mean_q20[d]);
            most += (uint64_t)lsemvae_abs64(image->whitening_q16[row][d]) * away;
            if (most > INT64_MAX) {
                return 0;
            }
        }
    }
    return 1;
}

static int table_holds(const uint32_t table[257]) {
    const uint32_t one = (uint32_t)1 << 30;
    int holds = table[0] == one && table[256] == 2 * one;
    for (uint32_t k = 0; k < 256; k++) {
        holds = holds && table[k] <= table[k + 1];
    }
    return holds;
}

int lsemvae_model_holds(const struct lsemvae_image *image) {
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        if (!encoder_holds(&image->encoders[lead])) {
            return 0;
        }
    }
    return heads_hold(image) && distance_holds(image) && table_holds(image->exp2_table);
}
