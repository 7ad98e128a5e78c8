"""The hot path."""

from lobula.kernels.activations import ACTIVATIONS, get_activation
from lobula.kernels.blocked_mlp import blocked_mlp, last_layer_derivatives
from lobula.kernels.device import usable_device
from lobula.kernels.message_sum import SparsePattern, csr_tensor, message_sum, table_sums, torch_csr
from lobula.kernels.pair_mlp import pair_mlp
from lobula.kernels.perceptron import Perceptron, Units, plain_mlp

__all__ = [
    "ACTIVATIONS",
    "Perceptron",
    "SparsePattern",
    "Units",
    "blocked_mlp",
    "csr_tensor",
    "get_activation",
    "last_layer_derivatives",
    "message_sum",
    "pair_mlp",
    "plain_mlp",
    "table_sums",
    "torch_csr",
    "usable_device",
]
