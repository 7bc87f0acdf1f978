"""Bundles made from bundles: the same model in one more format, released only if its known answers hold."""

from pathlib import Path
from shutil import move, rmtree
from tempfile import mkdtemp

from lsemvae_edge import bundle as bundles
from lsemvae_edge import golden
from lsemvae_edge.bundle import Bundle
from lsemvae_edge.errors import BundleError
from lsemvae_edge.quantize import onnx, weights
from lsemvae_edge.quantize.litert import QuantizationError
from lsemvae_edge.runtime import open_session


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
    if out.exists():
        raise BundleError(f"{out} exists.", "Name a new folder or archive.")
    student = weights.restore(bundle.read(weights.WEIGHTS), bundle.read(weights.CONFIG))
    manifest = bundle.manifest
    files = {name: bundle.read(name) for name in manifest.files}
    files[onnx.FILE.path] = onnx.to_onnx(student, bundle.spec.preprocess.window_samples)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        made = bundles.write(
            draft / out.name,
            spec=bundle.spec,
            models=(*(model for model in manifest.models if model.format != "onnx"), onnx.FILE),
            files=files,
            golden=manifest.golden,
            tolerance=manifest.tolerance,
            metrics=manifest.metrics,
            provenance={**manifest.provenance, "made_from": bundle.sha256},
            version=manifest.version,
        )
        failed = [check for check in golden.check(made, open_session(made, "onnxruntime")) if not check.passed]
        if failed:
            raise QuantizationError(f"The ONNX form misses its known answers at {failed[0].stage}.")
        move(draft / out.name, out)
    finally:
        rmtree(draft, ignore_errors=True)
    return bundles.load(out)
