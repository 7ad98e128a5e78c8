"""The stages, one after the other: simulate, train, recover, score, report.

Each stage is a function from a config and a run directory to that run directory. A stage whose inputs are unchanged is
skipped.
"""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lobula.config import ExperimentConfig
from lobula.data.annotations import GROUP as ANNOTATIONS
from lobula.data.atomic import atomic_write_bytes, atomic_write_json
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.data.run_dir import RunDir, combined_digest, content_digest, recording_digest
from lobula.errors import ConfigError, MissingInputError
from lobula.progress import ProgressBar, progress_bar
from lobula.recovery import prior_note, recover_circuit, recover_gnn, recover_spline
from lobula.recovery.support import with_support
from lobula.regression import LinearCircuit
from lobula.scoring import (
    choose_rollouts,
    circuit_facts,
    graded_facts,
    in_gauge,
    make_probe,
    on_graph,
    score_ceiling,
    score_estimates,
    score_prediction,
    size_table,
    spectrum_scores,
    true_spectrum,
    type_table,
    with_noise_free,
    write_tables,
)
from lobula.simulation.run import simulate as simulate_recording
from lobula.simulation.truth import Truth
from lobula.training import load_model
from lobula.training import train as train_gnn
from lobula.training.candidates import with_candidates
from lobula.training.closed_form import load_spline, ridge_messages, train_ridge, train_spline
from lobula.training.distributed import Team, joined, process_device
from lobula.training.own_messages import sharing_facts
from lobula.training.unchanged import seen_by_network

logger = logging.getLogger(__name__)


STAGE_NAMES = ("simulate", "train", "recover", "score", "report")


@dataclass(frozen=True)
class RunResult:
    """Where a finished run is.

    Attributes:
        path: run directory.
        report: its HTML page; None if the run was to end before.
        scores: content of scores.json; None if the run was to end before.
    """

    path: Path
    report: Path | None
    scores: dict[str, Any] | None


def run(
    config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True, until: str = "report"
) -> RunResult:
    """All stages. Killed or interrupted, the same call goes on where it stopped.

    Args:
        config: from `load_config`.
        out: run directory, made if need be.
        force: repeat stages whose inputs are unchanged.
        progress: show progress bars.
        until: last stage that is done, one of `STAGE_NAMES`.

    Raises:
        ConfigError: if there is no such stage.
    """
    if until not in STAGE_NAMES:
        raise ConfigError(f"until: got {until!r}, expected one of {', '.join(STAGE_NAMES)}")
    chosen = STAGE_NAMES[: STAGE_NAMES.index(until) + 1]
    with joined(config.training) as team:
        if team.leads:
            with _started(config, out) as directory:
                _simulate(directory, config, force, progress)
                if "train" in chosen:
                    _train(directory, config, force, progress, team)
                for name, stage in (("recover", _recover), ("score", _score), ("report", _report)):
                    if name in chosen:
                        stage(directory, config, force, progress)
        elif "train" in chosen:
            _assist(Path(out), config, team)
        team.share(None)  # the others wait for the results
    page = Path(out) / "report" / "index.html"
    return RunResult(
        Path(out), page if "report" in chosen else None, _read_scores(Path(out)) if "score" in chosen else None
    )


def simulate(config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True) -> Path:
    """Simulates the circuit of the config: recording.zarr and truth.zarr in the run directory."""
    with _started(config, out) as directory:
        _simulate(directory, config, force, progress)
        return directory.path


def train(config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True) -> Path:
    """Fits the estimators of the config to the recording: models/<estimator>."""
    with joined(config.training) as team:
        if team.leads:
            with _started(config, out) as directory:
                _train(directory, config, force, progress, team)
        else:
            _assist(Path(out), config, team)
    return Path(out)


def recover(config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True) -> Path:
    """Reads the circuit out of the fitted models: estimates/<estimator>.zarr."""
    with _started(config, out) as directory:
        _recover(directory, config, force, progress)
        return directory.path


def score(config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True) -> dict[str, Any]:
    """Scores the estimates against the truth, or by prediction alone where there is no truth: scores.json."""
    with _started(config, out) as directory:
        return _score(directory, config, force, progress)


def report(config: ExperimentConfig, out: str | Path, force: bool = False, progress: bool = True) -> Path:
    """Draws the report and returns the path of its page."""
    with _started(config, out) as directory:
        return _report(directory, config, force, progress)


# ---------------------------------------------------------------- stages


def _simulate(directory: RunDir, config: ExperimentConfig, force: bool, progress: bool) -> None:
    if config.simulation.recording is not None:
        return
    outputs = ["recording.zarr", "truth.zarr"]
    with directory.stage("simulate", recording_digest(config), force, outputs) as stage:
        if not stage.is_done:
            simulate_recording(config, directory.path, resume=not force, progress=progress)


def _train(directory: RunDir, config: ExperimentConfig, force: bool, progress: bool, team: Team) -> None:
    called = False
    process_device(config.training.device)  # an error comes before an estimator that may take minutes
    recording = _recording(directory.path, config)
    recording["train"].check_moves()
    truth = _truth(directory, config, recording)
    for name in config.fitted_estimators:
        digest = _model_digest(directory, config, name)
        with directory.stage(f"train {name}", digest, force, [f"models/{name}"]) as stage:
            if stage.is_done:
                continue
            out = directory / "models" / name
            if not stage.can_resume:
                _clear(out)
            with progress_bar(f"train {name}", progress) as bar:
                _fit(name, recording, truth, config, out, bar, team)
                called |= name == "gnn"
    if not called:
        team.share(False)


def _assist(out: Path, config: ExperimentConfig, team: Team) -> None:
    """The train stage of a process that does not lead: its part of the gnn's batches, if the leader calls for it."""
    if team.share(None):
        seen = seen_by_network(_recording(out, config), config, out / "models" / "spline")
        train_gnn(*seen, out / "models" / "gnn", team=team)


def _fit(
    name: str,
    recording: Recording,
    truth: Truth | None,
    config: ExperimentConfig,
    out: Path,
    bar: ProgressBar,
    team: Team,
) -> None:
    n_targets = recording["train"].n_targets(config.training.target)
    if name == "ridge":
        most = config.ridge.max_frames or n_targets
        train_ridge(recording, config, out, lambda n: bar.show(n, min(most, n_targets), "frames"))
    elif name == "spline":
        most = config.spline.n_rounds  # more where added knots help
        train_spline(recording, config, out, lambda k, score: bar.show(k + 1, max(most, k + 1), f"misfit {score:.4f}"))
    else:
        source = out.parent / "spline"
        spline = load_spline(source) if config.network_needs_spline else None
        probe = make_probe(truth, recording, config.update) if truth else None
        team.share(True)
        train_gnn(*seen_by_network(recording, config, source), out, spline, probe, bar.numbers, team)


def _recover(directory: RunDir, config: ExperimentConfig, force: bool, progress: bool) -> None:
    recording = _recording(directory.path, config)
    for name in config.training.estimators:
        digest = combined_digest(_model_digest(directory, config, name), config.digest("recovery"))
        with directory.stage(f"recover {name}", digest, force, [f"estimates/{name}.zarr"]) as stage:
            if stage.is_done:
                continue
            with progress_bar(f"recover {name}", progress) as bar:
                bar.show(0, 1, "")
                estimates = _estimates(name, recording, config, directory / "models" / name)
                if config.update.graph == "all_pairs":
                    estimates = with_support(estimates, recording, config.update)
                (directory / "estimates").mkdir(exist_ok=True)
                estimates.save(directory / "estimates" / f"{name}.zarr")


def _estimates(name: str, recording: Recording, config: ExperimentConfig, model: Path) -> Estimates:
    target = config.training.target
    if name == "ridge":
        message, circuit = ridge_messages(config, model), LinearCircuit.load(model / "circuit.npz")
        notes = {"assumed_message_function": config.ridge.activation, **prior_note(config.prior)}
        return recover_circuit(
            recording, circuit, message, name, target, config.recovery, update=config.update, notes=notes
        )
    if name == "spline":
        facts = {**sharing_facts(model), **prior_note(config.prior)}
        return recover_spline(recording, load_spline(model), target, config.recovery, facts, config.update)
    network = load_model(*seen_by_network(recording, config, model.parent / "spline"), model)
    return recover_gnn(recording, network, target, config.recovery, update=config.update, prior=config.prior)


def _score(directory: RunDir, config: ExperimentConfig, force: bool, progress: bool) -> dict[str, Any]:
    digests = [_model_digest(directory, config, name) for name in config.training.estimators]
    digest = combined_digest(*digests, config.digest("recovery", "scoring"))
    with directory.stage("score", digest, force, ["scores.json"]) as stage:
        if not stage.is_done:
            with progress_bar("score", progress) as bar:
                _write_scores(directory, config, bar)
    return _read_scores(directory.path)


def _write_scores(directory: RunDir, config: ExperimentConfig, bar: ProgressBar) -> None:
    recording = _recording(directory.path, config)
    truth = _truth(directory, config, recording)
    names, rollouts = config.training.estimators, choose_rollouts(recording, config)
    scores: dict[str, Any] = {"target": config.training.target, "ceiling": None}
    scores["seeds"] = {"simulation": config.simulation.seed, "training": config.training.seed}
    traces = {"time": np.arange(1, rollouts.true.shape[1]) * recording.dt, "neurons": rollouts.neurons}
    traces["true"] = rollouts.true[0, 1:][:, rollouts.neurons]
    bar.show(0, len(names) + 1, "ceiling")
    identifiable, exponent, spectrum = None, None, None
    if truth is not None:
        spectrum = true_spectrum(truth)
        rollouts = with_noise_free(rollouts, Truth.load(truth.path), recording)
        signal = truth.connectome.equation is not None
        scores["circuit"] = circuit_facts(truth, recording) if signal else graded_facts(truth, recording, spectrum)
        exponent = scores["circuit"].get("lyapunov_exponent")
    if truth is not None and config.scoring.ceiling:
        ceiling = score_ceiling(recording, truth, config, config.ridge.max_frames)
        scores["ceiling"], identifiable = ceiling.scores, ceiling.identifiable
    for k, name in enumerate(names):
        bar.show(k + 1, len(names) + 1, name)
        estimates = Estimates.load(directory / "estimates" / f"{name}.zarr")
        known = estimates.edges["identifiable"].to_numpy() if identifiable is None else identifiable
        scores[name] = score_estimates(estimates, truth, known, config) if truth else {}
        prediction, drawn, course = score_prediction(estimates, recording, rollouts, config.training.target, exponent)
        scores[name] |= {"spectrum": spectrum_scores(estimates, spectrum)} if truth else {}
        scores[name] |= {"prediction": prediction, **prior_note(config.prior)}
        traces |= drawn
        tables = {"by-type": type_table(estimates, truth), "by-weight": size_table(estimates, truth)} if truth else {}
        write_tables(directory / "scores", name, {**tables, **course})
    atomic_write_json(directory / "scores.json", scores)
    atomic_write_bytes(directory / "traces.npz", _npz(traces))


def _report(directory: RunDir, config: ExperimentConfig, force: bool, progress: bool) -> Path:
    digests = [_model_digest(directory, config, name) for name in config.training.estimators]
    digest = combined_digest(*digests, config.digest("recovery", "scoring", "report"))
    with directory.stage("report", digest, force, ["report/index.html"]) as stage:
        if not stage.is_done:
            with progress_bar("report", progress) as bar:
                from lobula.report.run import make_report  # matplotlib: a second that only this stage pays

                bar.show(0, 1, "figures")
                make_report(directory)
    return directory / "report" / "index.html"


# ---------------------------------------------------------------- inputs


def _recording(out: Path, config: ExperimentConfig) -> Recording:
    path = Path(config.simulation.recording or out / "recording.zarr")
    if not path.exists():
        raise MissingInputError(f"recording: {path} does not exist; run `lobula simulate` first")
    return with_candidates(Recording.open(path), config.update)


def _truth(directory: RunDir, config: ExperimentConfig, recording: Recording) -> Truth | None:
    """The truth beside the recording, as estimates state it, or None for a recording that someone else made."""
    source = Path(config.simulation.recording or directory / "recording.zarr")
    path = source.parent / "truth.zarr"
    return on_graph(in_gauge(Truth.load(path), recording, config.update), recording.wiring) if path.exists() else None


def _model_digest(directory: RunDir, config: ExperimentConfig, name: str) -> str:
    sections = {"ridge": ["ridge"], "spline": ["spline"]}.get(name, ["model", "training", "spline"])
    sections = ["update", *sections]
    if config.spline.sharing == "type" and "spline" in sections:
        sections = [*sections, "recovery"]  # which says how many cell types there are
    exclude = ("training.estimators",) if name == "gnn" else ()
    own = [config.digest(*sections, exclude=exclude), config.training.target]
    if config.prior.is_active:
        recording = Path(config.simulation.recording or directory / "recording.zarr")
        own += [config.digest("prior"), content_digest(recording / ANNOTATIONS)]
    return combined_digest(recording_digest(config), *own)


def _clear(out: Path) -> None:
    for path in sorted(out.glob("*")) if out.exists() else []:
        path.unlink()


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read_scores(out: Path) -> dict[str, Any]:
    return json.loads((out / "scores.json").read_text())


@contextmanager
def _started(config: ExperimentConfig, out: str | Path) -> Iterator[RunDir]:
    with RunDir(out) as directory:
        directory.start(config)
        yield directory
        directory.finish()
