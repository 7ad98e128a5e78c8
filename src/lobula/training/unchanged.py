r"""What a network is trained on where the circuit changes while it is recorded.

The same voltages, with the dv/dt that the circuit would have had, did it stay as it is where its gain is 1. With S the
summed messages,

.. math:: y = \mathrm{alone}(v, I) + \mathrm{extra}(v, t) + \gamma(t)\, S \quad\to\quad
          \mathrm{alone}(v, I) + \mathrm{extra}_1(v) + S

where what neurons do alone and what changes are those of the spline, and S is what they leave of y, over the gain. The
network finds psi, phi and the weights from that as from any other recording; what changes is then fitted anew with its
messages (`recovery`).
"""

from pathlib import Path

import numpy as np

from lobula.config.experiment import ExperimentConfig
from lobula.data.recording import Recording
from lobula.data.split import Split
from lobula.recovery import recover_spline
from lobula.recovery.states import states_along
from lobula.regression import SplineFit
from lobula.training.closed_form import load_spline

BLOCK_FRAMES = 500
SPLITS = ("train", "validation")


def seen_by_network(recording: Recording, config: ExperimentConfig, spline: Path) -> tuple[Recording, ExperimentConfig]:
    """Recording and config that a network is trained with: these, or the `unchanged` ones of a circuit that changes.

    Args:
        recording: what was recorded.
        config: of the experiment.
        spline: directory of the spline, which is read where the circuit changes.

    Raises:
        MissingInputError: if it is needed and not there.
    """
    if config.update.varying == "none":
        return recording, config
    values = {"training.target": "drift", "update.varying": "none", "update.drift_period": None}
    return unchanged(recording, load_spline(spline), config), config.with_values(values)


def unchanged(recording: Recording, spline: SplineFit, config: ExperimentConfig) -> Recording:
    """Frames for training and judgement as they would be, did the circuit stay as it is where its gain is 1.

    Args:
        recording: of a circuit that changes.
        spline: circuit, message function and what changes.
        config: of the experiment; `training.target` says what becomes the ``drift`` of the frames.
    """
    target, circuit = config.training.target, spline.circuit
    estimates = recover_spline(recording, spline, target, config.recovery, update=config.update)
    varying = circuit.varying
    if varying is None:
        return recording

    def without_change(split: Split) -> np.ndarray:
        n = split.n_targets(target)
        states = states_along(estimates, recording, split.name, n)
        left = np.empty((n, recording.n_neurons), dtype=np.float32)
        for start in range(0, n, BLOCK_FRAMES):
            span = slice(start, min(start + BLOCK_FRAMES, n))
            voltage, rows = split.voltage(span.start, span.stop), split.stimulus(span.start, span.stop)
            external = 0.0 if rows is None else recording.wiring.spread(rows)
            alone = circuit.k * voltage + circuit.c + circuit.own(voltage) + circuit.q * external
            gain, extra = varying.at(voltage, varying.usual if states is None else states[span])
            summed = (split.target(target, span.start, span.stop) - alone - extra) / gain
            left[span] = alone + varying.at(voltage, varying.unit)[1] + summed
        return left

    parts = {name: recording[name].with_drift(without_change(recording[name])) for name in SPLITS if name in recording}
    return Recording(recording.wiring, recording.dt, parts, annotations=recording.annotations)
