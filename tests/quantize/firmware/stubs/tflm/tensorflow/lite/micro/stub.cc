// The library's own encoders behind the interpreter's declarations: one input, means and log-variances by turns.
#include <cstring>

extern "C" {
#include "lsemvae_core.h"
}
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"

#ifndef STUB_OUTPUTS
#define STUB_OUTPUTS (2 * LSEMVAE_LEADS)
#endif

namespace {
constexpr size_t kUsed = sizeof(int16_t) * LSEMVAE_LEADS * (LSEMVAE_BEAT + 2 * LSEMVAE_LATENT);
TfLiteTensor input_tensor, output_tensors[2 * LSEMVAE_LEADS];
uint64_t scratch[LSEMVAE_ACTIVATION_BYTES / 8 + 1];
}  // namespace

namespace tflite {

uint32_t Model::version() const { return std::memcmp(reinterpret_cast<const char*>(this) + 4, "TFL3", 4) ? 0 : 3; }
const Model* GetModel(const void* bytes) { return static_cast<const Model*>(bytes); }
void InitializeTarget() {}

MicroInterpreter::MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t* arena, size_t size)
    : room_(size), arena_(arena) {}

TfLiteStatus MicroInterpreter::AllocateTensors() {
  if (room_ < kUsed || reinterpret_cast<uintptr_t>(arena_) % 16 != 0) {
    return kTfLiteError;
  }
  input_tensor = {{reinterpret_cast<int16_t*>(arena_)}, kTfLiteInt16, 2 * LSEMVAE_LEADS * LSEMVAE_BEAT};
  int16_t* at = input_tensor.data.i16 + LSEMVAE_LEADS * LSEMVAE_BEAT;
  for (auto& tensor : output_tensors) {
    tensor = {{at}, kTfLiteInt16, 2 * LSEMVAE_LATENT};
    at += LSEMVAE_LATENT;
  }
  return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Invoke() {
#ifdef STUB_FAILS
  return kTfLiteError;
#endif
  for (uint32_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
    lsemvae_encode(&lsemvae_linked_image, lead, input_tensor.data.i16 + lead * LSEMVAE_BEAT,
                   reinterpret_cast<uint8_t*>(scratch), output_tensors[2 * lead].data.i16,
                   output_tensors[2 * lead + 1].data.i16, nullptr, nullptr);
  }
  return kTfLiteOk;
}

TfLiteTensor* MicroInterpreter::input(size_t) { return &input_tensor; }
size_t MicroInterpreter::inputs_size() const { return 1; }
TfLiteTensor* MicroInterpreter::output(size_t index) { return &output_tensors[index]; }
size_t MicroInterpreter::outputs_size() const { return STUB_OUTPUTS; }
size_t MicroInterpreter::arena_used_bytes() const { return kUsed; }

}  // namespace tflite
