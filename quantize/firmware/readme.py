"""The folder's README, in the language of the people who embed it."""

from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from lsemvae_edge import __version__

if TYPE_CHECKING:
    from lsemvae_edge.quantize.firmware.generate import Firmware

TEMPLATE = "README.template.md"


def text(made: "Firmware") -> str:
    """Return the README of one model's folder."""
    spec = made.spec
    window_s, context_s = spec.preprocess.window_s, spec.preprocess.context_s
    template = (files("lsemvae_edge.quantize.firmware") / TEMPLATE).read_text(encoding="utf-8")
    return Template(template).substitute(
        model=spec.id,
        version=__version__,
        spec=bytes(made.image["spec_sha256"]).hex()[:16],
        stand_in=spec.intended_use.stand_in or "nothing: it was trained on the label it is named after",
        tasks="\n".join(
            f"| {k} | {task.title} ({task.role}) | {task.classes[0]} | {task.classes[1]} |"
            for k, task in enumerate(spec.tasks)
        ),
        image_bytes=f"{made.image.dtype.itemsize:,}",
        arena_bytes=f"{made.arena_bytes:,}",
        multiply_adds=f"{made.model.multiply_adds:,}",
        rates=", ".join(str(rate.rate_hz) for rate in made.rates),
        window_s=f"{window_s:.1f}",
        needed_s=f"{window_s + 2 * context_s:.1f}",
        delay_s=f"{context_s:.2f}",
        bridge_ms=round(1000 * spec.preprocess.max_bridge_s),
        min_age=f"{spec.intended_use.min_age_years:g}",
        licence=made.licence or "see the bundle",
        attribution=made.attribution or "see the bundle",
    )
