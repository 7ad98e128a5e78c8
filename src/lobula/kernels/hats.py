"""Functions that are linear between knots: places among the knots, values, and sums of hat functions over inputs."""

import numpy as np

from lobula.kernels.native import hats as native


def locate(knots: np.ndarray, voltage: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where voltages are among knots.

    Args:
        knots: (K,) float64, strictly increasing, K of 2 or more [a.u.].
        voltage: of any shape [a.u.].

    Returns:
        Interval k (int64, 0 to K - 2) and position in it (0..1 inside, beyond at the ends), so that a function is
        (1 - f) g_k + f g_{k+1}.
    """
    if native.is_there():
        return native.locate(knots, voltage)
    index = np.clip(np.searchsorted(knots, voltage, side="right") - 1, 0, len(knots) - 2)
    left = knots[index]
    return index, (voltage - left) / (knots[index + 1] - left)


def piecewise(knots: np.ndarray, values: np.ndarray, voltage: np.ndarray) -> np.ndarray:
    """Values (float64, shape as ``voltage``) of the function with ``values`` (K,) at the knots; else as `locate`."""
    if native.is_there():
        return native.piecewise(knots, values, voltage)
    index, fraction = locate(knots, voltage)
    left = values[index]
    return left + fraction * (values[index + 1] - left)


def fill(
    x: np.ndarray,
    width: int,
    inputs: np.ndarray,
    offset: np.ndarray,
    share: np.ndarray,
    located: tuple[np.ndarray, np.ndarray],
    messages: np.ndarray,
) -> None:
    """Writes the first columns of a design: hat functions of all inputs, each times its share, summed over the inputs
    at their places, and the messages.

    Args:
        x: (T, p) float64 contiguous, p of width + d or more; columns after these stay.
        width: columns of the sums, K for each place.
        inputs: (d,) int64 which neurons.
        offset: (d,) int64 first column of every input's hat functions.
        share: (d,) float64.
        located: index and fraction (N, T) that `locate` gave.
        messages: (N, T) float64 contiguous.
    """
    if native.is_there():
        native.fill(x, width, inputs, offset, share, located, messages)
        return
    index, fraction = located
    cell = (offset[:, None] + index[inputs] + np.arange(len(x)) * width).ravel()
    right = (share[:, None] * fraction[inputs]).ravel()
    left = np.repeat(share, len(x)) - right
    size = len(x) * width
    sums = np.bincount(cell, left, size) + np.bincount(cell + 1, right, size + 1)[:size]
    x[:, :width] = sums.reshape(-1, width)
    x[:, width : width + len(inputs)] = messages[inputs].T
