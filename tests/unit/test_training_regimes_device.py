"""Regimes together with other settings: each pair trains, resumes and gives the same on a CPU and on a GPU.

A GPU adds numbers in another order than a CPU. So does a CPU that evaluates the networks without blocks of neurons; it
is what every device is compared with. After 8 steps two devices may be apart by `ROUNDING` of the way that the
parameters went. On the CPU it is about 1e-5 at most; the settings themselves move them by 2e-2 or more.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.support.paused import apart, losses, resumes_exactly, whole_and_parts
from tests.support.planted import DT, configured, planted_circuit
from torch.utils._python_dispatch import TorchDispatchMode

from lobula.data.recording import Recording
from lobula.data.streams import Streams
from lobula.errors import ConfigError
from lobula.kernels import plain_mlp
from lobula.kernels.native import loss, source_network
from lobula.models import mlp
from lobula.training import new_model, train
from lobula.training.checks import check
from lobula.training.distributed import ALONE
from lobula.training.optimiser import optimiser_for, set_learning_rates
from lobula.training.penalties import PENALTIES
from lobula.training.run import _Trainer, new_penalties, window_of
from lobula.training.sampler import FramePool

TINY = {"training.n_steps": 8, "training.rounds": 0, "training.checkpoint_every": 2, "training.validation_every": 5,
        "training.batch_size": 3, "training.gauss_newton_steps": 0, "model.hidden_dim": 6, "model.hidden_dim_update": 6,
        "model.w_init": "randn_scaled", "model.g_phi_shared": "no"}  # fmt: skip
config = configured(TINY)
REGIMES = {
    "dense + noise": {"training.regime": "recurrent", "training.time_step": 3, "training.recurrent_loss": "dense",
                      "training.recurrent_noise": 0.1},
    "multi_start": {"training.regime": "multi_start", "training.time_step": 3},
    "neural_ode": {"training.regime": "neural_ode", "training.time_step": 2, "training.ode_method": "midpoint"},
    "adjoint": {"training.regime": "neural_ode", "training.time_step": 3, "training.ode_method": "euler",
                "training.ode_adjoint": True},
}  # fmt: skip
WITH = {
    "two_stage": {"training.two_stage": True},
    "norm": {"training.loss": "norm"},
    "clusters": {"training.cluster_every": 3, "training.n_clusters": 3, "training.cluster_method": "kmeans"},
    "consecutive": {"training.consecutive_batch": True},
}
DEVICES = ["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)]
ROUNDING = 1e-3
EVERY_PENALTY = {f"training.coeff_{name}": 0.1 for name in PENALTIES}
RECORDED = {
    **{f"{a} with {b}": REGIMES[a] | WITH[b] for a in ("dense + noise", "multi_start") for b in WITH},
    "late, clamped": REGIMES["dense + noise"] | {"training.recurrent_start": 0.5, "training.state_clamp": 1.0},
    "penalties": EVERY_PENALTY,
    "penalties as sums": EVERY_PENALTY | WITH["norm"],
    "clipped": {f"training.grad_clip_{group}": 0.1 for group in ("W", "networks", "embedding")},
    "messages of pairs": {"model.name": "flyvis_B"},
    "low rank": {"model.name": "signal", "model.rank": 2},
    "known equation": {"model.name": "flyvis_linear"},
}


@pytest.fixture(scope="module")
def tiny() -> Recording:
    planted = planted_circuit(n=8, in_degree=3, n_frames=300)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def only_operations_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions and losses as on a GPU."""
    monkeypatch.setattr(mlp, "blocked_mlp", lambda *arguments: plain_mlp(*arguments[:-1]))  # the last: how it lies
    for kernels in (source_network, loss):
        monkeypatch.setattr(kernels, "fits", lambda *arguments: False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("other", WITH)
def test_regimes_go_with_other_settings_and_resume(
    tiny: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    regime: str,
    other: str,
    device: str,
) -> None:
    values, on = {**REGIMES[regime], **WITH[other]}, {"training.device": device}
    settings = config(**values, **on)
    start = new_model(tiny, settings)
    if device == "cpu":
        together = resumes_exactly(tiny, settings, tmp_path, 5)
    else:
        together, parts = whole_and_parts(tiny, settings, tmp_path, 5)
        assert apart(parts, together, start) < ROUNDING
    assert np.isfinite(losses(tmp_path / "whole")).all()
    for alone in (REGIMES[regime], WITH[other]):
        single = train(tiny, config(**alone, **on), tmp_path / "-".join(alone))
        assert apart(together, single, start) > 10 * ROUNDING, "both act"
    only_operations_of_torch(monkeypatch)
    reference = train(tiny, config(**values), tmp_path / "reference")
    assert apart(together, reference, start) < ROUNDING
    assert "no CUDA graph" not in caplog.text


@pytest.mark.parametrize("regime", REGIMES)
def test_what_no_regime_goes_with_is_refused(tiny: Recording, tmp_path: Path, regime: str) -> None:
    drift = config(**REGIMES[regime], **{"training.target": "drift"})
    with pytest.raises(ConfigError, match=r"training\.regime: got .* with training\.target=drift, expected observed"):
        train(tiny, drift, tmp_path)
    norm, model = config(**REGIMES[regime], **WITH["norm"]), new_model(tiny, config())
    with pytest.raises(ConfigError, match=r"training\.loss: got norm with 2 processes, expected one"):
        check(norm, model, SimpleNamespace(leads=True, size=2))


class ReadBackError(Exception):
    pass


class NothingReadBack(TorchDispatchMode):
    """Refuses operations whose result the host needs: they cannot be recorded as a CUDA graph."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aten = torch.ops.aten
        masked = func is aten.index.Tensor and any(x is not None and x.dtype == torch.bool for x in args[1])
        if masked or func in (aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default):
            raise ReadBackError(str(func))
        return func(*args, **kwargs or {})


def step_reading_nothing(recording: Recording, folder: Path, values: dict[str, object]) -> None:
    """One step of every phase of a training, as `StaticStep` would record it."""
    settings = config(**values)
    model, loss_weight = new_model(recording, settings), torch.ones(recording.wiring.n_neurons)
    frames, window = (recording["train"], recording.wiring, "observed", Streams(0), 3), window_of(settings.training)
    pool, penalties = FramePool(*frames, window=window), new_penalties(recording, settings, model)
    trainer = _Trainer(model, recording, settings, pool, loss_weight, penalties, folder, None, None, ALONE)
    batch = pool.batch(0)
    pool.close()
    for phase in trainer.phases:
        optimiser = optimiser_for(model, settings.training, phase.held)
        set_learning_rates(optimiser, 1.0, phase.factors)
        penalties.at_step(phase.first, trainer.device)
        with NothingReadBack():
            trainer.update(phase, optimiser, batch)


@pytest.mark.parametrize("name", RECORDED)
def test_a_step_that_is_recorded_on_a_gpu_reads_nothing_back(
    tiny: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    only_operations_of_torch(monkeypatch)
    step_reading_nothing(tiny, tmp_path, RECORDED[name])


@pytest.mark.parametrize("regime", ["neural_ode", "adjoint"])
def test_a_solver_reads_back_and_so_is_not_recorded(tiny: Recording, tmp_path: Path, regime: str) -> None:
    with pytest.raises(ReadBackError, match="local_scalar"):
        step_reading_nothing(tiny, tmp_path, REGIMES[regime])
