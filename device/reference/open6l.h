/* Open six-lead profile, version 1.0: a recorder's side of it in portable C99. See docs/open-6l-profile.md.
 *
 * No heap, no floating point, no clock and no radio of its own: the firmware hands in what the radio and the
 * converter bring, and a port sends what comes out. Call all functions from one context (one task, or with
 * interrupts masked); none waits.
 */
#ifndef OPEN6L_H
#define OPEN6L_H

#include <stddef.h>
#include <stdint.h>

#define OPEN6L_MAJOR 1u
#define OPEN6L_MINOR 0u

/* 128-bit UUIDs, least significant byte first, as Bluetooth stacks take them: 06bc000K-b3d0-4fde-ad9a-423ad5ddf3fb. */
#define OPEN6L_UUID(k) \
    { 0xfb, 0xf3, 0xdd, 0xd5, 0x3a, 0x42, 0x9a, 0xad, 0xde, 0x4f, 0xd0, 0xb3, (k), 0x00, 0xbc, 0x06 }
#define OPEN6L_UUID_SERVICE OPEN6L_UUID(1)
#define OPEN6L_UUID_DATA OPEN6L_UUID(2)
#define OPEN6L_UUID_CLOCK OPEN6L_UUID(3)
#define OPEN6L_UUID_INFO OPEN6L_UUID(4)
#define OPEN6L_UUID_CONTROL OPEN6L_UUID(5)

/* Electrodes, in Info and in a packet's status. */
#define OPEN6L_RA 0x01u
#define OPEN6L_LA 0x02u
#define OPEN6L_LL 0x04u
#define OPEN6L_RL 0x08u

/* Features in Info. */
#define OPEN6L_CAN_IDENTIFY 0x01u
#define OPEN6L_CAN_TEST 0x02u
#define OPEN6L_CAN_TELL_CONTACT 0x04u

#define OPEN6L_MAX_RATES 4u
#define OPEN6L_MAX_SERIAL 20u
#define OPEN6L_MAX_SAMPLES 40u /* of each lead in a packet: 40 ms at 1,000 Hz */
#define OPEN6L_DATA_HEADER 8u
#define OPEN6L_MAX_DATA (OPEN6L_DATA_HEADER + 6u * OPEN6L_MAX_SAMPLES)
#define OPEN6L_CLOCK_SIZE 12u
#define OPEN6L_REPLY_SIZE 3u
#define OPEN6L_MAX_INFO (30u + 2u * OPEN6L_MAX_RATES + 1u + OPEN6L_MAX_SERIAL)

#define OPEN6L_LIMIT_S 600u
#define OPEN6L_KEEP_CONVERTING_S 10u

/* Errors of the attribute protocol that a write to Control can end with. */
#define OPEN6L_ATT_OK 0x00u
#define OPEN6L_ATT_WRONG_LENGTH 0x0du

typedef enum { OPEN6L_START = 1, OPEN6L_STOP = 2, OPEN6L_IDENTIFY = 3, OPEN6L_TEST = 4 } open6l_opcode;

typedef enum {
    OPEN6L_OK = 0,
    OPEN6L_UNKNOWN_OPCODE = 1,
    OPEN6L_MALFORMED = 2,
    OPEN6L_NOT_SUPPORTED = 3,
    OPEN6L_BUSY = 4,
    OPEN6L_RATE_NOT_OFFERED = 5,
    OPEN6L_MTU_TOO_SMALL = 6,
    OPEN6L_LOW_BATTERY = 7,
    OPEN6L_FAULT = 8,
    OPEN6L_TIME_LIMIT = 9
} open6l_status;

typedef enum { OPEN6L_RESTING, OPEN6L_MEASURING, OPEN6L_TESTING } open6l_state;

typedef enum { OPEN6L_CHAR_DATA, OPEN6L_CHAR_CLOCK, OPEN6L_CHAR_CONTROL } open6l_characteristic;

/* What does not change while the recorder is on. */
typedef struct {
    uint32_t nv_numerator; /* nanovolts of a step, as a fraction */
    uint32_t nv_denominator;
    uint32_t full_scale_uv;
    uint16_t band_low_mhz;
    uint16_t band_high_hz;
    uint8_t notch_hz;
    uint8_t electrodes;
    uint8_t features;
    uint16_t test_uv;  /* peak to peak; 0 without OPEN6L_CAN_TEST */
    uint16_t test_mhz;
    uint8_t n_rates;
    uint16_t rates_hz[OPEN6L_MAX_RATES]; /* the usual one first */
    const char *serial;                  /* ASCII, 1 to OPEN6L_MAX_SERIAL characters */
    int32_t lowest_step;                 /* ends of the converter; 24 bits: -8388608 and 8388607 */
    int32_t highest_step;
} open6l_config;

/* What the firmware does for the profile. */
typedef struct {
    /* Notify (Data, Clock) or indicate (Control). Return nonzero if the stack took it. */
    int (*send)(void *context, open6l_characteristic which, const uint8_t *bytes, size_t size);
    /* Run the converter at a rate, on the electrodes or on the test signal; rate 0 switches it off.
     * Return nonzero on success. Called again with the same rate, only the input may change: sampling goes on. */
    int (*convert)(void *context, uint16_t rate_hz, int test);
    /* Blink or sound for some seconds. */
    void (*identify)(void *context);
    /* Charge is enough for a recording. */
    int (*battery_is_enough)(void *context);
} open6l_port;

typedef struct {
    const open6l_config *config;
    const open6l_port *port;
    void *context;
    uint32_t boot;
    open6l_state state;
    uint16_t mtu;
    uint16_t rate_hz; /* of the converter; 0 while it is off */
    uint32_t index;   /* of the next sample */
    uint32_t first;   /* of the stream */
    uint32_t next_mark;
    uint64_t resting_since_us;
    uint8_t recording;
    uint8_t room; /* samples a packet holds */
    uint8_t held;
    uint8_t status;
    uint8_t dropped;
    uint8_t starting; /* the converter was started and has not brought a sample yet */
    uint8_t packet[OPEN6L_MAX_DATA];
} open6l;

/* After power-on; `boot` should differ from all earlier ones (a random or counted number). */
void open6l_boot(open6l *o, const open6l_config *config, const open6l_port *port, void *context, uint32_t boot);

/* The link is encrypted and bonded, or its MTU has changed. */
void open6l_connected(open6l *o, uint16_t mtu);
void open6l_disconnected(open6l *o, uint64_t now_us);

/* Value of Info; returns its size, at most OPEN6L_MAX_INFO. */
size_t open6l_read_info(const open6l *o, uint8_t *out);

/* A value written to Control; `now_us` counts from boot. Returns the error for the attribute protocol. */
uint8_t open6l_write_control(open6l *o, const uint8_t *bytes, size_t size, uint64_t now_us);

/* One conversion of both leads, in order, whatever the state. `off` holds electrodes without contact,
 * `taken_us` the time since boot that was latched when the converter said the data are ready. */
void open6l_sample(open6l *o, int32_t lead_i, int32_t lead_ii, uint8_t off, uint64_t taken_us);

/* Conversions that were missed. */
void open6l_lost(open6l *o, uint32_t n_samples);

/* End a stream for a reason the host did not ask for, such as OPEN6L_LOW_BATTERY or OPEN6L_FAULT. */
void open6l_end(open6l *o, open6l_status reason, uint64_t now_us);

/* Call every second or so: switches the converter off when nobody has needed it for a while. */
void open6l_idle(open6l *o, uint64_t now_us);

/* The bare encoders, for tests and for firmware that keeps a state machine of its own. */
size_t open6l_put_data_header(uint8_t *out, uint8_t recording, uint32_t index, uint8_t status, uint8_t n_samples);
size_t open6l_put_pair(uint8_t *out, int32_t lead_i, int32_t lead_ii);
size_t open6l_put_clock(uint8_t *out, uint32_t index, uint64_t taken_us);
size_t open6l_put_reply(uint8_t *out, uint8_t opcode, uint8_t request, open6l_status status);

#endif
