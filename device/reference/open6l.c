#include "open6l.h"

#include <string.h>

#define LAYOUT 1u
#define SATURATED_I 0x10u
#define SATURATED_II 0x20u
#define DROPPED 0x40u
#define CONTACT_KNOWN 0x80u

#define ATT_HEADER 3u
#define SMALLEST_MTU 23u
#define FULL_MTU 100u
#define SMALL_MTU_RATE_HZ 250u
#define PACKETS_A_SECOND 25u

static open6l_status refusal(const open6l *o, const uint8_t *bytes, size_t size);
static int begin(open6l *o, uint8_t opcode, uint16_t rate_hz, uint8_t recording);
static void rest(open6l *o, uint64_t now_us);
static void flush(open6l *o);
static void reply(open6l *o, uint8_t opcode, uint8_t request, open6l_status status);
static int offers(const open6l *o, uint16_t rate_hz);
static uint8_t *put(uint8_t *out, uint64_t value, unsigned n_bytes);
static uint16_t get_u16(const uint8_t *bytes);

void open6l_boot(open6l *o, const open6l_config *config, const open6l_port *port, void *context, uint32_t boot)
{
    memset(o, 0, sizeof *o);
    o->config = config;
    o->port = port;
    o->context = context;
    o->boot = boot;
    o->state = OPEN6L_RESTING;
    o->mtu = SMALLEST_MTU;
}

void open6l_connected(open6l *o, uint16_t mtu)
{
    o->mtu = mtu < SMALLEST_MTU ? SMALLEST_MTU : mtu;
}

void open6l_disconnected(open6l *o, uint64_t now_us)
{
    rest(o, now_us);
    o->mtu = SMALLEST_MTU;
}

size_t open6l_read_info(const open6l *o, uint8_t *out)
{
    const open6l_config *c = o->config;
    size_t n_rates = c->n_rates > OPEN6L_MAX_RATES ? OPEN6L_MAX_RATES : c->n_rates;
    size_t n_serial = strlen(c->serial);
    size_t k;
    uint8_t *at = out;
    if (n_serial > OPEN6L_MAX_SERIAL) {
        n_serial = OPEN6L_MAX_SERIAL;
    }
    at = put(at, OPEN6L_MAJOR, 1);
    at = put(at, OPEN6L_MINOR, 1);
    at = put(at, o->boot, 4);
    at = put(at, c->nv_numerator, 4);
    at = put(at, c->nv_denominator, 4);
    at = put(at, c->full_scale_uv, 4);
    at = put(at, c->band_low_mhz, 2);
    at = put(at, c->band_high_hz, 2);
    at = put(at, c->notch_hz, 1);
    at = put(at, c->electrodes, 1);
    at = put(at, c->features, 1);
    at = put(at, c->test_uv, 2);
    at = put(at, c->test_mhz, 2);
    at = put(at, n_rates, 1);
    for (k = 0; k < n_rates; k++) {
        at = put(at, c->rates_hz[k], 2);
    }
    at = put(at, n_serial, 1);
    memcpy(at, c->serial, n_serial);
    return (size_t)(at - out) + n_serial;
}

uint8_t open6l_write_control(open6l *o, const uint8_t *bytes, size_t size, uint64_t now_us)
{
    open6l_status status;
    if (size < 2) {
        return OPEN6L_ATT_WRONG_LENGTH;
    }
    status = refusal(o, bytes, size);
    if (status == OPEN6L_OK) {
        switch (bytes[0]) {
        case OPEN6L_START:
        case OPEN6L_TEST:
            if (!begin(o, bytes[0], get_u16(bytes + 2), bytes[4])) {
                status = OPEN6L_FAULT;
            }
            break;
        case OPEN6L_STOP:
            flush(o);
            rest(o, now_us);
            break;
        default:
            o->port->identify(o->context);
        }
    }
    reply(o, bytes[0], bytes[1], status);
    return OPEN6L_ATT_OK;
}

void open6l_sample(open6l *o, int32_t lead_i, int32_t lead_ii, uint8_t off, uint64_t taken_us)
{
    const open6l_config *c = o->config;
    if (o->starting) {
        /* Nobody counted while the converter was off: the index follows the clock. */
        o->starting = 0;
        o->index = o->first = o->next_mark = (uint32_t)(taken_us * o->rate_hz / 1000000u);
    }
    if (o->state == OPEN6L_RESTING) {
        o->index++;
        return;
    }
    /* Differences of wrapping numbers, so that the wrap of the index is nothing special. */
    if ((int32_t)(o->index - o->next_mark) >= 0) {
        uint8_t mark[OPEN6L_CLOCK_SIZE];
        o->port->send(o->context, OPEN6L_CHAR_CLOCK, mark, open6l_put_clock(mark, o->index, taken_us));
        o->next_mark = o->index + o->rate_hz;
    }
    if (o->state == OPEN6L_MEASURING && (c->features & OPEN6L_CAN_TELL_CONTACT)) {
        o->status = (uint8_t)(o->status | CONTACT_KNOWN | (off & c->electrodes));
    }
    if (lead_i <= c->lowest_step || lead_i >= c->highest_step) {
        o->status |= SATURATED_I;
    }
    if (lead_ii <= c->lowest_step || lead_ii >= c->highest_step) {
        o->status |= SATURATED_II;
    }
    open6l_put_pair(o->packet + OPEN6L_DATA_HEADER + 6u * o->held, lead_i, lead_ii);
    o->held++;
    o->index++;
    if (o->held == o->room) {
        flush(o);
    }
    if (o->index - o->first >= OPEN6L_LIMIT_S * (uint32_t)o->rate_hz) {
        open6l_end(o, OPEN6L_TIME_LIMIT, taken_us);
    }
}

void open6l_lost(open6l *o, uint32_t n_samples)
{
    if (o->state != OPEN6L_RESTING) {
        flush(o);
        o->dropped = 1;
    }
    o->index += n_samples;
}

void open6l_end(open6l *o, open6l_status reason, uint64_t now_us)
{
    if (o->state != OPEN6L_RESTING) {
        flush(o);
        rest(o, now_us);
        reply(o, OPEN6L_STOP, 0, reason);
    }
}

void open6l_idle(open6l *o, uint64_t now_us)
{
    if (o->state == OPEN6L_RESTING && o->rate_hz != 0 &&
        now_us - o->resting_since_us >= OPEN6L_KEEP_CONVERTING_S * UINT64_C(1000000)) {
        o->port->convert(o->context, 0, 0);
        o->rate_hz = 0;
    }
}

size_t open6l_put_data_header(uint8_t *out, uint8_t recording, uint32_t index, uint8_t status, uint8_t n_samples)
{
    uint8_t *at = put(out, LAYOUT, 1);
    at = put(at, recording, 1);
    at = put(at, index, 4);
    at = put(at, status, 1);
    at = put(at, n_samples, 1);
    return (size_t)(at - out);
}

size_t open6l_put_pair(uint8_t *out, int32_t lead_i, int32_t lead_ii)
{
    put(put(out, (uint32_t)lead_i, 3), (uint32_t)lead_ii, 3);
    return 6;
}

size_t open6l_put_clock(uint8_t *out, uint32_t index, uint64_t taken_us)
{
    put(put(out, index, 4), taken_us, 8);
    return OPEN6L_CLOCK_SIZE;
}

size_t open6l_put_reply(uint8_t *out, uint8_t opcode, uint8_t request, open6l_status status)
{
    put(put(put(out, opcode, 1), request, 1), (uint64_t)status, 1);
    return OPEN6L_REPLY_SIZE;
}

/* The first reason against a command, in the order of the profile's table. */
static open6l_status refusal(const open6l *o, const uint8_t *bytes, size_t size)
{
    uint8_t opcode = bytes[0];
    int starts = opcode == OPEN6L_START || opcode == OPEN6L_TEST;
    uint16_t rate_hz;
    if (!starts && opcode != OPEN6L_STOP && opcode != OPEN6L_IDENTIFY) {
        return OPEN6L_UNKNOWN_OPCODE;
    }
    if (bytes[1] == 0 || size != (starts ? 5u : 2u)) {
        return OPEN6L_MALFORMED;
    }
    if ((opcode == OPEN6L_TEST && !(o->config->features & OPEN6L_CAN_TEST)) ||
        (opcode == OPEN6L_IDENTIFY && !(o->config->features & OPEN6L_CAN_IDENTIFY))) {
        return OPEN6L_NOT_SUPPORTED;
    }
    if (!starts) {
        return OPEN6L_OK;
    }
    if (o->state != OPEN6L_RESTING) {
        return OPEN6L_BUSY;
    }
    rate_hz = get_u16(bytes + 2);
    if (!offers(o, rate_hz)) {
        return OPEN6L_RATE_NOT_OFFERED;
    }
    if (o->mtu < FULL_MTU && rate_hz > SMALL_MTU_RATE_HZ) {
        return OPEN6L_MTU_TOO_SMALL;
    }
    return o->port->battery_is_enough(o->context) ? OPEN6L_OK : OPEN6L_LOW_BATTERY;
}

static int begin(open6l *o, uint8_t opcode, uint16_t rate_hz, uint8_t recording)
{
    unsigned room = rate_hz / PACKETS_A_SECOND;
    unsigned in_mtu = (o->mtu - ATT_HEADER - OPEN6L_DATA_HEADER) / 6u;
    if (!o->port->convert(o->context, rate_hz, opcode == OPEN6L_TEST)) {
        o->rate_hz = 0;
        return 0;
    }
    room = room > in_mtu ? in_mtu : room;
    room = room > OPEN6L_MAX_SAMPLES ? OPEN6L_MAX_SAMPLES : room;
    if (o->rate_hz != rate_hz) {
        o->starting = 1;
        o->rate_hz = rate_hz;
    }
    o->state = opcode == OPEN6L_TEST ? OPEN6L_TESTING : OPEN6L_MEASURING;
    o->recording = recording;
    o->first = o->next_mark = o->index;
    o->room = (uint8_t)(room < 1u ? 1u : room);
    return 1;
}

static void rest(open6l *o, uint64_t now_us)
{
    o->state = OPEN6L_RESTING;
    o->resting_since_us = now_us;
    o->held = o->status = o->dropped = 0;
}

/* Send the packet that is being filled. What the stack does not take is lost, and the next packet says so. */
static void flush(open6l *o)
{
    uint8_t status = (uint8_t)(o->status | (o->dropped ? DROPPED : 0u));
    size_t size = OPEN6L_DATA_HEADER + 6u * (size_t)o->held;
    if (o->held == 0) {
        return;
    }
    open6l_put_data_header(o->packet, o->recording, o->index - o->held, status, o->held);
    o->dropped = o->port->send(o->context, OPEN6L_CHAR_DATA, o->packet, size) ? 0 : 1;
    o->held = o->status = 0;
}

static void reply(open6l *o, uint8_t opcode, uint8_t request, open6l_status status)
{
    uint8_t bytes[OPEN6L_REPLY_SIZE];
    o->port->send(o->context, OPEN6L_CHAR_CONTROL, bytes, open6l_put_reply(bytes, opcode, request, status));
}

static int offers(const open6l *o, uint16_t rate_hz)
{
    uint8_t k;
    for (k = 0; k < o->config->n_rates && k < OPEN6L_MAX_RATES; k++) {
        if (o->config->rates_hz[k] == rate_hz) {
            return 1;
        }
    }
    return 0;
}

/* Little-endian. */
static uint8_t *put(uint8_t *out, uint64_t value, unsigned n_bytes)
{
    while (n_bytes-- > 0) {
        *out++ = (uint8_t)value;
        value >>= 8;
    }
    return out;
}

static uint16_t get_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | (unsigned)bytes[1] << 8);
}
