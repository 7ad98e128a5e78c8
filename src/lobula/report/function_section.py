"""The section on the functions that were found: message curves in one gauge, and learned update curves."""

from functools import partial

import numpy as np
import torch

from lobula.data.estimates import Estimates
from lobula.figures import message_curves, update_curves
from lobula.figures.curves import Curve
from lobula.recovery.gauge import find_gauge
from lobula.recovery.linearise import visited_frames
from lobula.regression import PiecewiseLinear
from lobula.regression.curve_step import settle_gauge
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs

_CURVE_POINTS = 801
_MEAN_FRAMES = 40
_UPDATE_POINTS = 24
_TAILS = (0.005, 0.995)
_WEAK = 1e-2  # a neuron whose messages hardly follow the population's has no curve of its own
_MESSAGES = (
    "What a neuron sends to its partners as a function of its own voltage. Shaded: the voltages that the recording "
    "visits; beyond them a curve is a guess. Offset and scale are free, so curves are compared with g(0) = 0 and the "
    "scale of the rectifier most like them. Bands hold 90 % of the neurons."
)
_UPDATES = (
    "The learned update of each neuron over the voltages that it visits, messages and input held at their mean. In the "
    "true circuit these are straight lines of slope -1/tau."
)


def function_section(inputs: ReportInputs) -> Section | None:
    """Message curves over the true one, and update curves."""
    exhibits = []
    if inputs.estimates:
        sample = inputs.voltage_sample
        curves = {name: gauged_curve(estimates, sample) for name, estimates in inputs.estimates.items()}
        draw = partial(message_curves, curves, true=true_message(inputs, sample), visited=_visited(inputs))
        exhibits.append(Exhibit("message_curves", _MESSAGES, draw, "half"))
    learned = learned_updates(inputs)
    if learned is not None:
        gnn = inputs.estimates.get("gnn")
        update = partial(update_curves, *learned, tau=None if gnn is None else gnn.neurons["tau"].to_numpy(float))
        exhibits.append(Exhibit("update_curves", _UPDATES, update, "half"))
    text = "The nonlinearities are found, not assumed (except by ridge, which is given its message function)."
    return Section("functions", "Message and update functions", text, exhibits) if exhibits else None


def gauged_curve(estimates: Estimates, sample: np.ndarray | None) -> Curve:
    """The message curve of an estimator with g(0) = 0 and a rectifier's scale.

    Args:
        estimates: with one shared curve (K,), or a curve per neuron (K, N).
        sample: (T, N) voltages of the recording [a.u.]; None leaves the curve as it is.

    Returns:
        Voltages (K,) and messages (K,) or (K, N); a neuron's curve is NaN where the neuron never is.
    """
    voltage, message = estimates.curve_voltage, np.asarray(estimates.curve_message, dtype=float)
    if sample is None:
        return voltage, message
    if message.ndim == 2 and np.allclose(message, message[:, :1]):
        message = message[:, 0]
    if message.ndim == 1:
        return voltage, settle_gauge(PiecewiseLinear(voltage, message), sample.ravel()).values
    sample = np.tile(sample, message.shape[1] // sample.shape[1])  # once per group of receivers
    gauge = find_gauge(sample, estimates.message)
    low, high = np.quantile(sample, _TAILS, axis=0)
    seen = (voltage[:, None] >= low) & (voltage[:, None] <= high)
    clear = np.abs(gauge.scale) > _WEAK * np.median(np.abs(gauge.scale))
    with np.errstate(divide="ignore", invalid="ignore"):
        return voltage, np.where(seen & clear, (message - gauge.offset) / gauge.scale, np.nan)


def true_message(inputs: ReportInputs, sample: np.ndarray | None) -> Curve | None:
    """The true message function in the same gauge; None if it is not known, or differs between neurons."""
    if inputs.truth is None or not inputs.truth.dynamics.is_shared:
        return None
    ends = [end for e in inputs.estimates.values() for end in (e.curve_voltage.min(), e.curve_voltage.max())]
    voltage = np.linspace(min(ends), max(ends), _CURVE_POINTS)
    curve = PiecewiseLinear(voltage, inputs.truth.dynamics.message_function()(voltage))
    return voltage, settle_gauge(curve, voltage if sample is None else sample.ravel()).values


def learned_updates(inputs: ReportInputs) -> Curve | None:
    """Voltages (K, N) and dv/dt (K, N) of the trained network, each neuron where the neuron goes; None without one."""
    model, sample = inputs.network, inputs.voltage_sample
    if model is None or sample is None or inputs.recording is None:
        return None
    voltage, external = visited_frames(inputs.recording, _MEAN_FRAMES)
    low, high = np.quantile(sample, _TAILS, axis=0)
    grid = torch.from_numpy((low + (high - low) * np.linspace(0, 1, _UPDATE_POINTS)[:, None]).astype(np.float32))
    with torch.no_grad():
        held = (x.mean(0).expand_as(grid) for x in (model.summed_message(voltage), external))
        drift = model.update(grid, *held)
    return grid.double().numpy(), drift.double().numpy()


def _visited(inputs: ReportInputs) -> tuple[float, float] | None:
    ranges = [e.notes["visited"] for e in inputs.estimates.values() if np.size(e.notes.get("visited", ())) == 2]
    return (float(min(r[0] for r in ranges)), float(max(r[1] for r in ranges))) if ranges else None
