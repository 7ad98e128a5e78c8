r"""What a step compares: dv/dt at single frames, or voltages unrolled over several.

.. math:: \hat v(t+k+1) = \hat v(t+k) + dt\, f(\hat v(t+k), I(t+k)) + \sigma \xi, \qquad \hat v(t) = v(t)

Unrolled voltages are compared as mean derivatives, :math:`(\hat v(t+k) - v(t)) / (k\, dt)` against
:math:`(v(t+k) - v(t)) / (k\, dt)`, so that one frame is the one-step objective and the loss has one unit everywhere.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lobula.config.training import TrainingConfig
from lobula.errors import ConfigError
from lobula.training.sampler import Batch

Drift = Callable[[Tensor, Tensor], Tensor]
"""dv/dt (B, N) from voltage and external input, each (B, N)."""


def check_regime(settings: TrainingConfig) -> None:
    """Refuses settings that contradict each other.

    Raises:
        ConfigError: naming the setting.
    """
    unrolled = settings.regime != "one_step"
    if unrolled and settings.target != "observed":
        raise ConfigError(
            f"training.regime: got {settings.regime} with training.target=drift, expected observed: unrolling is "
            "compared with recorded voltages; set training.target=observed"
        )
    given = {
        "time_step": settings.time_step > 1,
        "time_step_aligned": settings.time_step_aligned,
        "recurrent_noise": settings.recurrent_noise > 0,
        "recurrent_start": settings.recurrent_start > 0,
        "state_clamp": settings.state_clamp is not None,
    }
    idle = [name for name, is_given in given.items() if is_given]
    if idle and not unrolled:
        raise ConfigError(
            f"training.{idle[0]}: has no effect with training.regime=one_step; set training.regime to recurrent, "
            "multi_start or neural_ode, or leave it out"
        )
    if settings.regime in ("multi_start", "neural_ode") and settings.recurrent_loss == "dense":
        raise ConfigError(
            f"training.recurrent_loss: got dense with {settings.regime}, expected end; dense is recurrent's"
        )
    if settings.regime == "neural_ode" and settings.recurrent_noise > 0:
        raise ConfigError("training.recurrent_noise: got a value with neural_ode, expected 0: its solver has no noise")


def compared(settings: TrainingConfig, regime: str, drift: Drift, batch: Batch, dt: float) -> tuple[Tensor, Tensor]:
    """Prediction and target of a batch, each (B', N) dv/dt [a.u./s].

    Args:
        settings: section `training`.
        regime: of this phase.
        drift: the model.
        batch: frames, with those that follow where the regime unrolls.
        dt: time between frames [s].
    """
    if regime == "one_step":
        return drift(batch.voltage, batch.external), batch.target
    voltage, external, noise = batch.path()
    if regime == "neural_ode":
        reached = _solved(settings, drift, batch.voltage, external, dt)
        return _slope(reached, voltage, len(external), dt)
    if regime == "multi_start":
        return _multi_start(settings, drift, voltage, external, noise, dt)
    states = _unrolled(settings, drift, voltage[0], external, noise, dt)
    if settings.recurrent_loss == "end":
        return _slope(states[-1], voltage, len(external), dt)
    pairs = [_slope(state, voltage, k + 1, dt) for k, state in enumerate(states)]
    return torch.cat([p for p, _ in pairs]), torch.cat([t for _, t in pairs])


def _slope(reached: Tensor, voltage: Tensor, k: int, dt: float) -> tuple[Tensor, Tensor]:
    return (reached - voltage[0]) / (k * dt), (voltage[k] - voltage[0]) / (k * dt)


def _unrolled(
    settings: TrainingConfig, drift: Drift, start: Tensor, external: Tensor, noise: Tensor | None, dt: float
) -> list[Tensor]:
    """States after each of T Euler steps; external and noise (T, B, N)."""
    states, v = [], start
    for k, row in enumerate(external):
        v = v + dt * drift(_clamped(v, settings), row)
        if noise is not None:
            v = v + settings.recurrent_noise * noise[k]
        states.append(_clamped(v, settings))
        v = states[-1]
    return states


def _multi_start(
    settings: TrainingConfig, drift: Drift, voltage: Tensor, external: Tensor, noise: Tensor | None, dt: float
) -> tuple[Tensor, Tensor]:
    """The last frame from each of the T frames before it, as one growing batch: a start joins at each step."""
    n = len(external)
    v = voltage[0]
    for k in range(n):
        rows = external[k].repeat(k + 1, 1)
        kicks = None if noise is None else noise[k].repeat(k + 1, 1)[None]
        v = _unrolled(settings, drift, v, rows[None], kicks, dt)[0]
        if k + 1 < n:
            v = torch.cat([v, voltage[k + 1]])
    starts = torch.cat(list(voltage[:n]))
    spans = dt * torch.arange(n, 0, -1, device=v.device).repeat_interleave(len(voltage[0]))[:, None]
    return (v - starts) / spans, (voltage[n].repeat(n, 1) - starts) / spans


def _clamped(v: Tensor, settings: TrainingConfig) -> Tensor:
    return v if settings.state_clamp is None else v.clamp(-settings.state_clamp, settings.state_clamp)


class _Flow(nn.Module):
    """dv/dt as torchdiffeq wants it; the input is constant from frame to frame."""

    def __init__(self, drift: Drift, external: Tensor, dt: float, settings: TrainingConfig) -> None:
        super().__init__()
        self._drift, self._external, self._dt, self._settings = drift, external, dt, settings

    def forward(self, t: Tensor, v: Tensor) -> Tensor:
        frame = (t / self._dt + 1e-3).long().clamp(0, len(self._external) - 1)
        return self._drift(_clamped(v, self._settings), self._external[frame])


def _solved(settings: TrainingConfig, drift: Drift, start: Tensor, external: Tensor, dt: float) -> Tensor:
    """State after T frames by an ODE solver; solvers of fixed step take one step per frame."""
    from torchdiffeq import odeint, odeint_adjoint  # half a second that only this regime pays

    times = dt * torch.arange(len(external) + 1, device=start.device, dtype=start.dtype)
    options = {}
    if settings.ode_method != "dopri5":
        options = {"options": {"step_size": dt}}
    tolerances = {"rtol": settings.ode_rtol, "atol": settings.ode_atol, "method": settings.ode_method}
    flow = _Flow(drift, external, dt, settings)
    if settings.ode_adjoint:
        model = getattr(drift, "__self__", drift)
        parameters = tuple(p for p in model.parameters() if p.requires_grad) if isinstance(model, nn.Module) else ()
        states = odeint_adjoint(flow, start, times[[0, -1]], adjoint_params=parameters, **tolerances, **options)
    else:
        states = odeint(flow, start, times[[0, -1]], **tolerances, **options)
    return _clamped(states[-1], settings)
