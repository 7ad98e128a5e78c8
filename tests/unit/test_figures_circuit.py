"""Figures of whole circuits, activity, read-out and training: each in both looks, each with the numbers it shows."""

import re
import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from PIL import Image

import lobula.figures as figures
from lobula.figures import DARK, LIGHT, ByType, FigureStyle, Movie, Sheet
from lobula.figures.panels import block_ticks
from lobula.figures.training import SCORES
from lobula.metrics import curves_over_seeds
from lobula.report import plane
from support.gallery import HEXAGON, KIND, NAMES, draw_circuit

STYLES = [LIGHT, DARK]


def test_matrix_holds_every_weight_once(rng: np.random.Generator) -> None:
    n = 1000
    edges = np.unique(rng.integers(0, n, (3000, 2)), axis=0).T
    weight = rng.standard_normal(edges.shape[1])
    kind = rng.integers(0, 3, n)
    _, table = figures.connectivity_matrix(*edges, {"true": weight}, kind, NAMES, LIGHT)
    assert table["true"].sum() == pytest.approx(weight.sum())
    assert table[["from_rank", "to_rank"]].to_numpy().max() < n
    small, post = np.array([0, 2, 1]), np.array([1, 0, 2])
    _, table = figures.connectivity_matrix(
        small, post, {"true": np.array([1.0, np.nan, 3.0])}, np.arange(3)[::-1], NAMES, LIGHT
    )
    assert sorted(map(tuple, table.to_numpy().tolist())) == [(1.0, 0.0, 3.0), (2.0, 1.0, 1.0)]


def test_tables_hold_what_is_drawn(rng: np.random.Generator) -> None:
    tables = {name: table for name, (_, table) in draw_circuit(LIGHT, rng).items()}
    assert set(tables["spectra"]["kind"]) == {"eigenvalue", "singular value"}
    assert len(tables["alignment"]) == 2 * 25
    assert tables["kinograph"].shape == (2 * 30, 3 + 12)
    assert tables["ranks"]["cumulative"].iloc[-1] == pytest.approx(1.0)
    assert list(tables["residual"]) == ["neuron", "spread", "expected", "ridge", "gnn"]
    assert tables["confusion"]["n"].tolist() == [9, 9, 9]
    assert set(tables["clusters"]["cluster"]) == {"", "L1", "Mi1"}
    assert tables["raw_density"].query("panel == 'raw'")["count"].sum() > 190
    assert len(tables["raw"].query("panel == 'raw'")) == 200
    assert tables["phases"]["phase"].tolist() == ["joint", "joint", "round 1", "read-out"]
    assert tables["phases"]["median"].tolist() == [0.1, 0.5, 0.9, 0.95]
    assert {"iteration", "loss", "prediction", "validation", "g_phi_norm"} <= set(tables["losses"])
    assert {"embedding", "weights", "loss: held-out error"} <= set(tables["summary"]["panel"])


def test_errors_by_type_are_means_and_standard_deviations(rng: np.random.Generator) -> None:
    values, true = rng.standard_normal((2, 30))
    values[0] = np.nan
    _, table = figures.type_errors([ByType("tau", values, KIND, true)], [*NAMES, "none"], LIGHT, estimator="gnn")
    for i, name in enumerate(NAMES):
        row = table.set_index("cell_type").loc[name]
        members = values[i == KIND]
        assert row["n"] == np.isfinite(members).sum()
        assert row["mean"] == pytest.approx(np.nanmean(members))
        assert row["std"] == pytest.approx(np.nanstd(members))
        assert row["true"] == pytest.approx(true[i == KIND].mean())
    assert np.isnan(table["mean"].iloc[-1])


def test_training_without_scores_or_penalties_still_draws() -> None:
    plain = pd.DataFrame({"iteration": [1, 2], "phase": "joint", "loss": ["2", "1"]})
    figure, table = figures.loss_terms(plain, LIGHT)
    assert len(figure.axes) == 1
    assert len(table) == 2


def test_a_training_of_one_report_is_a_dot_and_the_phase_lies_within_the_panel() -> None:
    figure, _ = figures.loss_terms(pd.DataFrame({"iteration": [20], "phase": "joint", "loss": ["2"]}), LIGHT)
    axes = figure.axes[0]
    assert LIGHT.save(figure, "png")  # warns where axes collapse
    assert axes.lines[0].get_marker() == "o"
    low, high = axes.get_xlim()
    assert low <= axes.texts[0].get_position()[0] <= high


def test_training_in_phases_shows_median_range_and_the_phases_of_the_first_training() -> None:
    steps = np.arange(1, 6)
    runs = [
        pd.DataFrame({"iteration": steps, "phase": ["joint"] * 3 + ["V_rest"] * 2, "vrest_r2": k * steps / 15})
        for k in (1, 2, 3)
    ]
    one = pd.DataFrame({"iteration": steps, "phase": "joint", "vrest_r2": steps / 10, "tau_r2": 0.5})
    curves = {"two": curves_over_seeds(runs, SCORES), "one": curves_over_seeds([one], SCORES)}
    figure, table = figures.training_in_phases(curves, LIGHT)
    rest, tau = figure.axes
    assert [line.get_ydata().tolist() for line in rest.lines[:2]] == [(2 * steps / 15).tolist(), (steps / 10).tolist()]
    bands = [shape for shape in rest.collections if isinstance(shape, PolyCollection)]
    assert len(bands) == 1  # a single run has no range
    assert bands[0].get_paths()[0].get_extents().bounds == pytest.approx((1, 1 / 15, 4, 14 / 15))
    assert {text.get_text() for text in rest.texts} == {"joint", "V_rest"}
    assert [patch.get_x() for patch in rest.patches] == [3]  # the second phase is shaded
    assert len(tau.lines) == 2  # only "one" has it, and the line at 1
    assert table.query("training == 'two'")["n"].tolist() == [3] * 5


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_movie_moves_and_shows_the_values(style: FigureStyle) -> None:
    values = np.zeros((4, 7))
    values[np.arange(4), [0, 1, 2, 3]] = 1.0
    sheets = [Sheet("stimulus", HEXAGON, values), Sheet("T4a", HEXAGON, values - 0.5, signed=True)]
    movie, table = figures.eye_movie(np.arange(4) * 0.02, sheets, style, slower=4)
    assert isinstance(movie, Movie)
    with Image.open(BytesIO(movie.content)) as picture:
        assert picture.n_frames == 4
        assert picture.size == movie.size == (2 * style.movie_pixels, style.movie_pixels)
        first = np.asarray(picture.convert("RGB"))
        middle = style.movie_pixels // 2
        assert first[middle, middle].min() > 220  # the column in the middle is bright in the first picture
        picture.seek(1)
        assert np.asarray(picture.convert("RGB"))[middle, middle].max() < 35
    assert np.abs(first[2, 2] / 255 - to_rgb(style.paper)).max() < 0.05
    assert len(table) == 2 * 4 * 7
    assert table["value"].tolist()[:28] == values.ravel().tolist()


def test_names_of_blocks_keep_their_distance() -> None:
    places, labels = block_ticks(np.repeat(np.arange(50), 10), [f"type {i}" for i in range(50)], most=25)
    assert len(places) == 25
    assert np.diff(places).min() >= 500 / 25
    assert labels[:2] == ["type 0", "type 2"]
    assert block_ticks(np.full(5, -1), [], most=3) == ([], [])


def test_map_of_neurons_is_pca_without_umap(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    features = rng.standard_normal((50, 5)) * [5, 3, 1, 1, 1]
    places, labels, method = plane.neuron_map(features)
    centred = features - features.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.allclose(np.abs(places), np.abs(left[:, :2] * size[:2]))
    assert "without UMAP" in method
    assert re.match("principal component 1", labels[0])
    assert plane.neuron_map(features[:, :1])[0].shape == (50, 2)


def test_map_of_neurons_is_umap_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, **options: object) -> None:
            assert options["random_state"] == 0

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            return features[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Fake))
    places, labels, method = plane.neuron_map(np.ones((40, 3)))
    assert (places.shape, labels[0], method) == ((40, 2), "UMAP 1", "UMAP")
    places, _, method = plane.neuron_map(np.ones((2 * plane.MOST_UMAP, 3)))
    assert np.isfinite(places).all(axis=1).sum() == plane.MOST_UMAP
    assert method == "UMAP of 3,000 neurons, evenly chosen"
