"""`lobula.fit`: arrays in, estimates out, for notebooks and for recordings that lobula did not simulate."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lobula.config import ExperimentConfig
from lobula.data.annotations import Annotations
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.errors import ConfigError, NonFiniteError, ShapeError
from lobula.recovery import prior_note, recover_circuit, recover_gnn, recover_spline
from lobula.recovery.support import with_support
from lobula.training import train
from lobula.training.candidates import with_candidates
from lobula.training.closed_form import ridge_messages, train_ridge, train_spline
from lobula.training.own_messages import sharing_facts
from lobula.training.unchanged import seen_by_network

Method = Literal["ridge", "spline", "gnn"]


def fit(
    voltage: np.ndarray,
    wiring: Wiring,
    dt: float,
    stimulus: np.ndarray | None = None,
    cell_types: np.ndarray | None = None,
    method: Method = "spline",
    drift: np.ndarray | None = None,
    n_synapses: np.ndarray | None = None,
    sign: np.ndarray | None = None,
    **settings: Any,
) -> Estimates:
    """Recovers a circuit from recorded activity.

    .. math:: \\dot v_i = k_i v_i + c_i + q_i I_i + \\sum_j \\theta_{ij} g(v_j), \\quad
            \\tau = -1/k,\\ V = -c/k,\\ W = -\\theta/k

    Args:
        voltage: (T, N) recorded activity, one row per frame [a.u.].
        wiring: who connects to whom; `Wiring.from_edges`.
        dt: time between frames [s].
        stimulus: (T, H) per column of the wiring or (T, N) per neuron; ``stimulus[t]`` acts between frames t and t + 1.
        cell_types: (N,) known cell types; they name a column of the result and set the number of clusters.
            ``**{"prior.tied": "soft"}`` ties weights between the same types.
        method: "ridge" (known relu, seconds), "spline" (unknown message function, seconds to minutes), "gnn" (minutes).
        drift: (T, N) exact dv/dt, if it is known; fitted instead of the differences of the voltage.
        n_synapses: (E,) synapse counts in the order of the wiring, for ``**{"prior.synapse_counts": True}``.
        sign: (N,) sign of a neuron's outputs, +1, -1 or 0 (open), for ``**{"prior.sign": "known"}``.
        **settings: config values by dotted or plain name of section `training`, e.g. ``seed=1``,
            ``**{"spline.n_knots": 60}``.

    Returns:
        Estimates with tables `edges` and `neurons` in original neuron ids.

    Raises:
        ShapeError: if the arrays do not fit together.
        NonFiniteError: if the activity holds NaN or infinity.
        ConfigError: if method, dt or a setting is not valid.
        MissingInputError: if a prior is asked for whose annotation is not given.
        StillError: if no voltage moves.
    """
    if method not in ("ridge", "spline", "gnn"):
        raise ConfigError(f"fit: method is {method!r}, expected 'ridge', 'spline' or 'gnn'")
    if not isinstance(wiring, Wiring):
        raise ShapeError(f"fit: wiring is a {type(wiring).__name__}, expected a Wiring; see Wiring.from_edges")
    check_activity(voltage, wiring)
    if cell_types is not None and np.shape(cell_types) != (wiring.n_neurons,):
        raise ShapeError(f"fit: got cell_types of shape {np.shape(cell_types)}, expected ({wiring.n_neurons},)")
    annotations = Annotations.checked(wiring, cell_types, n_synapses, sign)
    recording = Recording.from_arrays(voltage, wiring, dt, stimulus, drift, annotations=annotations)
    target = "observed" if drift is None else "drift"
    dotted = {key if "." in key else f"training.{key}": value for key, value in settings.items()}
    n_types = None if cell_types is None else len(np.unique(cell_types))
    facts = {"training.target": target, "training.estimators": [method], "recovery.n_cell_types": n_types}
    config = ExperimentConfig().with_values({**facts, **dotted})
    with tempfile.TemporaryDirectory() as folder:
        estimates = _estimate(with_candidates(recording, config.update), config, method, Path(folder))
    if cell_types is None:
        return estimates
    return replace(estimates, neurons=estimates.neurons.assign(cell_type=np.asarray(cell_types)))


def check_activity(voltage: np.ndarray, wiring: Wiring) -> None:
    """One clear line for activity that cannot be fitted.

    Raises:
        ShapeError: if it is not (T, N), or is far too short.
        NonFiniteError: if a value is NaN or infinite.
    """
    shape = np.shape(voltage)
    if len(shape) != 2 or shape[1] != wiring.n_neurons:
        hint = "; transpose it" if len(shape) == 2 and shape[0] == wiring.n_neurons else ""
        raise ShapeError(f"fit: got voltage of shape {shape}, expected (frames, {wiring.n_neurons}){hint}")
    if shape[0] < 20:
        raise ShapeError(f"fit: got {shape[0]} frames, expected at least 20; record longer")
    finite = np.isfinite(voltage)
    if not finite.all():
        frame, neuron = (int(x) for x in np.argwhere(~finite)[0])
        raise NonFiniteError(
            f"fit: voltage holds {int((~finite).sum())} NaN or infinite values, the first at frame {frame}, "
            f"neuron {neuron}; fill or cut them first"
        )


def _estimate(recording: Recording, config: ExperimentConfig, method: Method, folder: Path) -> Estimates:
    """Estimates; with a column on which candidates there are, where the graph is not known."""
    recording["train"].check_moves()
    estimates = _recovered(recording, config, method, folder)
    return with_support(estimates, recording, config.update) if config.update.graph == "all_pairs" else estimates


def _recovered(recording: Recording, config: ExperimentConfig, method: Method, folder: Path) -> Estimates:
    target, recovery, notes = config.training.target, config.recovery, prior_note(config.prior)
    if method == "ridge":
        circuit = train_ridge(recording, config, folder)
        message = ridge_messages(config, folder)
        return recover_circuit(recording, circuit, message, method, target, recovery, update=config.update, notes=notes)
    spline = None
    if method == "spline" or config.network_needs_spline:
        spline = train_spline(recording, config, folder / "spline")
        if method == "spline":
            facts = {**sharing_facts(folder / "spline"), **notes}
            return recover_spline(recording, spline, target, recovery, facts, config.update)
    model = train(*seen_by_network(recording, config, folder / "spline"), folder, spline)
    return recover_gnn(recording, model, target, recovery, update=config.update, prior=config.prior)
