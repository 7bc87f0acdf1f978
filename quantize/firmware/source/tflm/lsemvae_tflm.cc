#include "lsemvae_tflm.h"

#include <cstring>
#include <new>

extern "C" {
#include "lsemvae_core.h"
}
#include "lsemvae_tflm_model.h"
#include "lsemvae_tflm_operators.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

constexpr int kSchema = 3;
constexpr size_t kRowBytes = LSEMVAE_LATENT * sizeof(int16_t);

// Both live as long as the program; made in place, since there is no heap and no order of constructors to rely on.
alignas(LsemvaeOperators) uint8_t operators_room[sizeof(LsemvaeOperators)];
alignas(tflite::MicroInterpreter) uint8_t interpreter_room[sizeof(tflite::MicroInterpreter)];
tflite::MicroInterpreter* interpreter = nullptr;

bool holds(const TfLiteTensor* tensor, size_t bytes) {
  return tensor != nullptr && tensor->type == kTfLiteInt16 && tensor->bytes == bytes;
}

// One input with the leads one below the other; then mean and log-variance of each lead in turn.
bool is_ours(tflite::MicroInterpreter* made) {
  bool ours = made->inputs_size() == 1 && made->outputs_size() == 2 * LSEMVAE_LEADS &&
              holds(made->input(0), LSEMVAE_LEADS * LSEMVAE_BEAT * sizeof(int16_t));
  for (size_t k = 0; ours && k < made->outputs_size(); k++) {
    ours = holds(made->output(k), kRowBytes);
  }
  return ours;
}

}  // namespace

extern "C" size_t lsemvae_tflm_begin(void* arena, size_t arena_bytes) {
  if (interpreter != nullptr) {
    interpreter->~MicroInterpreter();
    interpreter = nullptr;
  }
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(lsemvae_tflm_model);
  auto* operators = new (operators_room) LsemvaeOperators();
  if (model->version() != kSchema || lsemvae_tflm_add_operators(operators) != kTfLiteOk) {
    return 0;
  }
  auto* made = new (interpreter_room)
      tflite::MicroInterpreter(model, *operators, static_cast<uint8_t*>(arena), arena_bytes);
  if (made->AllocateTensors() != kTfLiteOk || !is_ours(made)) {
    made->~MicroInterpreter();
    return 0;
  }
  interpreter = made;
  return made->arena_used_bytes();
}

extern "C" int lsemvae_encode_leads(const struct lsemvae_image*, const int16_t (*input)[LSEMVAE_BEAT], uint8_t*,
                                    int16_t (*mu)[LSEMVAE_LATENT], int16_t (*logvar)[LSEMVAE_LATENT]) {
  if (interpreter == nullptr) {
    return 0;
  }
  TfLiteTensor* signal = interpreter->input(0);
  std::memcpy(signal->data.raw, input, signal->bytes);
  if (interpreter->Invoke() != kTfLiteOk) {
    return 0;
  }
  for (size_t lead = 0; lead < LSEMVAE_LEADS; lead++) {
    std::memcpy(mu[lead], interpreter->output(2 * lead)->data.raw, kRowBytes);
    std::memcpy(logvar[lead], interpreter->output(2 * lead + 1)->data.raw, kRowBytes);
  }
  return 1;
}
