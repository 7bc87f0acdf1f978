/* What the vector instructions do, in plain C: Arm MVE Intrinsics Reference. Lanes switched off are not read. */
#ifndef ARM_MVE_H
#define ARM_MVE_H

#include <stdint.h>

typedef uint16_t mve_pred16_t; /* two bits a lane of 16 */
typedef struct {
    int16_t lane[8];
} int16x8_t;

static inline mve_pred16_t vctp16q(uint32_t n) {
    return (mve_pred16_t)(n >= 8 ? 0xFFFFu : (1u << (2 * n)) - 1u);
}

static inline int16x8_t vldrhq_z_s16(const int16_t *from, mve_pred16_t some) {
    int16x8_t made = {{0}};
    for (int k = 0; k < 8; k++) {
        if (((some >> (2 * k)) & 1) != 0) {
            made.lane[k] = from[k];
        }
    }
    return made;
}

static inline int16x8_t vldrbq_z_s16(const int8_t *from, mve_pred16_t some) {
    int16x8_t made = {{0}};
    for (int k = 0; k < 8; k++) {
        if (((some >> (2 * k)) & 1) != 0) {
            made.lane[k] = from[k];
        }
    }
    return made;
}

static inline int16x8_t vldrhq_s16(const int16_t *from) {
    return vldrhq_z_s16(from, 0xFFFFu);
}

static inline int16x8_t vldrbq_s16(const int8_t *from) {
    return vldrbq_z_s16(from, 0xFFFFu);
}

static inline int32_t vmladavaq_s16(int32_t sum, int16x8_t a, int16x8_t b) {
    for (int k = 0; k < 8; k++) {
        sum += a.lane[k] * b.lane[k];
    }
    return sum;
}

#endif
