"""Bundles made from bundles, released only if every gate is passed and the known answers hold."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lsemvae_edge import __version__, golden
from lsemvae_edge import bundle as bundles
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.model import Student
from lsemvae_edge.quantize import forms, parity, sbom, weights
from lsemvae_edge.quantize.build import CARD, bill, versions
from lsemvae_edge.quantize.draft import draft
from lsemvae_edge.quantize.forms import Forms
from lsemvae_edge.quantize.gates import Bounds
from lsemvae_edge.quantize.parity import Asked
from lsemvae_edge.quantize.targets import QuantizationError, Target, target_of
from lsemvae_edge.train.recalibrate import Recalibration, report


def export(
    bundle: Bundle, targets: Sequence[Target], out: Path, *, asked: Asked | None = None, bounds: Bounds | None = None
) -> Bundle:
    """Write a bundle that holds further forms of its model, all made anew from the float weights.

    Parameters
    ----------
    bundle : Bundle
        With float weights.
    targets : sequence of Target
        Forms to add, or to make again.
    out : Path
        New folder, or archive ending in ``.zip``.
    asked : Asked, optional
        Recordings that all forms, old and new, are compared on; by default simulated hearts.
    bounds : Bounds, optional

    Raises
    ------
    BundleError
        If the bundle has no float weights, or ``out`` exists.
    QuantizationError
        If a form breaks a gate; nothing is left at ``out``.
    """
    held = [target_of(model) for model in bundle.manifest.models]
    with draft(out) as place:
        student = restored(bundle)
        made = forms.convert(student, bundle.spec, bundle.manifest.quantization, _unique([*held, *targets]))
        quantization = bundle.manifest.quantization
        everyday = asked or parity.simulated(bundle.spec)
        agreed = forms.prove(made, student, bundle.spec, quantization, everyday, bounds)
        written = _rewrite(
            bundle,
            place,
            made,
            metrics={**bundle.manifest.metrics, "agreement": agreed},
            provenance={**bundle.manifest.provenance, "versions": versions(), "exported_at": _today()},
        )
        _hold(written, made)
    return bundles.load(out)


def recalibrated(bundle: Bundle, found: Recalibration, out: Path, *, cohort: str) -> Bundle:
    """Write the next version of a bundle, with a site's calibration and thresholds, and their local validation.

    Every form is made anew, because each carries the contract.

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
        If a form breaks a gate; nothing is left at ``out``.
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
        "made_at": _today(),
        "software_version": __version__,
    }
    with draft(out) as place:
        held = [target_of(model) for model in manifest.models]
        made = forms.convert(restored(bundle), spec, manifest.quantization, held)
        written = _rewrite(
            bundle,
            place,
            made,
            spec=spec,
            version=version,
            files={
                manifest.golden: golden.packed(golden.decided_by(spec, bundle.golden)),
                CARD: f"{card}\n## Local validation: {cohort}\n\n{report(found)}\n".encode(),
            },
            metrics={**manifest.metrics, "local_validation": local},
            provenance={**manifest.provenance, "versions": versions(), "recalibration": note},
        )
        _hold(written, made)
    return bundles.load(out)


def restored(bundle: Bundle) -> Student:
    """Return the student of a bundle, from its float weights.

    Raises
    ------
    BundleError
        If the bundle has none.
    """
    return weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))


def _rewrite(
    bundle: Bundle, path: Path, made: Forms, *, files: dict[str, bytes] | None = None, **changes: Any
) -> Bundle:
    """Write a bundle with other forms and files; what holds the bundle together is made anew."""
    manifest = bundle.manifest
    replaced = {model.path for model in manifest.models} | {sbom.FILE_NAME}
    kept = {name: bundle.read(name) for name in manifest.files if name not in replaced}
    content = {**kept, **(files or {}), **made.files}
    provenance = {**changes["provenance"], "made_from": bundle.sha256}
    name, version = manifest.name, changes.get("version", manifest.version)
    if sbom.FILE_NAME in manifest.files:
        content[sbom.FILE_NAME] = bill(name, version, content, provenance)
    told = {**changes, "provenance": provenance, "models": made.models}
    return bundles.rewrite(bundle, path, files=content, **told)


def _hold(written: Bundle, made: Forms) -> None:
    """Refuse a bundle whose forms miss their known answers."""
    for target, content in made.content.items():
        session = target.open(content, target.model)
        for check in golden.check(written, session):
            if not check.passed:
                raise QuantizationError(f"{target.name} misses its known answers at {check.stage}.")


def _unique(targets: Sequence[Target]) -> list[Target]:
    return list({target.name: target for target in targets}.values())


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
