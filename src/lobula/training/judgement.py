"""What follows a phase of training: Gauss-Newton on the messages, the circuit in closed form, and whether all neurons
share one message function. Goes on after a kill from the last Gauss-Newton step."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from lobula.config.experiment import ExperimentConfig
from lobula.data.recording import Recording
from lobula.models import GraphNetwork, learned_messages
from lobula.regression.held_out import circuit_predictor, held_out_errors
from lobula.regression.ridge import Solver
from lobula.regression.update_form import Prepared
from lobula.training.alternate import Steps, alternate
from lobula.training.phases import HeldCircuit

logger = logging.getLogger(__name__)

REFIT_FRAMES = 8000
OWN_STEPS = 3
"""Gauss-Newton steps on message functions of every neuron's own, before they are compared with one for all."""


@dataclass
class Judgement:
    """One that is under way, for a checkpoint; the model is beside it.

    Attributes:
        own: what message functions of every neuron's own came to (`refitted`); None before.
        steps: where the Gauss-Newton steps of the present refit are.
    """

    own: dict[str, Any] | None = None
    steps: Steps | None = None

    def state(self) -> dict[str, Any]:
        """Plain values and tensors."""
        return {"own": self.own, "steps": asdict(self.steps) if self.steps else None}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Judgement":
        """What `state` gave."""
        return cls(state["own"], Steps(**state["steps"]) if state["steps"] else None)


@dataclass(frozen=True)
class Judge:
    """Refits circuits and compares them by their prediction of held-out frames.

    Attributes:
        recording: split into train and validation.
        config: section `training` is read.
        form: what a neuron does by itself, and the known graph.
        solver: what solves for the circuit.
        device: where the Gram matrices of the refits are computed.
        keep: called after every step, with its number and misfit, to store the judgement and the model.
    """

    recording: Recording
    config: ExperimentConfig
    form: Prepared
    solver: Solver
    device: torch.device
    keep: Callable[[int, float], None]

    def __call__(self, model: GraphNetwork, judgement: Judgement, name: str) -> tuple[dict[str, Any], bool]:
        """The better refit, loaded into the model, and whether it is the simpler one.

        One message function for all neurons is tried in place of one per neuron, and kept unless it predicts held-out
        frames worse by more than one standard error: the simpler model extrapolates better to sources that rarely fire.

        Args:
            model: on the CPU; changed in place.
            judgement: where an earlier call was cut off, or a new one; changed in place.
            name: of the phase, for the log.
        """
        if judgement.own is None:
            may_share = self.config.model.g_phi_shared == "auto" and not model.shared and model.learns_messages
            own = self.refitted(model, judgement, OWN_STEPS if may_share else None)
            if not may_share:
                return own, False
            judgement.own, judgement.steps = own, None
            model.share_messages()
        own, shared = judgement.own, self.refitted(model, judgement)
        worse = (shared["errors"] - own["errors"]).numpy()
        simpler = bool(worse.mean() <= worse.std() / np.sqrt(len(worse)))
        chosen = "one for all" if simpler else "one each"
        logger.info("phase %s: one message function for all, held-out error %+.5f: %s", name, worse.mean(), chosen)
        if not simpler:
            model.load_state_dict(own["model"])
        return (shared if simpler else own), simpler

    def refitted(self, model: GraphNetwork, judgement: Judgement, most_steps: int | None = None) -> dict[str, Any]:
        """Gauss-Newton on the messages, the circuit in closed form: the model's state, the circuit's (`HeldCircuit`)
        and (N,) held-out errors."""
        recording, settings = self.recording, self.config.training
        visited = recording["train"].visited_range
        n_steps = settings.gauss_newton_steps if model.learns_messages else 0
        n_steps = n_steps if most_steps is None else min(n_steps, most_steps)
        n_frames = max(REFIT_FRAMES, 3 * int(self.form.wiring.in_degree.max(initial=0)))

        def keep(steps: Steps, score: float) -> None:
            judgement.steps = steps
            self.keep(steps.done, score)

        frames = recording["train"], self.form, settings.target
        circuit = alternate(model, *frames, n_steps, n_frames, visited, self.device, self.solver, judgement.steps, keep)
        predict = circuit_predictor(circuit, learned_messages(model, visited), recording.wiring)
        errors = held_out_errors(predict, recording["validation"], recording.wiring, settings.target)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        return {"model": state, "held": HeldCircuit.from_circuit(circuit).state(), "errors": torch.from_numpy(errors)}
