/* Numbers without floating point. Right shifts of negative numbers keep the sign, as every compiler of our targets
 * does; the self-test holds it. */
#include "lsemvae_core.h"

uint32_t lsemvae_root(uint64_t value) {
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 62; bit != 0; bit >>= 2) {
        if (value >= root + bit) {
            value -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

int64_t lsemvae_div(int64_t numerator, int64_t denominator) {
    int64_t whole = numerator / denominator;
    int64_t rest = lsemvae_abs64(numerator - whole * denominator);
    if (rest >= denominator - rest) {
        whole += numerator < 0 ? -1 : 1;
    }
    return whole;
}

int32_t lsemvae_upper(int64_t value) {
    return (int32_t)((value + 0x80000000) >> 32);
}

lsemvae_q16 lsemvae_ratio(uint64_t numerator, uint64_t denominator) {
    if (denominator == 0) {
        return numerator == 0 ? 0 : INT32_MAX;
    }
    uint64_t whole = numerator / denominator;
    if (whole >= 32768) {
        return INT32_MAX;
    }
    uint64_t rest = numerator % denominator;
    while (rest > UINT64_MAX >> 16) {
        rest >>= 1;
        denominator >>= 1;
    }
    uint64_t made = (whole << 16) + (rest << 16) / denominator;
    return made > INT32_MAX ? INT32_MAX : (lsemvae_q16)made;
}

/* Shell's sort: no recursion, no further memory, quick enough for a window. */
static const uint16_t GAPS[] = {701, 301, 132, 57, 23, 10, 4, 1};

void lsemvae_sort_i32(int32_t *values, size_t n) {
    for (size_t k = 0; k < sizeof GAPS / sizeof *GAPS; k++) {
        size_t gap = GAPS[k];
        for (size_t i = gap; i < n; i++) {
            int32_t value = values[i];
            size_t j = i;
            for (; j >= gap && values[j - gap] > value; j -= gap) {
                values[j] = values[j - gap];
            }
            values[j] = value;
        }
    }
}

void lsemvae_sort_u32(uint32_t *values, size_t n) {
    for (size_t k = 0; k < sizeof GAPS / sizeof *GAPS; k++) {
        size_t gap = GAPS[k];
        for (size_t i = gap; i < n; i++) {
            uint32_t value = values[i];
            size_t j = i;
            for (; j >= gap && values[j - gap] > value; j -= gap) {
                values[j] = values[j - gap];
            }
            values[j] = value;
        }
    }
}

/* cos(pi / 2 * m / 64), 15 fractional bits; with the straight line between them it errs by less than 1e-4. */
static const int16_t QUARTER[65] = {
    32767, 32757, 32728, 32678, 32609, 32521, 32412, 32285, 32137, 31971, 31785, 31580, 31356, 31113, 30852, 30571,
    30273, 29956, 29621, 29268, 28898, 28510, 28105, 27683, 27245, 26790, 26319, 25832, 25329, 24811, 24279, 23731,
    23170, 22594, 22005, 21403, 20787, 20159, 19519, 18868, 18204, 17530, 16846, 16151, 15446, 14732, 14010, 13279,
    12539, 11793, 11039, 10278, 9512, 8739, 7962, 7179, 6393, 5602, 4808, 4011, 3212, 2410, 1608, 804, 0
};

int32_t lsemvae_cosine(uint32_t turn) {
    uint32_t half = (turn & 0x80000000u) != 0 ? 0u - turn : turn; /* an even function */
    int mirrored = half > 0x40000000u;
    uint32_t quarter = mirrored ? 0x80000000u - half : half;
    uint32_t at = quarter >> 24;
    int32_t value = QUARTER[at];
    if (at < 64) {
        int32_t part = (int32_t)((quarter >> 8) & 0xFFFFu);
        value -= (int32_t)(((int64_t)(QUARTER[at] - QUARTER[at + 1]) * part + 0x8000) >> 16);
    }
    return mirrored ? -value : value;
}

uint32_t lsemvae_bits(uint64_t set) {
    uint32_t count = 0;
    for (; set != 0; set &= set - 1) {
        count++;
    }
    return count;
}

/* By half bytes: an image of 100 KB is checked at each start. */
uint32_t lsemvae_crc32(const uint8_t *bytes, size_t n) {
    static const uint32_t TABLE[16] = {0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
                                       0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
                                       0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};
    uint32_t crc = UINT32_MAX;
    for (size_t k = 0; k < n; k++) {
        crc = (crc >> 4) ^ TABLE[(crc ^ bytes[k]) & 15u];
        crc = (crc >> 4) ^ TABLE[(crc ^ ((uint32_t)bytes[k] >> 4)) & 15u];
    }
    return ~crc;
}
