"""Scores in detail: what is folded into the page, and that the line above each table says what is in it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lobula.data.run_dir import RunDir
from lobula.errors import StoreError
from lobula.metrics import compare_groups, compare_sizes, horizon_scores
from lobula.report import page
from lobula.report.detail_section import detail_section, horizon_details, type_details, weight_details
from lobula.report.inputs import load_inputs
from support.synthetic_run import make_run


def type_frame(errors: list[float], rng: np.random.Generator) -> pd.DataFrame:
    """Scores of all four quantities, types A, B, ... with those errors."""
    kind = np.repeat(np.arange(len(errors)), 400)
    true = rng.standard_normal(len(kind))
    learned = true + np.array(errors)[kind] * np.where(np.arange(len(kind)) % 2, 1.0, -1.0)
    frame = compare_groups(true, learned, kind, len(errors))
    frame.insert(0, "cell_type", [chr(65 + k) for k in range(len(errors))])
    return pd.concat([frame.assign(quantity=name) for name in ("W in", "W out", "tau", "v_rest")], ignore_index=True)


def texts(row) -> list[str]:
    return [cell.text for cell in row.cells]


def test_types_are_sorted_by_the_error_of_the_best_estimator(rng: np.random.Generator) -> None:
    frames = {"ridge": type_frame([0.1, 0.3, 0.2], rng), "gnn": type_frame([0.5, 0.25, 0.125], rng)}
    first, *others = type_details(frames, "gnn")
    assert [detail.title.partition(",")[0] for detail in others] == [
        "Weights sent",
        "Time constants [s]",
        "Resting potentials [a.u.]",
    ]
    heading, *rows = first.table.rows
    assert heading.label == "cell type"
    assert [row.label for row in rows] == ["A", "B", "C"]
    errors = [texts(row)[first.table.columns.index(f"{rung} RMSE")] for row in rows for rung in frames]
    assert errors == ["0.100", "0.500", "0.300", "0.250", "0.200", "0.125"]
    assert "is 0.250 in the median cell type, 0.500 in A and 0.125 in C." in first.reading
    assert len(first.table.values) == 2 * 12
    assert first.table.values.columns[0] == "estimator"


def test_sizes_say_from_where_on_signs_are_right(rng: np.random.Generator) -> None:
    true = np.geomspace(0.01, 1, 5_000) * rng.choice([-1, 1], 5_000)
    noise = 0.05 * rng.standard_normal(5_000)
    frame = compare_sizes(true, true + noise)
    (detail,) = weight_details({"spline": frame}, "spline")
    right = np.sign(true + noise) == np.sign(true)
    size = np.abs(true)
    edges = frame["smallest"].to_numpy()
    shares = [right[size >= low].mean() for low in edges]
    said = float(re.search(r"from (\S+) on", detail.reading)[1])
    place = int(np.argmin(np.abs(edges - said)))
    own = [right[(size >= a) & (size <= b)].mean() for a, b in zip(frame["smallest"], frame["largest"], strict=True)]
    assert min(own[place:]) >= 0.95 > own[place - 1]
    assert shares[place] >= 0.95
    wrong = compare_sizes(true, -true)
    assert "in no bin up to the largest" in weight_details({"spline": wrong}, "spline")[0].reading
    with_null = compare_sizes(np.r_[true, np.zeros(50)], np.r_[true + noise, 0.01 * np.ones(50)])
    (detail,) = weight_details({"spline": with_null}, "spline")
    assert texts(detail.table.rows[1])[-1] == "–"  # a weight of 0 has no sign
    assert f"from {said:#.3g} on" in detail.reading


def test_horizon_says_how_long_it_stays_close(rng: np.random.Generator) -> None:
    true, start = rng.standard_normal((4, 120, 50)), rng.standard_normal((4, 50))
    drifting = true + 0.02 * np.arange(1, 121)[:, None] * rng.standard_normal(true.shape)
    frame = horizon_scores(start, true, drifting, 0.5)
    (detail,) = horizon_details({"ridge": frame}, "ridge")
    steps = int(re.search(r"for (\d+) steps", detail.reading)[1])
    of_step = [np.corrcoef(true[:, k].ravel(), drifting[:, k].ravel())[0, 1] for k in (steps - 1, steps)]
    assert of_step[0] > 0.88  # with the mean of each neuron left in
    assert of_step[1] < 0.92
    assert f"({steps / 2:#.3g} s)" in detail.reading
    assert [row.label for row in detail.table.rows[1:]] == ["1", "2", "5", "10", "20", "50", "100", "120"]
    (hopeless,) = horizon_details({"ridge": horizon_scores(start, true, -true, 0.5)}, "ridge")
    assert "at no step" in hopeless.reading
    assert "before step 1." in hopeless.reading


def test_details_fold_into_the_page_and_a_damaged_table_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", extent=0, rungs=("ridge", "spline"))
    section = detail_section(load_inputs(run))
    assert section is not None
    assert len(section.details) == 6
    block = page.detail(section.details[0])
    assert "<details><summary>" in block
    assert "tables/by-type.csv" in block
    assert block.count("<tr>") == len(section.details[0].table.rows)
    for file in (run / "scores").iterdir():
        file.unlink()
    assert detail_section(load_inputs(RunDir.existing(run.path))) is None
    (run / "scores" / "ridge-by-type.csv").write_text("")
    with pytest.raises(StoreError, match="ridge-by-type"):
        load_inputs(RunDir.existing(run.path))
