/* From the beats of a window to the model's input: their average, the six leads, one scale. See
 * lsemvae_edge/beats.py and preprocess.cut. */
#include "lsemvae_core.h"

#define SHIFTS (2u * LSEMVAE_BEAT_ALIGN + 1u)
#define COMPLEX (2u * LSEMVAE_QRS_HALF)
#define BEFORE (LSEMVAE_BEAT_BEFORE > LSEMVAE_QRS_HALF ? LSEMVAE_BEAT_BEFORE : LSEMVAE_QRS_HALF)
#define AFTER (LSEMVAE_BEAT_AFTER > LSEMVAE_QRS_HALF ? LSEMVAE_BEAT_AFTER : LSEMVAE_QRS_HALF)
#define ONE_BITS 18u /* fractional bits of one root mean square in steps of the input */
#if LSEMVAE_INPUT_ONE * LSEMVAE_INPUT_ONE > (1u << 26) / (LSEMVAE_LEADS * LSEMVAE_BEAT)
#error "Steps of the input times samples of a beat leave 64 bits: lower ONE_BITS."
#endif

uint32_t lsemvae_typical_beats(const lsemvae_beats *beats, uint16_t *at) {
    uint64_t chosen = lsemvae_dominant(beats->averaged, beats->count);
    uint32_t count = 0;
    for (uint32_t k = 0; k < beats->count; k++) {
        if ((chosen >> k & 1u) != 0 && beats->at[k] >= BEFORE + LSEMVAE_BEAT_ALIGN &&
            beats->at[k] + AFTER + LSEMVAE_BEAT_ALIGN <= LSEMVAE_WINDOW) {
            at[count++] = beats->at[k];
        }
    }
    return count < LSEMVAE_BEAT_LEAST ? 0 : count;
}

void lsemvae_align_beats(const lsemvae_window *window, uint16_t *at, uint32_t count) {
    uint8_t best[LSEMVAE_MAX_BEATS];
    memset(best, LSEMVAE_BEAT_ALIGN, sizeof best);
    for (uint32_t round = 0; round < 2; round++) {
        int32_t sum_i[COMPLEX] = {0}, sum_ii[COMPLEX] = {0};
        for (uint32_t k = 0; k < count; k++) {
            uint32_t from = at[k] + (uint32_t)best[k] - LSEMVAE_BEAT_ALIGN - LSEMVAE_QRS_HALF;
            for (uint32_t n = 0; n < COMPLEX; n++) {
                sum_i[n] += window->lead[0][from + n];
                sum_ii[n] += window->lead[1][from + n];
            }
        }
        for (uint32_t k = 0; k < count; k++) {
            int64_t most = 0;
            for (uint32_t shift = 0; shift < SHIFTS; shift++) {
                uint32_t from = at[k] + shift - LSEMVAE_BEAT_ALIGN - LSEMVAE_QRS_HALF;
                int64_t fit = 0;
                for (uint32_t n = 0; n < COMPLEX; n++) {
                    fit += lsemvae_dot(window->lead[0][from + n], window->lead[1][from + n], sum_i[n], sum_ii[n]);
                }
                if (shift == 0 || fit > most) {
                    most = fit;
                    best[k] = (uint8_t)shift;
                }
            }
        }
    }
    for (uint32_t k = 0; k < count; k++) {
        at[k] = (uint16_t)(at[k] + (uint32_t)best[k] - LSEMVAE_BEAT_ALIGN);
    }
}

/* Twice the sum of the beats of one lead, without the median of that. */
static void summed(const int16_t *lead, const uint16_t *at, uint32_t count, int32_t sum[LSEMVAE_BEAT]) {
    int32_t ordered[LSEMVAE_BEAT];
    for (uint32_t n = 0; n < LSEMVAE_BEAT; n++) {
        sum[n] = 0;
        for (uint32_t k = 0; k < count; k++) {
            sum[n] += 2 * lead[at[k] + n - LSEMVAE_BEAT_BEFORE];
        }
    }
    memcpy(ordered, sum, sizeof ordered);
    lsemvae_sort_i32(ordered, LSEMVAE_BEAT);
    int32_t middle = (ordered[(LSEMVAE_BEAT - 1) / 2] + ordered[LSEMVAE_BEAT / 2]) / 2; /* both are even */
    for (uint32_t n = 0; n < LSEMVAE_BEAT; n++) {
        sum[n] -= middle;
    }
}

/* Twice a limb lead, in the order of the rows: Einthoven's and Goldberger's equations. */
static int32_t twice(uint32_t lead, int32_t i, int32_t ii) {
    static const int8_t OF_I[LSEMVAE_LEADS] = {2, 0, -2, -1, 2, -1}, OF_II[LSEMVAE_LEADS] = {0, 2, 2, -1, -1, 2};
    return OF_I[lead] * i + OF_II[lead] * ii;
}

int lsemvae_average_beat(const lsemvae_window *window, const uint16_t *at, uint32_t count,
                         int16_t input[LSEMVAE_LEADS][LSEMVAE_BEAT]) {
    int32_t sum_i[LSEMVAE_BEAT], sum_ii[LSEMVAE_BEAT];
    summed(window->lead[0], at, count, sum_i);
    summed(window->lead[1], at, count, sum_ii);
    uint64_t squares = 0; /* 24 bits a value at most */
    for (uint32_t n = 0; n < LSEMVAE_BEAT; n++) {
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            int64_t value = twice(lead, sum_i[n], sum_ii[n]);
            squares += (uint64_t)(value * value);
        }
    }
    if (squares == 0) {
        return 0;
    }
    /* input = value * ONE * sqrt(LEADS * BEAT) / sqrt(squares). No value exceeds the root of the squares, so that with
     * both shifted up by the same bits each product fits. */
    uint32_t up = 0;
    for (; squares < (uint64_t)1 << 62; squares <<= 2) {
        up++;
    }
    int64_t root = (int64_t)lsemvae_root(squares) * ((int64_t)1 << ONE_BITS);
    int64_t one = lsemvae_root((uint64_t)LSEMVAE_INPUT_ONE * LSEMVAE_INPUT_ONE * LSEMVAE_LEADS * LSEMVAE_BEAT
                               << (2 * ONE_BITS)); /* less than 2^31 */
    const int64_t limit = LSEMVAE_INPUT_LIMIT;
    for (uint32_t n = 0; n < LSEMVAE_BEAT; n++) {
        for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
            int64_t value = twice(lead, sum_i[n], sum_ii[n]) * ((int64_t)1 << up);
            int64_t rounded = lsemvae_div(value * one, root);
            input[lead][n] = (int16_t)(rounded > limit ? limit : rounded < -limit ? -limit : rounded);
        }
    }
    return 1;
}
