"""The section of scores in detail: by cell type, by size of weight and by horizon, each with one line on it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from lobula.report.exhibits import Detail, Section
from lobula.report.inputs import ReportInputs
from lobula.report.tables import Cell, Row, Table

_TEXT = "The same scores one by one. Tables unfold; their CSV has every digit."
_TYPES = {
    "W in": ("Weights received, by cell type", ("rmse", "slope", "fit_r2")),
    "W out": ("Weights sent, by cell type", ("rmse", "slope", "fit_r2")),
    "tau": ("Time constants [s], by cell type", ("learned_mean", "rmse")),
    "v_rest": ("Resting potentials [a.u.], by cell type", ("learned_mean", "rmse")),
}
_HEADINGS = {
    "rmse": "RMSE",
    "slope": "slope",
    "fit_r2": "fit R²",
    "learned_mean": "mean",
    "relative_error": "relative error",
    "sign_accuracy": "sign accuracy",
    "pearson": "r",
}
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
SURE_SIGN = 0.95
CLOSE = 0.9

Frames = Mapping[str, pd.DataFrame]
"""A table by estimator, all with the same rows."""


def detail_section(inputs: ReportInputs) -> Section | None:
    """Every table that the scoring stage has left; None if it has left none."""
    makers: dict[str, Callable[[Frames, str], list[Detail]]] = {
        "by-type": type_details,
        "by-weight": weight_details,
        "by-horizon": horizon_details,
    }
    details = []
    for name, make in makers.items():
        frames = inputs.details.get(name, {})
        if frames:
            best = inputs.headline if inputs.headline in frames else list(frames)[-1]
            details += make(frames, str(best))
    return Section("details", "Scores in detail", _TEXT, details=details) if details else None


def type_details(frames: Frames, best: str) -> list[Detail]:
    """One table per quantity, cell types from worst to best."""
    found = []
    for quantity, (title, measures) in _TYPES.items():
        shown = {name: frame[frame["quantity"] == quantity].set_index("cell_type") for name, frame in frames.items()}
        error = shown[best]["rmse"].sort_values(ascending=False)
        rows = {name: frame.loc[error.index] for name, frame in shown.items()}
        known = {"n": rows[best]["n"], "true mean": rows[best]["true_mean"]}
        table = _table("by-type", "cell type", [str(kind) for kind in error.index], known, rows, measures, frames)
        known_errors = error.dropna()
        reading = (
            f"Worst first. With {best} the error (RMSE) is {_short(known_errors.median())} in the median cell type, "
            f"{_short(known_errors.iloc[0])} in {known_errors.index[0]} and {_short(known_errors.iloc[-1])} in "
            f"{known_errors.index[-1]}."
        )
        found.append(Detail(title, reading if len(known_errors) else "No finite value.", table))
    return found


def weight_details(frames: Frames, best: str) -> list[Detail]:
    """Bins of equal number by absolute true weight."""
    first = frames[best]
    labels = [f"{_short(row.smallest)} to {_short(row.largest)}" for row in first.itertuples()]
    measures = ("rmse", "relative_error", "sign_accuracy")
    table = _table("by-weight", "absolute true weight [a.u.]", labels, {"n": first["n"]}, frames, measures, frames)
    present = first[first["largest"] > 0]
    unsure = np.flatnonzero(~(present["sign_accuracy"] >= SURE_SIGN))
    sure = present.iloc[unsure[-1] + 1 if len(unsure) else 0 :]
    sign = f"has the right sign for {SURE_SIGN:.0%} or more of the weights"
    reading = f"{best} {sign} in no bin up to the largest." if sure.empty else (
        f"{best} {sign} from {_short(sure['smallest'].iloc[0])} on."
    )  # fmt: skip
    ends = present["relative_error"].iloc[[0, -1]]
    reading += f" Its error relative to the weights goes from {_short(ends.iloc[0])} (small) to {_short(ends.iloc[1])}."
    return [Detail("Weights by their size", reading, table)]


def horizon_details(frames: Frames, best: str) -> list[Detail]:
    """Some steps of the rollouts, the last included."""
    first = frames[best]
    steps = first["step"].isin([*_STEPS, first["step"].iloc[-1]]).to_numpy()
    rows = {name: frame[steps] for name, frame in frames.items()}
    shown = rows[best]
    known = {"time [s]": shown["time_s"], "nothing changes RMSE": shown["persistence_rmse"]}
    table = _table(
        "by-horizon", "step", [str(step) for step in shown["step"]], known, rows, ("rmse", "pearson"), frames
    )
    close = int(np.argmin(np.r_[first["pearson"] >= CLOSE, False]))
    until = f"for {close} steps ({_short(first['time_s'].iloc[close - 1])} s)" if close else "at no step"
    behind = first["step"][~(first["skill"] > 0)]
    beaten = "at every step" if behind.empty else f"before step {behind.iloc[0]}"
    reading = (
        f"Left to run by itself, {best} keeps a correlation of {CLOSE:g} with the recording {until}, and ends at "
        f"{_short(first['pearson'].iloc[-1])}. It beats the forecast that nothing changes {beaten}."
    )
    return [Detail("Rollouts by their horizon", reading, table)]


def _table(
    name: str,
    heading: str,
    labels: Sequence[str],
    known: Mapping[str, pd.Series],
    rows: Frames,
    measures: Sequence[str],
    whole: Frames,
) -> Table:
    """Columns that all estimators share, then the measures of each; the CSV has everything."""
    columns = dict(known)
    columns |= {f"{rung} {_HEADINGS[measure]}": rows[rung][measure] for rung in rows for measure in measures}
    texts = [[_short(value) for value in values] for values in columns.values()]
    body = [Row(label, "", tuple(Cell(text[i]) for text in texts)) for i, label in enumerate(labels)]
    values = pd.concat([frame.assign(estimator=rung) for rung, frame in whole.items()], ignore_index=True)
    return Table(name, tuple(columns), (Row(heading), *body), values[["estimator", *values.columns.drop("estimator")]])


def _short(value: float) -> str:
    """Three digits, a dash for what could not be computed."""
    if not np.isfinite(value):
        return "–"
    is_count = isinstance(value, int | np.integer)
    return f"{value:,.0f}" if is_count or abs(value) >= 1_000 else f"{value:#.3g}".rstrip(".")
