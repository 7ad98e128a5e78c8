"""Training of the graph neural network: one loop for all regimes, read top to bottom.

A joint phase trains messages, updates, embeddings and weights by gradient descent. Alternation rounds follow: the
circuit is refitted in closed form with the learned messages, held, and the messages are trained on. The state with the
best prediction of held-out frames is kept; the truth is never seen. Sections between LLM-MODIFIABLE markers are those
that an explorer may edit.
"""

import copy
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lobula.config.experiment import ExperimentConfig
from lobula.config.training import TrainingConfig
from lobula.data.recording import Recording
from lobula.data.split import Split
from lobula.data.streams import Streams
from lobula.errors import DivergedError
from lobula.kernels.native.source_network import backward
from lobula.models import AbstractDynamicsModel, GraphNetwork, Scales, registry, shape_weights
from lobula.regression.prior import WeightPrior, solver_for
from lobula.regression.spline import SplineFit
from lobula.regression.update_form import Prepared, prepare
from lobula.training.adam import Adam
from lobula.training.checkpoint import load_checkpoint, save_checkpoint
from lobula.training.checks import check
from lobula.training.cluster_embeddings import cluster_and_replace
from lobula.training.distributed import ALONE, Team, process_device
from lobula.training.judgement import Judge, Judgement
from lobula.training.monitor import Monitor
from lobula.training.objectives import norm, scaled_mse, total_loss
from lobula.training.optimiser import clip_gradients, optimiser_for, restore_optimiser, set_learning_rates
from lobula.training.penalties import Penalties, Visited
from lobula.training.phases import HeldCircuit, Phase, plan
from lobula.training.regimes import compared
from lobula.training.sampler import Batch, FramePool, Window, pool_bytes
from lobula.training.schedules import learning_rate
from lobula.training.step import StaticStep, Step, device_settings
from lobula.training.warm_start import start_from_spline

logger = logging.getLogger(__name__)

Probe = Callable[[GraphNetwork, dict[str, torch.Tensor] | None], dict[str, float]]
Progress = Callable[[int, int, dict[str, float]], None]
RecordingScales = tuple[Scales, np.ndarray, Visited]
CPU = torch.device("cpu")


def recording_scales(recording: Recording, config: ExperimentConfig) -> RecordingScales:
    """Scales of the networks, the (N,) variance of every neuron's target, and where voltages are, from up to 4,000
    training frames."""
    split, target = recording["train"], config.training.target
    last = min(4000, split.n_targets(target))
    voltage, y = split.voltage(0, last), split.target(target, 0, last)
    variance = y.astype(np.float64).var(0)
    xnorm = 1.5 * float(voltage.std(dtype=np.float64))
    units = (xnorm, float(np.sqrt(variance.mean()))) if config.model.scaling == "recording" else (1.0, 1.0)
    moments = (torch.from_numpy(x.astype(np.float32)) for x in (voltage.mean(0), voltage.std(0)))
    return Scales(*units, xnorm), variance, Visited(*moments)


def new_model(recording: Recording, config: ExperimentConfig, known: RecordingScales | None = None) -> GraphNetwork:
    """An untrained model for this recording, whose scales need not be read again if they are known."""
    scales, _, _ = known or recording_scales(recording, config)
    model = registry.build(config.model.name, config.model, recording.wiring, scales, Streams(config.training.seed))
    if config.prior.is_active:
        shape_weights(model, WeightPrior.of(config.prior, recording))
    return model


def new_penalties(
    recording: Recording, config: ExperimentConfig, model: AbstractDynamicsModel, known: RecordingScales | None = None
) -> Penalties:
    """The penalties of a config, as far as they apply to the model."""
    _, _, visited = known or recording_scales(recording, config)
    kinds = ("g_phi", "f_theta", "W") if model.learns_messages else ("W",)
    return Penalties(config.training, visited, recording["train"].n_frames, kinds)


def train(
    recording: Recording,
    config: ExperimentConfig,
    out: Path,
    spline: SplineFit | None = None,
    probe: Probe | None = None,
    progress: Progress | None = None,
    team: Team = ALONE,
) -> GraphNetwork:
    """Trains, or goes on with the training that ``out`` holds, and returns the best model.

    With several processes (`distributed.joined`) all of them call this function; only the leader uses ``out``,
    ``spline``, ``probe`` and ``progress``.

    Args:
        recording: split into train and validation.
        config: sections `training` and `model`.
        out: directory of checkpoint.pt, best.pt and metrics.csv.
        spline: where a warm start begins.
        probe: extra columns for metrics.csv, computed by the caller (scores against a truth this module cannot see).
        progress: called with (step, total steps, latest numbers).
        team: the processes that train together.

    Raises:
        ConfigError: if settings contradict each other.
        DeadPenaltyError: if a penalty with a positive coefficient never acts.
        DivergedError: if the loss leaves the finite numbers.
        ProcessLostError: if another process of the team ended.
    """
    settings, wiring = config.training, recording.wiring
    torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms also imports the compiler: two seconds
    known = recording_scales(recording, config)
    model, variance = new_model(recording, config, known), known[1]
    check(config, model, team)
    start = spline if settings.warm_start == "spline" and team.leads else None
    if start is not None:
        start_from_spline(model, start, wiring, recording["train"], Streams(settings.seed))
    streams = Streams(settings.seed)
    loss_weight = torch.as_tensor(1.0 / (variance + 1e-2 * np.median(variance) + 1e-12), dtype=torch.float32)
    device = process_device(settings.device)
    loss_weight = loss_weight.to(device)
    frames = recording["train"], wiring, settings.target, streams, settings.batch_size
    pool = FramePool(*frames, pool_bytes(device), team.part(settings.batch_size), device, window_of(settings))
    penalties = new_penalties(recording, config, model, known)
    trainer = _Trainer(model, recording, config, pool, loss_weight, penalties, out, probe, progress, team)
    with closing(pool), device_settings(device, settings.precision):
        if team.leads:
            trainer.resume()
            if trainer.step == 0 and start is not None and trainer.best == float("inf"):
                trainer.judge("warm start")
        trainer.share()
        for phase in trainer.phases:
            trainer.run_phase(phase)
    model.load_state_dict(team.share(load_checkpoint(out / "best.pt")["model"] if team.leads else None))
    return model.to(CPU).eval()


def window_of(settings: TrainingConfig) -> Window:
    """The frames that a batch needs."""
    n = settings.time_step if settings.regime != "one_step" else 0
    return Window(n, settings.time_step_aligned, settings.consecutive_batch, settings.recurrent_noise > 0)


def load_model(recording: Recording, config: ExperimentConfig, out: Path) -> GraphNetwork:
    """The best model of a finished training."""
    model = new_model(recording, config)
    model.load_state_dict(load_checkpoint(out / "best.pt")["model"])
    return model.eval()


class _Trainer:
    """State of one training, its steps and its checkpoints."""

    def __init__(self, model, recording, config, pool, loss_weight, penalties, out, probe, progress, team) -> None:
        self.model: GraphNetwork = model
        self.recording: Recording = recording
        self.config: ExperimentConfig = config
        self.settings = config.training
        self.pool: FramePool = pool
        self.loss_weight: torch.Tensor = loss_weight
        self.device: torch.device = loss_weight.device
        self.out: Path = out
        self.probe, self.progress = probe, progress
        frames = recording["train"], recording.wiring, self.settings.target
        self.form: Prepared = prepare(config.update.form, *frames, config.update.n_knots)
        self.team: Team = team
        n_frames = recording["train"].n_frames
        self.phases = plan(self.settings, n_frames, model.learns_messages)
        self.total = sum(p.n_steps for p in self.phases)
        self.per_epoch = self.settings.steps_per_epoch(n_frames)
        self.monitor = Monitor(out / "metrics.csv", self.total, self.settings.validation_every)
        self.penalties: Penalties = penalties
        self.step = 0
        self.best = float("inf")
        self.held: HeldCircuit | None = None
        self.optimiser: Adam | None = None
        self.judgement: Judgement | None = None

    # ---------------------------------------------------------------- checkpoints

    def resume(self) -> None:
        """Goes back to the last checkpoint, if there is one."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        self.restore(load_checkpoint(path))
        self.monitor.rewind(self.step)
        logger.info("training goes on at step %d of %d", self.step, self.total)

    def restore(self, saved: dict[str, Any]) -> None:
        """Goes back to a state that `state` gave."""
        self.model.load_state_dict(saved["model"])
        self.step, self.best = saved["step"], saved["best"]
        self.held = HeldCircuit(**saved["held"]).to(self.device) if saved["held"] else None
        self.judgement = Judgement.from_state(saved["judgement"]) if saved.get("judgement") else None
        phase = next((p for p in self.phases if p.first <= self.step < p.last), None)
        if phase is not None and saved["optimiser"] is not None:
            self.model.to(self.device)
            self.optimiser = optimiser_for(self.model, self.settings, phase.held)
            restore_optimiser(self.optimiser, saved["optimiser"])

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "held": self.held.state() if self.held else None,
            "step": self.step,
            "best": self.best,
            "judgement": self.judgement.state() if self.judgement else None,
        }

    def share(self) -> None:
        """Gives the leader's state to the other processes."""
        state = self.team.share(self.state() if self.team.leads else None)
        if not self.team.leads:
            self.restore(state)

    # ---------------------------------------------------------------- the loop

    def run_phase(self, phase: Phase) -> None:
        """What is still to do of a phase: its steps; after the last of its kind, a refit and its judgement."""
        if self.step < phase.last:
            with ExitStack() as ends:
                self.run_steps(phase, ends)
        elif self.judgement is None or self.step > phase.last:
            return
        if phase.ends:
            self.optimiser = None
            if self.team.leads:
                self.judge(phase.name)
        if self.team.leads:
            save_checkpoint(self.out / "checkpoint.pt", self.state())
        if phase.ends:
            self.share()

    def run_steps(self, phase: Phase, ends: ExitStack) -> None:
        """The optimiser's steps of a phase; what must be given back in the end, or at an error, goes to ``ends``."""
        self.model.to(self.device)
        # === LLM-MODIFIABLE: OPTIMIZER SETUP START ===
        # Optimiser, groups of parameters, learning rates and their schedule (optimiser.py, schedules.py).
        if self.optimiser is None:
            self.optimiser = optimiser_for(self.model, self.settings, phase.held)
        begun, length = phase.schedule
        # === LLM-MODIFIABLE: OPTIMIZER SETUP END ===
        update: Step = partial(self.update, phase, self.optimiser)
        if self.device.type == "cuda" and phase.regime != "neural_ode":
            update = ends.enter_context(closing(StaticStep(update, self.device)))
        began = time.monotonic()
        # === LLM-MODIFIABLE: TRAINING LOOP START ===
        # Sampling, losses, replacement of embeddings, when to validate. Not: signatures, what is returned or stored.
        while self.step < phase.last:
            set_learning_rates(self.optimiser, learning_rate(self.settings, self.step - begun, length), phase.factors)
            self.penalties.at_step(self.step, self.device)
            parts = update(self.pool.batch(self.step))
            self.step += 1
            every = self.settings.cluster_every
            if every is not None and self.step % every == 0 and not phase.held:
                cluster_and_replace(self.model, self.settings, self.settings.seed)
            if self.monitor.is_due(self.step) or self.step == phase.last:
                self.report(phase, parts)
            if self.step % self.settings.checkpoint_every == 0 and self.step < phase.last and self.team.leads:
                save_checkpoint(self.out / "checkpoint.pt", self.state())
        # === LLM-MODIFIABLE: TRAINING LOOP END ===
        logger.info("phase %s: %d steps in %.1f s", phase.name, phase.n_steps, time.monotonic() - began)

    def update(self, phase: Phase, optimiser: Adam, batch: Batch) -> dict[str, torch.Tensor]:
        """One optimiser step on one batch; returns the parts of the loss. Reads nothing back from a GPU."""
        held = self.held if phase.held else None
        lower = self.settings.precision == "bf16"
        # === LLM-MODIFIABLE: LOSS START ===
        # What is compared and how it is weighted, more terms. Not: what `total`, `parts` and `penalties` are. `total`
        # is `loss` itself where there are no penalties, so neither may be changed in place.
        # `at_once` is prediction and `scaled_mse` as one operation. Another loss must leave it out, and so must a step
        # that asks torch.autograd.grad for gradients: only `backward` finds them.
        loss, parts = self.at_once(phase, batch)
        if loss is None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=lower, cache_enabled=False):
                predict = partial(held.predict, self.model) if held else self.model
                prediction, target = compared(self.settings, phase.regime, predict, batch, self.recording.dt)
            if held or self.settings.loss == "scaled_mse":
                loss, parts = scaled_mse(prediction, target, held.weight if held else self.loss_weight)
            else:
                loss, parts = norm(prediction, target)
        penalties = {} if held else self.penalties(self.model, batch.first)
        total = total_loss(loss, penalties)
        # === LLM-MODIFIABLE: LOSS END ===
        # === LLM-MODIFIABLE: BACKWARD AND STEP START ===
        # Gradient clipping, scaling of the loss, accumulation.
        optimiser.zero_grad()
        backward(total)
        self.team.average(optimiser.gradients())
        clip_gradients(optimiser, self.settings)
        optimiser.step()
        # === LLM-MODIFIABLE: BACKWARD AND STEP END ===
        return {name: value.detach() for name, value in {"loss": total, **parts, **penalties}.items()}

    def at_once(self, phase: Phase, batch: Batch) -> tuple[torch.Tensor | None, dict[str, torch.Tensor]]:
        """The loss at single frames and its parts as one operation; None where the settings or the model need more."""
        is_plain = self.settings.loss == "scaled_mse" and self.settings.precision != "bf16"
        if phase.held or phase.regime != "one_step" or not is_plain:
            return None, {}
        loss = self.model.prediction_loss(batch.voltage, batch.external, batch.target, self.loss_weight)
        return loss, {} if loss is None else {"prediction": loss}

    def report(self, phase: Phase, parts: dict[str, torch.Tensor]) -> None:
        """Writes a row of metrics.csv and moves the progress bar."""
        self.team.average(list(parts.values()))
        numbers = {name: float(value) for name, value in parts.items()}
        if not np.isfinite(numbers["loss"]):
            raise DivergedError(
                f"training: loss is {numbers['loss']} at step {self.step}; lower training.lr, training.lr_W or "
                f"training.batch_size; the last checkpoint is in {self.out}"
            )
        if not phase.held:
            self.penalties.watch(numbers, self.monitor.interval(self.step), self.step)
        if not self.team.leads:
            return
        numbers["validation"] = self.validate(phase)
        extra = {}
        if self.probe:
            held = self.held.to(CPU).state() if phase.held and self.held else None
            on_cpu = self.model if self.device == CPU else copy.deepcopy(self.model).to(CPU)
            extra = self.probe(on_cpu, held)
        self.monitor.write((self.step - 1) // self.per_epoch, self.step, phase.name, numbers, extra)
        if self.progress:
            self.progress(self.step, self.total, numbers)

    @torch.no_grad()
    def validate(self, phase: Phase, n_frames: int = 64) -> float:
        """Loss on held-out frames, spread over the validation split."""
        split: Split = self.recording["validation"]
        weight = self.held.weight if phase.held and self.held else self.loss_weight
        starts = np.linspace(0, split.n_targets(self.settings.target) - n_frames // 4, 4).astype(int)
        losses = []
        for start in np.maximum(starts, 0):
            stop = min(start + n_frames // 4, split.n_targets(self.settings.target))
            voltage = torch.from_numpy(split.voltage(start, stop)).to(self.device)
            rows = split.stimulus(start, stop)
            external = (
                torch.zeros_like(voltage)
                if rows is None
                else torch.from_numpy(self.recording.wiring.spread(rows)).to(self.device)
            )
            y = torch.from_numpy(split.target(self.settings.target, start, stop)).to(self.device)
            held = self.held if phase.held else None
            prediction = held.predict(self.model, voltage, external) if held else self.model(voltage, external)
            losses.append(float(scaled_mse(prediction, y, weight)[0]))
        return float(np.mean(losses))

    def judge(self, name: str) -> None:
        """Refits the circuit (`judgement`); keeps the model if it predicts held-out frames best, else goes back to the
        best."""
        self.model.to(CPU)  # closed-form steps
        self.judgement = self.judgement or Judgement()
        save_checkpoint(self.out / "checkpoint.pt", self.state())
        how = self.form, solver_for(self.config.prior, self.recording), self.device
        refitted, simpler = Judge(self.recording, self.config, *how, self.keep)(self.model, self.judgement, name)
        self.judgement, error = None, float(refitted["errors"].mean())
        logger.info("phase %s: held-out error after refit %.5f (best %.5f)", name, error, self.best)
        if error < self.best or simpler:
            self.best = error
            content = {"model": refitted["model"], "held": refitted["held"], "step": self.step, "error": error}
            save_checkpoint(self.out / "best.pt", content)
        saved = load_checkpoint(self.out / "best.pt")
        self.model.load_state_dict(saved["model"])
        self.held = HeldCircuit(**saved["held"]).to(self.device)

    def keep(self, step: int, misfit: float) -> None:
        """Stores a Gauss-Newton step and shows it."""
        save_checkpoint(self.out / "checkpoint.pt", self.state())
        if self.progress:
            self.progress(self.step, self.total, {"Gauss-Newton step": step, "misfit": misfit})
