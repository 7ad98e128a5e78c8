"""Alternation: circuit in closed form for the present messages, Gauss-Newton on the messages, circuit again."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lobula.data.split import Split, TargetKind
from lobula.data.wiring import Wiring
from lobula.models.graph_network import GraphNetwork
from lobula.models.low_rank import low_rank
from lobula.models.messages import learned_messages, message_function
from lobula.regression.chosen import Chosen
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
from lobula.training.directions import LastLayer, directions_of, last_layer_of
from lobula.training.gauss_newton import message_spread, normal_equations, rescale_last_layer

logger = logging.getLogger(__name__)

EQUATIONS = 1000
DENSE_EQUATIONS = 24
"""Equations of a Gauss-Newton step, and where neurons have most others as inputs."""
DENSE_FRAMES = 8
"""Frames per input there: with fewer, weights take up what psi lacks."""
SPARSE_FRAMES = 3
FEWEST_FRAMES = 2000
SAMPLE_FRAMES = 200
OUTERMOST = 8
"""Neurons that reach the lowest voltages, and as many that reach the highest."""
LEAST_GAIN = 1e-4
DAMPING = 1e-5
"""Of the first step, relative to the mean curvature; a tenth of it after a step that helps, else ten times as much."""
LEAST_DAMPING = 1e-9
TRIALS = 5
MOST_STUCK = 2
"""Steps on all parameters that bring nothing, each followed by one on the last layer, before only that moves."""


@dataclass(frozen=True)
class Steps:
    """Where Gauss-Newton steps are; with the model, all that the next one depends on.

    Attributes:
        done: steps taken; all of them, where further ones would bring nothing.
        spread: of the messages, to which every step scales them back.
        damping: of the next step.
        on_last_layer: whether only the last layer moves in the next step.
        stuck: steps on all parameters that brought nothing, since the last one that did.
    """

    done: int
    spread: float
    damping: float = DAMPING
    on_last_layer: bool = False
    stuck: int = 0


@dataclass(frozen=True, eq=False)
class Sample:
    """What tells the message function.

    Attributes:
        wiring: of the inputs of some equations.
        frames: some frames.
        target: "observed" or "drift".
        own: terms of a neuron's own voltage.
        visited: lowest and highest voltage of every neuron.
    """

    wiring: Wiring
    frames: Frames
    target: TargetKind
    own: OwnTerms
    visited: tuple[np.ndarray, np.ndarray]


def _forget(steps: Steps, score: float) -> None:
    pass


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
    steps: Steps | None = None,
    keep: Callable[[Steps, float], None] = _forget,
) -> LinearCircuit:
    """Moves the message network by up to ``n_steps`` Gauss-Newton steps and refits the circuit.

    Each step must lower the mean log residual variance of a sample of equations; else it is damped, then dropped.

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
        steps: where an earlier call was cut off.
        keep: called after every step, with where it is and its misfit, to store both and the model.

    Returns:
        The circuit on the known graph.
    """
    wiring = form.wiring
    factors = low_rank(model)
    if factors is not None:  # a step on g would take residuals that free weights leave, where few frames leave none
        right = factors[2].detach().double().cpu().numpy()
        return fit_low_rank(split, wiring, tabulate(message_function(model), visited), right, target, n_frames, device)
    sample = sample_of(split, form, target, visited)

    def message() -> Messages:
        return learned_messages(model, visited)

    def trial_fit() -> LinearCircuit:
        few = sample.frames, sample.wiring, message(), target, None
        return fit_circuit(*few, device=device, own=form.own, solver=solver, correlated=False)

    if n_steps > 0:
        improve(model, n_steps, sample, trial_fit, steps, keep)
    last = message()
    circuit = fit_circuit(split, wiring, last, target, n_frames, device=device, own=form.own, solver=solver)
    return circuit if isinstance(last, EdgeMessages) else form.finish(circuit, last)


def improve(
    model: GraphNetwork,
    n_steps: int,
    sample: Sample,
    trial_fit: Callable[[], LinearCircuit],
    steps: Steps | None,
    keep: Callable[[Steps, float], None],
) -> None:
    """The Gauss-Newton steps of `alternate`, damped as far as it takes; ``trial_fit`` solves for the circuit of the
    sample with the model's present messages."""
    frames, part = sample.frames, sample.wiring
    voltage = frames.voltage(0, frames.n_frames)[:: max(1, frames.n_frames // SAMPLE_FRAMES)]
    few = torch.from_numpy(voltage)
    steps = steps or Steps(0, message_spread(model, few))
    if steps.done >= n_steps:
        return
    fed = np.flatnonzero(part.in_degree > 0)
    circuit = trial_fit()
    score = misfit(circuit, fed)
    while steps.done < n_steps:
        damping, on_last_layer, stuck = steps.damping, steps.on_last_layer, steps.stuck
        directions = (last_layer_of if on_last_layer else directions_of)(model, voltage, sample.visited)
        equations = normal_equations(model, directions, frames, part, circuit, sample.target, sample.own)
        start, best = score, np.zeros(directions.size)
        for _ in range(TRIALS):
            step = equations.step(damping)
            directions.move(step)
            rescale_last_layer(model, steps.spread, few)
            trial = trial_fit()
            left = misfit(trial, fed)
            if left < score:
                circuit, score, best = trial, left, step
                damping = max(damping / 10, LEAST_DAMPING)
            elif score < start:
                break
            else:
                damping *= 10
        directions.move(best)
        rescale_last_layer(model, steps.spread, few)
        done = steps.done + 1
        logger.info("messages, step %d: misfit %.5f", done, score)
        if start - score < LEAST_GAIN:
            if isinstance(directions, LastLayer):
                done = n_steps
            damping, on_last_layer, stuck = LEAST_DAMPING, True, stuck + 1  # happens under noise
        elif not on_last_layer:
            stuck = 0
        elif stuck < MOST_STUCK:
            damping, on_last_layer = DAMPING, False
        steps = Steps(done, steps.spread, damping, on_last_layer, stuck)
        keep(steps, score)


def sample_of(split: Split, form: Prepared, target: TargetKind, visited: tuple[np.ndarray, np.ndarray]) -> Sample:
    """Equations and frames that tell the message function; arguments as in `alternate`."""
    wiring = form.wiring
    if pairs_are_cheaper(wiring, form.own):
        part = some_targets(wiring, DENSE_EQUATIONS)
        most = max(FEWEST_FRAMES, DENSE_FRAMES * int(part.in_degree.max(initial=0)))
        return Sample(part, Thinned.to(split, target, most), target, form.own, visited)
    lowest, highest = np.argsort(visited[0])[:OUTERMOST], np.argsort(visited[1])[-OUTERMOST:]
    part = some_targets(wiring, EQUATIONS, np.union1d(lowest, highest))
    most = max(FEWEST_FRAMES, SPARSE_FRAMES * int(part.in_degree.max(initial=0)))
    return Sample(part, Chosen(split, target, most, lowest, highest), target, form.own, visited)
