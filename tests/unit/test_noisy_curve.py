"""Message functions of noisy recordings: the evidence, its slope, and what it finds."""

from functools import partial

import numpy as np
import pytest
from tests.support.signal_recordings import network, recorded

from lobula.data.recording import Recording
from lobula.regression import SplineFit, accumulate, fit_spline, noisy_curve, solve
from lobula.regression.curve import SmoothCurve, basis_of
from lobula.regression.noisy_curve import CurveProblem, posterior_draws, random_directions
from lobula.regression.update_form import prepare

KNOTS = np.linspace(-9.0, 9.0, 9)


def noisy_network(n: int, n_frames: int, noise: float = 0.3) -> Recording:
    return recorded(network(n, seed=1), n_frames, noise)[0]


def test_random_directions_are_orthogonal_as_far_as_there_is_room() -> None:
    some, many = random_directions(5, 12), random_directions(30, 12)
    np.testing.assert_allclose(some @ some.T, 12 * np.eye(5), atol=1e-9)
    np.testing.assert_allclose(many[:24].T @ many[:24], 24 * np.eye(12), atol=1e-9)
    assert np.linalg.norm(many[-1]) == pytest.approx(np.sqrt(12))


def test_totals_of_a_basis_are_sums_over_frames_and_senders() -> None:
    rng = np.random.default_rng(0)
    voltage, coefficients = 6 * rng.standard_normal((50, 7)), rng.standard_normal((7, 1))
    basis = basis_of(SmoothCurve(KNOTS, np.tanh(KNOTS)))
    assert np.abs(voltage).max() > KNOTS[-1]
    in_time = rng.standard_normal((50, 1))
    wanted = np.einsum("t,tk->k", in_time[:, 0], basis.summed(voltage, coefficients)[:, 0])
    np.testing.assert_allclose(basis.total(voltage, in_time * coefficients[:, 0]), wanted, rtol=1e-9)


def test_draws_scatter_as_the_posterior() -> None:
    recording = noisy_network(8, 400)
    form = prepare("self_coupling", recording["train"], recording.wiring, "observed")
    grams = accumulate(recording["train"], form.wiring, np.tanh, "observed", own=form.own)
    circuit = solve(grams, form.wiring)
    whole = int(form.wiring.in_degree.max()) + 3 + grams.n_own  # as many draws have its covariance exactly
    draws, log_det = posterior_draws(grams, circuit, form.wiring, np.array([3]), whole)
    products = grams.grams[3][:-1, :-1]
    d = int(form.wiring.in_degree[3])
    lam = circuit.regularisation[3] * grams.n_frames
    ridge = np.diag(np.r_[np.full(d, lam), np.zeros(len(products) - d)])
    wanted = circuit.residual_std[3] ** 2 * np.linalg.inv(products + ridge)
    np.testing.assert_allclose(draws[0].T @ draws[0] / whole, wanted, rtol=1e-5, atol=1e-9 * wanted.max())
    stated, active = (
        circuit.theta_stderr[form.wiring.post == 3],
        np.isfinite(circuit.theta_stderr[form.wiring.post == 3]),
    )
    np.testing.assert_allclose(np.sqrt(np.diag(wanted))[:d][active], stated[active], rtol=1e-6)
    assert log_det[0] == pytest.approx(np.linalg.slogdet(products + ridge)[1] - d * np.log(lam))


def test_the_step_is_uphill_in_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slope against finite differences of the score, for a fixed strength of the ridge."""
    slopes: list[np.ndarray] = []

    def noted(normal: np.ndarray, rhs: np.ndarray, curves: list, monotone: bool) -> np.ndarray:
        slopes.append(rhs)
        return np.zeros(len(rhs))

    monkeypatch.setattr(noisy_curve, "bounded_step", noted)
    frames = (recording := noisy_network(8, 500))["train"]
    form = prepare("self_coupling", frames, recording.wiring, "observed")
    n = frames.n_targets("observed")
    whole = int(form.wiring.in_degree.max()) + 3 + form.own.n_terms
    monkeypatch.setattr(noisy_curve, "DRAWS", 8 * whole)  # so many have the posterior's covariance exactly

    problem = CurveProblem(frames, form.wiring, "observed", n, form.own, True)

    def score(values: np.ndarray) -> float:
        curve = SmoothCurve(KNOTS, values)
        fixed = partial(solve, ratio=0.01)
        return problem.step(curve, fixed)[1]

    values = np.tanh(KNOTS / 2)
    score(values)
    slope = slopes[0] * -2 / (n * 8)
    steps = 1e-4 * np.eye(len(values))
    wanted = np.array([(score(values + step) - score(values - step)) / 2e-4 for step in steps])
    np.testing.assert_allclose(slope, wanted, atol=0.03 * np.abs(wanted).max())


def spline_of(recording: Recording) -> SplineFit:
    form = prepare("self_coupling", recording["train"], recording.wiring, "observed")
    rounds = {"n_knots": 20, "n_rounds": 10, "curve_frames": 1500, "curve_neurons": 30, "basis": "cubic"}
    return fit_spline(recording["train"], form.wiring, "observed", start="best", own=form.own, **rounds)


def test_the_message_function_of_a_noisy_network_levels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = noisy_network(80, 3000, noise=0.05)
    grid = np.linspace(-8, 8, 65)

    def off(fit: SplineFit) -> float:
        columns = np.column_stack([fit.curve(grid), np.ones(len(grid))])
        left = np.tanh(grid) - columns @ np.linalg.lstsq(columns, np.tanh(grid), rcond=None)[0]
        return float(np.sqrt(np.mean(left**2)))

    fit = spline_of(recording)
    by_evidence = off(fit)
    assert [row["round"] for row in fit.history] == list(range(len(fit.history)))
    assert "evidence" in fit.history[-1]
    monkeypatch.setattr(noisy_curve, "NOISY", np.inf)
    fit = spline_of(recording)
    by_residual = off(fit)
    assert "evidence" not in fit.history[-1]
    assert by_evidence < 0.025
    assert by_evidence < 0.75 * by_residual
