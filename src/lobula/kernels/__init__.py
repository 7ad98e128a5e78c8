"""The hot path."""

from lobula.kernels.activations import ACTIVATIONS, get_activation
from lobula.kernels.message_sum import SparsePattern, message_sum

__all__ = ["ACTIVATIONS", "SparsePattern", "get_activation", "message_sum"]
