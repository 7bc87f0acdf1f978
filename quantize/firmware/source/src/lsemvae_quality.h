/* What the parts of the quality check share. */
#ifndef LSEMVAE_QUALITY_H
#define LSEMVAE_QUALITY_H

#include "lsemvae_core.h"

#define LSEMVAE_LEAD_FATAL                                                                            \
    (LSEMVAE_LEAD_FLAT | LSEMVAE_LEAD_SATURATED | LSEMVAE_LEAD_OFF | LSEMVAE_LEAD_MOTION |             \
     LSEMVAE_LEAD_MUSCLE_NOISE | LSEMVAE_LEAD_WANDER | LSEMVAE_LEAD_MAINS)

/* sqrt(a / b), saturating; 0 / 0 is 0. */
lsemvae_q16 lsemvae_root_ratio(uint64_t a, uint64_t b);
/* Quantile between order statistics, in thousandths. */
uint64_t lsemvae_quantile(const uint32_t *sorted, uint32_t n, uint32_t permille);
/* Fills line, fast and slow. */
void lsemvae_measure_spectrum(const lsemvae_window *window, const struct lsemvae_image *image, void *scratch,
                              lsemvae_shape *shape);
/* Names what is wrong with each lead. qrs_size: see lsemvae_qrs_size. */
void lsemvae_flag_leads(const lsemvae_window *window, const lsemvae_beats *beats, const lsemvae_config *config,
                        const struct lsemvae_limits *limits, uint32_t qrs_size, void *scratch,
                        uint32_t flags[LSEMVAE_LEADS]);

#endif
