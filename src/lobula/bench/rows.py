"""The rows: training step, simulation, ridge, refit from a network, input and output."""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import zarr

from lobula.bench import plain
from lobula.bench.hardware import GEMM_GFLOP, gemm
from lobula.bench.timing import Row, compared, peak_memory
from lobula.config.model import ModelConfig
from lobula.connectome import Connectome, optic_lobe
from lobula.data import Recording, RecordingWriter, Streams, Wiring
from lobula.kernels import Perceptron, SparsePattern, blocked_mlp, message_sum, plain_mlp
from lobula.kernels.native.source_network import backward
from lobula.models import CircuitGNN, Scales, message_function
from lobula.models.base import AbstractDynamicsModel
from lobula.regression.fit import fit_circuit
from lobula.regression.tabulate import tabulate
from lobula.simulation.graded import GradedCircuit
from lobula.simulation.side_by_side import Trial, group_size, run_trials
from lobula.training.adam import Adam
from lobula.training.objectives import scaled_mse
from lobula.training.optimiser import clip_norm
from lobula.training.sampler import FramePool

HIDDEN, EMBEDDING = 80, 2
DT = 0.02
SIGMA = 0.05


@dataclass(frozen=True)
class Sizes:
    """What the rows work on.

    Attributes:
        extent: radius of the optic lobe; 8 is the published size.
        repeats: times that each call is timed.
        n_frames: frames of the ridge row; others follow from it.
        signal_neurons: size of the signal network, all pairs connected.
    """

    extent: int = 8
    repeats: int = 5
    n_frames: int = 8000
    signal_neurons: int = 1000


def random_frames(wiring: Wiring, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Voltage, external input and target, each (B, N) standard normal."""
    generator = torch.Generator().manual_seed(seed)
    voltage, external, target = torch.randn(3, batch, wiring.n_neurons, generator=generator)
    return voltage, external, target


def training_step(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> float:
    """One step, and its loss."""
    return float(one_step(model, batch).detach())


def one_step(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Forward, loss, backward, clip and Adam: one step; optimiser and weight of the loss are kept on the model.

    Reads nothing back from a GPU.
    """
    voltage, external, target = batch
    if not hasattr(model, "optimiser"):
        model.optimiser = Adam([{"params": model.parameters(), "lr": 1e-3}])
        model.loss_weight = voltage.new_ones(voltage.shape[1])
    optimiser, weight = model.optimiser, model.loss_weight
    optimiser.zero_grad()
    loss = (
        model.prediction_loss(voltage, external, target, weight) if isinstance(model, AbstractDynamicsModel) else None
    )
    if loss is None:
        loss, _ = scaled_mse(model(voltage, external), target, weight)
    backward(loss)
    clip_norm(optimiser.param_groups[0]["params"], 1.0)
    optimiser.step()
    return loss


def own_model(wiring: Wiring, hidden: int = HIDDEN) -> CircuitGNN:
    """The graph network at the size of the benchmark."""
    return CircuitGNN(
        ModelConfig(hidden_dim=hidden, hidden_dim_update=hidden), wiring, Scales(1.0, 1.0, 1.0), Streams(0)
    )


def step(sizes: Sizes) -> list[Row]:
    """One training step at batch 4 and 16, and its parts at batch 4."""
    wiring = optic_lobe(sizes.extent).wiring
    before = peak_memory()
    model = own_model(wiring)
    facts = {"neurons": wiring.n_neurons, "edges": wiring.n_edges, "hidden": HIDDEN}
    training_step(model, random_frames(wiring, 16))
    memory = {"peak_memory_of_a_step": peak_memory() - before}
    slow = plain.PlainGNN(wiring, HIDDEN)
    rows = []
    for batch in (4, 16):
        frames = random_frames(wiring, batch)
        few = random_frames(wiring, 4)  # sixteen frames of the plain formulation need 10 GB
        rows.append(
            compared(
                f"training step, batch {batch}, per frame",
                partial(training_step, model, frames),
                partial(training_step, slow, few),
                sizes.repeats,
                facts | {"batch": batch, "plain_batch": 4} | (memory if batch == 16 else {}),
                (batch, 4),
                settle=1,
            )
        )
    return [*rows, *step_parts(wiring, sizes)]


def step_parts(wiring: Wiring, sizes: Sizes, batch: int = 4) -> list[Row]:
    """Message network, update network and message sum, forward and backward, against the usual calls."""
    rows = []
    for name, n_scalars in (("message network", 1), ("update network", 3)):
        scalars = [torch.randn(batch, wiring.n_neurons) for _ in range(n_scalars)]
        shapes = [(wiring.n_neurons, EMBEDDING), (HIDDEN, n_scalars), (HIDDEN, EMBEDDING), (HIDDEN,)]
        shapes += [(HIDDEN, HIDDEN), (HIDDEN,), (1, HIDDEN), (1,)]
        tensors = [torch.randn(shape).requires_grad_(True) for shape in shapes]
        wanted = tensors if n_scalars == 1 else [scalars[1].requires_grad_(True), *tensors]

        def run(evaluate, scalars=scalars, tensors=tensors, wanted=wanted) -> None:
            network = Perceptron(tuple(tensors[1:]), "relu")
            torch.autograd.grad(evaluate(scalars, tensors[0], network).sum(), wanted)

        gflop = 6e-9 * batch * wiring.n_neurons * (HIDDEN * HIDDEN + HIDDEN * (n_scalars + EMBEDDING + 1))
        row = compared(
            f"{name}, batch {batch}",
            partial(run, blocked_mlp),
            partial(run, plain_mlp),
            sizes.repeats,
            {"gflop": gflop},
            yardstick=gemm(),
            settle=2,
        )
        row.facts["gflop_per_s"] = gflop / row.seconds
        row.facts["share_of_gemm"] = row.facts["gflop_per_s"] * row.facts["yardstick_seconds"] / GEMM_GFLOP
        rows.append(row)
    pattern = SparsePattern(wiring)
    weight = torch.randn(wiring.n_edges, requires_grad=True)
    messages = torch.randn(wiring.n_neurons, batch, requires_grad=True)

    def per_edge() -> None:
        out = torch.zeros_like(messages).index_add(0, pattern.post, weight[:, None] * messages[pattern.pre])
        torch.autograd.grad(out.sum(), [weight, messages])

    def product() -> None:
        torch.autograd.grad(message_sum(weight, messages, pattern).sum(), [weight, messages])

    title, facts = f"message sum, batch {batch}", {"edges": wiring.n_edges}
    return [*rows, compared(title, product, per_edge, sizes.repeats, facts, settle=2)]


def driven_recording(circuit: Connectome, n_frames: int, seed: int = 0) -> Recording:
    """A short recording under white noise, in memory."""
    rng = np.random.default_rng(seed)
    stimulus = rng.random((n_frames, circuit.wiring.n_columns), dtype=np.float32)
    return Recording.from_arrays(own_simulation(circuit, stimulus, seed), circuit.wiring, DT, stimulus)


def own_simulation(circuit: Connectome, stimulus: np.ndarray, seed: int = 0) -> np.ndarray:
    """(T, N) voltages by the simulator's own step, noise included."""
    graded, rng = GradedCircuit(circuit, DT), np.random.default_rng(seed)
    voltage = np.empty((len(stimulus), circuit.n_neurons), dtype=np.float32)
    v, kick = circuit.v_rest.astype(np.float32), np.empty(circuit.n_neurons, dtype=np.float32)
    for t, frame in enumerate(stimulus):
        voltage[t] = v
        v = graded.step(v, frame)
        rng.standard_normal(out=kick, dtype=np.float32)
        kick *= np.float32(SIGMA)
        v += kick
    return voltage


def simulate(sizes: Sizes) -> list[Row]:
    """Frames of the graded circuit with process noise: one trial, and as many side by side as `simulate` would run."""
    circuit, n_frames = optic_lobe(sizes.extent), 300
    stimulus = np.random.default_rng(0).random((n_frames, circuit.wiring.n_columns), dtype=np.float32)
    facts = {"neurons": circuit.n_neurons, "edges": circuit.wiring.n_edges, "frames": n_frames}
    slow = partial(plain.simulate, circuit, stimulus, DT, SIGMA)
    n_trials = group_size(1000, circuit.n_neurons)
    rows = []
    for name, own, work in (
        ("one trial", lambda: own_simulation(circuit, stimulus), n_frames),
        (f"{n_trials} trials side by side", lambda: own_trials(circuit, stimulus, n_trials), n_trials * n_frames),
    ):
        title = f"simulation with noise, {name}, per frame"
        rows.append(compared(title, own, slow, sizes.repeats, facts, (work, n_frames)))
    return rows


def own_trials(circuit: Connectome, stimulus: np.ndarray, n_trials: int) -> list[Trial]:
    """The same movie in every trial, each with its own noise; noise included."""
    movies = np.broadcast_to(stimulus, (n_trials, *stimulus.shape))
    generators = [torch.Generator().manual_seed(k) for k in range(n_trials)]
    return run_trials(GradedCircuit(circuit, DT), circuit.v_rest, movies, SIGMA, generators, record_drift=False)


def ridge(sizes: Sizes) -> list[Row]:
    """Evidence ridge for every neuron, against normal equations neuron by neuron with a ladder of penalties."""
    circuit, share = optic_lobe(sizes.extent), 20
    wiring, recording = circuit.wiring, driven_recording(circuit, int(sizes.n_frames / 0.8))
    split = recording["train"]
    voltage, y = split.voltage(), split.target("observed")
    stimulus = split.stimulus()
    external = np.zeros_like(y) if stimulus is None else wiring.spread(stimulus)[: len(y)].astype(np.float32)
    some = np.arange(0, wiring.n_neurons, share)

    def slow() -> None:
        plain.ridge(np.maximum(voltage[: len(y)], 0), voltage[: len(y)], external, y, wiring, some)

    def relu(v: np.ndarray) -> np.ndarray:
        return np.maximum(v, 0)

    facts = {"neurons": wiring.n_neurons, "frames": len(y), "plain_neurons": len(some)}
    work = (wiring.n_neurons, len(some))
    row = compared(
        "ridge, per neuron", lambda: fit_circuit(split, wiring, relu), slow, max(sizes.repeats // 2, 1), facts, work
    )
    row.facts["seconds_for_32000_frames"] = row.seconds * wiring.n_neurons * 32_000 / len(y)
    return [row]


def recover(sizes: Sizes) -> list[Row]:
    """Refit of the circuit from a network: messages from tables, against the network at every frame."""
    circuit = optic_lobe(sizes.extent)
    recording, model = driven_recording(circuit, int(sizes.n_frames / 0.8)), own_model(circuit.wiring)
    split, wiring = recording["train"], circuit.wiring

    def refit() -> None:
        fit_circuit(split, wiring, tabulate(message_function(model), split.visited_range))

    facts = {"neurons": wiring.n_neurons, "frames": split.n_targets("observed")}
    slow = message_function(model)
    return [compared("refit", refit, lambda: fit_circuit(split, wiring, slow), max(sizes.repeats // 2, 1), facts)]


def io(sizes: Sizes) -> list[Row]:
    """Random batches from a store on disk, against one read per frame; and sequential writing."""
    wiring = optic_lobe(sizes.extent).wiring
    n_frames, batch, n_batches = 6000, 4, 100
    rng = np.random.default_rng(0)
    voltage = np.cumsum(rng.normal(size=(n_frames, wiring.n_neurons)).astype(np.float32), 0) * np.float32(0.01)
    stimulus = rng.random((n_frames, wiring.n_columns), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.zarr"
        began = time.perf_counter()
        with RecordingWriter.create(path, wiring, DT, {"train": n_frames}, ("voltage", "stimulus")) as writer:
            for start in range(0, n_frames, 2000):
                rows = slice(start, start + 2000)
                writer.append("train", voltage=voltage[rows], stimulus=stimulus[rows])
        written = time.perf_counter() - began
        split = Recording.open(path)["train"]
        array = zarr.open_group(path, mode="r")["train/voltage"]
        pool = FramePool(split, wiring, "observed", Streams(0), batch, pool_bytes=1 << 28)

        def own() -> None:
            for k in range(n_batches):
                pool.batch(k)

        def frame_by_frame() -> None:
            for t in rng.integers(0, n_frames - 1, 8):
                np.asarray(array[int(t) : int(t) + 2])

        facts = {"frames": n_frames, "batch": batch, "write_mb_per_s": 1e-6 * voltage.nbytes / written}
        row = compared("random frame from disk", own, frame_by_frame, sizes.repeats, facts, (batch * n_batches, 8))
        pool.close()
    return [row]
