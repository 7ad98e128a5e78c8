"""The section on what the neurons did: the kinograph, how many patterns the activity has, and the noise in it."""

from functools import partial

import numpy as np

from lobula.data.split import Split
from lobula.figures import activity_ranks, kinograph, residual_spread
from lobula.metrics import activity_spectrum, expected_residual
from lobula.recovery.gauge import sample_voltage
from lobula.recovery.states import states_along
from lobula.report.activity_sections import scene
from lobula.report.circuit_sections import cell_types
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs

MAX_ROWS = 400
MAX_FRAMES = 200
SPECTRUM_FRAMES = 800
PARTS = (0.9, 0.99)
_TEXT = "What was recorded, seen as a whole: every neuron over time, and how many independent patterns there are."


def neural_section(inputs: ReportInputs) -> Section | None:
    """Kinograph, spectrum of the activity, and residuals beside the noise."""
    if inputs.recording is None or "train" not in inputs.recording:
        return None
    exhibits = [_kinograph(inputs), _ranks(inputs), residual_exhibit(inputs)]
    return Section("activity", "What the neurons did", _TEXT, [exhibit for exhibit in exhibits if exhibit])


def residual_exhibit(inputs: ReportInputs) -> Exhibit | None:
    """One-step residuals of every estimator beside what the noise of the simulation leaves."""
    recording, simulation = inputs.recording, inputs.config.simulation
    if recording is None:
        return None
    residual = {
        name: e.neurons["residual_std"].to_numpy(float)
        for name, e in inputs.estimates.items()
        if "residual_std" in e.neurons and len(e.neurons) == recording.n_neurons
    }
    residual = {name: values for name, values in residual.items() if np.isfinite(values).any()}
    if not residual:
        return None
    caption = "What each estimator leaves unexplained of dv/dt, one step ahead, neuron by neuron."
    expected = None
    simulated = inputs.circuit is not None and simulation.recording is None and inputs.target == "observed"
    if simulated and inputs.circuit is not None and simulation.process_noise + simulation.measurement_noise > 0:
        tau = inputs.circuit.tau[inputs.true_neurons(recording.wiring.neuron_ids)]
        expected = expected_residual(simulation.process_noise, simulation.measurement_noise, recording.dt, tau)
        caption += " Grey: what the noise of the simulation alone leaves; a perfect fit lies on it."
    spread = sample_voltage(recording["train"]).std(axis=0)
    return Exhibit("residual_spread", caption, partial(residual_spread, residual, spread, expected=expected), "full")


def _kinograph(inputs: ReportInputs) -> Exhibit | None:
    recording = inputs.recording
    if recording is None or not recording.splits:
        return None
    split = recording["test"] if "test" in recording else recording[recording.splits[-1]]
    start, stop = scene(split, max(inputs.config.stimulus.clip_frames, 2))
    stop = min(stop, start + MAX_FRAMES)
    if stop - start < 3:
        return None
    recorded = split.voltage(start, stop)
    mean = recorded[1:].mean(axis=0)
    kind, names = _kinds(inputs, recording.n_neurons)
    order = np.argsort(kind, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), MAX_ROWS)).astype(int))]
    panels = {"recorded": (recorded[1:] - mean)[:, shown]}
    caption = "Voltage of the neurons (rows, by cell type) in a held-out scene, around each neuron's mean."
    if len(shown) < len(order):
        caption += f" {len(shown)} of {len(order):,} neurons, evenly chosen."
    rolled = _rolled(inputs, split, recorded[0], start, stop)
    if rolled is not None and inputs.headline is not None:
        panels[inputs.headline] = (rolled - mean)[:, shown]
        caption += f" Right: the circuit that {inputs.headline} recovered, left to run by itself from the first frame."
    time = recording.dt * np.arange(1, stop - start)
    return Exhibit("kinograph", caption, partial(kinograph, time, panels, kind[shown], names), "full")


def _rolled(inputs: ReportInputs, split: Split, first: np.ndarray, start: int, stop: int) -> np.ndarray | None:
    """(S, N) voltage of the best recovered circuit after each step; None if there is none that fits the recording."""
    estimates = inputs.estimates.get(inputs.headline or "")
    if estimates is None or estimates.wiring.n_neurons != len(first):
        return None
    states = None if inputs.recording is None else states_along(estimates, inputs.recording, split.name, start + 1)
    state = None if states is None else states[start]
    return estimates.predict(first, split.stimulus(start, stop - 1), stop - 1 - start, state)


def _kinds(inputs: ReportInputs, n: int) -> tuple[np.ndarray, list[str]]:
    for estimates in inputs.estimates.values():
        if len(estimates.neurons) == n:
            kind, names, _ = cell_types(inputs, estimates)
            return kind, names
    if inputs.circuit is not None and inputs.recording is not None:
        place = inputs.true_neurons(inputs.recording.wiring.neuron_ids)
        return inputs.circuit.cell_type[place], list(inputs.circuit.cell_type_names)
    return np.full(n, -1), []


def _ranks(inputs: ReportInputs) -> Exhibit | None:
    recording = inputs.recording
    if recording is None or recording["train"].n_frames < 3:
        return None
    split = recording["train"]
    sources = {"voltage": _sample(split, "voltage")}
    if split.has_stimulus:
        sources["stimulus"] = _sample(split, "stimulus")
    found = {name: activity_spectrum(values) for name, values in sources.items()}
    found = {name: spectrum for name, spectrum in found.items() if spectrum.share.any()}
    if not found:
        return None
    ranks = {name: {part: spectrum.rank(part) for part in PARTS} for name, spectrum in found.items()}
    draw = partial(activity_ranks, {name: spectrum.share for name, spectrum in found.items()}, ranks)
    n_frames = len(sources["voltage"])
    caption = (
        f"How many independent patterns (principal components) make up the activity of {recording.n_neurons:,} neurons "
        f"in {n_frames:,} frames, and the stimulus that drives them; dots mark 90 % and 99 % of the variance."
    )
    return Exhibit("activity_ranks", caption, draw, "full")


def _sample(split: Split, name: str, n_blocks: int = 8) -> np.ndarray:
    """(T, W) frames of a field from evenly spaced stretches of a split."""
    length = max(1, min(SPECTRUM_FRAMES, split.n_frames) // n_blocks)
    starts = np.unique(np.linspace(0, split.n_frames - length, n_blocks).astype(int))
    return np.concatenate([split.window(name, s, s + length) for s in starts])
