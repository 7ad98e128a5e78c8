"""What the machine can do at best, measured in the same run: the yardstick beside the ratios."""

import statistics
import time

import torch


def gemm_rate(size: int = 2048, repeats: int = 9) -> float:
    """GFLOP/s of a large single-precision matrix product."""
    a = torch.randn(size, size)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        torch.mm(a, a)
        seconds.append(time.perf_counter() - began)
    return 2e-9 * size**3 / statistics.median(seconds[1:])


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
