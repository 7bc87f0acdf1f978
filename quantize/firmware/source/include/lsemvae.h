/* LS-EMVAE for microcontrollers: six limb leads from two, screened on the device.
 *
 * C99, no heap, no floating point, nothing of libc but <string.h> and <stdint.h>. Context and arena belong to the
 * caller, so several recorders can be served side by side.
 *
 *     lsemvae_init -> lsemvae_push ... until lsemvae_ready -> lsemvae_run -> lsemvae_reset for the next person
 *
 * This is research software, not a medical device.
 */
#ifndef LSEMVAE_H
#define LSEMVAE_H

#include <stddef.h>
#include <stdint.h>

#include "lsemvae_config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a call answers; 0 is success. */
typedef enum {
    LSEMVAE_OK = 0,
    LSEMVAE_BAD_ARGUMENT = 1, /* a null pointer, a misaligned arena or one too small */
    LSEMVAE_BAD_RATE = 2,     /* no coefficients for this sampling rate; see lsemvae_rates */
    LSEMVAE_BAD_IMAGE = 3,    /* magic, length, layout or CRC of the model image */
    LSEMVAE_NOT_BEGUN = 4,    /* lsemvae_init has not succeeded on this context */
    LSEMVAE_NOT_ENCODED = 5   /* encoders of your own (LSEMVAE_OWN_ENCODERS) did not run */
} lsemvae_status;

/* What a result is. A zeroed result says "not ready". */
typedef enum {
    LSEMVAE_NOT_READY = 0, /* fewer samples than a window since the last gap, reset or start */
    LSEMVAE_UNUSABLE = 1,  /* quality refused the window; the model did not run; see advice */
    LSEMVAE_RAN = 2        /* the model ran, also where it then gave no answer */
} lsemvae_state;

typedef enum {
    LSEMVAE_INCONCLUSIVE = 0,
    LSEMVAE_NEGATIVE = 1, /* the task's first class */
    LSEMVAE_POSITIVE = 2, /* its second class */
    LSEMVAE_NOT_ASKED = 3
} lsemvae_outcome;

/* Why a task is inconclusive. */
typedef enum {
    LSEMVAE_REASON_NONE = 0,
    LSEMVAE_REASON_QUALITY,        /* the window was refused */
    LSEMVAE_REASON_NOT_ECG,        /* the model does not take it for an ECG */
    LSEMVAE_REASON_LEADS,          /* these leads were not measured well enough for an answer */
    LSEMVAE_REASON_TOO_YOUNG,
    LSEMVAE_REASON_PACED,
    LSEMVAE_REASON_ELECTRODE_SWAP, /* left and right hand look swapped: check, record again */
    LSEMVAE_REASON_UNFAMILIAR,     /* far from all that the model learned from */
    LSEMVAE_REASON_BETWEEN,        /* between the thresholds */
    LSEMVAE_REASON_RATE_UNKNOWN,
    LSEMVAE_REASON_RATE_OUTSIDE
} lsemvae_reason;

/* What the operator should do about a window that was refused, the first thing first. */
typedef enum {
    LSEMVAE_ADVICE_NONE = 0,
    LSEMVAE_ADVICE_WRONG_SCALE,
    LSEMVAE_ADVICE_IDENTICAL_LEADS,
    LSEMVAE_ADVICE_FLAT,
    LSEMVAE_ADVICE_SATURATED,
    LSEMVAE_ADVICE_MAINS,
    LSEMVAE_ADVICE_MOTION,
    LSEMVAE_ADVICE_WANDER,
    LSEMVAE_ADVICE_MUSCLE_NOISE,
    LSEMVAE_ADVICE_LEAD_OFF,
    LSEMVAE_ADVICE_RATE,
    LSEMVAE_ADVICE_NOT_AN_ECG,
    LSEMVAE_ADVICE_FEW_ALIKE_BEATS
} lsemvae_advice;

/* Contact as the front end reports it with samples: any of them makes the samples a gap. */
#define LSEMVAE_RA_OFF 1u
#define LSEMVAE_LA_OFF 2u
#define LSEMVAE_LL_OFF 4u

/* Bits of lsemvae_result.flags: what was noticed on the whole window. */
#define LSEMVAE_FLAG_WRONG_SCALE 0x01u
#define LSEMVAE_FLAG_IDENTICAL_LEADS 0x02u
#define LSEMVAE_FLAG_NOT_AN_ECG 0x04u
#define LSEMVAE_FLAG_RATE_IMPLAUSIBLE 0x08u
#define LSEMVAE_FLAG_FEW_ALIKE_BEATS 0x10u
#define LSEMVAE_FLAG_RHYTHM_UNRELIABLE 0x20u /* alone, it leaves the answer to the decision */

/* Bits of lsemvae_result.lead_flags: what was noticed on one lead; the last two only inform. */
#define LSEMVAE_LEAD_FLAT 0x001u
#define LSEMVAE_LEAD_SATURATED 0x002u
#define LSEMVAE_LEAD_OFF 0x004u
#define LSEMVAE_LEAD_MOTION 0x008u
#define LSEMVAE_LEAD_MUSCLE_NOISE 0x010u
#define LSEMVAE_LEAD_WANDER 0x020u
#define LSEMVAE_LEAD_MAINS 0x040u
#define LSEMVAE_LEAD_WANDER_PRESENT 0x080u
#define LSEMVAE_LEAD_MAINS_PRESENT 0x100u

/* A number in sixteenths of 2^12: the real value times 65536. */
typedef int32_t lsemvae_q16;
#define LSEMVAE_Q16_UNKNOWN INT32_MIN /* could not be measured, which never passes a check */

/* What is told of the front end. */
typedef struct {
    uint32_t rate_hz;      /* one of lsemvae_rates */
    uint32_t pv_per_lsb;   /* picovolts a step (nV per LSB times 1000), 1 to 4294967295 */
    uint32_t mains_hz;     /* 50 or 60; 0: mains is not looked for */
    uint32_t uncalibrated; /* not 0: pv_per_lsb is a guess, and no check in millivolts is made */
    const void *image;     /* a model image (model.blob), 4-byte aligned; NULL: the one linked in */
} lsemvae_config;

/* What is told of the person; a zeroed one says that nobody asked. */
typedef struct {
    uint8_t age_known, age_years;
    uint8_t pacemaker;            /* not 0: the person has one */
    uint8_t electrodes_confirmed; /* not 0: the operator checked the electrodes after a swap warning */
} lsemvae_person;

/* What makes a window an ECG, as lsemvae_edge.quality.shape measures it. */
typedef struct {
    int32_t n_beats; /* a count; everything else is q16 */
    lsemvae_q16 alike, doubt, quiet, contrast, qrs_s, residual, after, after_snr, coherence, roundness, rank_one,
        alignment, line, fast, slow, peakedness, asymmetry;
} lsemvae_shape;

typedef struct {
    lsemvae_outcome outcome;
    lsemvae_reason reason;
    lsemvae_q16 log_odds;                     /* calibrated: the probability is 1 / (1 + exp(-log_odds)) */
    uint16_t probability_q15;                 /* 0 to 32768 */
    lsemvae_q16 contributions[LSEMVAE_LEADS]; /* what each lead added to the log-odds, over an average recording */
} lsemvae_task_result;

typedef struct {
    lsemvae_state state;
    lsemvae_outcome outcome; /* of the primary task */
    lsemvae_advice advice;
    uint32_t flags;
    uint32_t lead_flags[LSEMVAE_LEADS]; /* I, II, III, aVR, aVL, aVF */
    uint32_t first_sample;              /* of the window, at the model's rate, since the last gap, reset or start */
    uint16_t heart_rate_tenths;         /* beats a minute times ten; 0: not measured */
    uint16_t beats_averaged;
    lsemvae_shape shape;
    lsemvae_task_result tasks[LSEMVAE_TASKS];
    lsemvae_q16 logits[LSEMVAE_OUTPUTS];
    lsemvae_q16 latent_distance;
} lsemvae_result;

typedef struct lsemvae_context lsemvae_context;

/* Begin on a context: check the image, choose the coefficients, clear everything. Not from an interrupt. */
lsemvae_status lsemvae_init(lsemvae_context *context, const lsemvae_config *config);

/* Take n samples of leads I and II, in steps of pv_per_lsb, as they come. status: LSEMVAE_RA_OFF and the like, 0 for
 * good contact. Bounded time: see the README. May be called from an interrupt, also while lsemvae_run works, if
 * LSEMVAE_LOCK and LSEMVAE_UNLOCK keep that interrupt off for the copy at its start. */
lsemvae_status lsemvae_push(lsemvae_context *context, const int32_t *lead_i, const int32_t *lead_ii, size_t n,
                            uint32_t status);

/* Say that n samples were not received. Short gaps are bridged by a straight line, long ones begin the window anew. */
lsemvae_status lsemvae_push_gap(lsemvae_context *context, size_t n);

/* Whether a whole window lies behind the newest sample: 1 or 0. May be called from an interrupt. */
int lsemvae_ready(const lsemvae_context *context);

/* Tell of the person; until then, and after lsemvae_reset, nobody asked. */
lsemvae_status lsemvae_set_person(lsemvae_context *context, const lsemvae_person *person);

/* Judge the newest window and, if it is usable, run the model. The arena needs LSEMVAE_ARENA_BYTES, aligned to
 * LSEMVAE_ARENA_ALIGN; nothing in it outlives the call. Answers LSEMVAE_OK also for "not ready" and "unusable". */
lsemvae_status lsemvae_run(lsemvae_context *context, void *arena, size_t arena_bytes, lsemvae_result *result);

/* The next person: overwrite every sample, what was told of the person, the arena and the result (each may be NULL).
 * The context is wiped with LSEMVAE_LOCK held. */
void lsemvae_reset(lsemvae_context *context, void *arena, size_t arena_bytes, lsemvae_result *result);

const char *lsemvae_version(void);                           /* of the generator */
const uint8_t *lsemvae_spec_sha256(const lsemvae_context *context); /* 32 bytes; of the contract the image was made from */
const char *lsemvae_model_id(const lsemvae_context *context);
size_t lsemvae_rates(const uint32_t **rates_hz);             /* rates with coefficients in the linked image */

#include "lsemvae_context.h"

#ifdef __cplusplus
}
#endif
#endif
