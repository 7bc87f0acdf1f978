/* TensorFlow Lite Micro in place of the library's own encoders. Everything around them stays: filters, quality, beats,
 * the fixed-point tail, the decision. Compile src/ and this folder with LSEMVAE_OWN_ENCODERS. */
#ifndef LSEMVAE_TFLM_H
#define LSEMVAE_TFLM_H

#include "lsemvae.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Build the interpreter once, before lsemvae_run. The arena is the interpreter's alone, 16-byte aligned and kept.
 * Answers the bytes of it that stay in use; building takes somewhat more. 0 if it does not fit or the model is not ours:
 * until a call succeeds, lsemvae_run answers LSEMVAE_NOT_ENCODED. */
size_t lsemvae_tflm_begin(void *arena, size_t arena_bytes);

#ifdef __cplusplus
}
#endif
#endif
