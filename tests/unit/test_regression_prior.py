"""Priors on the weights: each helps where it is right, hurts where it is wrong, and is what plain formulations say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear
from tests.support.planted import DT, Typed, planted_circuit, typed_circuit

from lobula.data.annotations import Annotations
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.kernels import get_activation
from lobula.metrics import line_fit
from lobula.regression import NeuronGrams, WeightPrior, accumulate, fit_spline, solve
from lobula.regression.columns import Columns
from lobula.regression.curve_step import some_targets
from lobula.regression.prior import edges_in, inferred_signs
from lobula.regression.signed import LEAST_LEAK, bounded_minimum, neuron_with_signs
from lobula.regression.tied import means_precision

relu = get_activation("relu")
SHUFFLED = np.random.default_rng(5).permutation(40)


def recorded(circuit: Typed) -> Recording:
    p = circuit.planted
    known = Annotations.checked(p.wiring, circuit.cell_type, circuit.n_synapses, circuit.sign)
    return Recording.from_arrays(p.voltage, p.wiring, DT, p.stimulus, annotations=known)


@pytest.fixture(scope="module")
def circuit() -> Typed:
    return typed_circuit()


@pytest.fixture(scope="module")
def grams(circuit: Typed) -> NeuronGrams:
    return accumulate(recorded(circuit)["train"], circuit.planted.wiring, relu)


def prior(circuit: Typed, *known: str, **changes) -> WeightPrior:
    """A prior with some of: counts, signs, inferred, soft, hard."""
    e = circuit.planted.wiring.n_edges
    scale = circuit.n_synapses / circuit.n_synapses.mean() if "counts" in known else np.ones(e)
    tied = next((name for name in ("soft", "hard") if name in known), "none")
    made = WeightPrior(
        circuit.planted.wiring,
        scale,
        circuit.cell_type if tied != "none" else None,
        tied,
        circuit.sign if "signs" in known else None,
        "inferred" in known,
    )
    return replace(made, **changes)


def about(grams: NeuronGrams, wiring: Wiring, mean: np.ndarray) -> NeuronGrams:
    edges = np.arange(wiring.n_edges)
    columns = Columns(grams.grams, wiring.indptr, edges, edges >= 0, grams.n_frames)
    return replace(grams, grams=[columns.gram_about(i, mean) for i in range(wiring.n_neurons)])


def fit_r2(circuit: Typed, grams: NeuronGrams, made: WeightPrior | None) -> float:
    wiring = circuit.planted.wiring
    found = solve(grams, wiring) if made is None else made.solve(grams, wiring)
    return line_fit(circuit.planted.weight, found.weight(wiring))[1]


def wrong_priors(circuit: Typed) -> dict[str, tuple[WeightPrior, WeightPrior, float]]:
    """The right prior, the same with wrong annotations, and what the right one must add to fit R2."""
    rng = np.random.default_rng(1)
    counts, signs, hard = prior(circuit, "counts"), prior(circuit, "signs"), prior(circuit, "counts", "hard")
    soft = prior(circuit, "counts", "soft", "signs")
    moved = circuit.cell_type[SHUFFLED]
    return {
        "counts": (counts, replace(counts, scale=rng.permutation(counts.scale)), 0.03),
        "signs": (signs, replace(signs, sign=-circuit.sign), 0.08),
        "hard": (hard, replace(hard, cell_type=moved), 0.4),
        "all": (soft, replace(soft, cell_type=moved, sign=-circuit.sign), 0.4),
    }


@pytest.mark.parametrize("name", ["counts", "signs", "hard", "all"])
def test_right_annotations_help_and_wrong_ones_hurt(circuit: Typed, grams: NeuronGrams, name: str) -> None:
    right, wrong, gain = wrong_priors(circuit)[name]
    plain = fit_r2(circuit, grams, None)
    assert fit_r2(circuit, grams, right) > plain + gain
    assert fit_r2(circuit, grams, wrong) < plain - 0.03


def test_soft_ties_help_and_give_way_where_the_types_are_wrong(circuit: Typed, grams: NeuronGrams) -> None:
    soft, plain = prior(circuit, "soft"), fit_r2(circuit, grams, None)
    assert fit_r2(circuit, grams, soft) > plain + 0.2
    wrong = replace(soft, cell_type=circuit.cell_type[SHUFFLED])
    assert fit_r2(circuit, grams, wrong) == pytest.approx(plain, abs=0.05)


def test_hard_ties_give_equal_weights_per_synapse(circuit: Typed, grams: NeuronGrams) -> None:
    wiring = circuit.planted.wiring
    found = prior(circuit, "counts", "hard").solve(grams, wiring)
    strength = found.weight(wiring) / circuit.n_synapses
    kinds = circuit.cell_type[wiring.edge_index]
    for pair in np.unique(kinds, axis=1).T:
        own = strength[(kinds == pair[:, None]).all(0)]
        np.testing.assert_allclose(own, own[0], rtol=1e-12)
    assert len(np.unique(found.k)) == wiring.n_neurons  # weights are tied, not theta = -W k


def test_hard_ties_are_the_most_probable_strengths(circuit: Typed, grams: NeuronGrams) -> None:
    """Against least squares on the frames: no other common strength, with k, c, q refitted, has a higher posterior."""
    p, made = circuit.planted, prior(circuit, "counts", "hard")
    wiring, split = p.wiring, recorded(circuit)["train"]
    found = made.solve(grams, wiring)
    n = split.n_targets("observed")
    v, y = split.voltage(0, n).astype(float), split.target("observed", 0, n).astype(float)
    external = np.where(wiring.stimulus_column >= 0, split.stimulus(0, n)[:, np.maximum(wiring.stimulus_column, 0)], 0)
    beta = 1.0 / (found.residual_std**2 + 1e-3 * np.median(found.residual_std**2))

    def misfit(weight: np.ndarray) -> float:
        driven, total = v - (wiring.csr(weight) @ np.maximum(v, 0).T).T, 0.0
        for i in range(wiring.n_neurons):
            columns = np.column_stack([driven[:, i], np.ones(n), external[:, i]])
            left = y[:, i] - columns @ np.linalg.lstsq(columns, y[:, i], rcond=None)[0]
            total += beta[i] * float(left @ left)
        return total

    weight, strength = found.weight(wiring), found.weight(wiring) / made.scale
    gamma = (1.0 - found.resolution) / (found.weight_stderr / made.scale) ** 2
    np.testing.assert_allclose(gamma, gamma[0], rtol=1e-6)
    best = misfit(weight)
    kinds = circuit.cell_type[wiring.edge_index]
    for pair in ((0, 1), (3, 2)):
        tied = (kinds == np.array(pair)[:, None]).all(0)
        mean, error = strength[tied][0], (found.weight_stderr / made.scale)[tied][0]
        sides = []
        for step in (-error, error):
            shrunk = gamma[0] * ((mean + step) ** 2 - mean**2)
            sides.append(misfit(np.where(tied, (mean + step) * made.scale, weight)) - best + shrunk)
        assert min(sides) > 0.9
        assert sides[0] == pytest.approx(sides[1], rel=0.1)


def test_without_knowledge_it_is_plain_ridge(circuit: Typed, grams: NeuronGrams) -> None:
    wiring = circuit.planted.wiring
    plain = solve(grams, wiring)
    for made in (prior(circuit), prior(circuit, sign=np.zeros(40)), prior(circuit, scale=np.full(wiring.n_edges, 1.0))):
        found = made.solve(grams, wiring)
        for name, values in vars(plain).items():
            np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


def test_a_tie_without_strength_is_plain_ridge(circuit: Typed, grams: NeuronGrams) -> None:
    """About any means, the less lambda the less they matter; about zero they never do."""
    wiring, rng = circuit.planted.wiring, np.random.default_rng(0)
    mean = rng.normal(0, 0.3, wiring.n_edges)
    weights = []
    for ratio in (1e-2, 1e-5, 1e-8):
        found = solve(about(grams, wiring, mean), wiring, ratio=ratio)
        weights.append(mean - found.theta / found.k[wiring.post])
    free = solve(grams, wiring, ratio=1e-8).weight(wiring)
    away = [np.abs(w - free).max() for w in weights]
    assert away[0] > 10 * away[1] > 100 * away[2]
    np.testing.assert_allclose(weights[2], free, atol=1e-5)
    same = about(grams, wiring, np.zeros(wiring.n_edges))
    np.testing.assert_array_equal(solve(same, wiring).theta, solve(grams, wiring).theta)


def test_the_unit_of_counts_does_not_matter(circuit: Typed) -> None:
    results = []
    for counts in (circuit.n_synapses, 7.0 * circuit.n_synapses):
        recording, wiring = recorded(replace(circuit, n_synapses=counts)), circuit.planted.wiring
        scale = recording.annotations.n_synapses / recording.annotations.n_synapses.mean()
        grams = accumulate(recording["train"], wiring, relu)
        results.append(prior(circuit, "soft", scale=scale).solve(grams, wiring).weight(wiring))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-12)


@settings(max_examples=8)
@given(seed=st.integers(0, 2**31), tied=st.sampled_from(["none", "soft", "hard"]))
def test_signs_are_never_violated(seed: int, tied: str) -> None:
    circuit = typed_circuit(n=16, n_types=3, in_degree=5, n_frames=120, seed=seed % 7)
    wiring = circuit.planted.wiring
    grams = accumulate(recorded(circuit)["train"], wiring, relu)
    sign = np.random.default_rng(seed).integers(-1, 2, 16)
    found = prior(circuit, "counts", tied, sign=sign).solve(grams, wiring)
    assert np.all(sign[wiring.pre] * found.weight(wiring) >= 0)


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_bounded_minimum_is_bounded_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, y, sign = rng.standard_normal((30, 7)), rng.standard_normal(30), rng.integers(-1, 2, 7).astype(float)
    low, high = np.where(sign > 0, 0.0, -np.inf), np.where(sign < 0, 0.0, np.inf)
    expected = lsq_linear(a, y, (low, high), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(bounded_minimum(a.T @ a, a.T @ y, sign), expected, atol=1e-9)


def test_a_neuron_with_signs_is_bounded_least_squares(circuit: Typed, grams: NeuronGrams) -> None:
    """With a ridge about means as further rows sqrt(lambda) (t + k mu) = 0."""
    rng, d, lam, n = np.random.default_rng(0), 5, 30.0, 200
    x, mean, sign = rng.standard_normal((n, d + 2)), rng.normal(0, 0.2, d), np.array([1.0, -1.0, 0.0, 1.0, -1.0])
    x[:, d + 1] = 1.0
    y = x @ np.r_[rng.standard_normal(d), -4.0, 0.3] + rng.standard_normal(n)
    rows = np.vstack([x, np.sqrt(lam) * np.column_stack([np.eye(d), mean, np.zeros(d)])])
    low = np.r_[np.where(sign > 0, 0.0, -np.inf), -np.inf, -np.inf]
    high = np.r_[np.where(sign < 0, 0.0, np.inf), -LEAST_LEAK, np.inf]
    expected = lsq_linear(rows, np.r_[y, np.zeros(d)], (low, high), method="bvls", tol=1e-14).x
    columns = np.column_stack([x, y])
    found, rss = neuron_with_signs(columns.T @ columns, sign, mean, lam)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert rss == pytest.approx(float(np.sum((y - x @ expected) ** 2)))
    assert np.any(found[:d] == 0)


def test_signs_are_inferred_and_a_source_with_both_stays_free() -> None:
    circuit = typed_circuit(n_frames=2500)
    p = circuit.planted
    grams = accumulate(recorded(circuit)["train"], p.wiring, relu)
    found = inferred_signs(solve(grams, p.wiring), p.wiring)
    np.testing.assert_array_equal(found[found != 0], circuit.sign[found != 0])
    assert np.mean(found != 0) > 0.75
    mixed = planted_circuit(n_frames=4000)  # weights of either sign from every source
    recording = Recording.from_arrays(mixed.voltage, mixed.wiring, DT, mixed.stimulus)
    free = inferred_signs(solve(accumulate(recording["train"], mixed.wiring, relu), mixed.wiring), mixed.wiring)
    both = [len(np.unique(np.sign(mixed.weight[mixed.wiring.pre == j]))) > 1 for j in range(30)]
    assert np.mean(free[both] == 0) > 0.8


def test_gamma_maximises_the_evidence_of_the_means() -> None:
    rng = np.random.default_rng(0)
    s, width = np.full(4000, 50.0), 0.3
    t = s * width * rng.standard_normal(4000) + np.sqrt(s) * rng.standard_normal(4000)
    assert means_precision(s, t) ** -0.5 == pytest.approx(width, rel=0.06)


def test_a_silent_source_gets_the_weights_of_its_type(circuit: Typed) -> None:
    p, wiring = circuit.planted, circuit.planted.wiring
    voltage = p.voltage.copy()
    voltage[:, 9] = -1.0
    grams = accumulate(Recording.from_arrays(voltage, wiring, DT, p.stimulus)["train"], wiring, relu)
    silent = wiring.pre == 9
    plain, tied = solve(grams, wiring), prior(circuit, "counts", "soft").solve(grams, wiring)
    assert np.all(plain.weight(wiring)[silent] == 0)
    assert np.all(plain.resolution[silent] == 0)
    assert np.all(tied.resolution[silent] > 0.5)
    assert np.all(np.isfinite(tied.weight_stderr[silent]))
    sends = tied.weight(wiring)[silent] / circuit.n_synapses[silent]
    other = (circuit.cell_type[wiring.pre] == circuit.cell_type[9]) & ~silent
    for post in np.unique(circuit.cell_type[wiring.post[silent]]):
        alike = tied.weight(wiring)[other & (circuit.cell_type[wiring.post] == post)]
        mean = np.median(alike / circuit.n_synapses[other & (circuit.cell_type[wiring.post] == post)])
        np.testing.assert_allclose(sends[circuit.cell_type[wiring.post[silent]] == post], mean, rtol=0.2, atol=0.01)


@pytest.mark.parametrize("tied", ["soft", "hard"])
def test_standard_errors_of_tied_weights_are_calibrated(circuit: Typed, grams: NeuronGrams, tied: str) -> None:
    found = prior(circuit, "counts", tied).solve(grams, circuit.planted.wiring)
    score = (found.weight(circuit.planted.wiring) - circuit.planted.weight) / found.weight_stderr
    assert 0.6 < np.sqrt(np.mean(score**2)) < 1.5


@settings(max_examples=3)
@given(st.integers(0, 2**31))
def test_relabelling_neurons_permutes_the_solution(seed: int) -> None:
    circuit = typed_circuit(n=16, n_types=3, in_degree=5, n_frames=200)
    order = np.random.default_rng(seed).permutation(16)
    p = circuit.planted
    moved = p.wiring.relabel(order)
    first = prior(circuit, "counts", "soft", "signs")
    second = replace(
        first,
        wiring=moved,
        scale=first.scale[moved.edge_order],
        cell_type=circuit.cell_type[order],
        sign=circuit.sign[order],
    )
    fits = []
    for made, voltage in ((first, p.voltage), (second, p.voltage[:, order])):
        recording = Recording.from_arrays(voltage, made.wiring, DT, p.stimulus)
        fits.append(made.solve(accumulate(recording["train"], made.wiring, relu), made.wiring))
    np.testing.assert_allclose(fits[1].theta, fits[0].theta[moved.edge_order], rtol=1e-4, atol=1e-7)


def test_part_of_the_equations_takes_its_edges_from_the_whole(circuit: Typed) -> None:
    wiring = circuit.planted.wiring
    part = some_targets(wiring, 7)
    np.testing.assert_array_equal(wiring.edge_index[:, edges_in(wiring, part)], part.edge_index)
    np.testing.assert_array_equal(edges_in(wiring, wiring), np.arange(wiring.n_edges))


@pytest.mark.parametrize("known", [("counts", "hard", "signs"), ("counts", "soft", "inferred")])
def test_the_spline_takes_a_prior(circuit: Typed, known: tuple[str, ...]) -> None:
    recording, wiring = recorded(circuit), circuit.planted.wiring
    found = fit_spline(recording["train"], wiring, n_knots=10, n_rounds=5, solver=prior(circuit, *known).solve)
    plain = fit_spline(recording["train"], wiring, n_knots=10, n_rounds=5)
    scores = [line_fit(circuit.planted.weight, fit.circuit.weight(wiring))[1] for fit in (found, plain)]
    assert scores[0] > scores[1] + 0.3
    assert np.all(circuit.sign[wiring.pre] * found.circuit.weight(wiring) >= 0)


def test_problems_about_means_are_those_of_the_shifted_voltage(circuit: Typed) -> None:
    """Against products of columns that were shifted themselves."""
    recording, wiring = recorded(circuit), circuit.planted.wiring
    grams, mean = accumulate(recording["train"], wiring, relu), np.linspace(-0.3, 0.3, wiring.n_edges)
    split = recording["train"]
    n = split.n_targets("observed")
    v, y = split.voltage(0, n).astype(float), split.target("observed", 0, n).astype(float)
    h, i = np.maximum(v, 0), 11
    inputs = wiring.pre[wiring.post == i]
    rows = np.stack([*h[:, inputs].T, v[:, i] - h[:, inputs] @ mean[wiring.post == i], np.ones(n), y[:, i]])
    np.testing.assert_allclose(about(grams, wiring, mean).grams[i], rows @ rows.T, rtol=2e-5, atol=1e-2)


def test_regressors_of_one_group_are_added_up(circuit: Typed, grams: NeuronGrams) -> None:
    wiring = circuit.planted.wiring
    groups = prior(circuit, "hard").groups(wiring, None)
    sums = Columns(grams.grams, wiring.indptr, groups.of_edge, np.ones(wiring.n_edges, bool), grams.n_frames).summed()
    split, i = recorded(circuit)["train"], 2
    n = split.n_targets("observed")
    v, y = split.voltage(0, n).astype(float), split.target("observed", 0, n).astype(float)
    inputs, kinds = wiring.pre[wiring.post == i], circuit.cell_type[wiring.pre[wiring.post == i]]
    rows = [np.maximum(v[:, inputs[kinds == kind]], 0).sum(1) for kind in np.unique(kinds)]
    rows = np.stack([*rows, v[:, i], np.ones(n), split.stimulus(0, n)[:, i], y[:, i]])
    np.testing.assert_allclose(sums.grams[i], rows @ rows.T, rtol=2e-5, atol=1e-2)
    own = np.unique(groups.of_edge[wiring.post == i])
    np.testing.assert_array_equal(sums.group[sums.span(i)], own)


@pytest.mark.parametrize("known", [("soft", "counts"), ("hard", "counts"), ("signs",), ("counts", "soft", "inferred")])
def test_without_noise_the_weights_are_exact(circuit: Typed, known: tuple[str, ...]) -> None:
    """Almost nothing is left for the deviations then; rounding must not be fitted."""
    p = circuit.planted
    recording = Recording.from_arrays(p.voltage, p.wiring, DT, p.stimulus, p.drift)
    grams = accumulate(recording["train"], p.wiring, relu, "drift")
    found = prior(circuit, *known).solve(grams, p.wiring)
    np.testing.assert_allclose(found.weight(p.wiring), p.weight, atol=2e-4)
    np.testing.assert_allclose(found.tau, p.tau, rtol=1e-3)
