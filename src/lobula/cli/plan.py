"""What an experiment will take: sizes, disk, memory and time, from the config alone (`--dry-run`)."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lobula.config import ExperimentConfig
from lobula.data import Recording, Wiring
from lobula.data.layout import field_width, recording_bytes
from lobula.data.zarr_format import CHUNK_FRAMES
from lobula.simulation.preparation import prepare

# Seconds per unit of work, measured on two cores at extents 1, 3 and 8. Another machine is off by a common factor, and
# estimators that converge early are faster. Q = sum over neurons of (in-degree + 3)^2, the size of all Gram matrices.
SIMULATE_FRAME, SIMULATE_FRAME_EDGE, SIMULATE_FRAME_PAIR = 1e-4, 2e-9, 4e-10  # the last of a dense matrix of weights
GRAM_FRAME_NEURON, GRAM_FRAME_Q = 3e-8, 5e-11
SOLVE_NEURON, SOLVE_Q = 4e-4, 1e-7
CURVE_FRAME_NEURON, CURVE_FRAME_EDGE = 2e-7, 1e-8
MESSAGE_FRAME_NEURON = 1.5e-7  # of the default network, forwards
STEP, STEP_NEURON, STEP_EDGE = 4e-3, 1.7e-6, 1e-8  # the latter two per frame of the batch
TYPES_NEURON = 3e-4  # clustering
SCORE_FRAME_NEURON = 2.5e-7
REPORT, REPORT_NEURON = 10.0, 2e-4

INPUT_TYPES = 12  # cell types among the inputs of a neuron
SAMPLED_EQUATIONS = 1_500  # neurons whose equations decide the curve of the gnn
JUDGE_FRAMES = 8_000  # of the refit after every phase of the gnn
ALTERNATION_FRAMES = 3_000  # of each Gauss-Newton step of the gnn
SCORE_FRAMES = 2_000  # one step ahead

LIBRARIES_BYTES = 6e8
NETWORK_BYTES = 4e8  # activations and their gradients
POOL_BYTES = 2**30  # decoded chunks that training draws frames from
CACHE_BYTES = 2**28  # decoded chunks behind a recording
N_BLOCKS, BLOCK_FRAMES = 12, 1_000  # (N, frames) arrays in double precision that a regression holds


@dataclass(frozen=True)
class Plan:
    """What a command would do, and what that takes.

    Attributes:
        name: of the experiment.
        out: run directory.
        n_neurons, n_edges, n_columns: sizes of the circuit.
        n_frames: frames by split.
        disk_bytes: upper bound of the recording on disk; 0 if an existing one is used.
        free_bytes: free on that disk.
        memory_bytes: expected peak memory.
        seconds: expected time by stage [s].
    """

    name: str
    out: str
    n_neurons: int
    n_edges: int
    n_columns: int
    n_frames: dict[str, int]
    disk_bytes: int
    free_bytes: int
    memory_bytes: int
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the total time."""
        return asdict(self) | {"total_seconds": sum(self.seconds.values())}


def make_plan(config: ExperimentConfig, out: Path, stages: Sequence[str]) -> Plan:
    """Sizes and costs of some stages of an experiment; builds the graph, simulates nothing.

    Args:
        config: resolved config.
        out: run directory, which need not exist.
        stages: names of the stages.

    Raises:
        LobulaError: if the circuit or the recording that the config names cannot be read.
    """
    settings = config.simulation
    if settings.recording is not None:
        recording = Recording.open(settings.recording)
        wiring, n_frames = recording.wiring, {name: recording[name].n_frames for name in recording.splits}
        width = wiring.n_columns
        stages = [name for name in stages if name != "simulate"]
    else:
        preparation = prepare(config)
        wiring = preparation.connectome.wiring
        width = field_width("stimulus", wiring) if preparation.has_stimulus else 0
        n_frames = {
            "train": settings.n_frames,
            "validation": settings.n_frames_validation,
            "test": settings.n_frames_test,
        }
    total = sum(n_frames.values())
    disk = recording_bytes(total, wiring.n_neurons, width, settings.record_drift)
    folder = next(place for place in (out, *out.resolve().parents) if place.is_dir())
    times = _seconds(config, wiring, n_frames)
    return Plan(
        name=config.name,
        out=str(out),
        n_neurons=wiring.n_neurons,
        n_edges=wiring.n_edges,
        n_columns=wiring.n_columns,
        n_frames=n_frames,
        disk_bytes=0 if settings.recording is not None else disk,
        free_bytes=shutil.disk_usage(folder).free,
        memory_bytes=int(_memory(config, wiring, n_frames["train"], stages)),
        seconds={name: round(times[name], 1) for name in stages},
    )


def _seconds(config: ExperimentConfig, wiring: Wiring, n_frames: dict[str, int]) -> dict[str, float]:
    """Expected time of every stage [s]."""
    n, rungs, n_train = wiring.n_neurons, config.training.estimators, n_frames["train"]
    ridge = _regression(wiring, _at_most(config.ridge.max_frames, n_train))
    fits = {"ridge": ridge, "spline": _spline(config, wiring, n_train), "gnn": _gnn(config, wiring, n_train)}
    refit = _message_regression(config, wiring, _at_most(config.recovery.max_frames, n_train))
    pairs = SIMULATE_FRAME_PAIR * n * n
    n_scored = SCORE_FRAMES + config.scoring.rollout_steps * config.scoring.n_rollouts
    return {
        "simulate": sum(n_frames.values()) * (SIMULATE_FRAME + min(SIMULATE_FRAME_EDGE * wiring.n_edges, pairs)),
        "train": sum(fits[name] for name in config.fitted_estimators),
        "recover": len(rungs) * TYPES_NEURON * n + refit * ("gnn" in rungs),
        "score": ridge * config.scoring.ceiling + len(rungs) * n_scored * SCORE_FRAME_NEURON * n,
        "report": REPORT + REPORT_NEURON * n,
    }


def _regression(wiring: Wiring, n_frames: int, n_equations: int | None = None) -> float:
    """Evidence ridge for all neurons, or for a sample of them."""
    n, q = wiring.n_neurons, _gram_size(wiring.in_degree)
    share = 1.0 if n_equations is None else min(1.0, n_equations / max(n, 1))
    return share * (n_frames * (GRAM_FRAME_NEURON * n + GRAM_FRAME_Q * q) + SOLVE_NEURON * n + SOLVE_Q * q)


def _message_regression(
    config: ExperimentConfig, wiring: Wiring, n_frames: int, n_equations: int | None = None
) -> float:
    """The same with the messages of the network, which are computed for every neuron."""
    messages = MESSAGE_FRAME_NEURON * _message_rows(config, wiring)
    return n_frames * messages + _regression(wiring, n_frames, n_equations)


def _message_rows(config: ExperimentConfig, wiring: Wiring) -> float:
    """Evaluations of the message network per frame, in units of one of the default size."""
    size = config.model.n_layers * config.model.hidden_dim**2 / (3 * 64**2)
    return size * (wiring.n_edges if config.model.name == "flyvis_B" else wiring.n_neurons)


def _spline(config: ExperimentConfig, wiring: Wiring, n_train: int) -> float:
    settings, n = config.spline, max(wiring.n_neurons, 1)
    n_frames = _at_most(settings.curve_frames, n_train)
    share = min(1.0, settings.curve_neurons / n)
    curve = n_frames * (CURVE_FRAME_NEURON * n + share * CURVE_FRAME_EDGE * wiring.n_edges)
    rounds = settings.n_rounds * (_regression(wiring, n_frames, settings.curve_neurons) + curve)
    whole = _regression(wiring, _at_most(settings.max_frames, n_train))
    if settings.sharing in ("all", "receiver"):
        return rounds + whole
    groups = wiring.in_degree if settings.sharing == "neuron" else np.minimum(wiring.in_degree, INPUT_TYPES)
    products = n_frames * GRAM_FRAME_Q * share * _gram_size(wiring.in_degree + settings.own_knots * groups)
    return 2 * rounds + 2 * whole + settings.n_rounds * products


def _gnn(config: ExperimentConfig, wiring: Wiring, n_train: int) -> float:
    settings, model = config.training, config.model
    updates = wiring.n_neurons * model.n_layers_update * model.hidden_dim_update**2 / (3 * 64**2)
    rows = (_message_rows(config, wiring) + updates) / 2
    step = STEP + settings.batch_size * (STEP_NEURON * rows + STEP_EDGE * wiring.n_edges)
    n_frames = min(n_train, ALTERNATION_FRAMES)
    gauss_newton = 2 * _message_regression(config, wiring, n_frames, SAMPLED_EQUATIONS)  # the step and its trial
    judging = settings.gauss_newton_steps * gauss_newton
    judging += _message_regression(config, wiring, min(n_train, JUDGE_FRAMES))
    unrolled = settings.time_step if settings.regime != "one_step" else 1
    n_steps = unrolled * settings.joint_steps(config.simulation.n_frames) + settings.rounds * settings.round_steps
    return n_steps * step + (1 + settings.rounds) * judging


def _memory(config: ExperimentConfig, wiring: Wiring, n_train: int, stages: Sequence[str]) -> float:
    """Expected peak memory [bytes]."""
    n, frame = wiring.n_neurons, 4 * wiring.n_neurons
    fields = 2 if config.simulation.record_drift else 1
    simulate = 4 * fields * CHUNK_FRAMES * frame  # one block computed, one written, and their encoded copies
    regression = N_BLOCKS * BLOCK_FRAMES * 8 * n + 2 * 8 * _gram_size(wiring.in_degree)
    pool = NETWORK_BYTES + min(POOL_BYTES, 2 * n_train * frame) if "gnn" in config.training.estimators else 0
    work = {"simulate": simulate, "train": regression + pool + CACHE_BYTES, "report": CACHE_BYTES}
    work |= dict.fromkeys(("recover", "score"), regression + CACHE_BYTES)
    return LIBRARIES_BYTES + max((work[name] for name in stages), default=0)


def _gram_size(in_degree: np.ndarray) -> float:
    """Q, the number of entries of all Gram matrices."""
    return float(np.square(in_degree + 3.0).sum())


def _at_most(limit: int | None, n_frames: int) -> int:
    return n_frames if limit is None else min(limit, n_frames)
