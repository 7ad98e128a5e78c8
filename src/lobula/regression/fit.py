"""The circuit of a recording in closed form, given the message function."""

from collections.abc import Callable

import numpy as np
import torch

from lobula.data.wiring import Wiring
from lobula.regression.by_target import solve_by_target
from lobula.regression.circuit import LinearCircuit
from lobula.regression.edge_messages import GroupMessages, Messages
from lobula.regression.gram import CPU, NO_TERMS, Frames, accumulate
from lobula.regression.held_out import Predictor, circuit_predictor
from lobula.regression.own_terms import OwnTerms
from lobula.regression.redundancy import redundancy
from lobula.regression.ridge import Solver, solve


def fit_circuit(
    frames: Frames,
    wiring: Wiring,
    message: Messages,
    target: str = "observed",
    max_frames: int | None = None,
    on_block: Callable[[int], None] | None = None,
    device: torch.device = CPU,
    own: OwnTerms = NO_TERMS,
    solver: Solver = solve,
    correlated: bool = True,
) -> LinearCircuit:
    """Evidence ridge on a recording, given the message function.

    Args:
        frames: a split of a recording.
        wiring: the known graph.
        message: g, maps voltages (T, N) to messages (T, N), or to one per edge, or one per group of targets.
        target: "observed" or "drift".
        max_frames: use at most this many frames, spread evenly (None: all).
        on_block: called with the number of frames done.
        device: where the Gram matrices are computed; they are solved on the CPU.
        own: terms of every neuron's own voltage.
        solver: what solves them.
        correlated: count frames by how long residuals last (`redundancy`), in a second solution.
    """

    def predictor(circuit: LinearCircuit, function: Messages, graph: Wiring) -> Predictor:
        bare = circuit_predictor(circuit, function, graph)
        if not own.n_terms:
            return bare

        def predict(voltage: np.ndarray, external: np.ndarray | None) -> np.ndarray:
            terms = own(np.ascontiguousarray(voltage.T, dtype=np.float64))
            return bare(voltage, external) + np.einsum("nk,knt->tn", circuit.own_gain, terms)

        return predict

    def fitted(graph: Wiring, function: Messages) -> LinearCircuit:
        grams = accumulate(frames, graph, function, target, max_frames, on_block, device, own)

        def recount(circuit: LinearCircuit) -> np.ndarray:
            return redundancy(frames, graph, predictor(circuit, function, graph), target)

        return solver(grams, graph, recount=recount if correlated else None)

    return solve_by_target(wiring, message, fitted) if isinstance(message, GroupMessages) else fitted(wiring, message)
