"""Buffers that are used again: a fresh one costs more than what is written into it, as it arrives page by page."""

import torch
from torch import Tensor

MOST_SPARE = 4

_spare: dict[tuple[int, int, torch.dtype], list[Tensor]] = {}


def borrow(n_rows: int, width: int, like: Tensor) -> Tensor:
    """(n_rows, width) uninitialised tensor of the dtype of another, on the CPU."""
    try:
        return _spare[n_rows, width, like.dtype].pop()
    except (KeyError, IndexError):
        return like.new_empty(n_rows, width)


def give_back(*buffers: Tensor) -> None:
    """Says that nobody uses these buffers, which `borrow` gave, any more."""
    for buffer in buffers:
        free = _spare.setdefault((*buffer.shape, buffer.dtype), [])
        if len(free) < MOST_SPARE:
            free.append(buffer)
