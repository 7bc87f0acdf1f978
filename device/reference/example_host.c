/* An example port: the profile on a PC, with an invented converter and a radio that prints.
 *
 * Reads one step a line, writes what the recorder sends, one message a line: name and bytes in hexadecimal.
 *
 *   connect MTU | disconnect | write HEX | info | wait MS | lose SAMPLES | off MASK | battery 0|1
 *
 * The patient is a formula of the time since boot in steps of 2 ms, so that anybody can check the samples.
 */
#include "open6l.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL "SIM00042"
#define BOOT 0x01020304u
#define MAX_WRITE 32u

typedef struct {
    uint64_t now_us;
    uint16_t rate_hz;
    int testing;
    int battery;
    uint8_t off;
    uint32_t to_lose;
} board;

static void print(const char *name, const uint8_t *bytes, size_t size)
{
    size_t k;
    printf("%s ", name);
    for (k = 0; k < size; k++) {
        printf("%02x", bytes[k]);
    }
    printf("\n");
}

static int send(void *context, open6l_characteristic which, const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"data", "clock", "control"};
    (void)context;
    print(names[which], bytes, size);
    return 1;
}

static int convert(void *context, uint16_t rate_hz, int test)
{
    board *b = context;
    b->rate_hz = rate_hz;
    b->testing = test;
    b->to_lose = 0;
    return 1;
}

static void identify(void *context)
{
    (void)context;
    printf("blink\n");
}

static int battery_is_enough(void *context)
{
    return ((const board *)context)->battery;
}

static void convert_once(open6l *o, board *b)
{
    int32_t k = (int32_t)(b->now_us / 2000u);
    int32_t lead_i = (int32_t)((int64_t)k * 1237 % 200003) - 100000;
    int32_t lead_ii = (int32_t)((int64_t)k * 733 % 300007) - 150000;
    if (k % 1000 == 999) {
        lead_i = 8388607;
    }
    if (k % 1500 == 1499) {
        lead_ii = -8388608;
    }
    if (b->testing) {
        lead_i = lead_ii = b->now_us / 500000u % 2u == 0 ? 20833 : -20833;
    }
    if (b->to_lose > 0) {
        b->to_lose--;
        open6l_lost(o, 1);
    } else {
        open6l_sample(o, lead_i, lead_ii, b->off, b->now_us);
    }
}

static void wait_ms(open6l *o, board *b, uint64_t ms)
{
    uint64_t end_us = b->now_us + 1000u * ms;
    while (b->rate_hz != 0 && b->now_us < end_us) {
        convert_once(o, b);
        b->now_us += 1000000u / b->rate_hz;
        open6l_idle(o, b->now_us);
    }
    b->now_us = end_us;
}

static size_t parse_hex(const char *text, uint8_t *out)
{
    size_t n = 0;
    unsigned value;
    while (n < MAX_WRITE && sscanf(text + 2 * n, "%2x", &value) == 1) {
        out[n++] = (uint8_t)value;
    }
    return n;
}

int main(void)
{
    static const open6l_config config = {
        .nv_numerator = 48,
        .nv_denominator = 1,
        .full_scale_uv = 402653,
        .band_low_mhz = 0,
        .band_high_hz = 131,
        .notch_hz = 0,
        .electrodes = OPEN6L_RA | OPEN6L_LA | OPEN6L_LL | OPEN6L_RL,
        .features = OPEN6L_CAN_IDENTIFY | OPEN6L_CAN_TEST | OPEN6L_CAN_TELL_CONTACT,
        .test_uv = 2000,
        .test_mhz = 1000,
        .n_rates = 2,
        .rates_hz = {500, 250},
        .serial = SERIAL,
        .lowest_step = -8388608,
        .highest_step = 8388607,
    };
    static const open6l_port port = {send, convert, identify, battery_is_enough};
    static open6l recorder;
    board b = {0, 0, 0, 1, 0, 0};
    char line[128], word[16], argument[96];

    open6l_boot(&recorder, &config, &port, &b, BOOT);
    while (fgets(line, sizeof line, stdin) != NULL) {
        int n_words = sscanf(line, "%15s %95s", word, argument);
        unsigned long number = n_words == 2 ? strtoul(argument, NULL, 0) : 0;
        uint8_t bytes[OPEN6L_MAX_INFO > MAX_WRITE ? OPEN6L_MAX_INFO : MAX_WRITE];
        if (n_words < 1) {
            continue;
        }
        if (strcmp(word, "connect") == 0) {
            open6l_connected(&recorder, (uint16_t)number);
        } else if (strcmp(word, "disconnect") == 0) {
            open6l_disconnected(&recorder, b.now_us);
        } else if (strcmp(word, "write") == 0) {
            size_t size = n_words == 2 ? parse_hex(argument, bytes) : 0;
            uint8_t error = open6l_write_control(&recorder, bytes, size, b.now_us);
            if (error != OPEN6L_ATT_OK) {
                print("error", &error, 1);
            }
        } else if (strcmp(word, "info") == 0) {
            print("info", bytes, open6l_read_info(&recorder, bytes));
        } else if (strcmp(word, "wait") == 0) {
            wait_ms(&recorder, &b, number);
        } else if (strcmp(word, "lose") == 0) {
            b.to_lose += recorder.state == OPEN6L_RESTING ? 0u : (uint32_t)number;
        } else if (strcmp(word, "off") == 0) {
            b.off = (uint8_t)number;
        } else if (strcmp(word, "battery") == 0) {
            b.battery = number != 0;
        } else {
            fprintf(stderr, "unknown step: %s\n", word);
            return 2;
        }
    }
    return 0;
}
