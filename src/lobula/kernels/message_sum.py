r"""The one hot operation: messages summed over the inputs of every neuron.

.. math:: m_{bi} = \sum_{e:\, post(e)=i} W_e\, h_{b,\,pre(e)}

as a sparse matrix product with its own gradients: dh is the product with the transpose, dW a sampled dense product.
Where most pairs of neurons are connected the same is done with dense matrices. The message function is evaluated once
per neuron before it, never once per edge.
"""

import importlib.util
import warnings

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from lobula.data.wiring import Wiring
from lobula.errors import ShapeError
from lobula.kernels.native import message_sum as native

SAMPLED_COLUMNS = 8
DENSE_SHARE = 0.4
"""Share of all pairs from which on dense products cost less: with 1,000 neurons, all connected, and 8 columns 2 ms in
place of 11, forwards and backwards on one core."""
HAS_TRITON = importlib.util.find_spec("triton") is not None

with warnings.catch_warnings():  # torch says once per process that CSR is young; the tests hold it to a dense product
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], torch.zeros(0, dtype=torch.int64), torch.zeros(0), (1, 1), check_invariants=False)


def csr_tensor(wiring: Wiring, values: np.ndarray) -> Tensor:
    """(N, N) float32 CSR matrix W[post, pre] on the CPU; its product with a vector is half again as fast as SciPy's."""
    return torch_csr(wiring.csr(np.asarray(values, dtype=np.float32)))


def torch_csr(matrix: scipy.sparse.csr_matrix) -> Tensor:
    """The same matrix as a tensor on the CPU."""
    parts = (torch.from_numpy(x.copy()) for x in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(*parts, matrix.shape, check_invariants=False)


class SparsePattern(nn.Module):
    """The wiring as CSR and as the CSR of its transpose; a module so that it moves with the model that owns it.

    Attributes:
        n_neurons: N.
        pre, post: (E,) int64 endpoints, sorted by (post, pre).
        indptr, indptr_out: (N + 1,) int32 row pointers of the matrix and of its transpose; sparse products on a CPU
            copy indices of 64 bits before every product.
        columns: (E,) int32 ``pre``.
        permutation: (E,) int32 edges in the order of the transpose.
        post_by_pre: (E,) int32 postsynaptic ends in that order.
        is_dense: whether at least `DENSE_SHARE` of all pairs are connected.
        places: (E,) int64 place of every edge in a dense matrix, row by row; empty where it is not needed.
    """

    pre: Tensor
    post: Tensor
    indptr: Tensor
    indptr_out: Tensor
    columns: Tensor
    permutation: Tensor
    post_by_pre: Tensor
    places: Tensor

    def __init__(self, wiring: Wiring) -> None:
        super().__init__()
        self.n_neurons = wiring.n_neurons
        permutation, indptr_out = wiring.transpose
        arrays = {"indptr": wiring.indptr, "columns": wiring.pre, "indptr_out": indptr_out}
        arrays |= {"permutation": permutation, "post_by_pre": wiring.post[permutation]}
        arrays = {name: array.astype(np.int32) for name, array in arrays.items()}
        arrays |= {"pre": wiring.pre.astype(np.int64), "post": wiring.post.astype(np.int64)}
        n, n_edges = wiring.n_neurons, wiring.n_edges
        self.is_dense = n_edges >= DENSE_SHARE * n**2 and n_edges > 0
        self._is_off_diagonal = n_edges == n * (n - 1) and not np.any(wiring.pre == wiring.post)
        needed = self.is_dense and not self._is_off_diagonal
        arrays["places"] = wiring.post * n + wiring.pre if needed else np.zeros(0, dtype=np.int64)
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def to_dense(self, weight: Tensor) -> Tensor:
        """(N, N) dense matrix W[post, pre], 0 where there is no edge; of a wiring that `is_dense`."""
        n = self.n_neurons
        matrix = weight.new_zeros(n * n)
        if self._is_off_diagonal:  # all but every (n + 1)-th place, in order
            matrix[1:].view(n - 1, n + 1)[:, :n].copy_(weight.view(n - 1, n))
        else:
            matrix.scatter_(0, self.places, weight)
        return matrix.view(n, n)

    def from_dense(self, matrix: Tensor) -> Tensor:
        """(E,) values of a contiguous dense matrix (N, N) on the edges; of a wiring that `is_dense`."""
        n, flat = self.n_neurons, matrix.view(-1)
        if self._is_off_diagonal:
            return flat[1:].view(n - 1, n + 1)[:, :n].reshape(-1)
        return flat.index_select(0, self.places)

    def forward_matrix(self, weight: Tensor) -> Tensor:
        """(N, N) CSR matrix W[post, pre]."""
        return self._csr(self.indptr, self.columns, weight)

    def backward_matrix(self, weight: Tensor) -> Tensor:
        """(N, N) CSR matrix W[post, pre] transposed."""
        return self._csr(self.indptr_out, self.post_by_pre, weight.index_select(0, self.permutation))

    def _csr(self, indptr: Tensor, columns: Tensor, values: Tensor) -> Tensor:
        size = (self.n_neurons, self.n_neurons)
        return torch.sparse_csr_tensor(indptr, columns, values, size, check_invariants=False)


class _DenseMessageSum(torch.autograd.Function):
    """The same through dense matrices, for a wiring that connects most pairs."""

    @staticmethod
    def forward(ctx, weight: Tensor, messages: Tensor, pattern: SparsePattern) -> Tensor:
        matrix = pattern.to_dense(weight)
        ctx.save_for_backward(matrix, messages)
        ctx.pattern = pattern
        return matrix @ messages

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        matrix, messages = ctx.saved_tensors
        by_weight, by_messages = ctx.needs_input_grad[:2]
        grad_weight = ctx.pattern.from_dense((grad @ messages.T).contiguous()) if by_weight else None
        return grad_weight, matrix.T @ grad if by_messages else None, None


class _MessageSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, messages: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.save_for_backward(weight, messages)
        ctx.pattern = pattern
        if weight.is_cuda and HAS_TRITON:
            from lobula.kernels.triton_message_sum import row_sum

            return row_sum(pattern.indptr, pattern.columns, weight.contiguous(), messages.contiguous())
        if native.fits(weight, messages):
            return native.summed(pattern, weight, messages)
        return pattern.forward_matrix(weight) @ messages

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, messages = ctx.saved_tensors
        pattern = ctx.pattern
        grad = grad.contiguous()
        if weight.is_cuda and HAS_TRITON:
            return *_triton_gradients(ctx, grad), None
        if native.fits(weight, messages):
            return *native.gradients(pattern, weight, messages, grad, ctx.needs_input_grad[0]), None
        grad_weight = grad_messages = None
        if ctx.needs_input_grad[0]:
            grad_weight = _sampled_product(pattern, grad, messages)
        if ctx.needs_input_grad[1]:
            grad_messages = pattern.backward_matrix(weight) @ grad
        return grad_weight, grad_messages, None


def _sampled_product(pattern: SparsePattern, grad: Tensor, messages: Tensor) -> Tensor:
    """(E,) scalar products of ``grad`` at the postsynaptic and ``messages`` at the presynaptic end, rows of (N, B).

    Torch's product is fast from 8 columns on: at full size 1 ms against 5 with 4 columns, and against 20 to 80 where
    the rows of both ends are gathered first.
    """
    missing = SAMPLED_COLUMNS - grad.shape[1]
    if missing > 0:
        grad, messages = (torch.nn.functional.pad(x, (0, missing)) for x in (grad, messages))
    sample = pattern.forward_matrix(grad.new_zeros(len(pattern.pre)))
    return torch.sparse.sampled_addmm(sample, grad, messages.T, beta=0.0, out=sample).values()


def _triton_gradients(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    from lobula.kernels.triton_message_sum import edge_product, row_sum

    weight, messages = (x.contiguous() for x in ctx.saved_tensors)
    pattern = ctx.pattern
    by_weight, by_messages = ctx.needs_input_grad[:2]
    return (
        edge_product(pattern.pre, pattern.post, grad, messages) if by_weight else None,
        row_sum(pattern.indptr_out, pattern.post_by_pre, weight, grad, pattern.permutation) if by_messages else None,
    )


def table_sums(
    neurons: Tensor, indptr: Tensor, columns: Tensor, weights: Tensor, cells: Tensor, table: Tensor
) -> Tensor:
    """(Q, T, K) float32 on the CPU: rows of a table, weighted and summed over the inputs of some neurons.

    Args:
        neurons: (Q,) int64.
        indptr: (N + 1,) int64 row pointers.
        columns: (E,) int64 message of every edge.
        weights: (E,) float32.
        cells: (M, T) int64 row of the table that every message looks up.
        table: (C, K) float32.
    """
    if native.library() is not None:
        return native.table_sums(neurons, indptr, columns, weights, cells, table)
    n_frames, out = cells.shape[1], table.new_empty(len(neurons), cells.shape[1], table.shape[1])
    for row, i in enumerate(neurons.tolist()):
        edges = slice(int(indptr[i]), int(indptr[i + 1]))
        index = cells.index_select(0, columns[edges])
        own = weights[edges].expand(n_frames, len(index))
        out[row] = torch.nn.functional.embedding_bag(index.T, table, mode="sum", per_sample_weights=own)
    return out


def message_sum(weight: Tensor, messages: Tensor, pattern: SparsePattern | None = None) -> Tensor:
    """Sums weighted messages over the inputs of every neuron.

    Args:
        weight: (E,) one value per edge, in the order of the wiring; or (N, N) dense, W[post, pre], which goes through
            a matrix product (faster where more than about a tenth of all pairs are connected).
        messages: (N, B) message of every presynaptic neuron, batch in the fast axis.
        pattern: the wiring; not needed for a dense weight.

    Returns:
        (N, B) summed input; 0 for a neuron without inputs.

    Raises:
        ShapeError: if the weights are one per edge and there is no wiring, or another one.
    """
    kind = weight.device.type
    if torch.is_autocast_enabled(kind):  # sums over many inputs stay in the dtype of the weights
        with torch.autocast(kind, enabled=False):
            return message_sum(weight, messages, pattern)
    if weight.ndim == 2:
        return weight @ messages.to(weight.dtype)
    if pattern is None:
        raise ShapeError(
            f"message_sum: got weights {tuple(weight.shape)} without a wiring, expected (N, N); pass pattern"
        )
    if (len(weight), len(messages)) != (len(pattern.columns), pattern.n_neurons):
        raise ShapeError(
            f"message_sum: got {len(weight)} weights and messages of {len(messages)} neurons, expected "
            f"{len(pattern.columns)} and {pattern.n_neurons}, as in the wiring; pass weights (E,) and messages (N, B)"
        )
    operation = _DenseMessageSum if pattern.is_dense else _MessageSum
    return operation.apply(weight, messages.to(weight.dtype).contiguous(), pattern)
