"""Adam (Kingma & Ba 2015) over named groups, all parameters of a group in one kernel: in C, else torch's fused one.

`torch.optim` has the same update; its optimiser classes import torch's compiler when the first is made, which costs
every training process three seconds before its first step. Its function `adam` does not.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

from lobula.kernels.native import update as native

BETAS = (0.9, 0.999)
EPS = 1e-8
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Adam:
    """Parameters move by their mean gradient over the root of its mean square.

    Parameters without a gradient stay where they are. State is made at once, so that a step can be recorded as a CUDA
    graph; a learning rate that is a tensor is read when the step is replayed.

    Args:
        groups: per group ``params``, the learning rate ``lr`` (a number, or a tensor of no dimension on the parameters'
            device) and whatever else should be kept with it.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        self.param_groups = [{**group, "params": list(group["params"])} for group in groups]
        self._states = [[_start(p) for p in group["params"]] for group in self.param_groups]
        self._in_c = [
            native.AdamGroup(group["params"], [tuple(state.values()) for state in states])
            if native.fits(group["params"])
            else None
            for group, states in zip(self.param_groups, self._states, strict=True)
        ]

    def zero_grad(self) -> None:
        """Drops all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def gradients(self) -> list[Tensor]:
        """All gradients that are there."""
        everything = (p.grad for group in self.param_groups for p in group["params"])
        return [grad for grad in everything if grad is not None]

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients that are there."""
        for group, states, in_c in zip(self.param_groups, self._states, self._in_c, strict=True):
            if in_c is not None:
                in_c.step(float(group["lr"]), BETAS, EPS)
                continue
            moved = [(p, s) for p, s in zip(group["params"], states, strict=True) if p.grad is not None]
            if not moved:
                continue
            step, mean, square = ([state[name] for _, state in moved] for name in _MOMENTS)
            adam(
                [p for p, _ in moved], [p.grad for p, _ in moved], mean, square, [], step,
                fused=True, amsgrad=False, maximize=False, weight_decay=0.0,
                beta1=BETAS[0], beta2=BETAS[1], eps=EPS, lr=group["lr"],
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Moments and the groups' settings, as `torch.optim.Adam` arranges them; the tensors themselves, not copies."""
        groups = [{name: value for name, value in group.items() if name != "params"} for group in self.param_groups]
        return {"state": {i: dict(state) for i, state in enumerate(chain(*self._states))}, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Takes over saved moments, whatever device they are on; groups and learning rates stay."""
        for i, own in enumerate(chain(*self._states)):
            for name, value in saved["state"].get(i, {}).items():
                own[name].copy_(value)


def _start(parameter: Tensor) -> dict[str, Tensor]:
    zeros = (torch.zeros((), device=parameter.device), torch.zeros_like(parameter), torch.zeros_like(parameter))
    return dict(zip(_MOMENTS, zeros, strict=True))
