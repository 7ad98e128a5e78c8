"""The row of a GPU: training steps replayed there, and the sum of messages, against plain formulations on the same GPU.

Limits are measured there, too. What they allow a step to take is the longer of two times: of its necessary operations
at the rate of a large matrix product, and of the bytes that must leave the chip at the rate of a copy.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from lobula.bench import plain
from lobula.bench.hardware import copy_rate, gemm_rate, synchronise
from lobula.bench.rows import EMBEDDING, HIDDEN, Sizes, driven_recording, one_step, own_model, random_frames
from lobula.bench.timing import Row, compared
from lobula.config import load_config
from lobula.connectome import optic_lobe
from lobula.data import Recording, Wiring
from lobula.errors import ConfigError
from lobula.kernels import SparsePattern, message_sum, usable_device
from lobula.training import train
from lobula.training.sampler import Batch
from lobula.training.step import StaticStep, device_settings

CALLS = 20
"""Steps between two looks at the clock, which makes the host wait for the device."""
PUBLISHED_STEPS = 128_000
PENALISED = 3
"""Evaluations of messages by the penalties of gs: two of coeff_g_phi_diff, one of coeff_g_phi_norm."""


def gpu(sizes: Sizes) -> list[Row]:
    """All rows on the first GPU.

    Raises:
        ConfigError: if there is none.
    """
    if not torch.cuda.is_available():
        raise ConfigError("bench gpu: got a machine without a GPU that torch can use; all other rows are for the CPU")
    return rows_on(usable_device("cuda", "bench gpu"), sizes)


def rows_on(device: torch.device, sizes: Sizes, n_steps: int = 6000) -> list[Row]:
    """All rows on a device, a CPU too; ``n_steps`` are trained as published."""
    wiring = optic_lobe(sizes.extent).wiring
    limits = {"gemm_gflop_per_s": gemm_rate(device=device), "copy_gb_per_s": copy_rate(device=device)}
    with device_settings(device, "float32"):
        rows = [_step(device, wiring, batch, sizes.repeats, limits) for batch in (2, 4, 16)]
        rows.append(_message_sum(device, wiring, 4, sizes.repeats))
    return [*rows, _published(device, sizes, n_steps, limits)]


def least_seconds(wiring: Wiring, batch: int, limits: dict[str, float], penalised: int = 0) -> dict[str, float]:
    """What a step with both networks of `HIDDEN` units needs at least: GFLOP, GB, and the time that limits allow it.

    Operations are those of both networks and of the sums, forwards and twice backwards. Bytes are those of parameters
    (read, with gradient and both moments read and written), wiring and frames; activations may stay on the chip.

    Args:
        wiring: the graph.
        batch: frames.
        limits: as in `rows_on`.
        penalised: further evaluations of all neurons' messages, by penalties.
    """
    n, e = wiring.n_neurons, wiring.n_edges
    of_message, of_update = (HIDDEN * (HIDDEN + inputs + EMBEDDING + 1) for inputs in (1, 3))
    layers = of_message + of_update
    gflop = 6e-9 * (batch * (n * layers + e) + penalised * n * of_message)
    n_parameters = e + n * EMBEDDING + layers
    indices = 4 * 4 * e  # both ends, the transpose's, and its order
    gb = 1e-9 * (4 * (8 * n_parameters + 2 * e + 3 * batch * n) + indices)
    allowed = max(gflop / limits["gemm_gflop_per_s"], gb / limits["copy_gb_per_s"])
    return {"gflop": gflop, "gb": gb, "allowed_seconds": allowed}


def _repeated(device: torch.device, call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()
    synchronise(device)


def _step(device: torch.device, wiring: Wiring, batch: int, repeats: int, limits: dict[str, float]) -> Row:
    model, slow = own_model(wiring).to(device), plain.PlainGNN(wiring, HIDDEN).to(device)
    voltage, external, target = (x.to(device) for x in random_frames(wiring, batch))
    frames = Batch(voltage, external, target, voltage[:1])
    static = StaticStep(lambda b: {"loss": one_step(model, (b.voltage, b.external, b.target)).detach()}, device)
    for _ in range(2 * CALLS):
        static(frames)
    facts: dict[str, Any] = {"neurons": wiring.n_neurons, "edges": wiring.n_edges, "batch": batch}
    facts |= {"recorded": static.is_recorded} | limits | least_seconds(wiring, batch, limits)
    own = partial(_repeated, device, lambda: static(frames))
    other = partial(_repeated, device, lambda: one_step(slow, (voltage, external, target)))
    row = compared(f"{device.type}: training step, batch {batch}", own, other, repeats, facts, (CALLS, CALLS), settle=1)
    row.facts["share_of_allowed"] = row.facts["allowed_seconds"] / row.seconds
    static.close()
    return row


def _message_sum(device: torch.device, wiring: Wiring, batch: int, repeats: int) -> Row:
    pattern = SparsePattern(wiring).to(device)
    weight = torch.randn(wiring.n_edges, device=device, requires_grad=True)
    messages = torch.randn(wiring.n_neurons, batch, device=device, requires_grad=True)

    def per_edge() -> None:
        out = torch.zeros_like(messages).index_add(0, pattern.post, weight[:, None] * messages[pattern.pre])
        torch.autograd.grad(out.sum(), [weight, messages])

    def product() -> None:
        torch.autograd.grad(message_sum(weight, messages, pattern).sum(), [weight, messages])

    own, other = (partial(_repeated, device, call) for call in (product, per_edge))
    title, facts = f"{device.type}: message sum, batch {batch}", {"edges": wiring.n_edges}
    return compared(title, own, other, repeats, facts, (CALLS, CALLS), settle=1)


def _published(device: torch.device, sizes: Sizes, n_steps: int, limits: dict[str, float]) -> Row:
    """Steps of the recipe gs by the trainer itself: sampling, penalties and rows of metrics.csv included."""
    circuit, config = optic_lobe(sizes.extent), load_config("gs")
    every = min(config.training.validation_every, n_steps // 3)
    driven = driven_recording(circuit, int(sizes.n_frames / 0.8))
    voltage = driven["train"].voltage()
    drift = driven["train"].target("observed")
    recording = Recording.from_arrays(
        voltage[: len(drift)], circuit.wiring, driven.dt, driven["train"].stimulus(0, len(drift)), drift
    )
    values: dict[str, Any] = {"training.n_epochs": None, "training.n_steps": n_steps, "training.device": str(device)}
    values |= {"training.validation_every": every, "connectome.extent": sizes.extent}
    config = config.with_values(values)
    moments: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        # every report reads the loss, so the device has done all steps before it
        train(recording, config, Path(folder), progress=lambda step, *_: moments.append((step, time.perf_counter())))
    later = [moment for moment in moments if moment[0] >= every]  # before, reports are more frequent, and steps begin
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(later) if b[0] > a[0]]
    needs = least_seconds(circuit.wiring, config.training.batch_size, limits, PENALISED)
    seconds = (later[-1][1] - later[0][1]) / (later[-1][0] - later[0][0])
    facts = {"batch": config.training.batch_size, "steps": n_steps, **limits, **needs}
    facts |= {"share_of_allowed": needs["allowed_seconds"] / seconds, "seconds_as_published": PUBLISHED_STEPS * seconds}
    return Row(f"{device.type}: step of gs", seconds, None, (min(steps), max(steps)), facts)
