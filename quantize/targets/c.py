"""Plain C99 for a device of one's own: a folder, not a file of a bundle; see `lsemvae_edge.quantize.firmware`."""

from lsemvae_edge.quantize.targets import Target

TARGETS = (
    Target(
        "c",
        "int8",
        "microcontrollers: C99 sources in a folder of their own, int8 weights and 16-bit activations",
        packages=("torch", "torchao", "ai_edge_litert", "safetensors"),
    ),
    Target("c", "fp32", "microcontrollers", not_supported="on a microcontroller the model runs in integers alone"),
)
