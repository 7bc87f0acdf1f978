"""The C library on this machine: built as a shared library and called function by function.

So the sources themselves are what gates, tests and benchmarks ask, not a model of them.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsemvae_edge.errors import BundleError, UsageError
from lsemvae_edge.quantize.firmware.config import MAX_BEATS
from lsemvae_edge.runtime import Output

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
Q16, Q20 = 1 / 65536, 1 / (1 << 20)

_SIZE = re.compile(r"^#define LSEMVAE_(\w+) (0x[0-9A-Fa-f]+|\d+)u$", re.M)
_WATCH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_int16), ctypes.c_uint32)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says of one input, as the C code keeps it.

    Parameters
    ----------
    logits : array (n_outputs,), int32
        With 16 fractional bits, like ``contributions (n_leads, n_outputs)`` and ``latent_distance``.
    mu : array (latent_dim,), int32
        Fused means, with 20.
    """

    logits: NDArray[np.int32]
    contributions: NDArray[np.int32]
    mu: NDArray[np.int32]
    latent_distance: int


def compiler(name: str | None = None) -> str:
    """Return a C compiler of this machine.

    Raises
    ------
    UsageError
        If there is none.
    """
    for candidate in [name] if name else ["cc", "gcc", "clang"]:
        if candidate and shutil.which(candidate):
            return candidate
    raise UsageError(f"There is no C compiler{f' {name}' if name else ''} here.", "Install gcc or clang.")


def build(folder: Path, into: Path, *, cc: str | None = None, flags: Sequence[str] = ()) -> Path:
    """Compile the library of a firmware folder as a shared library.

    Parameters
    ----------
    folder : Path
        Of `lsemvae_edge.quantize.firmware.generate`.
    into : Path
        Folder for the result.
    cc : str, optional
        Compiler.
    flags : sequence of str
        Further ones, such as ``-DLSEMVAE_FLOAT_TAIL``.

    Raises
    ------
    BundleError
        If it does not compile; says what the compiler said.
    """
    sources = sorted((folder / "src").glob("*.c"))
    made = into / "liblsemvae.so"
    command = [
        compiler(cc), *WARNINGS, "-O2", "-fPIC", "-shared", "-ffp-contract=off", *flags,
        f"-I{folder / 'include'}", f"-I{folder / 'src'}", *map(str, sources), "-o", str(made), "-lm",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # a compiler
    if done.returncode:
        raise BundleError(
            f"The C sources do not compile: {done.stderr.strip():.500}.", "Report this with the compiler."
        )
    return made


def sizes(folder: Path) -> dict[str, int]:
    """Return the numbers of ``lsemvae_config.h``, without their prefix."""
    text = (folder / "include" / "lsemvae_config.h").read_text()
    return {name: int(value, 0) for name, value in _SIZE.findall(text)}


class Library:
    """A firmware folder's library, compiled for this machine.

    Parameters
    ----------
    folder : Path
    into : Path
        Where to put the shared library.
    cc, flags
        See `build`.
    """

    def __init__(self, folder: Path, into: Path, *, cc: str | None = None, flags: Sequence[str] = ()) -> None:
        self.sizes = sizes(folder)
        self.c = ctypes.CDLL(str(build(folder, into, cc=cc, flags=flags)))
        self.leads, self.latent, self.outputs = (self.sizes[name] for name in ("LEADS", "LATENT", "OUTPUTS"))
        self.image = ctypes.addressof(ctypes.c_uint8.in_dll(self.c, "lsemvae_linked_image"))
        latent, outputs, leads = self.latent, self.outputs, self.leads

        class CAnswer(ctypes.Structure):
            _fields_ = (
                ("logits", ctypes.c_int32 * outputs),
                ("contributions", ctypes.c_int32 * outputs * leads),
                ("mu", ctypes.c_int32 * latent),
                ("latent_distance", ctypes.c_int32),
            )

        self._answer = CAnswer
        self.result = _result_type(leads, self.sizes["TASKS"], outputs)

    def encode(
        self, quantized: NDArray[np.int16], layers: dict[str, NDArray[np.int16]] | None = None
    ) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
        """Run every lead's encoder.

        Parameters
        ----------
        quantized : array (n_leads, n_samples), int16
        layers : dict, optional
            Is filled with what each layer gives, by the names of `lsemvae_edge.quantize.scheme.layer_names`.

        Returns
        -------
        mu, logvar : array (n_leads, latent_dim), int16
        """
        mu, logvar = (np.zeros((self.leads, self.latent), dtype=np.int16) for _ in range(2))
        scratch = np.zeros(self.sizes["ACTIVATION_BYTES"] // 8 + 1, dtype=np.int64)
        depth = self.sizes["CONVOLUTIONS"]
        names = [*(f"conv{k + 1}" for k in range(depth)), "mu", "logvar"]
        for lead, row in enumerate(np.ascontiguousarray(quantized, dtype=np.int16)):

            def seen(_: Any, layer: int, values: Any, n: int, lead: int = lead) -> None:
                assert layers is not None
                name = names[layer] if layer < len(names) else "pool"
                layers[f"encoder{lead}.{name}"] = np.array(values[:n], dtype=np.int16)

            watch = _WATCH(seen) if layers is not None else _WATCH(0)
            self.c.lsemvae_encode(
                ctypes.c_void_p(self.image), ctypes.c_uint32(lead), _at(row), _at(scratch), _at(mu[lead]),
                _at(logvar[lead]), watch, None,
            )  # fmt: skip
        return mu, logvar

    def fuse(self, mu: NDArray[np.int16], logvar: NDArray[np.int16]) -> Answer:
        """Fuse the leads and apply the heads."""
        made = self._answer()
        self.c.lsemvae_fuse(
            ctypes.c_void_p(self.image), _at(np.ascontiguousarray(mu)), _at(np.ascontiguousarray(logvar)),
            ctypes.byref(made),
        )  # fmt: skip
        return Answer(
            np.array(made.logits, dtype=np.int32),
            np.array(made.contributions, dtype=np.int32).reshape(self.leads, self.outputs),
            np.array(made.mu, dtype=np.int32),
            int(made.latent_distance),
        )


class Recorder:
    """A recorder's context, fed and run through the public functions.

    Parameters
    ----------
    library : Library
    rate_hz, pv_per_lsb, mains_hz, uncalibrated
        As in ``lsemvae_config``.
    blob : bytes, optional
        An image in place of the linked one.

    Raises
    ------
    BundleError
        If ``lsemvae_init`` refuses; ``status`` of `RefusedError` says how.
    """

    def __init__(
        self,
        library: Library,
        rate_hz: int,
        pv_per_lsb: int = 1_000_000,
        mains_hz: int = 50,
        uncalibrated: bool = False,
        blob: bytes | None = None,
    ) -> None:
        self.library = library
        self._blob = ctypes.create_string_buffer(blob, len(blob)) if blob else None
        image = ctypes.addressof(self._blob) if self._blob else None
        told = _Config(rate_hz, pv_per_lsb, mains_hz, int(uncalibrated), image)
        self._context = (ctypes.c_uint64 * (_CONTEXT_BYTES // 8))()
        self._arena = (ctypes.c_uint64 * (library.sizes["ARENA_BYTES"] // 8 + 1))()
        self.check(library.c.lsemvae_init(self._context, ctypes.byref(told)))

    def push(self, lead_i: NDArray[np.int32], lead_ii: NDArray[np.int32], status: int = 0) -> None:
        """Push samples of both leads."""
        pair = [np.ascontiguousarray(lead, dtype=np.int32) for lead in (lead_i, lead_ii)]
        n = ctypes.c_size_t(len(pair[0]))
        self.check(self.library.c.lsemvae_push(self._context, _at(pair[0]), _at(pair[1]), n, ctypes.c_uint32(status)))

    def gap(self, n: int) -> None:
        """Say that samples were not received."""
        self.check(self.library.c.lsemvae_push_gap(self._context, ctypes.c_size_t(n)))

    @property
    def ready(self) -> bool:
        """Whether a window is whole."""
        return bool(self.library.c.lsemvae_ready(self._context))

    def person(self, age_years: int | None = None, pacemaker: bool = False, electrodes_confirmed: bool = False) -> None:
        """Tell of the person."""
        told = (ctypes.c_uint8 * 4)(age_years is not None, age_years or 0, pacemaker, electrodes_confirmed)
        self.check(self.library.c.lsemvae_set_person(self._context, told))

    def run(self) -> Any:
        """Judge the newest window and run the model; returns the C result struct."""
        made = self.library.result()
        size = ctypes.c_size_t(ctypes.sizeof(self._arena))
        self.check(self.library.c.lsemvae_run(self._context, self._arena, size, ctypes.byref(made)))
        return made

    def input(self) -> NDArray[np.int16]:
        """Return the model input of the newest window, from the stages that make it; all zero without enough beats."""
        c, sizes = self.library.c, self.library.sizes
        window, beats = ((ctypes.c_uint64 * 1024)() for _ in range(2))
        c.lsemvae_take_window(self._context, window)
        lead = sizes["WINDOW"] * 2
        c.lsemvae_find_beats(window, ctypes.byref(window, lead), ctypes.c_void_p(self.library.image), beats)
        places = (ctypes.c_uint16 * MAX_BEATS)()
        made = np.zeros((self.library.leads, sizes["BEAT"]), dtype=np.int16)
        if count := c.lsemvae_typical_beats(beats, places):
            c.lsemvae_align_beats(window, places, ctypes.c_uint32(count))
            c.lsemvae_average_beat(window, places, ctypes.c_uint32(count), _at(made))
        return made

    def window(self) -> NDArray[np.int16]:
        """Return the newest window (2, n_samples), in half microvolts."""
        room = (ctypes.c_uint64 * 1024)()
        self.library.c.lsemvae_take_window(self._context, room)
        n = self.library.sizes["WINDOW"]
        return np.array(np.frombuffer(bytes(room), dtype=np.int16)[: 2 * n].reshape(2, n))

    def check(self, status: int) -> None:
        """Raise what a call answered, unless it is success."""
        if status:
            raise RefusedError(status)


class RefusedError(BundleError):
    """A call of the C library answered something else than success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The C library refuses: {_STATUS.get(status, status)}.")
        self.status = status


_STATUS = {1: "bad argument", 2: "bad rate", 3: "bad image", 4: "not begun", 5: "not encoded"}
_CONTEXT_BYTES = 1 << 16
"""More than any context; the C side knows its own size."""


class _Config(ctypes.Structure):
    _fields_ = (
        ("rate_hz", ctypes.c_uint32),
        ("pv_per_lsb", ctypes.c_uint32),
        ("mains_hz", ctypes.c_uint32),
        ("uncalibrated", ctypes.c_uint32),
        ("image", ctypes.c_void_p),
    )


SHAPE = (
    "n_beats", "alike", "doubt", "quiet", "contrast", "qrs_s", "residual", "after", "after_snr", "coherence",
    "roundness", "rank_one", "alignment", "line", "fast", "slow", "peakedness", "asymmetry",
)  # fmt: skip
"""Members of ``lsemvae_shape``, in order."""


def _result_type(leads: int, tasks: int, outputs: int) -> type[ctypes.Structure]:
    class Shape(ctypes.Structure):
        _fields_ = tuple((name, ctypes.c_int32) for name in SHAPE)

    class Task(ctypes.Structure):
        _fields_ = (
            ("outcome", ctypes.c_int),
            ("reason", ctypes.c_int),
            ("log_odds", ctypes.c_int32),
            ("probability_q15", ctypes.c_uint16),
            ("contributions", ctypes.c_int32 * leads),
        )

    class Result(ctypes.Structure):
        _fields_ = (
            ("state", ctypes.c_int),
            ("outcome", ctypes.c_int),
            ("advice", ctypes.c_int),
            ("flags", ctypes.c_uint32),
            ("lead_flags", ctypes.c_uint32 * leads),
            ("first_sample", ctypes.c_uint32),
            ("heart_rate_tenths", ctypes.c_uint16),
            ("beats_averaged", ctypes.c_uint16),
            ("shape", Shape),
            ("tasks", Task * tasks),
            ("logits", ctypes.c_int32 * outputs),
            ("latent_distance", ctypes.c_int32),
        )

    return Result


class CSession:
    """The C library asked like a runtime's session; all leads are present."""

    runtime = "c"

    def __init__(self, library: Library, input_scale: float) -> None:
        self.library, self.input_scale = library, input_scale
        self._limit = library.sizes["INPUT_LIMIT"]

    def run(self, signal: NDArray[np.float32], mask: NDArray[np.float32] | None = None) -> Output:
        """Run the model on one input; see `Session.run`. The fused log-variance is not computed on a device."""
        assert mask is None or mask.all()
        quantized = np.clip(np.rint(signal / self.input_scale), -self._limit, self._limit).astype(np.int16)
        answer = self.library.fuse(*self.library.encode(quantized))
        return Output(
            (answer.logits * Q16).astype(np.float32),
            (answer.mu * Q20).astype(np.float32),
            np.full(self.library.latent, np.nan, dtype=np.float32),
            (answer.contributions * Q16).astype(np.float32),
            quantized,
        )


def _at(values: NDArray[Any]) -> ctypes.c_void_p:
    return values.ctypes.data_as(ctypes.c_void_p)
