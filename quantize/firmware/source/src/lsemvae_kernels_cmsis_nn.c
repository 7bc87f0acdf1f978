/* The kernel by Arm's CMSIS-NN, for firmware that has it already: arm_convolve_s16 with 64-bit biases follows the same
 * arithmetic. Written for CMSIS-NN 7.0.0; before May 2024 biases came without the cmsis_nn_bias_data around them.
 * Of CMSIS-NN only declarations and description were at hand: this compiles against the one and gives equal numbers on
 * a model of the other. On a target the self-test tells. */
#include "lsemvae_core.h"

#if defined(LSEMVAE_USE_CMSIS_NN)

#include "arm_nnfunctions.h"

/* CMSIS-NN lays up to four samples' inputs side by side, each in whole vectors of 8. */
#define SCRATCH_VALUES (4u * ((LSEMVAE_WIDTH_MAX + 7u) / 8u * 8u))

void lsemvae_convolve(const lsemvae_layer *layer, const struct lsemvae_encoder *encoder, const int16_t *in,
                      int16_t *out) {
    int64_t bias[LSEMVAE_CHANNELS_MAX];
    int32_t multiplier[LSEMVAE_CHANNELS_MAX], shift[LSEMVAE_CHANNELS_MAX];
    int16_t scratch[SCRATCH_VALUES];
    for (uint32_t c = 0; c < layer->out_channels; c++) {
        bias[c] = encoder->bias[layer->channel_at + c];
        /* CMSIS-NN takes 31 bits and reduces them to these 15. */
        multiplier[c] = encoder->multiplier[layer->channel_at + c] * 65536;
        shift[c] = encoder->shift[layer->channel_at + c];
    }
    const cmsis_nn_context context = {scratch, (int32_t)sizeof scratch};
    const cmsis_nn_conv_params how = {
        .stride = {.w = layer->stride, .h = 1},
        .padding = {.w = layer->padding, .h = 0},
        .dilation = {.w = 1, .h = 1},
        .activation = {.min = layer->rectified ? 0 : INT16_MIN, .max = INT16_MAX},
    };
    const cmsis_nn_per_channel_quant_params steps = {multiplier, shift};
    const cmsis_nn_dims in_size = {.n = 1, .h = 1, .w = layer->in_samples, .c = layer->in_channels};
    const cmsis_nn_dims kernel_size = {
        .n = layer->out_channels, .h = 1, .w = layer->kernel, .c = layer->in_channels};
    const cmsis_nn_dims bias_size = {.n = 1, .h = 1, .w = 1, .c = layer->out_channels};
    const cmsis_nn_dims out_size = {.n = 1, .h = 1, .w = layer->out_samples, .c = layer->out_channels};
    const cmsis_nn_bias_data biases = {.data = bias, .is_int32_bias = false};
    if (arm_convolve_s16(&context, &how, &steps, &in_size, in, &kernel_size, &encoder->weights[layer->weight_at],
                         &bias_size, &biases, &out_size, out) != ARM_CMSIS_NN_SUCCESS) {
        memset(out, 0, sizeof *out * layer->out_samples * layer->out_channels);
    }
}

#else

/* C99 wants something to translate. */
typedef int lsemvae_without_cmsis_nn;

#endif
