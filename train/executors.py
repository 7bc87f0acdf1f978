"""Where shards are made: in this process, in processes of this machine, or on the machines of a Dask cluster.

All three are the standard library's `Executor`, so that `prepare` knows one interface. Dask was taken over Ray because
its client hands out exactly this interface, it is pure Python, and it starts under Slurm, Kubernetes and ssh alike.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import wait
from typing import Any

from lsemvae_edge.errors import MissingExtraError, StoreError, UsageError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Workers:
    """An executor and how many jobs it should hold: enough that nobody waits, few enough that memory stays flat."""

    executor: Executor
    in_flight: Callable[[], int]
    description: str


@contextmanager
def open_workers(workers: int, scheduler: str | None, patience_s: float = 20.0) -> Iterator[Workers]:
    """Start workers and end them, also when the work fails.

    Parameters
    ----------
    workers : int
        Processes of this machine; 1 works in this process. Not used with a scheduler.
    scheduler : str, optional
        Address of a running Dask scheduler, as ``tcp://host:8786``.
    patience_s : float
        How long a scheduler may take to answer.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    UsageError
        If no scheduler answers, or the number of workers is not positive.
    """
    if scheduler is not None:
        with _dask(scheduler, patience_s) as found:
            yield found
        return
    if workers < 1:
        raise UsageError(f"At least one worker is needed, not {workers}.", "Leave --workers out to use all cores.")
    if workers == 1:
        yield Workers(_Here(), lambda: 1, "this process")
        return
    # Spawned, not forked: a fork copies locks that BLAS or Arrow threads hold, and all memory of the parent.
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, context, initializer=_follow_parent) as pool:
        try:
            yield Workers(pool, lambda: workers + 1, f"{workers} processes")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Here(Executor):
    """Does the work at once, in the calling process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def _dask(address: str, patience_s: float) -> Iterator[Workers]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("Preparing on a Dask cluster", "cluster") from error
    try:
        client = distributed.Client(address, timeout=patience_s)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"No Dask scheduler answers at {address}: {error}", "Start one with `dask scheduler`, or check the address."
        ) from error
    with client, client.get_executor(pure=False) as executor:
        try:
            # Asked each time, because a cluster grows and shrinks.
            yield Workers(executor, lambda: max(2, 2 * sum(client.nthreads().values())), f"Dask at {address}")
        except (distributed.KilledWorker, distributed.comm.CommClosedError) as error:
            raise StoreError(
                f"The Dask cluster at {address} gave up: {error}",
                "Look at its workers' logs, then run the same command again: finished shards are kept.",
            ) from error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let spawned processes, which inherit the environment, compute on one thread each."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _follow_parent() -> None:
    """End this process when its parent is gone: a killed parent closes no queue, so its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
