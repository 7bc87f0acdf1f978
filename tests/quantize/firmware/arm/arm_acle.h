/* What the DSP instructions do, in plain C: Arm C Language Extensions, chapter on 32-bit SIMD. */
#ifndef ARM_ACLE_H
#define ARM_ACLE_H

#include <stdint.h>

typedef uint32_t int8x4_t, int16x2_t;

static inline int16x2_t __sxtb16(int8x4_t four) {
    uint32_t low = (uint32_t)(int8_t)(four & 0xFFu) & 0xFFFFu, high = (uint32_t)(int8_t)((four >> 16) & 0xFFu);
    return low | (high << 16);
}

static inline int32_t __smlad(int16x2_t a, int16x2_t b, int32_t sum) {
    return (int16_t)(a & 0xFFFFu) * (int16_t)(b & 0xFFFFu) + ((int16_t)(a >> 16) * (int16_t)(b >> 16) + sum);
}

#endif
