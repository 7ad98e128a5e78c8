"""One figure of every family, from few numbers."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import lobula.figures as figures
from lobula.figures import ByType, FigureStyle, Pair, Sheet
from lobula.figures.training import SCORES
from lobula.metrics import curves_over_seeds

NAMES = ["L1", "Mi1", "T4a"]
KIND = np.repeat([0, 1, 2], 10)
METRICS = pd.DataFrame(
    {
        "iteration": [1, 2, 3, 4],
        "phase": ["joint"] * 2 + ["round 1"] * 2,
        "connectivity_r2": [0.1, 0.5, np.nan, 0.9],
        "loss": [4.0, 3, 2, 1],
        "prediction": [3.0, 2, 1, 0.5],
        "validation": [5.0, 4, 3, 2],
        "g_phi_norm": [1e-2, 1e-3, np.nan, np.nan],
    }
)
HEXAGON = figures.hexagon_centres(np.array([0, 1, 0, -1, -1, 0, 1]), np.array([0, 0, 1, 1, 0, -1, -1]))


def draw_all(style: FigureStyle, rng: np.random.Generator) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """One of every family."""
    return draw_activity(style, rng) | draw_circuit(style, rng)


def cloud(rng: np.random.Generator, n: int = 300) -> dict:
    true = rng.standard_normal(n)
    return {"true": true, "recovered": true + 0.1 * rng.standard_normal(n), "quantity": "weight W", "estimator": "gnn"}


def draw_activity(style: FigureStyle, rng: np.random.Generator) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """What neurons, eyes and estimators do."""
    time, types = np.arange(20) * 0.02, KIND
    voltage, wave = np.linspace(-1, 2, 30), rng.standard_normal((20, 3))
    curves = {"ridge": (voltage, np.maximum(voltage, 0)), "gnn": (voltage, rng.random((30, 5)))}
    eye = [
        Sheet("stimulus", HEXAGON, rng.random((6, 7))),
        Sheet("T4a", HEXAGON, wave[:6, :1] * HEXAGON[:, 0], signed=True),
    ]
    edges = rng.integers(0, 3, (2, 50))
    weights = {"true": rng.standard_normal(50), "spline": rng.standard_normal(50)}
    return {
        "scatter": figures.recovery_scatter(**cloud(rng), style=style, scores={"R²": 0.5}),
        "types": figures.types_in_plane(wave[:, 0], wave[:, 1], types[:20], NAMES, style, labels=("a", "b")),
        "messages": figures.message_curves(curves, style, true=curves["ridge"], visited=(-0.5, 1.0)),
        "updates": figures.update_curves(voltage, rng.random((30, 5)), style, tau=np.arange(5) * 0.1),
        "traces": figures.rollout_traces(time, wave, {"ridge": wave + 1}, NAMES, style),
        "error": figures.rollout_error(time, {"ridge": np.sqrt(time)}, style),
        "eye": figures.hexagonal_eye(time[:6], eye, style),
        "pairs": figures.weights_by_type(*edges, weights, NAMES, style),
        "identifiable": figures.identifiability_map(*edges, weights["true"] > 0, NAMES, style),
        "study": figures.study_curve(["1", ".5"], {"ridge": [[0.9, 0.99], []]}, "fill", style),
        "studies": figures.study_panels(
            (1, 4), {"W": {"end": [[0.5, 0.4], [0.2]]}, "r": {"end": [[], [0.1]]}}, "step", style
        ),
        "cost": figures.cost_curves([10, 100], {"ridge": [0.1, 1.0]}, {"ridge": 1.0}, style),
        "resolution": figures.resolution_histogram({"ridge": rng.random(50)}, style, shares={"ridge": 0.84}),
    }


def draw_circuit(style: FigureStyle, rng: np.random.Generator) -> dict[str, tuple[Figure, pd.DataFrame]]:
    """Whole circuits, their structure, and the training that found them."""
    pre, post = rng.integers(0, 30, (2, 200))
    true = rng.standard_normal(200)
    found = true + 0.1 * rng.standard_normal(200)
    values = {"true": rng.standard_normal(9) + 0j, "gnn": rng.standard_normal(9) * 1j}
    sizes = {"true": np.geomspace(5, 1e-3, 9), "gnn": np.geomspace(4, 1e-3, 9)}
    square = {"senders": rng.random((5, 5)), "receivers": rng.random((5, 5))}
    spaces = {"senders": rng.random(5), "receivers": rng.random(5)}
    voltage = rng.standard_normal((12, 30))
    share = {"voltage": np.geomspace(1, 1e-9, 20) / np.geomspace(1, 1e-9, 20).sum()}
    residual = {"ridge": rng.random(30) + 2, "gnn": np.r_[np.nan, rng.random(29) + 2]}
    pairs = [
        Pair(title, "x", true, found, {"R²": 0.9}) for title in ("weights", "time constants", "resting potentials")
    ]
    each = [ByType("tau [s]", found[:30], KIND, true[:30]), ByType("slope", found[30:60], KIND)]
    labels = ("a", "b")
    raw = {"estimator": "gnn", "raw_scores": {"slope": None}, "scores": {"R²": 0.9}}
    return {
        "matrix": figures.connectivity_matrix(pre, post, {"true": true, "gnn": found}, KIND, NAMES, style),
        "spectra": figures.weight_spectra(values, sizes, {"true": 1.5, "gnn": 1.4}, style),
        "alignment": figures.singular_alignment(square, spaces, style, estimator="gnn"),
        "kinograph": figures.kinograph(np.arange(12) * 0.02, {"recorded": voltage, "gnn": voltage}, KIND, NAMES, style),
        "ranks": figures.activity_ranks(share, {"voltage": {0.9: 3, 0.99: 6}}, style),
        "residual": figures.residual_spread(residual, np.linspace(0.1, 1, 30), style, expected=np.full(30, 2.5)),
        "confusion": figures.confusion_matrix(np.eye(3, 4, dtype=int) * 9, np.arange(4), NAMES, style, estimator="gnn"),
        "clusters": figures.clusters_in_plane(voltage[:2].T, KIND, KIND - 1, NAMES, style, labels=labels),
        "errors": figures.type_errors(each, NAMES, style, estimator="spline"),
        "raw": figures.raw_and_corrected(true, 7 * true, found, style, **raw),
        "raw_density": figures.raw_and_corrected(true, 7 * true, found, style, max_points=50, **raw),
        "slopes": figures.slopes_by_type(each, NAMES, style, estimator="gnn"),
        "summary": figures.training_summary(METRICS, pairs, voltage[:2].T, KIND, NAMES, style, labels=labels),
        "losses": figures.loss_terms(METRICS, style),
        "phases": figures.training_in_phases(
            {"gnn": curves_over_seeds([METRICS], SCORES)}, style, final={"gnn": {"connectivity_r2": 0.95}}
        ),
    }
