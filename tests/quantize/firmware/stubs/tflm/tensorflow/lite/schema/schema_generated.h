#ifndef STUB_TFLM_SCHEMA_H_
#define STUB_TFLM_SCHEMA_H_

#include <cstdint>

namespace tflite {

struct Model {
  uint32_t version() const;
};

const Model* GetModel(const void* bytes);

}  // namespace tflite

#endif
