/* Everything that the library makes of given inputs and recordings, as one number each: run here and on a board, the
 * same lines say the same bits. Reads replay.bin: 32-bit numbers, low byte first; a 1 and a model input of 16-bit
 * numbers, or a 2, rate, picovolts a step, mains, uncalibrated, age (255: not known), pacemaker, n, and n samples of I
 * and II in turns. */
#include "board.h"
#include "lsemvae_core.h"

#define INPUT 1u
#define RECORDING 2u
#define AT_ONCE 32u /* samples of one push */

static lsemvae_context context;
static lsemvae_result result;
static uint64_t arena[(LSEMVAE_ARENA_BYTES + 7) / 8];
static int16_t input[LSEMVAE_LEADS][LSEMVAE_BEAT];
static uint32_t hash; /* FNV-1a */

static void add(uint32_t value) {
    for (uint32_t k = 0; k < 4; k++, value >>= 8) {
        hash = (hash ^ (value & 255u)) * 16777619u;
    }
}

static void add_numbers(const int32_t *values, size_t n) {
    for (size_t k = 0; k < n; k++) {
        add((uint32_t)values[k]);
    }
}

static void add_layer(void *unused, uint32_t layer, const int16_t *values, uint32_t n) {
    (void)unused;
    add(layer);
    for (uint32_t k = 0; k < n; k++) {
        add((uint32_t)values[k]);
    }
}

/* Every layer of every lead, then all that the tail gives. */
static void add_model(void) {
    uint8_t *bytes = (uint8_t *)arena;
    int16_t(*mu)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_MU);
    int16_t(*logvar)[LSEMVAE_LATENT] = (void *)(bytes + LSEMVAE_AT_LOGVAR);
    lsemvae_answer *answer = (void *)(bytes + LSEMVAE_AT_ANSWER);
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        lsemvae_encode(&lsemvae_linked_image, lead, input[lead], bytes + LSEMVAE_AT_ACTIVATIONS, mu[lead], logvar[lead],
                       add_layer, NULL);
    }
    lsemvae_fuse(&lsemvae_linked_image, (const int16_t(*)[LSEMVAE_LATENT])mu, (const int16_t(*)[LSEMVAE_LATENT])logvar,
                 answer);
    add_numbers(answer->logits, LSEMVAE_OUTPUTS);
    add_numbers(answer->contributions[0], (size_t)LSEMVAE_LEADS * LSEMVAE_OUTPUTS);
    add_numbers(answer->mu, LSEMVAE_LATENT);
    add((uint32_t)answer->latent_distance);
}

/* Field by field, as compilers choose sizes of enumerations. */
static void add_result(void) {
    add((uint32_t)result.state);
    add((uint32_t)result.outcome);
    add((uint32_t)result.advice);
    add(result.flags);
    for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
        add(result.lead_flags[lead]);
    }
    add(result.first_sample);
    add(result.heart_rate_tenths);
    add(result.beats_averaged);
    add((uint32_t)result.shape.n_beats);
    add_numbers(&result.shape.alike, (sizeof result.shape - offsetof(lsemvae_shape, alike)) / sizeof(int32_t));
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        add((uint32_t)result.tasks[k].outcome);
        add((uint32_t)result.tasks[k].reason);
        add((uint32_t)result.tasks[k].log_odds);
        add(result.tasks[k].probability_q15);
        add_numbers(result.tasks[k].contributions, LSEMVAE_LEADS);
    }
    add_numbers(result.logits, LSEMVAE_OUTPUTS);
    add((uint32_t)result.latent_distance);
}

static int read_all(void *bytes, size_t n) {
    return board_read(bytes, n) == n;
}

static int push_recording(void) {
    uint32_t told[7];
    if (!read_all(told, sizeof told)) {
        return 0;
    }
    const lsemvae_config config = {
        .rate_hz = told[0], .pv_per_lsb = told[1], .mains_hz = told[2], .uncalibrated = told[3]};
    const lsemvae_person person = {
        .age_known = told[4] != 255, .age_years = (uint8_t)told[4], .pacemaker = told[5] != 0};
    add((uint32_t)lsemvae_init(&context, &config));
    add((uint32_t)lsemvae_set_person(&context, &person));
    for (uint32_t left = told[6]; left > 0;) {
        int32_t pairs[AT_ONCE][2], lead_i[AT_ONCE], lead_ii[AT_ONCE];
        uint32_t n = AT_ONCE;
        if (left < n) {
            n = left;
        }
        if (!read_all(pairs, n * sizeof pairs[0])) {
            return 0;
        }
        for (uint32_t k = 0; k < n; k++) {
            lead_i[k] = pairs[k][0];
            lead_ii[k] = pairs[k][1];
        }
        add((uint32_t)lsemvae_push(&context, lead_i, lead_ii, n, 0));
        left -= n;
    }
    add((uint32_t)lsemvae_run(&context, arena, sizeof arena, &result));
    add_result();
    return 1;
}

static void say(void) {
    char line[] = "replayed 00000000\n";
    for (uint32_t k = 0; k < 8; k++) {
        line[9 + k] = "0123456789abcdef"[hash >> (28 - 4 * k) & 15u];
    }
    board_write(line);
}

int main(void) {
    uint32_t kind;
    if (!board_open("replay.bin")) {
        board_write("There is no replay.bin.\n");
        return 95;
    }
    while (read_all(&kind, sizeof kind)) {
        hash = 2166136261u;
        if (kind == INPUT && read_all(input, sizeof input)) {
            add_model();
        } else if (kind != RECORDING || !push_recording()) {
            board_write("replay.bin is cut or of another kind.\n");
            return 94;
        }
        say();
    }
    return 0;
}
