/* Fusion of the leads' experts and the heads, see lsemvae_edge/model/experts.py and student.py.
 *
 * Means and log-variances have 20 fractional bits, precisions 24, shares of a precision 30, heads 24; every product is
 * taken in 64 bits, which lsemvae_model_holds has proved to be enough. Shifts round to nearest, halves up; shares and
 * the distance's rows are cut; the mean across groups rounds halves away from zero. */
#include "lsemvae_core.h"

#define LOG2_E_Q30 1549082005 /* log2(e) */

uint32_t lsemvae_exp_q24(const struct lsemvae_image *image, int32_t exponent_q20) {
    int64_t turns = ((int64_t)exponent_q20 * LOG2_E_Q30 + ((int64_t)1 << 25)) >> 26; /* log2 of the result, q24 */
    int32_t whole = (int32_t)(turns >> 24);
    uint32_t part = (uint32_t)(turns & 0xFFFFFF), at = part >> 16;
    uint64_t low = image->exp2_table[at], high = image->exp2_table[at + 1];
    uint64_t value = low + (((high - low) * (part & 0xFFFFu) + 0x8000) >> 16); /* q30, 1 to 2 */
    int32_t right = 6 - whole;                                               /* q30 to q24 and the power of two */
    return (uint32_t)((value + ((uint64_t)1 << (right - 1))) >> right);
}

#if defined(LSEMVAE_FLOAT_TAIL)

#include <math.h>

/* The same in floating point, for targets that have it; contraction must be off (-ffp-contract=off). */
static void parts_of(const struct lsemvae_image *image, const int16_t (*mu)[LSEMVAE_LATENT],
                     const int16_t (*logvar)[LSEMVAE_LATENT], uint32_t d, double *means, double *parts) {
    double precisions[LSEMVAE_LEADS], totals[LSEMVAE_GROUPS];
    for (uint32_t group = 0; group < LSEMVAE_GROUPS; group++) {
        totals[group] = 1.0;
    }
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        double value = logvar[lead][d] * (image->logvar_scale_q36[lead] / 68719476736.0);
        value = value > 4.0 ? 4.0 : value < -4.0 ? -4.0 : value;
        precisions[lead] = exp(-value);
        totals[image->group[lead]] += precisions[lead];
        means[lead] = mu[lead][d] * (image->mu_scale_q36[lead] / 68719476736.0);
    }
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        parts[lead] = means[lead] * precisions[lead] / totals[image->group[lead]] / LSEMVAE_GROUPS;
    }
}

static int32_t fixed(double value, double one) {
    double scaled = floor(value * one + 0.5);
    return scaled >= 2147483647.0 ? INT32_MAX : scaled <= -2147483648.0 ? INT32_MIN : (int32_t)scaled;
}

void lsemvae_fuse(const struct lsemvae_image *image, const int16_t mu[LSEMVAE_LEADS][LSEMVAE_LATENT],
                  const int16_t logvar[LSEMVAE_LEADS][LSEMVAE_LATENT], lsemvae_answer *answer) {
    double contributions[LSEMVAE_LEADS][LSEMVAE_OUTPUTS] = {{0.0}};
    for (uint32_t d = 0; d < LSEMVAE_LATENT; d++) {
        double means[LSEMVAE_LEADS], parts[LSEMVAE_LEADS], fused = 0.0;
        parts_of(image, mu, logvar, d, means, parts);
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            fused += parts[lead];
            for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
                contributions[lead][k] += (image->fused_head_q24[k][d] * parts[lead] +
                                           image->lead_heads_q24[lead][k][d] * means[lead]) / 16777216.0;
            }
        }
        answer->mu[d] = fixed(fused, 1048576.0);
    }
    for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
        double logit = image->head_bias_q24[k] / 16777216.0;
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            answer->contributions[lead][k] = fixed(contributions[lead][k], 65536.0);
            logit += contributions[lead][k];
        }
        answer->logits[k] = fixed(logit, 65536.0);
    }
    answer->latent_distance = lsemvae_latent_distance(image, answer->mu);
}

#else

#define LOGVAR_BOUND ((int32_t)4 << 20)

static int32_t shifted(int64_t value, int32_t bits) {
    value = (value + ((int64_t)1 << (bits - 1))) >> bits;
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

void lsemvae_fuse(const struct lsemvae_image *image, const int16_t mu[LSEMVAE_LEADS][LSEMVAE_LATENT],
                  const int16_t logvar[LSEMVAE_LEADS][LSEMVAE_LATENT], lsemvae_answer *answer) {
    int64_t sums[LSEMVAE_LEADS][LSEMVAE_OUTPUTS] = {{0}};
    for (uint32_t d = 0; d < LSEMVAE_LATENT; d++) {
        int32_t means[LSEMVAE_LEADS];
        uint32_t precisions[LSEMVAE_LEADS];
        uint64_t totals[LSEMVAE_GROUPS];
        for (uint32_t group = 0; group < LSEMVAE_GROUPS; group++) {
            totals[group] = (uint64_t)1 << 24; /* the prior */
        }
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            int32_t value = shifted((int64_t)logvar[lead][d] * image->logvar_scale_q36[lead], 16);
            value = value > LOGVAR_BOUND ? LOGVAR_BOUND : value < -LOGVAR_BOUND ? -LOGVAR_BOUND : value;
            precisions[lead] = lsemvae_exp_q24(image, -value);
            totals[image->group[lead]] += precisions[lead];
            means[lead] = shifted((int64_t)mu[lead][d] * image->mu_scale_q36[lead], 16);
        }
        int64_t fused = 0;
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            int64_t share = (int64_t)(((uint64_t)precisions[lead] << 30) / totals[image->group[lead]]);
            int32_t part = (int32_t)lsemvae_div(shifted(means[lead] * share, 30), LSEMVAE_GROUPS);
            fused += part;
            for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
                sums[lead][k] += (int64_t)image->fused_head_q24[k][d] * part +
                                 (int64_t)image->lead_heads_q24[lead][k][d] * means[lead];
            }
        }
        answer->mu[d] = (int32_t)fused;
    }
    for (uint32_t k = 0; k < LSEMVAE_OUTPUTS; k++) {
        int64_t logit = (int64_t)image->head_bias_q24[k] * ((int64_t)1 << 20);
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            answer->contributions[lead][k] = shifted(sums[lead][k], 28);
            logit += sums[lead][k];
        }
        answer->logits[k] = shifted(logit, 28);
    }
    answer->latent_distance = lsemvae_latent_distance(image, answer->mu);
}

#endif

lsemvae_q16 lsemvae_latent_distance(const struct lsemvae_image *image, const int32_t mu[LSEMVAE_LATENT]) {
    uint64_t squares = 0; /* q32 */
    for (uint32_t row = 0; row < LSEMVAE_LATENT; row++) {
        int64_t sum = 0;
        for (uint32_t d = 0; d < LSEMVAE_LATENT; d++) {
            sum += (int64_t)image->whitening_q16[row][d] * ((int64_t)mu[d] - image->latent_mean_q20[d]);
        }
        int64_t value = lsemvae_abs64(sum) >> 20; /* q16 */
        if (value > INT32_MAX) {
            return INT32_MAX;
        }
        uint64_t square = (uint64_t)value * (uint64_t)value; /* q32 */
        squares = squares > UINT64_MAX - square ? UINT64_MAX : squares + square;
    }
    uint32_t root = lsemvae_root(squares); /* q16 */
    return root > INT32_MAX ? INT32_MAX : (lsemvae_q16)root;
}
