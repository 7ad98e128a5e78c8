"""Sections about the eye and about prediction: what was shown, and how well the recovered circuit foretells it."""

from functools import partial

import numpy as np

from lobula.data.split import Split
from lobula.figures import Sheet, eye_movie, hexagon_centres, hexagonal_eye, rollout_error, rollout_traces
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import RUNGS, ReportInputs, positions
from lobula.report.tables import prediction_table

N_MOMENTS = 6
N_TRACES = 10
N_MOVIE = 30
_SLOWER = 4
_SHEET_TYPES = ("L1", "Mi1", "T4a")


def stimulus_section(inputs: ReportInputs) -> Section | None:
    """The hexagonal eye: the stimulus and the answer of a few cell types."""
    sheets, time = _sheets(inputs, N_MOMENTS)
    if not sheets:
        return None
    frames, moments = _sheets(inputs, N_MOVIE, consecutive=True)
    caption = "Six moments of a held-out scene. Top: luminance per column of the eye."
    if len(sheets) > 1:
        caption += " Below: the voltage of one neuron per column around its mean, orange above and blue below."
    draw = partial(hexagonal_eye, time, sheets)
    exhibit = Exhibit("eye", caption, draw, "full")
    shown = f"The same scene as a movie, {_SLOWER} times slower than life: {', '.join(s.name for s in frames)}."
    return Section(
        "stimulus",
        "What the eye saw",
        "A scene that drove the circuit, and how whole sheets of neurons answered.",
        [exhibit, Exhibit("eye_movie", shown, partial(eye_movie, moments, frames, slower=_SLOWER), "full")],
    )


def prediction_section(inputs: ReportInputs) -> Section | None:
    """True and rolled-out traces, the error by horizon, and the prediction scores."""
    exhibits = _trace_exhibits(inputs) if {"time", "true"} <= set(inputs.traces) else []
    tables = [table for table in [prediction_table(inputs)] if table is not None]
    text = "A recovered circuit is also a simulator. Here it predicts scenes that no estimator has seen."
    if inputs.truth is not None and inputs.config.simulation.process_noise > 0:
        text += " The process noise is new at every step, so that not even the true circuit would predict it all."
    if not exhibits and not tables:
        return None
    return Section("prediction", "Prediction of held-out scenes", text, exhibits, tables)


def _trace_exhibits(inputs: ReportInputs) -> list[Exhibit]:
    traces = inputs.traces
    rolled = {name: traces[name] for name in RUNGS if name in traces}
    m = traces["true"].shape[1]
    shown = np.unique(np.linspace(0, m - 1, min(m, N_TRACES)).astype(int))
    names = _neuron_names(inputs, traces["neurons"][shown] if "neurons" in traces else shown)
    arrays = (traces["time"], traces["true"][:, shown], {name: voltage[:, shown] for name, voltage in rolled.items()})
    caption = (
        "Recorded voltage (broad) and the recovered circuits left to run by themselves from the same first frame, "
        "given only the stimulus. Rows are scaled to their own range."
    )
    exhibits = [Exhibit("traces", caption, partial(rollout_traces, *arrays, names), "full")]
    errors = {name: traces[f"rollout_error_{name}"] for name in RUNGS if f"rollout_error_{name}" in traces}
    if errors:
        caption = "How the error of a rollout grows with its horizon."
        exhibits.append(Exhibit("rollout_error", caption, partial(rollout_error, traces["time"], errors), "half"))
    return exhibits


def _sheets(inputs: ReportInputs, n: int, consecutive: bool = False) -> tuple[list[Sheet], np.ndarray]:
    """Sheets at n moments of a scene, spread over it or one after the other, and the moments [s]."""
    recording = inputs.recording
    if recording is None or recording.column_positions is None or not recording.splits:
        return [], np.empty(0)
    places = np.asarray(recording.column_positions)
    split = recording["test"] if "test" in recording else recording[recording.splits[-1]]
    if not split.has_stimulus or len(places) < 2 or split.n_frames < N_MOMENTS:
        return [], np.empty(0)
    start, stop = scene(split, inputs.config.stimulus.clip_frames)
    last = min(stop, start + n) - 1 if consecutive else stop - 1
    moments = np.unique(np.linspace(start, last, n).astype(int))
    values = split.frames(moments, "stimulus")
    if values.shape[1] != len(places):
        return [], np.empty(0)
    sheets = [Sheet("stimulus", places, values)]
    return sheets + _answers(inputs, split, moments, start, stop), moments * recording.dt


def scene(split: Split, clip_frames: int) -> tuple[int, int]:
    """First frame and end of the second scene of a split (the first one begins at rest), or of what there is."""
    length = min(clip_frames, split.n_frames)
    start = length if split.n_frames >= 2 * length else 0
    return start, start + length


def _answers(inputs: ReportInputs, split: Split, moments: np.ndarray, start: int, stop: int) -> list[Sheet]:
    truth, recording = inputs.circuit, inputs.recording
    if truth is None or recording is None:
        return []
    place = positions(truth.wiring.neuron_ids, recording.wiring.neuron_ids)
    kind, u, v = truth.cell_type[place], truth.u[place], truth.v[place]
    voltage = split.frames(moments) - split.voltage(start, stop).mean(axis=0)
    sheets = []
    for name in _SHEET_TYPES:
        if name in truth.cell_type_names:
            members = np.flatnonzero(kind == truth.cell_type_names.index(name))
            if len(members) > 1:
                sheets.append(Sheet(name, hexagon_centres(u[members], v[members]), voltage[:, members], signed=True))
    return sheets


def _neuron_names(inputs: ReportInputs, chosen: np.ndarray) -> list[str]:
    """Cell type, if it is known, and original id of neurons given by their position in the recording."""
    ids = chosen if inputs.recording is None else inputs.recording.wiring.neuron_ids[chosen]
    if inputs.circuit is None:
        return [f"neuron {i}" for i in ids]
    kind = inputs.circuit.cell_type[inputs.true_neurons(ids)]
    return [f"{inputs.circuit.cell_type_names[k]}  #{i}" for k, i in zip(kind, ids, strict=True)]
