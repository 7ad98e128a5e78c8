"""Adam with one named group per kind of parameter: learning rates, clipping, and moments that survive a resume."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lobula.config.training import TrainingConfig
from lobula.kernels.native import update as native
from lobula.models.base import AbstractDynamicsModel
from lobula.training.adam import Adam


# === LLM-MODIFIABLE: OPTIMIZER START ===
# Type of optimiser, groups of parameters. Not: the names of the groups, `lr` and `base_lr` in them.
def optimiser_for(model: AbstractDynamicsModel, config: TrainingConfig, held: bool) -> Adam:
    """The model's groups of parameters; where the circuit is held, messages and embeddings only."""
    rates = {"g_phi": config.lr, "embedding": config.lr_embedding}
    if not held:
        rates |= {"f_theta": config.lr, "W": config.lr_W}
    own = model.groups()
    groups: list[dict[str, Any]] = [
        {"name": name, "params": own[name], "lr": lr, "base_lr": lr} for name, lr in rates.items() if name in own
    ]
    device = model.pattern.pre.device
    if device.type == "cuda":  # a CUDA graph reads them when it is replayed
        groups = [{**g, "lr": torch.tensor(g["lr"], device=device)} for g in groups]
    return Adam(groups)


# === LLM-MODIFIABLE: OPTIMIZER END ===


def restore_optimiser(optimiser: Adam, saved: dict[str, Any]) -> None:
    """Takes over the moments of a saved optimiser, whatever device that was on; its own settings stay."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
    groups = [{**group, **mine} for group, mine in zip(saved["param_groups"], own, strict=True)]
    optimiser.load_state_dict({**saved, "param_groups": groups})


def set_learning_rates(optimiser: Adam, factor: float, factors: Mapping[str, float]) -> None:
    """Multiplies the learning rates by a factor, and those of named groups by another; in place where a CUDA graph
    reads them."""
    for group in optimiser.param_groups:
        rate = factor * factors.get(group["name"], 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate * group["base_lr"])
        else:
            group["lr"] = rate * group["base_lr"]


# === LLM-MODIFIABLE: GRADIENT CLIPPING START ===
def clip_gradients(optimiser: Adam, config: TrainingConfig) -> None:
    """Shortens the gradient of each group, then the whole gradient, to the norms of the config."""
    limits = {"W": config.grad_clip_W, "embedding": config.grad_clip_embedding}
    everything: list[nn.Parameter] = []
    for group in optimiser.param_groups:
        everything += group["params"]
        limit = limits.get(group["name"], config.grad_clip_networks)
        if limit is not None:
            clip_norm(group["params"], limit)
    if config.grad_clip is not None:
        clip_norm(everything, config.grad_clip)


# === LLM-MODIFIABLE: GRADIENT CLIPPING END ===


def clip_norm(parameters: Sequence[nn.Parameter], limit: float) -> None:
    """Shortens the gradient of all parameters together to a norm, if it is longer."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if native.fits(gradients):
        native.clip(gradients, limit)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
