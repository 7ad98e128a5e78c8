"""Numbers and durations as tables print them."""

from typing import Any

_COUNTS = frozenset({"n", "n_nonfinite", "n_outliers", "n_clusters"})


def number(value: Any, key: str = "") -> str:
    """A score as it is printed: counts with separators, other numbers with three digits, "n/a" for none."""
    if value is None or (isinstance(value, float) and value != value):
        return "n/a"
    if isinstance(value, str | bool):
        return str(value)
    if key in _COUNTS or isinstance(value, int):
        return f"{value:,.0f}"
    if key == "share":
        return f"{value:.1%}"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
