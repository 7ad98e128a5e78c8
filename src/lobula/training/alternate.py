"""Alternation: circuit in closed form for the present messages, Gauss-Newton on the messages, circuit again."""

import logging

import numpy as np
import torch

from lobula.data.split import Split, TargetKind
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork
from lobula.models.low_rank import low_rank
from lobula.models.messages import learned_messages, message_function
from lobula.regression.edge_messages import Messages
from lobula.regression.latent import fit_low_rank
from lobula.regression.ridge import LinearCircuit, Solver, fit_circuit, solve
from lobula.regression.spline import misfit, some_targets
from lobula.regression.tabulate import tabulate
from lobula.training.last_layer import last_layer, last_layer_step, message_spread, rescale_last_layer, set_last_layer

logger = logging.getLogger(__name__)

EQUATIONS = 1000
STEP_FRAMES = 1500
TRIAL_FRAMES = 3000
SAMPLE_FRAMES = 200
LEAST_GAIN = 1e-4


def alternate(
    model: GraphNetwork,
    split: Split,
    wiring: Wiring,
    target: TargetKind,
    n_steps: int,
    n_frames: int,
    visited: tuple[np.ndarray, np.ndarray],
    device: torch.device,
    solver: Solver = solve,
) -> LinearCircuit:
    """Moves the last layer of the message network by up to ``n_steps`` Gauss-Newton steps and refits the circuit.

    Each step must lower the mean log residual variance of a sample of equations; else it is shortened, then dropped.

    Args:
        model: changed in place.
        split: training frames.
        wiring: the known graph.
        target: "observed" or "drift".
        n_steps: most steps.
        n_frames: frames of the last refit.
        visited: lowest and highest voltage of every neuron.
        device: where the Gram matrices of the refits are computed.
        solver: what solves for the circuit.
    """
    factors = low_rank(model)
    if factors is not None:  # a step on g would take residuals that free weights leave, where few frames leave none
        right = factors[2].detach().double().cpu().numpy()
        return fit_low_rank(split, wiring, tabulate(message_function(model), visited), right, target, n_frames, device)
    part = some_targets(wiring, EQUATIONS)
    fed = np.flatnonzero(part.in_degree > 0)

    def message() -> Messages:
        return learned_messages(model, visited)

    circuit = fit_circuit(split, part, message(), target, TRIAL_FRAMES, device=device, solver=solver)
    score = misfit(circuit, fed)
    few = torch.from_numpy(split.voltage(0, min(SAMPLE_FRAMES, split.n_frames)))
    spread = message_spread(model, few)
    for number in range(n_steps):
        before = last_layer(model)
        step, gain = last_layer_step(model, split, part, circuit, target, STEP_FRAMES), 0.0
        for length in (1.0, 0.3, 0.1):
            set_last_layer(model, before + length * step)
            rescale_last_layer(model, spread, few)
            trial = fit_circuit(split, part, message(), target, TRIAL_FRAMES, device=device, solver=solver)
            gain = score - misfit(trial, fed)
            if gain > 0:
                circuit, score = trial, score - gain
                break
            set_last_layer(model, before)
        logger.debug("last layer, step %d: misfit %.5f", number, score)
        if gain < LEAST_GAIN:
            break
    return fit_circuit(split, wiring, message(), target, n_frames, device=device, solver=solver)
