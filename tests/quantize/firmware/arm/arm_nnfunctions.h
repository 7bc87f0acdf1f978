/* CMSIS-NN 7.0.0 as far as it is called: its declarations, and what they promise, the slow way. */
#ifndef ARM_NNFUNCTIONS_H
#define ARM_NNFUNCTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum {
    ARM_CMSIS_NN_SUCCESS = 0,
    ARM_CMSIS_NN_ARG_ERROR = -1,
    ARM_CMSIS_NN_NO_IMPL_ERROR = -2,
    ARM_CMSIS_NN_FAILURE = -3
} arm_cmsis_nn_status;

typedef struct {
    int32_t w, h;
} cmsis_nn_tile;

typedef struct {
    void *buf;
    int32_t size;
} cmsis_nn_context;

typedef struct {
    const void *data;
    const bool is_int32_bias;
} cmsis_nn_bias_data;

typedef struct {
    int32_t n, h, w, c;
} cmsis_nn_dims;

typedef struct {
    int32_t *multiplier, *shift;
} cmsis_nn_per_channel_quant_params;

typedef struct {
    int32_t min, max;
} cmsis_nn_activation;

typedef struct {
    int32_t input_offset, output_offset;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_conv_params;

static inline int16_t model_of_requantization(int64_t sum, int32_t multiplier, int32_t shift, int32_t low,
                                              int32_t high) {
    int32_t reduced = multiplier < 0x7FFF0000 ? (multiplier + (1 << 15)) >> 16 : 0x7FFF;
    int32_t value = (int32_t)((sum * reduced) >> (14 - shift));
    value = (value + 1) >> 1;
    return (int16_t)(value < low ? low : value > high ? high : value);
}

static inline arm_cmsis_nn_status arm_convolve_s16(
    const cmsis_nn_context *ctx, const cmsis_nn_conv_params *conv_params,
    const cmsis_nn_per_channel_quant_params *quant_params, const cmsis_nn_dims *input_dims, const int16_t *input_data,
    const cmsis_nn_dims *filter_dims, const int8_t *filter_data, const cmsis_nn_dims *bias_dims,
    const cmsis_nn_bias_data *bias_data, const cmsis_nn_dims *output_dims, int16_t *output_data) {
    int32_t row = input_dims->c * filter_dims->w * filter_dims->h;
    (void)bias_dims;
    /* Its buffer is 2 rows, with MVE 4 rows in whole vectors. */
    if (ctx->buf == NULL || ctx->size < 4 * ((row + 7) / 8) * 8 * (int32_t)sizeof(int16_t) ||
        bias_data->is_int32_bias || input_dims->n != 1 || input_dims->h != 1 || filter_dims->h != 1 ||
        output_dims->h != 1 || conv_params->dilation.w != 1 || conv_params->padding.h != 0) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    memset(ctx->buf, 0xA5, (size_t)ctx->size);
    for (int32_t x = 0; x < output_dims->w; x++) {
        for (int32_t c = 0; c < output_dims->c; c++) {
            int64_t sum = ((const int64_t *)bias_data->data)[c];
            for (int32_t k = 0; k < filter_dims->w; k++) {
                int32_t at = x * conv_params->stride.w - conv_params->padding.w + k;
                for (int32_t i = 0; at >= 0 && at < input_dims->w && i < input_dims->c; i++) {
                    sum += input_data[at * input_dims->c + i] * filter_data[c * row + k * input_dims->c + i];
                }
            }
            output_data[x * output_dims->c + c] =
                model_of_requantization(sum, quant_params->multiplier[c], quant_params->shift[c],
                                        conv_params->activation.min, conv_params->activation.max);
        }
    }
    return ARM_CMSIS_NN_SUCCESS;
}

#endif
