"""The report: complete, self-contained, honest about what is missing, and harmless to what was there before."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from lobula.data.estimates import Estimates
from lobula.data.run_dir import RunDir
from lobula.errors import MissingInputError, StoreError
from lobula.report import run as report_run
from lobula.report.circuit_sections import true_weights
from lobula.report.exhibits import Exhibit
from lobula.report.files import Picture
from lobula.report.function_section import gauged_curve, learned_updates, true_message
from lobula.report.inputs import load_inputs, positions
from lobula.report.run import make_report
from lobula.report.summary import facts, sentences, warnings
from lobula.report.tables import prediction_table, score_table, type_table
from lobula.report.words import duration, number
from support.synthetic_run import make_run

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
SECTIONS = [
    "stimulus",
    "activity",
    "scores",
    "weights",
    "neurons",
    "structure",
    "functions",
    "read-out",
    "cell-types",
    "prediction",
    "details",
    "limits",
    "training",
    "run",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything, and its report."""
    run = make_run(tmp_path_factory.mktemp("report") / "run", extent=1)
    make_report(run)
    return run.path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the time that drawing takes."""

    def no_picture(exhibit: Exhibit, folder: Path, formats: tuple[str, ...], dark: bool) -> Picture:
        sources = {"dark": "data:,"} if dark else {"light": "data:,", "dark": "data:,"}
        return Picture(exhibit, sources, (1, 1), (f"{exhibit.name}.csv",))

    monkeypatch.setattr(report_run, "make_picture", no_picture)


def page_of(run: RunDir) -> str:
    return make_report(run).read_text()


def section_ids(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)">', page)


class Checker(HTMLParser):
    """Collects links and sources, and notices tags that do not match."""

    void = frozenset({"meta", "img", "source", "br", "link"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            {"href": self.links, "src": self.sources, "srcset": self.sources, "id": self.ids}.get(name, []).append(
                value or ""
            )

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


# ---------------------------------------------------------------- the whole page


def test_page_is_whole_and_needs_nothing_else(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert section_ids(page) == ["summary", *SECTIONS]
    assert all(source.startswith("data:image/") for source in checker.sources)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert len(checker.ids) == len(set(checker.ids))
    for link in checker.links:
        target = finished / "report" / link
        assert link[1:] in checker.ids if link.startswith("#") else target.is_file(), link


def test_every_figure_has_its_table_and_a_picture_for_both_looks(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text()
    names = re.findall(r'<figure id="(\w+)"', page)
    assert len(names) == 34
    folder = finished / "report" / "figures"
    for name in names:
        assert len(pd.read_csv(folder / f"{name}.csv"))
    others = [file for file in folder.iterdir() if file.suffix != ".csv"]
    assert [file.name for file in others] == ["eye_movie.webp"]  # no other was asked for
    assert others[0].read_bytes().startswith(b"RIFF")
    assert page.count('prefers-color-scheme: dark)" srcset') == 1  # the movie; figures follow their reader themselves
    drawn = re.findall(r'src="data:image/svg\+xml,([^"]*)"', page)
    assert len(drawn) == len(names)  # without the movie, and with the one beside the summary
    for address in drawn:
        picture = unquote(address)
        assert "@media(prefers-color-scheme:dark)" in picture
        assert ElementTree.fromstring(picture).get("viewBox")
    assert not list(finished.glob("report.partial"))


def test_page_says_scores_seeds_machine_config_and_how_to_repeat(finished: Path) -> None:
    page = (finished / "report" / "index.html").read_text()
    for text in ("0.966", "0.972", "84", "simulation 0, training 0", "lobula run run/config.yaml --out run-again"):
        assert text in page
    assert "Target: observed." in page
    assert "n_frames: 600" in page  # resolved config
    assert "2 recovered weights are not finite" in page
    scores = pd.read_csv(finished / "report" / "tables" / "scores.csv")
    assert list(scores) == ["quantity", "measure", "ridge", "spline", "gnn", "ceiling"]
    assert scores.set_index(["quantity", "measure"]).loc[("W", "n_nonfinite"), "gnn"] == 2


def test_text_is_escaped(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path / "run", extent=1, rungs=("ridge",), name="<script>alert(1)</script>")
    page = page_of(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_dark_report_is_always_dark(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        extent=0,
        rungs=("ridge",),
        report={"formats": ["svg"], "dark": True},
        with_truth=False,
        with_scores=False,
    )
    page = page_of(run)
    assert "color-scheme: dark;" in page
    assert "<source" not in page
    assert "#161c24" in (run.path / "report" / "figures" / "message_curves.svg").read_text()
    assert "prefers-color-scheme" not in page


# ---------------------------------------------------------------- what is missing


def test_without_truth_the_page_compares_nothing(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path / "run", extent=1, with_truth=False, with_scores=False, rungs=("spline",))
    page = page_of(run)
    assert "holds no truth" in page
    assert "has not been scored" in page
    assert section_ids(page) == [
        "summary",
        "stimulus",
        "activity",
        "structure",
        "functions",
        "cell-types",
        "limits",
        "run",
    ]


def test_without_estimates_the_recording_is_still_shown(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path / "run", extent=1, rungs=(), with_scores=False)
    assert section_ids(page_of(run)) == ["summary", "stimulus", "activity", "run"]
    assert "The estimator ridge was asked for, but has left no estimates." in page_of(run)


def test_prediction_scores_alone_make_a_table(tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path / "run", extent=1, rungs=("ridge",), with_truth=False, with_scores=False)
    (run / "scores.json").write_text(
        json.dumps({"target": "observed", "ridge": {"prediction": {"one_step_rmse": 1.5}}})
    )
    page = page_of(run)
    assert "one-step RMSE" in page
    assert 'id="scores"' not in page


def test_no_run_and_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no run here"):
        make_report(tmp_path / "nowhere")
    run = make_run(tmp_path / "run", extent=0, rungs=(), with_scores=False)
    (run / "recording.zarr").rename(tmp_path / "away.zarr")
    with pytest.raises(MissingInputError, match="neither recording nor estimates"):
        make_report(run)


@pytest.mark.parametrize(
    ("name", "content"), [("scores.json", "{"), ("scores.json", "[1]"), ("traces.npz", "no arrays")]
)
def test_damaged_inputs_are_named(tmp_path: Path, undrawn: None, name: str, content: str) -> None:
    run = make_run(tmp_path / "run", extent=0, rungs=("ridge",))
    (run / name).write_text(content)
    with pytest.raises(StoreError, match=name):
        make_report(run)


def test_a_failed_report_keeps_the_old_one(tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", extent=0, rungs=("ridge",))
    old = page_of(run)
    monkeypatch.setattr(report_run, "head", lambda inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_report(run)
    assert (run / "report" / "index.html").read_text() == old
    assert not (run / "report.partial").exists()


# ---------------------------------------------------------------- numbers and words


def test_missing_numbers_stay_missing(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    scores = json.loads(json.dumps(inputs.scores))
    scores["spline"]["W"] |= {"r2": None, "fit_r2": None, "slope": "none"}
    scores["ceiling"] = None
    broken = replace(inputs, scores=scores)
    assert broken.score("spline", "W", "r2") is None
    assert broken.score("spline", "W", "slope") is None
    assert broken.score("spline", "nowhere", "r2") is None
    assert broken.headline == "gnn"
    table = score_table(broken)
    assert table is not None
    assert table.columns == ("ridge", "spline", "gnn")
    assert table.rows[1].label == "fit R²"
    assert [cell.text for cell in table.rows[1].cells] == ["0.948", "n/a", "0.957"]
    assert not any(cell.near_ceiling for row in table.rows for cell in row.cells)
    assert "Fit R²: synaptic weights (0.957)" in sentences(broken)[1]


def test_near_the_ceiling_is_marked_and_said(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    table = score_table(inputs)
    assert table is not None
    assert [cell.near_ceiling for cell in table.rows[1].cells] == [False, True, True, False]  # .948 .957 .966 of .972
    said = sentences(inputs)[1]
    assert "closest to the truth is spline" in said
    assert "synaptic weights, time constants and resting potentials as well as this recording allows" in said
    low = replace(
        inputs,
        scores=inputs.scores | {"spline": inputs.scores["spline"] | {"W": {"r2": 0.99, "fit_r2": 0.5, "slope": 0.5}}},
    )
    assert "stays below what this recording allows in synaptic weights (0.500 of 0.972)" in sentences(low)[1]
    assert "0.50 times as large" in sentences(low)[1]


def test_summary_names_the_target_and_what_ridge_was_told(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    assert sentences(inputs)[-1].startswith("Target: observed.")
    drift = replace(inputs, scores=inputs.scores | {"target": "drift"})
    assert "no experimenter" in sentences(drift)[-1]
    only = replace(inputs, estimates={"ridge": inputs.estimates["ridge"]}, scores={"ridge": inputs.scores["ridge"]})
    assert "ridge, which was given the true message function" in sentences(only)[1]
    assert [fact.label for fact in facts(only)] == [
        "synaptic weights",
        "time constants",
        "resting potentials",
        "cell types",
    ]
    assert any("affine" in text for text in warnings(inputs))


def test_tables_of_prediction_and_types(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    nested = inputs.scores["gnn"]["cell_types"] | {"kmeans": {"accuracy": 0.5, "nmi": 0.4}, "extra": 7}
    inputs = replace(inputs, scores=inputs.scores | {"gnn": inputs.scores["gnn"] | {"cell_types": nested}})
    prediction, types = prediction_table(inputs), type_table(inputs)
    assert prediction is not None
    assert types is not None
    labels = [row.label for row in types.rows]
    assert labels[:2] == ["accuracy", "chance"]
    assert "k-means accuracy" in labels
    assert "extra" in labels
    assert prediction.rows[-1].cells[0].text == "10"


def test_numbers_and_durations_read_well() -> None:
    assert [number(x) for x in (0.98765, 0.0, 123456.0, 2e-5, None, float("nan"), "gmm", 12)] == [
        "0.988", "0.000", "1.23e+05", "2.00e-05", "n/a", "n/a", "gmm", "12",
    ]  # fmt: skip
    assert number(28904, "n") == "28,904"
    assert [duration(s) for s in (None, 1.24, 61, 7384)] == ["–", "1.2 s", "1 min 01 s", "2 h 03 min"]


# ---------------------------------------------------------------- arrays for the figures


def test_true_weights_follow_the_edges_of_the_fit(finished: Path, rng: np.random.Generator) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    estimates, circuit = inputs.estimates["ridge"], inputs.circuit
    assert circuit is not None
    assert np.array_equal(true_weights(inputs, estimates), circuit.weight)
    order = rng.permutation(circuit.n_edges)[: circuit.n_edges // 2]
    some = replace(estimates, edges=estimates.edges.iloc[order].reset_index(drop=True))
    assert np.array_equal(true_weights(inputs, some), circuit.weight[order])
    present = set(zip(circuit.wiring.pre.tolist(), circuit.wiring.post.tolist(), strict=True))
    null = next((a, b) for a in range(99) for b in range(99) if (a, b) not in present)
    extra = estimates.edges.head(3).copy()
    extra.loc[1, ["pre", "post"]] = null
    assert true_weights(inputs, replace(estimates, edges=extra))[1] == 0.0


def test_positions_find_ids_in_any_order() -> None:
    known = np.array([30, 10, 20])
    assert positions(known, np.array([10, 30, 10])).tolist() == [1, 0, 1]
    with pytest.raises(StoreError, match="does not hold"):
        positions(known, np.array([40]))


def test_curves_are_compared_in_one_gauge(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    assert inputs.recording is not None
    sample = inputs.recording["train"].voltage(0, 300)
    truth = true_message(inputs, sample)
    assert truth is not None
    ridge = inputs.estimates["ridge"]
    scaled = replace(ridge, curve_message=5 * ridge.curve_message + 3)
    per_neuron = replace(ridge, curve_message=np.tile(scaled.curve_message[:, None], sample.shape[1]))
    for estimates in (ridge, scaled, per_neuron):
        voltage, message = gauged_curve(estimates, sample)
        inside = (voltage > sample.min()) & (voltage < sample.max())
        assert np.allclose(message[inside], np.interp(voltage[inside], *truth), atol=0.01)


def test_curves_of_single_neurons_end_where_the_neurons_do(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    assert inputs.recording is not None
    sample = inputs.recording["train"].voltage(0, 300)
    voltage, message = gauged_curve(inputs.estimates["gnn"], sample)
    assert message.shape == (len(voltage), sample.shape[1])
    seen = np.isfinite(message)
    high = np.where(seen.any(axis=0), np.where(seen, voltage[:, None], -np.inf).max(axis=0), -np.inf)
    assert (high <= sample.max(axis=0)).all()


def test_update_curves_come_from_the_trained_network(finished: Path) -> None:
    inputs = load_inputs(RunDir.existing(finished))
    learned = learned_updates(inputs)
    assert learned is not None
    voltage, drift = learned
    assert voltage.shape == drift.shape
    assert (np.diff(voltage, axis=0) >= 0).all()
    assert learned_updates(replace(inputs, recording=None)) is None


def test_estimates_with_no_extras_are_enough(finished: Path, tmp_path: Path, undrawn: None) -> None:
    run = make_run(tmp_path / "run", extent=0, rungs=("ridge",), with_scores=False)
    path = run / "estimates" / "ridge.zarr"
    full = Estimates.load(path)
    edges, neurons = full.edges[["pre", "post", "weight"]], full.neurons[["id", "tau", "v_rest"]]
    replace(full, edges=edges, neurons=neurons, notes={}).save(path)
    assert "limits" not in section_ids(page_of(run))
