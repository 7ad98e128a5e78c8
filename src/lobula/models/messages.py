"""A model's messages as a function of arrays, for the closed-form estimators."""

from collections.abc import Callable

import numpy as np
import torch

from lobula.models.base import AbstractDynamicsModel

ROWS = 128
SHARED_POINTS = 16385


def message_function(model: AbstractDynamicsModel) -> Callable[[np.ndarray], np.ndarray]:
    """Maps voltages (T, N) to the model's messages (T, N), a few frames at a time."""

    @torch.no_grad()
    def message(voltage: np.ndarray) -> np.ndarray:
        frames = torch.from_numpy(np.ascontiguousarray(voltage, dtype=np.float32))
        if model.shared and frames.numel() > SHARED_POINTS:
            grid = torch.linspace(float(frames.min()), float(frames.max()), SHARED_POINTS)
            return np.interp(frames, grid, model.message(grid[:, None])[:, 0]).astype(np.float32)
        return torch.cat([model.message(part) for part in frames.split(ROWS)]).numpy()

    return message
