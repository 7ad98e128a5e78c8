"""What the machine can do at best, measured in the same run: the yardstick beside the ratios."""

import statistics
import time
from collections.abc import Callable

import torch

GEMM_SIZE = 2048
GEMM_GFLOP = 2e-9 * GEMM_SIZE**3


CPU = torch.device("cpu")


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
    seconds = []
    for _ in range(repeats + 1):
        synchronise(device)
        began = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])
