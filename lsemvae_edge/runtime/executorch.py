"""ExecuTorch programs through a C shim over the wheel's own libraries; neither torch nor ExecuTorch is imported."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError, RuntimeUnavailableError, UsageError
from lsemvae_edge.manifest import ModelFile
from lsemvae_edge.runtime import build
from lsemvae_edge.runtime.session import Output, by_lead, check_tensors, checked_mask

EMBEDDED_SPEC = "lsemvae_edge_spec"
"""Constant method of a program that returns the contract it was exported with."""
_ABI = 2
_MESSAGE_BYTES = 1024
_MAX_RANK = 8
_MAX_TEXT_BYTES = 16 * 1024 * 1024


class ExecuTorchSession:
    """An ExecuTorch program on the calling thread.

    Neither kernels nor XNNPACK start threads: a model this small loses by them.
    """

    runtime = "executorch"

    def __init__(self, program: "_Program", model: ModelFile) -> None:
        self.model = model
        self._program = program
        shapes, given = program.shapes(outputs=False), program.shapes(outputs=True)
        names = [str(i) for i in range(max(len(shapes), len(given)))]
        check_tensors(model, names[: len(shapes)], names[: len(given)])
        self._shape = shapes[int(model.input)]
        leads = self._shape[1:2]
        if len(shapes) != 2 or len(self._shape) != 4 or shapes[int(model.mask)] != (1, *leads):
            raise BundleError(f"{model.path} takes tensors of {_listed(shapes)}, not one signal and one mask of leads.")
        self._read = [int(position) for position in (model.logits, model.mu, model.logvar, model.contributions)]
        if any(len(given[position]) != 2 or given[position][0] != 1 for position in self._read):
            raise BundleError(f"{model.path} gives tensors of {_listed(given)}, not one row each.")

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`."""
        shape = self._shape
        if signal.shape != (shape[1], shape[3]):
            raise BundleError(f"The model takes {shape[1]} leads of {shape[3]} samples, not {signal.shape}.")
        fed = signal.astype(np.float32, order="C")
        taken = {int(self.model.input): fed, int(self.model.mask): checked_mask(mask, shape[1])}
        try:
            given = self._program.run([taken[0], taken[1]])
        except _RefusedError as error:
            raise BundleError(f"{self.model.path} does not run in {self.runtime}: {error}") from error
        logits, mu, logvar, contributions = (given[position][0] for position in self._read)
        return Output(logits, mu, logvar, by_lead(contributions, shape[1], logits.size), fed)


def open_model(content: bytes, model: ModelFile, package: str, threads: int = 1) -> ExecuTorchSession:
    """Open an ExecuTorch program.

    Raises
    ------
    UsageError
        If it is to run in several threads: it runs on the calling one.
    RuntimeUnavailableError
        If the shim was not built, or was built for other software.
    BundleError
        If the content is no program that takes a signal and a mask.
    """
    if threads != 1:
        raise UsageError("ExecuTorch runs on the calling thread alone.", "Ask for one thread.")
    try:
        return ExecuTorchSession(_Program(_shim(), content, "forward"), model)
    except _RefusedError as error:
        raise BundleError(f"{model.path} does not load in {package}: {error}") from error


def planned_bytes(content: bytes) -> int:
    """Return the bytes of the buffers that a program plans ahead; a delegate takes its own on top.

    Raises
    ------
    RuntimeUnavailableError
        If the shim was not built.
    BundleError
        If the content is no program.
    """
    try:
        return _Program(_shim(), content, "forward").planned_bytes()
    except _RefusedError as error:
        raise BundleError(f"The program does not load: {error}") from error


def embedded_spec(content: bytes) -> str:
    """Return the text of a program's constant method `EMBEDDED_SPEC`.

    Parameters
    ----------
    content : bytes
        An ExecuTorch program.

    Raises
    ------
    RuntimeUnavailableError
        If the shim was not built.
    BundleError
        If the content is no program, or holds no such text.
    """
    try:
        return _Program(_shim(), content, EMBEDDED_SPEC).text()
    except (_RefusedError, UnicodeDecodeError) as error:
        raise BundleError(f"The program's {EMBEDDED_SPEC} is not readable: {error}") from error


class _RefusedError(Exception):
    """The runtime's own sentence about what it refuses."""


class _Program:
    """One loaded method; its memory is freed with this object."""

    def __init__(self, shim: ctypes.CDLL, content: bytes, method: str) -> None:
        opened, message = ctypes.c_void_p(), ctypes.create_string_buffer(_MESSAGE_BYTES)
        failed = shim.lsemvae_open(
            content, len(content), method.encode(), ctypes.byref(opened), message, _MESSAGE_BYTES
        )
        if failed:
            raise _RefusedError(_text(message))
        self._shim, self._opened, self._message = shim, opened, message
        finalize(self, shim.lsemvae_close, opened)
        self._output_shapes: list[tuple[int, ...]] | None = None

    def shapes(self, *, outputs: bool) -> list[tuple[int, ...]]:
        """Return the shapes of the inputs or outputs, all of which are float32."""
        sizes = (ctypes.c_int32 * _MAX_RANK)()
        shapes = []
        for index in range(self._shim.lsemvae_count(self._opened, outputs)):
            rank = self._shim.lsemvae_shape(self._opened, outputs, index, sizes, _MAX_RANK)
            if rank < 0:
                raise _RefusedError(f"{'output' if outputs else 'input'} {index} is no tensor of float32")
            shapes.append(tuple(sizes[:rank]))
        return shapes

    def planned_bytes(self) -> int:
        """Return the bytes of the buffers that the method plans."""
        return int(self._shim.lsemvae_planned(self._opened))

    def run(self, taken: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Run once on contiguous arrays, one for each input; return new arrays."""
        if self._output_shapes is None:
            self._output_shapes = self.shapes(outputs=True)
        given = [np.empty(shape, dtype=np.float32) for shape in self._output_shapes]
        failed = self._shim.lsemvae_run(
            self._opened, *_addresses(taken), *_addresses(given), self._message, _MESSAGE_BYTES
        )
        if failed:
            raise _RefusedError(_text(self._message))
        return given

    def text(self) -> str:
        """Return what a constant method holds."""
        length = ctypes.c_size_t()
        buffer = ctypes.create_string_buffer(0)
        # Asked twice: once for the length, once for the text.
        for _ in range(2):
            failed = self._shim.lsemvae_text(
                self._opened, buffer, len(buffer), ctypes.byref(length), self._message, _MESSAGE_BYTES
            )
            if failed:
                raise _RefusedError(_text(self._message))
            if length.value > _MAX_TEXT_BYTES:
                raise _RefusedError("its text is too long")
            if len(buffer) < length.value:
                buffer = ctypes.create_string_buffer(length.value)
        return buffer.raw[: length.value].decode()


def _shim() -> ctypes.CDLL:
    path = build.library()
    if path is None:
        missing = build.wheel() is None
        raise RuntimeUnavailableError(
            "ExecuTorch is not installed." if missing else "The shim of the installed ExecuTorch is not built.",
            f"{'Install it: ' + build.INSTALL + ' ; then build' if missing else 'Build'} its shim: {build.BUILD}",
        )
    return _loaded(path)


@cache
def _loaded(path: Path) -> ctypes.CDLL:
    size, address = ctypes.c_size_t, ctypes.c_void_p
    try:
        shim = ctypes.CDLL(str(path))
        shim.lsemvae_abi.argtypes = ()
        if shim.lsemvae_abi() != _ABI:
            raise RuntimeUnavailableError(f"{path} is of another release.", f"Build it again: {build.BUILD}")
        shim.lsemvae_open.argtypes = (ctypes.c_char_p, size, ctypes.c_char_p, address, ctypes.c_char_p, size)
        shim.lsemvae_close.argtypes = (address,)
        shim.lsemvae_close.restype = None
        shim.lsemvae_count.argtypes = (address, ctypes.c_int)
        shim.lsemvae_count.restype = size
        shim.lsemvae_shape.argtypes = (address, ctypes.c_int, size, address, size)
        shim.lsemvae_planned.argtypes = (address,)
        shim.lsemvae_planned.restype = ctypes.c_int64
        shim.lsemvae_run.argtypes = (address, address, address, address, address, ctypes.c_char_p, size)
        shim.lsemvae_text.argtypes = (address, address, size, address, ctypes.c_char_p, size)
    except (OSError, AttributeError) as error:
        raise RuntimeUnavailableError(f"{path} does not load: {error}", f"Build it again: {build.BUILD}") from error
    return shim


def _addresses(
    arrays: Sequence[NDArray[np.float32]],
) -> tuple[ctypes.Array[ctypes.c_void_p], ctypes.Array[ctypes.c_size_t]]:
    return (
        (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays)),
        (ctypes.c_size_t * len(arrays))(*(array.nbytes for array in arrays)),
    )


def _text(message: "ctypes.Array[ctypes.c_char]") -> str:
    return message.value.decode(errors="replace")


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
