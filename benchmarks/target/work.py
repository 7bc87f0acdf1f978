"""The work of each model, how near it comes to what this machine can do at most, and where its time goes.

`ceilings`, in the same session, measures the ceilings and the times that are held against them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from lsemvae_edge.benchmarks.target import candidates, profile, roofline
from lsemvae_edge.benchmarks.target.counted import COUNTERS, Work, count
from lsemvae_edge.benchmarks.target.plan import Plan
from lsemvae_edge.benchmarks.target.session import Json, Session
from lsemvae_edge.bundle import Bundle

PART: Final = "work"
UNTOLD: Final = "an ExecuTorch program holds its layers in a delegate; they are those of the other files"


def measure(session: Session, plan: Plan) -> None:
    """Count the work of every file, hold its times against the ceilings, and time its operators one by one."""
    counted: dict[tuple[str, str], Work] = {}
    rows = []
    for bundle in plan.bundles:
        for model in bundle.manifest.models:
            what = f"{candidates.size_of(bundle)}, {model.path}"
            if model.format not in COUNTERS:
                continue
            try:
                work = count(bundle.read(model.path), model.format)
            except ModuleNotFoundError as error:
                session.skip(PART, what, f"the package {error.name} is not installed")
                continue
            counted[bundle.sha256, model.path] = work
            rows.append(_row(bundle, model.path, model.precision, work))
    if any(model.format not in COUNTERS for bundle in plan.bundles for model in bundle.manifest.models):
        session.skip(PART, "pte", UNTOLD)
    session.fact(PART, "models", rows)
    session.fact(PART, "roofline", roofline.rows(session.folder, _by_case(plan.bundles, counted)))
    profile.measure(session, plan)


def _row(bundle: Bundle, path: str, precision: str, work: Work) -> dict[str, Json]:
    return {
        "size": candidates.size_of(bundle),
        "precision": precision,
        "file": path,
        "macs": work.macs,
        "int8_macs": work.macs_in("int8"),
        "fp32_macs": work.macs_in("fp32"),
        "operators": len(work.operators),
        "weight_bytes": work.weight_bytes,
        "activation_bytes": work.activation_bytes,
        "intensity_mac_per_byte": work.intensity_mac_per_byte,
    }


def _by_case(
    bundles: Iterable[Bundle], counted: Mapping[tuple[str, str], Work]
) -> Callable[[Mapping[str, Json]], Work | None]:
    """Return what finds the work behind a case's facts; a program's is that of a file of the same precision."""
    like: dict[tuple[str, str], Work] = {}
    for bundle in bundles:
        for model in bundle.manifest.models:
            if (work := counted.get((bundle.sha256, model.path))) is not None:
                like.setdefault((bundle.sha256, model.precision), work)

    def find(facts: Mapping[str, Json]) -> Work | None:
        found = counted.get((facts["sha256"], facts["file"]))
        return like.get((facts["sha256"], facts["precision"])) if found is None else found

    return find
