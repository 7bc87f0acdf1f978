// The self-test of the folder with TensorFlow Lite Micro as its encoders: every known answer must come out bit for bit.
// On a board, give printf a way out and call lsemvae_tflm_begin where this does.
#include <cstdint>
#include <cstdio>

extern "C" {
#include "lsemvae_selftest.h"
}
#include "lsemvae_tflm.h"

#ifndef LSEMVAE_TFLM_ARENA_BYTES
#define LSEMVAE_TFLM_ARENA_BYTES (64 * 1024)
#endif

namespace {
lsemvae_context context;
alignas(8) uint8_t arena[LSEMVAE_ARENA_BYTES];
alignas(16) uint8_t tflm_arena[LSEMVAE_TFLM_ARENA_BYTES];
}  // namespace

int main() {
  const size_t used = lsemvae_tflm_begin(tflm_arena, sizeof tflm_arena);
  if (used == 0) {
    std::printf("TensorFlow Lite Micro does not take the model in %u bytes\n", unsigned{LSEMVAE_TFLM_ARENA_BYTES});
    return 1;
  }
  std::printf("tflm arena %u of %u bytes\n", static_cast<unsigned>(used), unsigned{LSEMVAE_TFLM_ARENA_BYTES});
  char line[LSEMVAE_SELFTEST_LINE];
  const int failed = lsemvae_selftest(&context, arena, line, sizeof line);
  std::printf("%s\n", line);
  return failed;
}
