/* From logits to outcomes: calibration, thresholds, and every reason not to answer, in the order of
 * lsemvae_edge/decision.py. */
#include "lsemvae_core.h"

static lsemvae_q16 bounded(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < -INT32_MAX ? -INT32_MAX : (lsemvae_q16)value;
}

static int64_t scaled(const struct lsemvae_task *task, int64_t value) {
    return (value * task->slope_q20 + ((int64_t)1 << 19)) >> 20;
}

static uint16_t probability(const struct lsemvae_image *image, lsemvae_q16 log_odds) {
    const int32_t far = 16 * 65536; /* beyond it, 15 bits tell no difference */
    int32_t size = log_odds < 0 ? (log_odds < -far ? far : -log_odds) : (log_odds > far ? far : log_odds);
    uint32_t power = lsemvae_exp_q24(image, -size * 16);
    uint32_t whole = ((uint32_t)1 << 24) + power;
    uint32_t less = (uint32_t)((((uint64_t)power << 15) + whole / 2) / whole);
    return (uint16_t)(log_odds < 0 ? less : 32768u - less);
}

static int tripped(const struct lsemvae_image *image, const lsemvae_answer *answer, lsemvae_reason kind) {
    for (uint32_t k = 0; k < LSEMVAE_GUARDS; k++) {
        const struct lsemvae_guard *guard = &image->guards[k];
        if (guard->kind == (int32_t)kind && answer->logits[guard->output] >= guard->max_logit) {
            return 1;
        }
    }
    return 0;
}

/* Why no task may be answered. All six leads are always there: they follow from the two. */
static lsemvae_reason refusal(const struct lsemvae_image *image, const lsemvae_answer *answer,
                              const lsemvae_person *person) {
    if (tripped(image, answer, LSEMVAE_REASON_NOT_ECG)) {
        return LSEMVAE_REASON_NOT_ECG;
    }
    if (person->age_known && person->age_years < image->min_age_years) {
        return LSEMVAE_REASON_TOO_YOUNG;
    }
    if (person->pacemaker) {
        return LSEMVAE_REASON_PACED;
    }
    if (tripped(image, answer, LSEMVAE_REASON_ELECTRODE_SWAP) && !person->electrodes_confirmed) {
        return LSEMVAE_REASON_ELECTRODE_SWAP;
    }
    if (image->max_distance > 0 && answer->latent_distance >= image->max_distance) {
        return LSEMVAE_REASON_UNFAMILIAR;
    }
    return LSEMVAE_REASON_NONE;
}

static void answered(const struct lsemvae_image *image, const struct lsemvae_task *task, lsemvae_reason refused,
                     const lsemvae_result *seen, lsemvae_task_result *made) {
    made->outcome = LSEMVAE_INCONCLUSIVE;
    if (refused != LSEMVAE_REASON_NONE) {
        made->reason = refused;
    } else if (made->log_odds >= task->upper) {
        made->outcome = LSEMVAE_POSITIVE;
    } else if (made->log_odds >= task->lower) {
        made->reason = LSEMVAE_REASON_BETWEEN;
    } else if (task->primary &&
               (seen->heart_rate_tenths == 0 || (seen->flags & LSEMVAE_FLAG_RHYTHM_UNRELIABLE) != 0)) {
        made->reason = LSEMVAE_REASON_RATE_UNKNOWN;
    } else if (task->primary && (seen->heart_rate_tenths < image->min_rate_tenths ||
                                 seen->heart_rate_tenths > image->max_rate_tenths)) {
        made->reason = LSEMVAE_REASON_RATE_OUTSIDE;
    } else {
        made->outcome = LSEMVAE_NEGATIVE;
    }
}

void lsemvae_decide(const struct lsemvae_image *image, const lsemvae_answer *answer, const lsemvae_person *person,
                    lsemvae_result *result) {
    lsemvae_q16 log_odds[LSEMVAE_TASKS];
    memcpy(result->logits, answer->logits, sizeof result->logits);
    result->latent_distance = answer->latent_distance;
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        const struct lsemvae_task *task = &image->tasks[k];
        log_odds[k] = bounded(scaled(task, answer->logits[task->output]) + task->intercept);
    }
    lsemvae_reason refused = refusal(image, answer, person);
    for (uint32_t k = 0; k < LSEMVAE_TASKS; k++) {
        const struct lsemvae_task *task = &image->tasks[k];
        lsemvae_task_result *made = &result->tasks[k];
        memset(made, 0, sizeof *made);
        if (task->asked_task >= 0 && log_odds[task->asked_task] < task->asked_min) {
            made->outcome = LSEMVAE_NOT_ASKED;
        } else {
            made->log_odds = log_odds[k];
            made->probability_q15 = probability(image, log_odds[k]);
            for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
                int64_t over = (int64_t)answer->contributions[lead][task->output] - task->baseline[lead];
                made->contributions[lead] = bounded(scaled(task, bounded(over)));
            }
            answered(image, task, refused, result, made);
        }
        if (task->primary) {
            result->outcome = made->outcome;
        }
    }
}
