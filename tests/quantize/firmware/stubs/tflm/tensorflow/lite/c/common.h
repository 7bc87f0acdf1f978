// The few of TensorFlow Lite Micro's declarations that the folder uses, as its headers have them. No interpreter stands
// behind them: stub.cc lets the library's own encoders answer.
#ifndef STUB_TFLM_COMMON_H_
#define STUB_TFLM_COMMON_H_

#include <cstddef>
#include <cstdint>

#ifndef TF_LITE_STATIC_MEMORY
#error "TensorFlow Lite Micro is compiled with TF_LITE_STATIC_MEMORY, and whoever includes it must be, too"
#endif

typedef enum { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
typedef enum { kTfLiteNoType = 0, kTfLiteInt16 = 7 } TfLiteType;
typedef union {
  int16_t* i16;
  char* raw;
} TfLitePtrUnion;
typedef struct TfLiteTensor {
  TfLitePtrUnion data;
  TfLiteType type;
  size_t bytes;
} TfLiteTensor;

#endif
