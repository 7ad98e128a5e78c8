"""One training by several processes: each takes its part of every batch, and gradients are averaged.

torchrun starts the processes and tells each its number through the environment. The first one (number 0) leads: it
alone writes files, solves what has a closed form and decides; the others receive the state that results.
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lobula.config.training import TrainingConfig
from lobula.errors import ConfigError, ProcessLostError
from lobula.kernels import usable_device
from lobula.processes import process_count

STEP_TIMEOUT = timedelta(minutes=10)
"""Longest wait for the gradients of another process."""
LEADER_TIMEOUT = timedelta(days=7)
"""Longest wait for the first process and its closed-form steps; one that ends is noticed at once."""


@dataclass(frozen=True)
class Team:
    """The processes of a training, as one of them sees them.

    Attributes:
        rank: number of this process.
        size: number of processes.
        control: group over which the leader's state is sent, None for a single process.
    """

    rank: int = 0
    size: int = 1
    control: "dist.ProcessGroup | None" = None

    @property
    def leads(self) -> bool:
        """Whether this process writes files and decides."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """The frames of a batch that this process takes."""
        n = batch_size // self.size
        return slice(self.rank * n, (self.rank + 1) * n)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by their mean over the processes, with one exchange.

        Raises:
            ProcessLostError: if another process ended.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _exchange():
            dist.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def share(self, value: Any) -> Any:
        """The leader's value, on every process; tensors arrive on the CPU.

        Args:
            value: tensors and plain values; that of the other processes is ignored.

        Raises:
            ProcessLostError: if the leader ended.
        """
        if self.size == 1:
            return value
        buffer = io.BytesIO()
        if self.leads:
            torch.save(value, buffer)
        content = [buffer.getvalue()]
        with _exchange():
            dist.broadcast_object_list(content, src=0, group=self.control, device=torch.device("cpu"))
        return value if self.leads else torch.load(io.BytesIO(content[0]), weights_only=True, map_location="cpu")


ALONE = Team()


def process_device(name: str) -> torch.device:
    """The device of that name; with several processes, "cuda" is the GPU with this process's number on its machine.

    Raises:
        ConfigError: if there is no such device.
    """
    if process_count() > 1 and name.split(":")[0] == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return usable_device(name)


@contextmanager
def joined(settings: TrainingConfig) -> Iterator[Team]:
    """Joins the processes that torchrun started, and leaves them at the end or at an error.

    Args:
        settings: batch_size and device.

    Yields:
        The team; that of a single process without torchrun.

    Raises:
        ConfigError: if a batch cannot be split evenly, or there is no such device.
    """
    size = process_count()
    if size == 1:
        yield ALONE
        return
    if settings.batch_size % size:
        raise ConfigError(
            f"training.batch_size: got {settings.batch_size} for {size} processes, expected a multiple of {size}; set "
            f"training.batch_size={size * (settings.batch_size // size + 1)} or start another number of processes"
        )
    device = process_device(settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", timeout=STEP_TIMEOUT, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=STEP_TIMEOUT)
    try:
        yield Team(dist.get_rank(), size, dist.new_group(backend="gloo", timeout=LEADER_TIMEOUT))
    finally:
        dist.destroy_process_group()


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ProcessLostError(
            f"training: process {dist.get_rank()} lost another one, expected {dist.get_world_size()} processes until "
            f"the end ({reason}); see which stopped first and why, then run the same command again to go on"
        ) from error
