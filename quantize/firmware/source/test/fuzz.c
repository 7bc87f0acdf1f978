/* libFuzzer's target: any order of calls with any samples, and images whose bytes changed under a right CRC.
 *
 * clang -fsanitize=fuzzer,address,undefined; see `make fuzz`. A finding is a crash, undefined behaviour, or a result
 * that contradicts itself. */
#include <stdlib.h>
#include <string.h>

#include "lsemvae_core.h"

#define LONGEST 6000u /* samples of one push: twelve seconds at 500 Hz */

typedef struct {
    const uint8_t *bytes;
    size_t left;
} input;

static uint32_t take(input *from, size_t n) {
    uint32_t value = 0;
    for (; n > 0 && from->left > 0; n--, from->bytes++, from->left--) {
        value = value << 8 | *from->bytes;
    }
    return value;
}

static uint32_t next(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Samples of many kinds: silence, steps, the ends of the range, noise, and pulses like heartbeats. */
static void fill(int32_t *samples, uint32_t n, uint32_t kind, uint32_t seed) {
    uint32_t state = seed | 1u;
    uint32_t period = 100u + seed % 500u;
    for (uint32_t k = 0; k < n; k++) {
        uint32_t quiet = 1u + seed % 28u;
        int32_t noise = (int32_t)(next(&state) >> quiet) - (int32_t)(UINT32_MAX >> quiet >> 1);
        uint32_t at = k % period;
        switch (kind % 8u) {
            case 0:
                samples[k] = (int32_t)seed;
                break;
            case 1:
                samples[k] = k % 2u != 0 ? INT32_MAX : INT32_MIN;
                break;
            case 2:
                samples[k] = noise;
                break;
            case 3:
                samples[k] = at < 20u ? (int32_t)(at * 60u) : at < 40u ? (int32_t)((40u - at) * 60u) : 0;
                break;
            case 4:
                samples[k] = (at < 20u ? (int32_t)(at * 60u) : at < 40u ? (int32_t)((40u - at) * 55u)
                              : at > 90u && at < 150u ? 150 : 0) + (int32_t)(next(&state) >> 28);
                break;
            case 5:
                samples[k] = (int32_t)(k * seed);
                break;
            case 6:
                samples[k] = at < period / 2u ? (int32_t)(seed >> 1) : -(int32_t)(seed >> 1);
                break;
            default:
                samples[k] = (int32_t)next(&state);
                break;
        }
    }
}

static void require(int holds) {
    if (!holds) {
        abort();
    }
}

static void check(const lsemvae_result *result) {
    require(result->state == LSEMVAE_NOT_READY || result->state == LSEMVAE_UNUSABLE || result->state == LSEMVAE_RAN);
    if (result->state == LSEMVAE_NOT_READY) {
        lsemvae_result zero;
        memset(&zero, 0, sizeof zero);
        require(memcmp(result, &zero, sizeof zero) == 0);
    }
    require((result->state == LSEMVAE_UNUSABLE) == (result->advice != LSEMVAE_ADVICE_NONE));
    if (result->state == LSEMVAE_UNUSABLE) {
        require(result->outcome == LSEMVAE_INCONCLUSIVE);
    }
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        const lsemvae_task_result *task = &result->tasks[k];
        require((unsigned)task->outcome <= LSEMVAE_NOT_ASKED && task->probability_q15 <= 32768u);
        if (result->state == LSEMVAE_UNUSABLE) {
            require(task->outcome == LSEMVAE_INCONCLUSIVE && task->reason == LSEMVAE_REASON_QUALITY);
        }
        if (task->outcome == LSEMVAE_NEGATIVE || task->outcome == LSEMVAE_POSITIVE) {
            require(result->state == LSEMVAE_RAN && task->reason == LSEMVAE_REASON_NONE);
        }
    }
}

/* The linked image with some bytes changed and the CRC made right again, or as it is. */
static const void *image_of(input *from, struct lsemvae_image *room) {
    uint32_t changes = take(from, 1) % 4u;
    if (changes == 0) {
        return NULL;
    }
    memcpy(room, &lsemvae_linked_image, sizeof *room);
    uint8_t *bytes = (uint8_t *)room;
    size_t head = offsetof(struct lsemvae_image, layout) + sizeof room->layout;
    for (; changes > 0; changes--) {
        size_t at = head + take(from, 4) % (sizeof *room - head);
        bytes[at] = (uint8_t)take(from, 1);
    }
    size_t begin = offsetof(struct lsemvae_image, layout);
    room->crc = lsemvae_crc32(bytes + begin, sizeof *room - begin);
    return room;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct lsemvae_image image;
    static lsemvae_context context;
    static uint64_t arena[LSEMVAE_ARENA_BYTES / 8u + 1u];
    static int32_t samples[2][LONGEST];
    static lsemvae_result result;
    const uint32_t *rates;
    size_t n_rates = lsemvae_rates(&rates);
    input from = {data, size};

    memset(&context, (int)take(&from, 1), sizeof context);
    lsemvae_config config = {0, 0, 0, 0, NULL};
    config.rate_hz = rates[take(&from, 1) % n_rates];
    config.pv_per_lsb = take(&from, 1) < 200 ? 1000000u : take(&from, 4);
    config.mains_hz = take(&from, 1) % 3u * 10u + 40u;
    config.mains_hz = config.mains_hz == 40u ? 0u : config.mains_hz;
    config.uncalibrated = take(&from, 1) % 2u;
    config.image = image_of(&from, &image);
    if (take(&from, 1) != 7) {
        (void)lsemvae_init(&context, &config);
    }
    for (uint32_t calls = 0; calls < 8 && from.left > 0; calls++) {
        switch (take(&from, 1) % 8u) {
            case 0:
            case 1:
            case 2: {
                uint32_t kind = take(&from, 1), n = take(&from, 2) % (LONGEST + 1u);
                fill(samples[0], n, kind, take(&from, 4));
                fill(samples[1], n, kind >> 4, take(&from, 4));
                (void)lsemvae_push(&context, samples[0], samples[1], n, take(&from, 1) % 32u == 0 ? 1u : 0u);
                break;
            }
            case 3:
                (void)lsemvae_push_gap(&context, take(&from, 2));
                break;
            case 4: {
                lsemvae_person person = {(uint8_t)take(&from, 1), (uint8_t)take(&from, 1), (uint8_t)take(&from, 1),
                                         (uint8_t)take(&from, 1)};
                (void)lsemvae_set_person(&context, &person);
                break;
            }
            case 5:
                lsemvae_reset(&context, arena, sizeof arena, &result);
                break;
            default:
                memset(&result, 0x5A, sizeof result);
                (void)lsemvae_run(&context, arena, sizeof arena, &result);
                check(&result);
                break;
        }
    }
    memset(&result, 0x5A, sizeof result);
    (void)lsemvae_run(&context, arena, sizeof arena, &result);
    check(&result);
    return 0;
}
