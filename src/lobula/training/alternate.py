"""Alternation: circuit in closed form for the present messages, Gauss-Newton on the messages, circuit again."""

import logging
from collections.abc import Callable

import numpy as np
import torch

from lobula.data.split import Split, TargetKind
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork
from lobula.models.low_rank import low_rank
from lobula.models.messages import learned_messages, message_function
from lobula.regression.curve_step import misfit, some_targets
from lobula.regression.edge_messages import EdgeMessages, Messages
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import Frames, pairs_are_cheaper
from lobula.regression.latent import fit_low_rank
from lobula.regression.own_terms import OwnTerms
from lobula.regression.ridge import LinearCircuit, Solver, solve
from lobula.regression.tabulate import tabulate
from lobula.regression.thinned import Thinned
from lobula.regression.update_form import Prepared
from lobula.training.last_layer import last_layer, last_layer_step, message_spread, rescale_last_layer, set_last_layer

logger = logging.getLogger(__name__)

EQUATIONS = 1000
DENSE_EQUATIONS = 24
"""Equations of a Gauss-Newton step, and where neurons have most others as inputs."""
DENSE_FRAMES = 8
"""Frames per input there, every so-many-th of the recording: with fewer, weights take up what psi lacks."""
STEP_FRAMES = 1500
TRIAL_FRAMES = 3000
SAMPLE_FRAMES = 200
LEAST_GAIN = 1e-4


def alternate(
    model: GraphNetwork,
    split: Split,
    form: Prepared,
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
        form: what a neuron does by itself, and the known graph.
        target: "observed" or "drift".
        n_steps: most steps.
        n_frames: frames of the last refit.
        visited: lowest and highest voltage of every neuron.
        device: where the Gram matrices of the refits are computed.
        solver: what solves for the circuit.

    Returns:
        The circuit on the known graph.
    """
    wiring = form.wiring
    factors = low_rank(model)
    if factors is not None:  # a step on g would take residuals that free weights leave, where few frames leave none
        right = factors[2].detach().double().cpu().numpy()
        return fit_low_rank(split, wiring, tabulate(message_function(model), visited), right, target, n_frames, device)
    dense = pairs_are_cheaper(wiring, form.own)
    part = some_targets(wiring, DENSE_EQUATIONS if dense else EQUATIONS)
    most_inputs = int(part.in_degree.max(initial=0))
    trial_frames, step_frames = max(TRIAL_FRAMES, 3 * most_inputs), max(STEP_FRAMES, 2 * most_inputs)
    if dense:
        trial_frames = step_frames = max(TRIAL_FRAMES, DENSE_FRAMES * most_inputs)
    source = Thinned.to(split, target, trial_frames) if dense else split

    def message() -> Messages:
        return learned_messages(model, visited)

    def trial_fit() -> LinearCircuit:
        return fit_circuit(
            source, part, message(), target, trial_frames, device=device, own=form.own, solver=solver, correlated=False
        )

    improve(model, n_steps, part, target, step_frames, source, trial_fit, form.own)
    last = message()
    circuit = fit_circuit(split, wiring, last, target, n_frames, device=device, own=form.own, solver=solver)
    return circuit if isinstance(last, EdgeMessages) else form.finish(circuit, last)


def improve(
    model: GraphNetwork,
    n_steps: int,
    part: Wiring,
    target: TargetKind,
    step_frames: int,
    split: Frames,
    trial_fit: Callable[[], LinearCircuit],
    own: OwnTerms,
) -> None:
    """The Gauss-Newton steps of `alternate`, on the equations of a part of the wiring."""
    fed = np.flatnonzero(part.in_degree > 0)
    circuit = trial_fit()
    score = misfit(circuit, fed)
    few = torch.from_numpy(split.voltage(0, min(SAMPLE_FRAMES, split.n_frames)))
    spread = message_spread(model, few)
    for number in range(n_steps):
        before = last_layer(model)
        step, gain = last_layer_step(model, split, part, circuit, target, step_frames, own=own), 0.0
        for length in (1.0, 0.3, 0.1):
            set_last_layer(model, before + length * step)
            rescale_last_layer(model, spread, few)
            trial = trial_fit()
            gain = score - misfit(trial, fed)
            if gain > 0:
                circuit, score = trial, score - gain
                break
            set_last_layer(model, before)
        logger.debug("last layer, step %d: misfit %.5f", number, score)
        if gain < LEAST_GAIN:
            break
