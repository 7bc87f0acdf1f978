#ifndef STUB_TFLM_SYSTEM_SETUP_H_
#define STUB_TFLM_SYSTEM_SETUP_H_

namespace tflite {
void InitializeTarget();
}

#endif
