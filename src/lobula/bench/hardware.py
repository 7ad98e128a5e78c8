"""What the machine can do at best, measured in the same run: the yardstick beside the ratios."""

import statistics
import time
from collections.abc import Callable

import torch

GEMM_SIZE = 2048
GEMM_GFLOP = 2e-9 * GEMM_SIZE**3


def gemm() -> Callable[[], object]:
    """A large single-precision matrix product, to be timed in turns with something else."""
    a = torch.randn(GEMM_SIZE, GEMM_SIZE)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out)


def gemm_rate(repeats: int = 9) -> float:
    """GFLOP/s of a large single-precision matrix product."""
    call, seconds = gemm(), []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return GEMM_GFLOP / statistics.median(seconds[1:])


def copy_rate(n_bytes: int = 1 << 28, repeats: int = 9) -> float:
    """GB/s of a copy that no cache holds, read and written bytes counted."""
    a = torch.zeros(n_bytes // 4)
    b = torch.empty_like(a)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        b.copy_(a)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * n_bytes / statistics.median(seconds[1:])
