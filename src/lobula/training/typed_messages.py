"""Message functions of cell types, or of pairs of them, in densely connected circuits with own terms of the update.

Neither types nor functions are known. Every sender first gets a function of its own (`regression.sender_curves`); what
neurons do by themselves and what they send then tells their types (`recovery.dynamic_types`), and the functions of the
types are refined together (`regression.curve_set`). Where they may depend on the receiver, too, that is done for the
receivers of every type, who are sorted anew by which functions explain them best. The result is kept where held-out
frames are predicted better than with one function for all.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from lobula.config.experiment import ExperimentConfig
from lobula.data.atomic import atomic_write_json
from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.recovery.dynamic_types import common_voltages, find_dynamic_types, type_features
from lobula.recovery.gauge import sample_voltage
from lobula.regression import LinearCircuit, PiecewiseLinear, SplineFit, fit_circuit
from lobula.regression.curve_set import TypedFit, first_set, fit_curve_set
from lobula.regression.edge_messages import inputs_of
from lobula.regression.held_out import circuit_predictor, held_out_errors
from lobula.regression.own_curves import GroupCurves
from lobula.regression.sender_curves import Products, SenderCurves, Solved, products
from lobula.regression.sender_rounds import deviation_knots, improve_senders
from lobula.regression.thinned import Thinned
from lobula.regression.update_form import Prepared
from lobula.training.curve_files import load_curves, save_curves
from lobula.training.own_messages import CIRCUIT, FACTS, LEAST_GAIN

logger = logging.getLogger(__name__)

CURVES = "typed_curves.npz"
MOST_TYPINGS = 4
SAME = 0.98
"""Mutual information of types with those before, of 1, at which they are the same."""
MOST_SORTINGS = 4
"""Times that receivers are sorted by the functions that explain them."""
SORTED_GAIN = 0.3
"""Of the mean log residual variance, by which receivers sorted otherwise must be better off than with their type."""
LATER_FLOORS = (1e-6, 1e-7, 1e-8)


@dataclass(frozen=True, eq=False)
class _Senders:
    """Functions of all senders for the receivers of every group, and all equations solved with each."""

    receiver: np.ndarray
    curves: list[SenderCurves]
    fits: list[Solved]

    def free(self) -> np.ndarray:
        """(N, F) free coefficients of every neuron, with the functions of its group."""
        return np.stack([fit.free for fit in self.fits])[self.receiver, np.arange(len(self.receiver))]

    def misfit(self) -> float:
        """Mean log residual variance of all neurons, each with the functions of its group."""
        return float(np.log(self.variance()[self.receiver, np.arange(len(self.receiver))]).mean())

    def variance(self) -> np.ndarray:
        """(R, N) residual variance of every neuron with the functions of every group."""
        return np.stack([fit.variance for fit in self.fits])


def fit_typed_messages(
    recording: Recording,
    config: ExperimentConfig,
    shared: SplineFit,
    form: Prepared,
    out: Path,
    steps: KeptSteps = NOT_KEPT,
) -> TypedFit | None:
    """Fits a function per type of the sender, or per pair of types; writes it, and sharing.json on what came of it.

    Returns:
        The fit, or None if held-out frames are not predicted better than with one function for all.
    """
    settings, target, frames = config.spline, config.training.target, recording["train"]
    thin, voltage = Thinned.to(frames, target, settings.curve_frames), sample_voltage(frames).astype(np.float64)
    low, high = float(frames.visited_range[0].min()), float(frames.visited_range[1].max())
    knots = deviation_knots(shared.curve, low, high, settings.own_knots, recording.wiring.n_neurons)
    data = products(thin, form.wiring, shared.curve, knots, target, settings.curve_frames, form.own)
    senders = _every_sender(data, shared.curve, knots, form, steps)
    group = _types(senders, form, voltage, config)
    if settings.sharing == "pair" and group.max() > 0:
        senders, group = _by_receiver(data, senders, group, form, voltage, config, steps)
    del data
    sets = []
    for r, curves in enumerate(senders.curves):
        part = inputs_of(form.wiring, senders.receiver == r)
        start = first_set(group, _one_unit(curves, voltage), voltage, settings.n_knots)
        found, _ = fit_curve_set(
            thin, part, start, voltage, target, form.own,
            n_knots=settings.n_knots, n_rounds=settings.n_rounds, curve_frames=settings.curve_frames,
            curve_neurons=settings.curve_neurons, monotone=settings.monotone, tolerance=settings.tolerance,
            steps=steps,
        )  # fmt: skip
        sets.append(found)
    tables = [GroupCurves(s.group, [curve.as_linear() for curve in s.curves]) for s in sets]
    message = TypedFit(shared.circuit, senders.receiver, tables).curves
    circuit = fit_circuit(frames, form.wiring, message, target, settings.max_frames, own=form.own)
    return _kept(recording, config, shared, TypedFit(form.finish(circuit, message), senders.receiver, tables), out)


def all_pairs(wiring: Wiring) -> bool:
    """Whether every neuron has all others as inputs."""
    return int((wiring.pre != wiring.post).sum()) == wiring.n_neurons * (wiring.n_neurons - 1)


def _every_sender(
    data: Products,
    base: PiecewiseLinear,
    knots: np.ndarray,
    form: Prepared,
    steps: KeptSteps,
) -> _Senders:
    """A function for every sender, the same for all receivers."""
    n, loops = form.wiring.n_neurons, has_loops(form.wiring)
    first = SenderCurves(base, knots, np.zeros((n, len(knots))))
    curves, fit = improve_senders(data, first, np.ones(n, dtype=bool), loops, steps=steps)
    return _Senders(np.zeros(n, dtype=np.int64), [curves], [fit])


def has_loops(wiring: Wiring) -> bool:
    """Whether neurons are inputs of themselves."""
    return bool((wiring.pre == wiring.post).any())


def _types(senders: _Senders, form: Prepared, voltage: np.ndarray, config: ExperimentConfig) -> np.ndarray:
    """(N,) types by what neurons do by themselves and what they send."""
    grid, free = common_voltages(voltage), senders.free()
    points = np.repeat(grid[None], len(free), axis=0)
    rates = free[:, :1] * points
    own = form.own(points)
    rates = rates + np.einsum("nk,knp->np", free[:, free.shape[1] - len(own) :], own)
    features = type_features(rates, *(curves.on_grid(grid).T for curves in senders.curves))
    types = find_dynamic_types(features, config.recovery.n_cell_types)
    return np.unique(types.gmm, return_inverse=True)[1]


def _by_receiver(
    data: Products,
    senders: _Senders,
    group: np.ndarray,
    form: Prepared,
    voltage: np.ndarray,
    config: ExperimentConfig,
    steps: KeptSteps,
) -> tuple[_Senders, np.ndarray]:
    """Functions for the receivers of every type, and the types that they lead to, until these stay the same.

    While functions are coarse, receivers may be better off with those of another type; in the end they have their own,
    unless these explain clearly less: then the types are wrong.
    """
    loops = has_loops(form.wiring)
    for _ in range(MOST_TYPINGS):
        senders = _sorted(data, _nearest(senders, group), group, loops, steps)
        before, group = group, _types(senders, form, voltage, config)
        if normalized_mutual_info_score(before, group) > SAME:
            break
    if (senders.receiver != group).any():
        own = _for_receivers(data, _nearest(senders, group), group, loops, steps)
        senders = senders if senders.misfit() < own.misfit() - SORTED_GAIN else own
    return senders, group


def _nearest(senders: _Senders, group: np.ndarray) -> list[SenderCurves]:
    """For every type, the functions that most of its neurons have as receivers."""
    return [senders.curves[np.bincount(senders.receiver[group == r]).argmax()] for r in range(int(group.max()) + 1)]


def _for_receivers(
    data: Products,
    curves: list[SenderCurves],
    receiver: np.ndarray,
    loops: bool,
    steps: KeptSteps,
) -> _Senders:
    """Functions for groups of receivers, improved on their own equations."""
    pairs = [improve_senders(data, curve, receiver == r, loops, LATER_FLOORS, steps) for r, curve in enumerate(curves)]
    return _Senders(receiver, [pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _sorted(
    data: Products,
    curves: list[SenderCurves],
    receiver: np.ndarray,
    loops: bool,
    steps: KeptSteps,
) -> _Senders:
    """Functions for groups of receivers, who join the group whose functions explain them best."""
    for _ in range(MOST_SORTINGS):
        senders = _for_receivers(data, curves, receiver, loops, steps)
        better = senders.variance().argmin(0)
        if (better == receiver).all() or len(np.unique(better)) < len(curves):
            break
        curves, receiver = senders.curves, better
    return senders


def _one_unit(curves: SenderCurves, voltage: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Functions of all senders with one offset and one spread, so that those of a type have a mean."""
    at = curves.on_grid(common_voltages(voltage))
    centre, size = at.mean(0), np.maximum(at.std(0), 1e-9)
    return lambda grid: (curves.on_grid(grid) - centre) / size


def _kept(
    recording: Recording, config: ExperimentConfig, shared: SplineFit, own: TypedFit, out: Path
) -> TypedFit | None:
    """The fit, if it predicts held-out frames better than the shared one; writes what is kept, and why."""
    wiring, target = recording.wiring, config.training.target
    before, after = (
        held_out_errors(circuit_predictor(circuit, message, wiring), recording["validation"], wiring, target)
        for circuit, message in ((shared.circuit, shared.curve), (own.circuit, own.curves))
    )
    gain = before - after
    kept = bool(gain.mean() > max(gain.std() / np.sqrt(len(gain)), LEAST_GAIN))
    facts: dict[str, object] = {"asked": config.spline.sharing, "kept": kept, "n_groups": own.n_types}
    facts |= {"n_own": own.n_types, "n_receiver_groups": len(own.tables)}
    facts |= {"held_out_log_error_shared": float(before.mean()), "held_out_log_error_own": float(after.mean())}
    logger.info(
        "message functions: %d groups of senders, %d of receivers, held-out error %.5f (one for all: %.5f), %s",
        own.n_types, len(own.tables), after.mean(), before.mean(), "kept" if kept else "one for all is kept",
    )  # fmt: skip
    if kept:
        save_typed(own, out)
    atomic_write_json(out / FACTS, facts)
    return own if kept else None


def save_typed(own: TypedFit, out: Path) -> None:
    """Writes own_circuit.npz and typed_curves.npz."""
    own.circuit.save(out / CIRCUIT)
    curves = [curve for table in own.tables for curve in table.curves]
    save_curves(out / CURVES, curves, receiver=own.receiver, group=own.tables[0].group)


def load_typed(out: Path) -> TypedFit | None:
    """Reads what `save_typed` wrote; None if there is nothing.

    Raises:
        StoreError: if a file is truncated.
    """
    path = out / CURVES
    if not path.exists():
        return None
    curves, (receiver, group) = load_curves(path, "receiver", "group")
    size, n_types = int(receiver.max()) + 1, int(group.max()) + 1
    tables = [GroupCurves(group, curves[r * n_types : (r + 1) * n_types]) for r in range(size)]
    return TypedFit(LinearCircuit.load(out / CIRCUIT), receiver, tables)
