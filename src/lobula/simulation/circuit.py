"""What every simulator offers."""

from typing import Protocol

import numpy as np


class Circuit(Protocol):
    """A circuit that can be stepped. The first N numbers of a state (S,) are the voltages.

    Attributes:
        n_neurons: N.
        n_states: S.
        dt: step [s].
        one_thread: whether its products are too small for several threads.
    """

    n_neurons: int
    n_states: int
    dt: float
    one_thread: bool

    def drift(self, state: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """float32 noise-free rate of change [1/s] of states (S,) or (G, S), with a stimulus (H,), (N,) or (0,) each."""
        ...

    def advance(self, state: np.ndarray, drift: np.ndarray) -> np.ndarray:
        """float32 state one Euler step later."""
        ...

    def step(self, state: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Both in one."""
        ...
