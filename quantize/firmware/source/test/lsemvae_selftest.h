/* Known answers of every stage, on the device itself. Links with lsemvae_vectors.c; without either the library is whole. */
#ifndef LSEMVAE_SELFTEST_H
#define LSEMVAE_SELFTEST_H

#include "lsemvae.h"

#define LSEMVAE_SELFTEST_LINE 160u /* characters that always hold the line, with its end */

/* Stages in the order in which they are tried; the first that differs is the answer. */
typedef enum {
    LSEMVAE_STAGE_PASS = 0,
    LSEMVAE_STAGE_IMAGE,    /* magic, length, layout, CRC; or no coefficients for the recording's rate */
    LSEMVAE_STAGE_WINDOW,   /* filters and resampling: within 1 of Python's floating point */
    LSEMVAE_STAGE_INPUT,    /* beats and their average: within 1 step */
    LSEMVAE_STAGE_ENCODER,  /* bit for bit what LiteRT's reference kernels give */
    LSEMVAE_STAGE_TAIL,     /* fusion and heads: bit for bit, or within 1 / 65536 with the floating-point tail */
    LSEMVAE_STAGE_DECISION, /* outcomes from the known latents */
    LSEMVAE_STAGE_RUN       /* outcomes of lsemvae_run on the recording */
} lsemvae_stage;

/* Try every stage on every known recording, and write one line without a line feed:
 *     lsemvae selftest: PASS model=... spec=... vectors=2
 *     lsemvae selftest: FAIL stage=encoder vector=golden 1
 * The arena has LSEMVAE_ARENA_BYTES. Context and arena are overwritten, and cleared at the end. line may be NULL. */
int lsemvae_selftest(lsemvae_context *context, void *arena, char *line, size_t size);

#endif
