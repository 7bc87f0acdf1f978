/* The library on this machine: known answers, and what a caller may do wrong. One line a check, one at the end. */
#include <stdio.h>
#include <stdlib.h>

#include "lsemvae_core.h"
#include "lsemvae_selftest.h"
#include "lsemvae_vectors.h"

#define PV_PER_UV 1000000u

static unsigned checks, failures;

static void check(int holds, const char *what) {
    checks++;
    failures += holds == 0;
    printf("%s %u - %s\n", holds ? "ok" : "not ok", checks, what);
}

static lsemvae_context context, other;
static lsemvae_result result, again;
static uint64_t arena[(LSEMVAE_ARENA_BYTES + 7) / 8];

static int all_zero(const void *bytes, size_t n) {
    const uint8_t *at = bytes;
    while (n > 0 && *at == 0) {
        at++;
        n--;
    }
    return n == 0;
}

static lsemvae_config config_of(const lsemvae_vector *recording, const void *image) {
    const lsemvae_config config = {.rate_hz = recording->rate_hz, .pv_per_lsb = PV_PER_UV, .image = image};
    return config;
}

/* Push samples [from, to) in pieces. */
static void push(lsemvae_context *into, const lsemvae_vector *recording, uint32_t from, uint32_t to, uint32_t piece) {
    int32_t i[64], ii[64];
    while (from < to) {
        uint32_t n = piece < to - from ? piece : to - from;
        for (uint32_t k = 0; k < n; k++) {
            i[k] = recording->raw_uv[0][from + k];
            ii[k] = recording->raw_uv[1][from + k];
        }
        (void)lsemvae_push(into, i, ii, n, 0);
        from += n;
    }
}

/* Begin anew, push a whole recording, run. */
static lsemvae_status ran(lsemvae_context *by, const lsemvae_vector *recording, const void *image, uint32_t piece,
                          lsemvae_result *into) {
    const lsemvae_config config = config_of(recording, image);
    lsemvae_status status = lsemvae_init(by, &config);
    if (status == LSEMVAE_OK) {
        push(by, recording, 0, recording->samples, piece);
        status = lsemvae_run(by, arena, sizeof arena, into);
    }
    return status;
}

static void known_answers(void) {
    char line[LSEMVAE_SELFTEST_LINE];
    const int stage = lsemvae_selftest(&context, arena, line, sizeof line);
    check(stage == LSEMVAE_STAGE_PASS, "every stage gives its known answers");
    printf("%s\n", line);
    check(all_zero(arena, sizeof arena), "the self-test clears the arena");
    char cut[8] = "???????";
    check(lsemvae_selftest(&context, arena, cut, 4) == stage && strcmp(cut, "lse") == 0 && cut[4] == '?',
          "a short line is cut, not overrun");
    check(lsemvae_selftest(&context, arena, NULL, 0) == stage, "no line is needed");
}

static void misuse(void) {
    const lsemvae_vector *recording = &lsemvae_vectors[0];
    lsemvae_config config = config_of(recording, NULL);
    const int32_t sample = 1;
    const lsemvae_person person = {0};
    check(lsemvae_init(NULL, &config) == LSEMVAE_BAD_ARGUMENT && lsemvae_init(&context, NULL) == LSEMVAE_BAD_ARGUMENT,
          "init refuses null pointers");
    memset(&context, 0xA5, sizeof context);
    check(lsemvae_push(&context, &sample, &sample, 1, 0) == LSEMVAE_NOT_BEGUN &&
              lsemvae_push_gap(&context, 1) == LSEMVAE_NOT_BEGUN && lsemvae_ready(&context) == 0 &&
              lsemvae_set_person(&context, &person) == LSEMVAE_NOT_BEGUN &&
              lsemvae_run(&context, arena, sizeof arena, &result) == LSEMVAE_NOT_BEGUN &&
              lsemvae_model_id(&context) == NULL && lsemvae_spec_sha256(&context) == NULL,
          "a context that holds anything is refused before init");
    check(all_zero(&result, sizeof result) && result.state == LSEMVAE_NOT_READY,
          "a result of a refused run says not ready");
    lsemvae_reset(&context, NULL, 0, NULL);
    check(lsemvae_ready(&context) == 0, "reset before init is harmless");
    config.rate_hz = 123457;
    check(lsemvae_init(&context, &config) == LSEMVAE_BAD_RATE, "init refuses an unknown rate");
    config.rate_hz = recording->rate_hz;
    config.pv_per_lsb = 0;
    check(lsemvae_init(&context, &config) == LSEMVAE_BAD_ARGUMENT, "init refuses a step of nothing");
    config.pv_per_lsb = PV_PER_UV;
    config.mains_hz = 55;
    check(lsemvae_init(&context, &config) == LSEMVAE_BAD_ARGUMENT, "init refuses mains other than 50 and 60 Hz");
    config.mains_hz = 50;
    check(lsemvae_init(&context, &config) == LSEMVAE_OK, "init takes mains of 50 Hz");
    check(lsemvae_push(&context, NULL, &sample, 1, 0) == LSEMVAE_BAD_ARGUMENT &&
              lsemvae_push(&context, NULL, NULL, 0, 0) == LSEMVAE_OK,
          "push refuses null pointers unless it takes nothing");
    check(lsemvae_run(&context, arena, LSEMVAE_ARENA_BYTES - 1, &result) == LSEMVAE_BAD_ARGUMENT &&
              lsemvae_run(&context, (uint8_t *)arena + 1, sizeof arena, &result) == LSEMVAE_BAD_ARGUMENT &&
              lsemvae_run(&context, NULL, sizeof arena, &result) == LSEMVAE_BAD_ARGUMENT &&
              lsemvae_run(&context, arena, sizeof arena, NULL) == LSEMVAE_BAD_ARGUMENT,
          "run refuses a small, a misaligned and no arena, and no result");
    check(lsemvae_run(&context, arena, sizeof arena, &result) == LSEMVAE_OK && all_zero(&result, sizeof result),
          "without a window the result says not ready");
}

static void every_rate(void) {
    const uint32_t *rates;
    const size_t n = lsemvae_rates(&rates);
    int begun = n == LSEMVAE_RATES;
    for (size_t k = 0; k < n; k++) {
        const lsemvae_config config = {.rate_hz = rates[k], .pv_per_lsb = PV_PER_UV};
        begun = begun && lsemvae_init(&context, &config) == LSEMVAE_OK;
    }
    check(begun, "init takes every rate that the library names");
}

static void streaming(void) {
    const lsemvae_vector *recording = &lsemvae_vectors[0];
    check(ran(&context, recording, NULL, 1, &result) == LSEMVAE_OK && result.state == LSEMVAE_RAN,
          "a known recording gives a result");
    check(ran(&other, recording, NULL, 61, &again) == LSEMVAE_OK && memcmp(&result, &again, sizeof result) == 0,
          "pieces of any size give the same result");
    memset(&again, 0, sizeof again);
    check(lsemvae_run(&context, arena, sizeof arena, &again) == LSEMVAE_OK && memcmp(&result, &again, sizeof again) == 0,
          "a second run of the same window gives the same result");

    const lsemvae_config config = config_of(recording, NULL);
    (void)lsemvae_init(&context, &config);
    push(&context, recording, 0, recording->samples, 16);
    (void)lsemvae_push_gap(&context, (size_t)-1);
    check(lsemvae_ready(&context) == 0, "a long gap begins the window anew");
    push(&context, recording, 0, recording->samples, 16);
    memset(&again, 0, sizeof again);
    check(lsemvae_run(&context, arena, sizeof arena, &again) == LSEMVAE_OK && memcmp(&result, &again, sizeof again) == 0,
          "after a long gap nothing is left of what was before");
    push(&context, recording, 0, 1, 1);
    const int32_t off = 0;
    for (uint32_t k = 0; k < recording->rate_hz; k++) {
        (void)lsemvae_push(&context, &off, &off, 1, LSEMVAE_LA_OFF);
    }
    push(&context, recording, 0, 1, 1);
    check(lsemvae_ready(&context) == 0, "an electrode that is off makes a gap");

    /* Two recorders side by side, in turns. */
    const lsemvae_vector *second = &lsemvae_vectors[lsemvae_vector_count - 1];
    lsemvae_result alone;
    (void)ran(&other, second, NULL, 16, &alone);
    const lsemvae_config second_config = config_of(second, NULL);
    (void)lsemvae_init(&context, &config);
    (void)lsemvae_init(&other, &second_config);
    const uint32_t longest = recording->samples > second->samples ? recording->samples : second->samples;
    for (uint32_t n = 0; n < longest; n++) {
        push(&context, recording, n, n + 1 < recording->samples ? n + 1 : recording->samples, 1);
        push(&other, second, n, n + 1 < second->samples ? n + 1 : second->samples, 1);
    }
    (void)lsemvae_run(&context, arena, sizeof arena, &again);
    check(memcmp(&result, &again, sizeof again) == 0, "a recorder is not disturbed by another one");
    (void)lsemvae_run(&other, arena, sizeof arena, &again);
    check(memcmp(&alone, &again, sizeof again) == 0, "nor the other one by it");
}

static void next_person(void) {
    const lsemvae_vector *recording = &lsemvae_vectors[0];
    const lsemvae_person person = {.age_known = 1, .age_years = 50, .pacemaker = 1};
    const lsemvae_config config = config_of(recording, NULL);
    (void)lsemvae_init(&other, &config);
    (void)ran(&context, recording, NULL, 16, &result);
    (void)lsemvae_set_person(&context, &person);
    memset(arena, 0x5A, sizeof arena);
    lsemvae_reset(&context, arena, sizeof arena, &result);
    check(memcmp(&context, &other, sizeof context) == 0, "after reset a context is as after init");
    check(all_zero(arena, sizeof arena) && all_zero(&result, sizeof result), "reset clears the arena and the result");
    check(lsemvae_run(&context, arena, sizeof arena, &again) == LSEMVAE_OK && again.state == LSEMVAE_NOT_READY,
          "the next person starts with nothing");
}

static void wild_signals(void) {
    static const int32_t ends[] = {INT32_MIN, INT32_MAX};
    const lsemvae_vector *recording = &lsemvae_vectors[0];
    lsemvae_config config = config_of(recording, NULL);
    uint32_t seed = 1;
    int refused = 1;
    for (uint32_t kind = 0; kind < 4; kind++) {
        config.pv_per_lsb = kind == 3 ? UINT32_MAX : PV_PER_UV;
        (void)lsemvae_init(&context, &config);
        for (uint32_t n = 0; n < recording->samples; n++) {
            seed = seed * 1664525u + 1013904223u;
            const int32_t noise = (int32_t)(seed >> 1) - INT32_MAX / 2;
            const int32_t i = kind == 0 ? 0 : kind == 1 ? ends[n & 1u] : noise;
            const int32_t ii = kind == 0 ? 0 : kind == 1 ? ends[(n >> 1) & 1u] : -noise / 3;
            (void)lsemvae_push(&context, &i, &ii, 1, 0);
        }
        refused = refused && lsemvae_run(&context, arena, sizeof arena, &result) == LSEMVAE_OK &&
                  result.state == LSEMVAE_UNUSABLE && result.outcome == LSEMVAE_INCONCLUSIVE &&
                  result.advice != LSEMVAE_ADVICE_NONE;
    }
    check(refused, "no signal, the ends of the range and noise are refused with advice");
}

/* The same image from a file, as an update over the air brings it. */
static void update(const char *path) {
    static struct lsemvae_image blob;
    FILE *file = fopen(path, "rb");
    const size_t n = file == NULL ? 0 : fread(&blob, 1, sizeof blob, file);
    const int whole = file != NULL && n == sizeof blob && fgetc(file) == EOF;
    if (file != NULL) {
        (void)fclose(file);
    }
    check(whole, "the file of the image has the length of the linked one");
    if (!whole) {
        return;
    }
    const lsemvae_vector *recording = &lsemvae_vectors[0];
    check(memcmp(&blob, &lsemvae_linked_image, sizeof blob) == 0, "and its bytes");
    (void)ran(&context, recording, NULL, 16, &result);
    check(ran(&context, recording, &blob, 16, &again) == LSEMVAE_OK && memcmp(&result, &again, sizeof again) == 0,
          "init takes it instead of the linked one, with the same result");
    const lsemvae_config config = config_of(recording, &blob);
    uint8_t *const bytes = (uint8_t *)&blob;
    int refused = 1;
    for (size_t at = 0; at < sizeof blob; at += at < 64 ? 1 : 997) {
        bytes[at] ^= 0x10;
        refused = refused && lsemvae_init(&context, &config) == LSEMVAE_BAD_IMAGE;
        bytes[at] ^= 0x10;
    }
    check(refused && lsemvae_init(&context, &config) == LSEMVAE_OK, "a changed bit anywhere is found");
    const lsemvae_config off = config_of(recording, bytes + 1);
    check(lsemvae_init(&context, &off) == LSEMVAE_BAD_ARGUMENT, "an image off its alignment is refused");
}

int main(int argc, char **argv) {
    known_answers();
    misuse();
    every_rate();
    streaming();
    next_person();
    wild_signals();
    if (argc > 1) {
        update(argv[1]);
    }
    printf("lsemvae host test: %u passed, %u failed\n", checks - failures, failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
