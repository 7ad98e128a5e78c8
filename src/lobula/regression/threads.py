"""Work on several threads: arrays turned neuron by neuron, tasks with single-threaded linear algebra each."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from threadpoolctl import ThreadpoolController

N_THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
TURNED_AT_ONCE = 16
"""Neurons: the values of one frame that a cache line holds."""


def neuron_major(block: np.ndarray, out: np.ndarray | None = None, centre: np.ndarray | None = None) -> np.ndarray:
    """(T, N) of any float type -> (N, T) float64, written to ``out`` if given; a few neurons at a time, so that reads
    stay in the cache. What is in ``centre`` (N,), of the block's type, is taken off."""
    result = np.empty(block.shape[::-1]) if out is None else out

    def turn(part: int) -> None:
        neurons = slice(part * TURNED_AT_ONCE, (part + 1) * TURNED_AT_ONCE)
        if centre is None:
            result[neurons] = block[:, neurons].T
        else:
            np.subtract(block[:, neurons].T, centre[neurons, None], out=result[neurons], casting="same_kind")

    in_parallel(turn, -(-block.shape[1] // TURNED_AT_ONCE))
    return result


@cache
def _libraries() -> ThreadpoolController:
    """The linear algebra libraries, looked up once: the look-up and a thread that starts may wait for each other."""
    return ThreadpoolController()


_memory = threading.local()


def workspace(n_rows: int, n_columns: int, dtype: np.dtype | type = np.float64) -> np.ndarray:
    """Uninitialised array of this thread, used again by its next call: fresh memory costs what is written into it."""
    n_bytes = n_rows * n_columns * np.dtype(dtype).itemsize
    if getattr(_memory, "bytes", np.empty(0)).size < n_bytes:
        _memory.bytes = np.empty(n_bytes, dtype=np.uint8)
    return _memory.bytes[:n_bytes].view(dtype).reshape(n_rows, n_columns)


def in_parallel(task: Callable[[int], None], n: int, n_threads: int = N_THREADS) -> None:
    """Runs ``task(i)`` for i < n on a few threads, each with single-threaded linear algebra."""

    def stripe(first: int) -> None:
        for i in range(first, n, n_threads):
            task(i)

    with _libraries().limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(stripe, range(n_threads)))
