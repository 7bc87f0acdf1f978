"""Bundles made from bundles, released only if their known answers hold."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import move, rmtree
from tempfile import mkdtemp
from typing import Any

from lsemvae_edge import __version__, golden
from lsemvae_edge import bundle as bundles
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError
from lsemvae_edge.quantize import onnx, weights
from lsemvae_edge.quantize.litert import QuantizationError
from lsemvae_edge.runtime import open_session
from lsemvae_edge.train.recalibrate import Recalibration, report

CARD = "card.md"


def add_onnx(bundle: Bundle, out: Path) -> Bundle:
    """Write a bundle that holds the float ONNX form beside what was there.

    Parameters
    ----------
    bundle : Bundle
        With float weights.
    out : Path
        New folder, or archive ending in ``.zip``.

    Raises
    ------
    BundleError
        If the bundle has no float weights, or ``out`` exists.
    QuantizationError
        If the converted model misses its known answers; nothing is left at ``out``.
    """
    with _draft(out) as draft:
        student = weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))
        made = _rewrite(
            bundle,
            draft,
            files={onnx.FILE.path: onnx.to_onnx(student, bundle.spec.preprocess.beat.n_samples)},
            models=(*(model for model in bundle.manifest.models if model.format != "onnx"), onnx.FILE),
        )
        _prove(made, "onnxruntime")
    return bundles.load(out)


def recalibrated(bundle: Bundle, found: Recalibration, out: Path, *, cohort: str) -> Bundle:
    """Write the next version of a bundle, with a site's calibration and thresholds, and their local validation.

    Parameters
    ----------
    bundle : Bundle
    found : Recalibration
    out : Path
        New folder, or archive ending in ``.zip``.
    cohort : str
        What the site calls its cohort.

    Raises
    ------
    BundleError
        If ``out`` exists.
    QuantizationError
        If the known answers do not hold; nothing is left at ``out``.
    """
    manifest = bundle.manifest
    version = manifest.version + 1
    family = bundle.spec.id.partition("+")[0]
    spec = replace(bundle.spec, id=f"{family}+site{version}", tasks=found.tasks)
    card = bundle.read(CARD).decode() if CARD in manifest.files else ""
    local = {key: value for key, value in asdict(found).items() if key not in ("tasks", "record_ids_sha256")}
    note = {
        "cohort": cohort,
        "record_ids_sha256": found.record_ids_sha256,
        "prevalence": found.prevalence,
        "sensitivity": found.sensitivity,
        "made_at": datetime.now(UTC).date().isoformat(),
        "software_version": __version__,
    }
    with _draft(out) as draft:
        made = _rewrite(
            bundle,
            draft,
            spec=spec,
            version=version,
            files={
                manifest.golden: golden.packed(golden.decided_by(spec, bundle.golden)),
                CARD: f"{card}\n## Local validation: {cohort}\n\n{report(found)}\n".encode(),
            },
            metrics={**manifest.metrics, "local_validation": local},
            provenance={**manifest.provenance, "recalibration": note},
        )
        _prove(made, None)
    return bundles.load(out)


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """Give a path beside ``out`` to write to, which becomes ``out`` at the end, and nothing if that is not reached."""
    if out.exists():
        raise BundleError(f"{out} exists.", "Name a new folder or archive.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        yield folder / out.name
        move(folder / out.name, out)
    finally:
        rmtree(folder, ignore_errors=True)


def _rewrite(bundle: Bundle, path: Path, *, files: Mapping[str, bytes], **changes: Any) -> Bundle:
    manifest = bundle.manifest
    same: dict[str, Any] = {
        name: getattr(manifest, name)
        for name in ("spec", "models", "golden", "tolerance", "metrics", "provenance", "version")
    }
    told = {**same, **changes}
    told["provenance"] = {**told["provenance"], "made_from": bundle.sha256}
    return bundles.write(path, files={**{name: bundle.read(name) for name in manifest.files}, **files}, **told)


def _prove(made: Bundle, runtime: str | None) -> None:
    failed = [check for check in golden.check(made, open_session(made, runtime)) if not check.passed]
    if failed:
        raise QuantizationError(f"The new bundle misses its known answers at {failed[0].stage}.")
