"""Small networks whose messages depend on their source alone, and frames for them."""

import numpy as np
import torch
from torch import Tensor

from lobula.config.model import ModelConfig
from lobula.data import Streams, Wiring
from lobula.models import CircuitGNN, Scales


def circuit(n: int, share: float, seed: int = 0, **config: object) -> CircuitGNN:
    """A network over a random wiring, with rows that are empty and self-loops."""
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < share
    mask[0, 1] = True
    post, pre = np.nonzero(mask)
    wiring = Wiring.from_edges(np.stack([pre, post]), n)
    settings = ModelConfig(**{"hidden_dim": 9, "hidden_dim_update": 17, "w_init": "randn", **config})
    return CircuitGNN(settings, wiring, Scales(0.7, 1.3, 1.0), Streams(seed))


def frames(n: int, batch: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Voltage, external input and what comes back to the output."""
    return tuple(torch.randn(3, batch, n, generator=torch.Generator().manual_seed(seed)))


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    """Within rounding of single precision of the largest number of each tensor."""
    for own, reference in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, reference, rtol=0, atol=5e-5 * max(1.0, float(reference.abs().max())))
