"""Plain C99 for a device of one's own."""

from lsemvae_edge.quantize.targets import Target

_WHY = "there is no generator of C in this release; a firmware team can embed the .tflite with TensorFlow Lite Micro"
TARGETS = (
    Target("c", "int8", "microcontrollers", not_supported=_WHY),
    Target("c", "fp32", "microcontrollers", not_supported=_WHY),
)
