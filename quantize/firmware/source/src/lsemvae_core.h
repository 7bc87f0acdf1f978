/* What the parts of the library share. Not for callers. */
#ifndef LSEMVAE_CORE_H
#define LSEMVAE_CORE_H

#include <string.h>

#include "lsemvae.h"
#include "lsemvae_image.h"

#ifndef LSEMVAE_LOCK
#define LSEMVAE_LOCK()
#define LSEMVAE_UNLOCK()
#endif

#define LSEMVAE_BEGUN 0x4C53454Du
#define LSEMVAE_MAX_BEATS 40 /* more than fit into a window, 0.2 s apart */

/* ---- numbers (lsemvae_numbers.c) ---- */

uint32_t lsemvae_root(uint64_t value);                              /* floor of the square root */
int64_t lsemvae_div(int64_t numerator, int64_t denominator);        /* rounded to nearest, halves away from zero; > 0 */
int32_t lsemvae_upper(int64_t value);                               /* the upper 32 bits, to nearest, halves up */
lsemvae_q16 lsemvae_ratio(uint64_t numerator, uint64_t denominator); /* q16, saturating; 0 / 0 is 0 */
void lsemvae_sort_i32(int32_t *values, size_t n);                   /* ascending, in place, no recursion */
void lsemvae_sort_u32(uint32_t *values, size_t n);
int32_t lsemvae_cosine(uint32_t turn);                              /* cos of turn / 2^32 of a circle, times 32767 */
uint32_t lsemvae_bits(uint64_t set); /* how many are set */
uint32_t lsemvae_crc32(const uint8_t *bytes, size_t n);
static inline int64_t lsemvae_abs64(int64_t value) { return value < 0 ? -value : value; }

/* ---- the way of one window ---- */

/* The newest window, oldest sample first, and what was measured on the raw signal. lead[k][n] in half microvolts. */
typedef struct {
    int16_t lead[2][LSEMVAE_WINDOW];
    uint32_t first_sample;
    uint32_t clipped; /* not 0: a filtered sample of the window left int16 */
    lsemvae_block blocks[2][LSEMVAE_BLOCKS]; /* in order of time: those wholly in the window */
    uint32_t n_blocks;
} lsemvae_window;

/* Frontal vectors are compared without a square root of three: with x along I and y = (2 II - I) / sqrt(3) along aVF,
 * (x, y) . (x', y') = 2/3 (2 I I' - I II' - II I' + 2 II II'); the factor 2/3 is left out wherever ratios count. */
static inline int64_t lsemvae_dot(int32_t i, int32_t ii, int32_t other_i, int32_t other_ii) {
    return (int64_t)other_i * (2 * (int64_t)i - ii) + (int64_t)other_ii * (2 * (int64_t)ii - i);
}

/* Whole samples at the model's rate in some milliseconds; a half goes to the even number, as in Python. */
#define LSEMVAE_SAMPLES(ms) (((ms) * LSEMVAE_FS_HZ + 499u + (ms) * LSEMVAE_FS_HZ / 1000u % 2u) / 1000u)
#define LSEMVAE_QRS_HALF LSEMVAE_SAMPLES(100u) /* half width of the segment by which beats are compared */

/* Beats of a window, see lsemvae_edge.beats.Beats. */
typedef struct {
    uint32_t count;                       /* whole complexes */
    uint16_t at[LSEMVAE_MAX_BEATS];       /* their centres */
    uint32_t envelope[LSEMVAE_WINDOW];    /* smoothed speed, in any unit common to the window */
    uint32_t height;                      /* typical peak of the envelope, same unit */
    lsemvae_q16 doubt;
    uint64_t alike[LSEMVAE_MAX_BEATS];    /* bit k of alike[j]: similarity >= quality.min_beat_correlation */
    uint64_t averaged[LSEMVAE_MAX_BEATS]; /* the same with beat.min_correlation */
} lsemvae_beats;

/* beats (lsemvae_beats.c) */
void lsemvae_find_beats(const int16_t *lead_i, const int16_t *lead_ii, const struct lsemvae_image *image,
                        lsemvae_beats *beats);
uint64_t lsemvae_dominant(const uint64_t *alike, uint32_t count); /* bits of the largest group like one of them */
uint32_t lsemvae_typical_beats(const lsemvae_beats *beats, uint16_t *at); /* count; 0 if fewer than the least */
void lsemvae_align_beats(const lsemvae_window *window, uint16_t *at, uint32_t count);
/* Average beat of the aligned beats, six leads, scaled by one factor, in steps of the model's input; 0 if flat. */
int lsemvae_average_beat(const lsemvae_window *window, const uint16_t *at, uint32_t count,
                         int16_t input[LSEMVAE_LEADS][LSEMVAE_BEAT]);
void lsemvae_speed_envelope(const int16_t *lead_i, const int16_t *lead_ii, uint32_t *envelope);

/* quality (lsemvae_quality.c, lsemvae_shape.c, lsemvae_contact.c) */
#define LSEMVAE_QUALITY_SCRATCH_BYTES (LSEMVAE_WINDOW * 8u)
/* Judge a window: state becomes UNUSABLE or stays; advice, flags, lead_flags, heart_rate_tenths and shape are filled.
 * scratch: 8-byte aligned. */
void lsemvae_judge(const lsemvae_window *window, const lsemvae_beats *beats, const lsemvae_config *config,
                   const struct lsemvae_image *image, void *scratch, lsemvae_result *result);
void lsemvae_measure_shape(const lsemvae_window *window, const lsemvae_beats *beats, const struct lsemvae_image *image,
                           void *scratch, lsemvae_shape *shape);
uint32_t lsemvae_qrs_size(const lsemvae_window *window, const lsemvae_beats *beats); /* in 1/16 of half a microvolt */

/* stream (lsemvae_stream.c, lsemvae_raw.c) */
void lsemvae_stream_begin(lsemvae_context *context); /* a new segment: nothing was received */
void lsemvae_stream_sample(lsemvae_context *context, int32_t i_nv, int32_t ii_nv);
void lsemvae_stream_gap(lsemvae_context *context, size_t n); /* n samples were not received */
void lsemvae_raw_begin(lsemvae_context *context);
void lsemvae_raw_sample(lsemvae_context *context, const int32_t nv[2]);
void lsemvae_take_window(const lsemvae_context *context, lsemvae_window *window);
/* The blocks of a window that ended lag raw samples ago. */
void lsemvae_take_blocks(const lsemvae_context *context, uint32_t lag, uint32_t window_samples,
                         lsemvae_window *window);

/* model (lsemvae_kernels.c, lsemvae_model.c) */
/* One weighted layer: channels last, int16 activations, int8 weights [out][kernel][in], rectified if asked. */
typedef struct {
    uint16_t in_channels, out_channels, kernel, stride, padding, in_samples, out_samples;
    uint8_t rectified;
    uint32_t weight_at, channel_at; /* offsets into an encoder's weights, and into its biases, multipliers, shifts */
} lsemvae_layer;
void lsemvae_convolve(const lsemvae_layer *layer, const struct lsemvae_encoder *encoder, const int16_t *in,
                      int16_t *out);
/* Run one lead's encoder; scratch: LSEMVAE_ACTIVATION_BYTES. watch, if not NULL, is shown every layer's output. */
typedef void (*lsemvae_watch)(void *seen_by, uint32_t layer, const int16_t *values, uint32_t n);
void lsemvae_encode(const struct lsemvae_image *image, uint32_t lead, const int16_t *input, uint8_t *scratch,
                    int16_t *mu, int16_t *logvar, lsemvae_watch watch, void *seen_by);
/* Run the encoders of all leads; 0 if they did not run. Compiled with LSEMVAE_OWN_ENCODERS the library leaves this one
 * function to an engine that gives the same bits, such as tflm/lsemvae_tflm.cc. */
int lsemvae_encode_leads(const struct lsemvae_image *image, const int16_t (*input)[LSEMVAE_BEAT], uint8_t *scratch,
                         int16_t (*mu)[LSEMVAE_LATENT], int16_t (*logvar)[LSEMVAE_LATENT]);

extern const lsemvae_layer lsemvae_layers[LSEMVAE_LAYERS];
int lsemvae_model_holds(const struct lsemvae_image *image); /* whether no number of the model can leave its bits */

/* tail and decision (lsemvae_tail.c, lsemvae_decide.c) */
typedef struct {
    lsemvae_q16 logits[LSEMVAE_OUTPUTS];
    lsemvae_q16 contributions[LSEMVAE_LEADS][LSEMVAE_OUTPUTS];
    int32_t mu[LSEMVAE_LATENT]; /* fused means, q20 */
    lsemvae_q16 latent_distance;
} lsemvae_answer;
void lsemvae_fuse(const struct lsemvae_image *image, const int16_t mu[LSEMVAE_LEADS][LSEMVAE_LATENT],
                  const int16_t logvar[LSEMVAE_LEADS][LSEMVAE_LATENT], lsemvae_answer *answer);
lsemvae_q16 lsemvae_latent_distance(const struct lsemvae_image *image, const int32_t mu[LSEMVAE_LATENT]);
/* exp of a number from -16 to 4 with 20 fractional bits, with 24. */
uint32_t lsemvae_exp_q24(const struct lsemvae_image *image, int32_t exponent_q20);
void lsemvae_decide(const struct lsemvae_image *image, const lsemvae_answer *answer, const lsemvae_person *person,
                    lsemvae_result *result);

#endif
