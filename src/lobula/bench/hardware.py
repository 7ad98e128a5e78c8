"""What the machine can do at best, measured in the same run: the yardstick beside the ratios."""

import statistics
import time
from collections.abc import Callable

import torch

GEMM_SIZE = 2048
GEMM_GFLOP = 2e-9 * GEMM_SIZE**3
CPU = torch.device("cpu")
GPU_CALLS, GPU_WARM_UP = 20, 0.5
"""Calls between two looks at the clock, and seconds of calls before."""


def synchronise(device: torch.device) -> None:
    """Waits until a GPU has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm(device: torch.device = CPU) -> Callable[[], object]:
    """A large single-precision matrix product, to be timed in turns with something else."""
    a = torch.randn(GEMM_SIZE, GEMM_SIZE, device=device)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out)


def gemm_rate(repeats: int = 9, device: torch.device = CPU) -> float:
    """GFLOP/s of a large single-precision matrix product."""
    return GEMM_GFLOP / _median_seconds(gemm(device), repeats, device)


def copy_rate(n_bytes: int = 1 << 28, repeats: int = 9, device: torch.device = CPU) -> float:
    """GB/s of a copy that no cache holds, read and written bytes counted."""
    a = torch.zeros(n_bytes // 4, device=device)
    b = torch.empty_like(a)
    return 2e-9 * n_bytes / _median_seconds(lambda: b.copy_(a), repeats, device)


def _median_seconds(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Of a call; on a GPU, whose clock takes a moment to rise, after half a second of calls, and of many at once."""
    at_once, ready = (GPU_CALLS, time.perf_counter() + GPU_WARM_UP) if device.type == "cuda" else (1, 0.0)
    seconds: list[float] = []
    while len(seconds) <= repeats or time.perf_counter() < ready:
        synchronise(device)
        began = time.perf_counter()
        for _ in range(at_once):
            call()
        synchronise(device)
        seconds.append((time.perf_counter() - began) / at_once)
    return statistics.median(seconds[-repeats:])
