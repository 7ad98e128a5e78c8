"""The same step again and again on a GPU: fixed buffers and a CUDA graph, so that the host only starts it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lobula.training.sampler import Batch

logger = logging.getLogger(__name__)

Step = Callable[[Batch], dict[str, Tensor]]
"""Changes parameters by one batch and returns the parts of the loss."""
WARM_UP_STEPS = 3
_TF32, _TF32_BEFORE = ("fp32_precision", "ieee", "tf32"), ("allow_tf32", False, True)
"""What torch calls it from 2.9 on, which warns about or refuses the older name, and before."""


class StaticStep:
    """Runs a step on fixed buffers; on a GPU, records it as a CUDA graph and replays that.

    The first steps run one operation at a time, on a stream of their own, as kernels are compiled and the optimiser
    makes its state. If the recording fails, all further steps run that way too, and the log says why. The parts of the
    loss are overwritten by the next step.

    Args:
        step: may change nothing but tensors that keep their place, and must not read a value back to the host.
        device: where the batches are.
    """

    def __init__(self, step: Step, device: torch.device) -> None:
        self._step, self._device = step, device
        self._warm_up = WARM_UP_STEPS
        self._batch: Batch | None = None
        self._parts: dict[str, Tensor] = {}
        self._graph: torch.cuda.CUDAGraph | None = None
        self._records = device.type == "cuda"
        self._side = torch.cuda.Stream(device) if self._records else None

    @property
    def is_recorded(self) -> bool:
        """Whether steps are replayed."""
        return self._graph is not None

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """One step."""
        if self._batch is None:
            self._batch = Batch(**{name: x if x is None else x.clone() for name, x in vars(batch).items()})
        else:
            for name, tensor in vars(batch).items():
                if tensor is not None:
                    getattr(self._batch, name).copy_(tensor, non_blocking=True)
        if self._records and self._graph is None:
            if self._warm_up > 0 and self._side is not None:
                self._warm_up -= 1
                return self._beside(self._side, self._batch)
            self._record(self._batch)
        if self._graph is None:
            return self._step(self._batch)
        self._graph.replay()
        return self._parts

    def close(self) -> None:
        """Gives the recording back: NCCL does not let go of processes as long as one with their exchanges is there."""
        if self._graph is not None:
            self._graph.reset()
            self._graph = None

    def _beside(self, side: torch.cuda.Stream, batch: Batch) -> dict[str, Tensor]:
        main = torch.cuda.current_stream(self._device)
        side.wait_stream(main)
        with torch.cuda.stream(side):
            parts = self._step(batch)
        main.wait_stream(side)
        return parts

    def _record(self, batch: Batch) -> None:
        graph, main = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            # other threads (the reader of the frames, NCCL's watchdog) go on meanwhile
            with torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"):
                self._parts = self._step(batch)
        except RuntimeError as error:
            self._records = False
            cause = error.__context__ or error  # leaving a recording that failed is an error of its own
            reason = str(cause).partition("\n")[0]
            logger.warning("training: no CUDA graph, steps run one operation at a time (%s)", reason)
            return
        finally:
            torch.cuda.set_stream(main)  # a recording that fails does not always go back to it
        self._graph = graph


@contextmanager
def device_settings(device: torch.device, precision: str) -> Iterator[None]:
    """What training sets in torch for a GPU: the current device, tf32, and that fresh memory is not filled.

    Args:
        device: where the model is; nothing is set for a CPU.
        precision: `training.precision`.
    """
    if device.type != "cuda":
        yield
        return
    products, memory = torch.backends.cuda.matmul, torch.utils.deterministic
    name, exact, rounded = _TF32 if hasattr(products, _TF32[0]) else _TF32_BEFORE
    before = getattr(products, name), memory.fill_uninitialized_memory
    setattr(products, name, rounded if precision == "tf32" else exact)
    memory.fill_uninitialized_memory = False
    try:
        with torch.cuda.device(device):
            yield
    finally:
        setattr(products, name, before[0])
        memory.fill_uninitialized_memory = before[1]
