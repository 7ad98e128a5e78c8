"""Figures: they draw what they are given, in one style, and compute no scores."""

import re
from io import BytesIO
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import lobula.figures as figures
from lobula.errors import ConfigError
from lobula.figures import LIGHT
from lobula.figures.panels import robust_limits, score_lines
from lobula.figures.recovery import N_BINS
from lobula.report.plane import embedding_plane
from support.gallery import cloud, draw_all


def texts(figure: Figure) -> str:
    """Every text of a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def test_every_figure_draws_and_says_what_it_shows(rng: np.random.Generator) -> None:
    before = dict(mpl.rcParams)
    for name, (figure, table) in draw_all(LIGHT, rng).items():  # both looks: test_figures_adaptive.py
        assert len(table), name
        assert figure.get_facecolor() == mpl.colors.to_rgba(LIGHT.paper)
    assert dict(mpl.rcParams) == before


def test_files_are_the_same_bytes_every_time(rng: np.random.Generator) -> None:
    data = cloud(rng, 20)
    for kind in ("svg", "png", "pdf"):
        first, second = (
            LIGHT.save(figures.recovery_scatter(**data, style=LIGHT, scores={})[0], kind) for _ in range(2)
        )
        assert first == second, kind
    with pytest.raises(ConfigError, match="expected one of"):
        LIGHT.save(Figure(), "bmp")


def test_a_file_has_its_own_resolution_whatever_was_saved_before(rng: np.random.Generator) -> None:
    figure, _ = figures.recovery_scatter(**cloud(rng, 600), style=LIGHT, scores={})
    LIGHT.save(figure, "svg")
    picture = Image.open(BytesIO(LIGHT.save(figure, "png")))
    assert picture.size == (LIGHT.dpi * LIGHT.narrow, LIGHT.dpi * LIGHT.narrow)


def test_scatter_prints_the_scores_that_it_is_given(rng: np.random.Generator) -> None:
    figure, table = figures.recovery_scatter(**cloud(rng), style=LIGHT, scores={"fit R²": 0.12345, "slope": None})
    assert "fit R² 0.123\nslope n/a" in texts(figure)
    assert list(table) == ["true", "recovered", "identifiable"]
    without, _ = figures.recovery_scatter(**cloud(rng), style=LIGHT, scores={})
    assert "R²" not in texts(without)
    assert score_lines({"R²": -3.0}) == ["R² -3.000"]


def test_scatter_becomes_a_density_and_loses_nothing(rng: np.random.Generator) -> None:
    data = cloud(rng, 5_000)
    known = np.arange(5_000) % 10 > 0
    points, _ = figures.recovery_scatter(**data, style=LIGHT, scores={}, identifiable=known, max_points=5_000)
    figure, table = figures.recovery_scatter(**data, style=LIGHT, scores={}, identifiable=known, max_points=4_999)
    assert len(points.axes[0].images) == 0
    assert len(figure.axes[0].images) == 2
    outside = re.search(r"(\d+) outside the view", texts(figure))
    assert table["count"].sum() + int(outside[1] if outside else 0) == 5_000
    assert len(table) < 2 * N_BINS**2
    assert "500 undetermined (grey)" in texts(figure)


def test_scatter_counts_what_it_cannot_draw(rng: np.random.Generator) -> None:
    data = cloud(rng)
    data["recovered"][:3] = [np.nan, np.inf, 1e9]
    figure, table = figures.recovery_scatter(**data, style=LIGHT, scores={})
    assert "2 not finite" in texts(figure)
    assert "1 outside the view" in texts(figure)
    assert len(table) == 297
    assert figure.axes[0].get_xlim()[1] < 10  # a runaway does not squeeze the cloud


def test_scatter_of_nothing_finite() -> None:
    nothing = np.full(4, np.nan)
    figure, table = figures.recovery_scatter(
        np.zeros(4), nothing, LIGHT, quantity="tau", estimator="ridge", scores={"R²": None}
    )
    assert table.empty
    assert "4 not finite" in texts(figure)


def test_robust_limits_ignore_the_tails() -> None:
    low, high = robust_limits(np.r_[np.linspace(0, 1, 10_000), 1e6], share=0.99, margin=0.0)
    assert 0 < low < 0.01
    assert 0.99 < high < 1.01
    assert robust_limits(np.array([np.nan])) == pytest.approx((-0.06, 1.06))
    low, high = robust_limits(np.full(5, 2.0))
    assert low < 2.0 < high


@pytest.mark.parametrize(("width", "label"), [(1, "rank"), (2, "embedding 2"), (5, "principal component 2")])
def test_embeddings_of_any_width_have_a_plane(width: int, label: str, rng: np.random.Generator) -> None:
    plane, labels = embedding_plane(rng.standard_normal((50, width)))
    assert plane.shape == (50, 2)
    assert label in labels[1]


def test_labels_of_types_do_not_cover_each_other(rng: np.random.Generator) -> None:
    n_types = 60
    kind = np.repeat(np.arange(n_types), 5)
    x, y = rng.standard_normal((2, n_types))[:, kind]
    names = [f"type {i}" for i in range(n_types)]
    figure, table = figures.types_in_plane(x, y, kind, names, LIGHT, labels=("a", "b"))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 10 < len(boxes) < n_types
    overlaps = [a for a, b in combinations(boxes, 2) if mpl.transforms.Bbox.intersection(a, b) is not None]
    assert len(overlaps) < 0.05 * len(boxes) ** 2 / 2
    assert set(table["cell_type"]) == set(names)


def test_neurons_without_a_type_are_grey(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 30))
    figure, table = figures.types_in_plane(x, y, np.full(30, -1), [], LIGHT, labels=("a", "b"))
    assert set(table["cell_type"]) == {""}
    assert np.allclose(figure.axes[0].collections[0].get_facecolor()[0, :3], mpl.colors.to_rgb(LIGHT.muted))


def test_pairs_hold_the_mean_by_type() -> None:
    pre, post = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    weights = {"true": np.array([1.0, 3.0, -1.0, np.nan])}
    _, table = figures.weights_by_type(pre, post, weights, ["A", "B"], LIGHT)
    assert table.to_dict("list") == {"pre": ["B", "A"], "post": ["A", "B"], "n_edges": [2, 2], "true": [-1.0, 2.0]}


def test_message_bands_leave_out_what_no_neuron_visits() -> None:
    voltage = np.linspace(-1, 1, 5)
    per_neuron = np.tile(voltage[:, None], 3)
    per_neuron[0] = np.nan
    _, table = figures.message_curves({"gnn": (voltage, per_neuron)}, LIGHT, visited=(-1, 1))
    assert np.isnan(table["message"][0])
    assert np.allclose(table["message"][1:], voltage[1:])
