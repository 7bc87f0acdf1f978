"""How much of what a session measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lsemvae_edge.bundle import Bundle


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often; each part turns it into its own amounts.

    Parameters
    ----------
    bundles : sequence of Bundle
        Measured side by side; the first is the one that is spoken of.
    quick : bool
        Few repeats, for a first look or for a check of every change.
    minutes : float
        How long the sustained load lasts.
    final : bool
        Admit the recordings that are looked at once.
    runtimes, precisions : tuple of str
        Those alone; none named means all that are there.
    threads : tuple of int
        Each runtime with so many, where it can.
    repeats, runs : int, optional
        Fresh processes of each case, and inferences in each of them.
    recording : Path, optional
        What the whole path is measured with; by default a simulated heart.
    tflite_runtime_python : Path, optional
        Interpreter of the environment that tflite-runtime is installed in.
    """

    bundles: Sequence[Bundle]
    quick: bool = False
    minutes: float = 5.0
    final: bool = False
    runtimes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1,)
    repeats: int | None = None
    runs: int | None = None
    recording: Path | None = None
    tflite_runtime_python: Path | None = None

    def repeats_or(self, usual: int, quick: int) -> int:
        """Return how many repeats were asked for, else the part's usual or quick number."""
        return self.repeats or (quick if self.quick else usual)

    def runs_or(self, usual: int, quick: int) -> int:
        """Return how many runs were asked for, else the part's usual or quick number."""
        return self.runs or (quick if self.quick else usual)
