"""What a report is made from: everything a run directory holds, and sentences about what it does not hold."""

import json
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lobula.config import ExperimentConfig
from lobula.connectome import Connectome
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.run_dir import RunDir
from lobula.errors import MissingInputError, StoreError
from lobula.metrics import rung_label
from lobula.models import GraphNetwork
from lobula.recovery.gauge import sample_voltage
from lobula.scoring import in_gauge
from lobula.simulation.truth import Truth
from lobula.training import load_model
from lobula.training.candidates import with_candidates
from lobula.training.unchanged import seen_by_network

RUNGS = ("ridge", "spline", "gnn")
DETAILS = ("by-type", "by-weight", "by-horizon")
_SAMPLE_FRAMES = 100


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """A run, as far as it got.

    Attributes:
        name: of the experiment.
        config: resolved config.
        manifest: `run.json`.
        path: the run directory.
        truth: what the recording was simulated from, or None (recordings without a known truth).
        recording: or None.
        estimates: by rung, in the order of the ladder.
        scores: `scores.json`, empty if there is none.
        traces: `traces.npz`, empty if there is none.
        metrics: `metrics.csv` of the gnn, or None.
        details: tables of the folder `scores`, by name ("by-type", "by-weight", "by-horizon") and rung.
        gaps: sentences about what is missing.
    """

    name: str
    config: ExperimentConfig
    manifest: dict[str, Any]
    path: Path
    truth: Truth | None = None
    recording: Recording | None = None
    estimates: dict[str, Estimates] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    traces: dict[str, np.ndarray] = field(default_factory=dict)
    metrics: pd.DataFrame | None = None
    details: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    @property
    def target(self) -> str:
        """What was fitted: "observed" or "drift"."""
        return str(self.scores.get("target", self.config.training.target))

    @property
    def circuit(self) -> Connectome | None:
        """The true circuit, if it is known."""
        return None if self.truth is None else self.truth.connectome

    @property
    def true_rest(self) -> np.ndarray:
        """(N,) true resting potentials when messages are counted from g(0) = 0, as the estimators count them."""
        if self.truth is None:
            raise MissingInputError("report: this run holds no truth, so neurons have no true values")
        return self.truth.connectome.v_rest

    @cached_property
    def rungs(self) -> list[str]:
        """Estimators with estimates or scores, in the order of the ladder."""
        return [name for name in RUNGS if name in self.estimates or name in self.scores]

    @cached_property
    def network(self) -> GraphNetwork | None:
        """The trained network, or None."""
        folder = self.path / "models" / "gnn"
        if self.recording is None or not (folder / "best.pt").exists():
            return None
        return load_model(*seen_by_network(self.recording, self.config, folder.parent / "spline"), folder)

    @cached_property
    def voltage_sample(self) -> np.ndarray | None:
        """(T, N) voltages of some training frames [a.u.], or None."""
        return None if self.recording is None else sample_voltage(self.recording["train"], _SAMPLE_FRAMES)

    @cached_property
    def headline(self) -> str | None:
        """The rung that the summary is about: best identity R² of the weights, else best prediction, else the last."""

        def merit(name: str) -> tuple[float, float]:
            weights, error = self.score(name, "W", "r2"), self.score(name, "prediction", "one_step_rmse")
            return (-np.inf if weights is None else weights, -np.inf if error is None else -error)

        return max(reversed(self.rungs), key=merit) if self.rungs else None

    def label(self, name: str) -> str:
        """A rung as tables name it, with the prior that it was fitted under."""
        noted = {rung: estimates.notes for rung, estimates in self.estimates.items()}
        return rung_label(noted | self.scores, name)

    @property
    def knows_types(self) -> bool:
        """Whether the estimators were told the cell types."""
        return self.config.prior.tied != "none"

    def score(self, *path: str) -> float | None:
        """A number of `scores.json`, for example ("gnn", "W", "r2"); None if it is not there or not finite."""
        value: Any = self.scores
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)
        return float(value) if is_number else None

    def part(self, *path: str) -> dict[str, Any]:
        """A table of `scores.json`, empty if it is not there."""
        value: Any = self.scores
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def true_neurons(self, ids: np.ndarray) -> np.ndarray:
        """Positions in the truth of neurons given by their original ids."""
        if self.circuit is None:
            raise MissingInputError("report: this run holds no truth, so neurons have no true values")
        return positions(self.circuit.wiring.neuron_ids, ids)


def load_inputs(run: RunDir) -> ReportInputs:
    """Read what the stages of a run have left.

    Args:
        run: a run directory.

    Raises:
        MissingInputError: if there is no config, or nothing to report.
        StoreError: if something is there, but damaged.
    """
    gaps: list[str] = []
    config = run.config
    truth = _truth(run, config)
    if truth is None:
        gaps.append("This run holds no truth, so nothing here compares recovered with true values.")
    recording = _recording(run, config, gaps)
    if truth is not None and recording is not None:
        truth = in_gauge(truth, recording, config.update)
    estimates = {n: Estimates.load(_estimates_path(run, n)) for n in RUNGS if _estimates_path(run, n).exists()}
    for name in config.training.estimators:
        if name not in estimates:
            gaps.append(f"The estimator {name} was asked for, but has left no estimates.")
    if recording is None and not estimates:
        raise MissingInputError(f"{run.path}: neither recording nor estimates to report; run `lobula run` first")
    traces = _arrays(run / "traces.npz")
    if not traces:
        gaps.append("No rollouts were scored, so there are no traces.")
    metrics = _metrics(run / "models" / "gnn" / "metrics.csv")
    return ReportInputs(
        name=config.name,
        config=config,
        manifest=run.manifest,
        path=run.path,
        truth=truth,
        recording=recording,
        estimates=estimates,
        scores=_scores(run / "scores.json", gaps),
        traces=traces,
        metrics=metrics,
        details={name: found for name in DETAILS if (found := _details(run / "scores", name))},
        gaps=gaps,
    )


def positions(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index in `known` of every element of `wanted`.

    Raises:
        StoreError: if one is not there.
    """
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    found = order[place]
    if not np.array_equal(known[found], wanted):
        raise StoreError("report: the estimates name neurons that the truth does not hold; run recover again")
    return found


def _estimates_path(run: RunDir, name: str) -> Path:
    return run / "estimates" / f"{name}.zarr"


def _truth(run: RunDir, config: ExperimentConfig) -> Truth | None:
    """The truth beside the recording."""
    path = Path(config.simulation.recording or run / "recording.zarr").parent / "truth.zarr"
    return Truth.load(path) if path.exists() else None


def _recording(run: RunDir, config: ExperimentConfig, gaps: list[str]) -> Recording | None:
    path = Path(config.simulation.recording or run / "recording.zarr")
    if path.exists():
        return with_candidates(Recording.open(path), config.update)
    gaps.append("The recording is no longer there, so the stimulus is not shown.")
    return None


def _scores(path: Path, gaps: list[str]) -> dict[str, Any]:
    if not path.exists():
        gaps.append("This run has not been scored.")
        return {}
    try:
        scores = json.loads(path.read_text())
    except ValueError as cause:
        raise StoreError(f"{path}: damaged ({cause}), expected JSON; run `lobula score --force`") from cause
    if not isinstance(scores, dict):
        raise StoreError(
            f"{path}: got {type(scores).__name__}, expected a table by estimator; run `lobula score --force`"
        )
    return scores


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as cause:
        raise StoreError(f"{path}: damaged ({cause}), expected arrays; run the stage that made it again") from cause


def _metrics(path: Path) -> pd.DataFrame | None:
    metrics = _csv(path, "train again")
    return metrics if metrics is not None and len(metrics) and "iteration" in metrics else None


def _details(folder: Path, name: str) -> dict[str, pd.DataFrame]:
    tables = {rung: _csv(folder / f"{rung}-{name}.csv", "run `lobula score --force`") for rung in RUNGS}
    return {rung: table for rung, table in tables.items() if table is not None and len(table)}


def _csv(path: Path, remedy: str) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        return pd.read_csv(path)
    except ValueError as cause:  # so are pandas' parser and empty-data errors
        raise StoreError(f"{path}: damaged ({cause}), expected a table; {remedy}") from cause
