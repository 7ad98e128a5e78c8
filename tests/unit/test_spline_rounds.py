"""When the rounds of the spline end."""

from types import SimpleNamespace

import numpy as np
import pytest

from lobula.regression.curve import PiecewiseLinear
from lobula.regression.spline import FURTHER_ROUNDS, improved

KNOTS = np.linspace(-1, 1, 12)


def rounds(gain: float, loss: float) -> list[dict[str, float]]:
    """History of rounds whose whole steps gain so much under a raised floor, and lose so much where there is none."""
    start, base = PiecewiseLinear(KNOTS, KNOTS.copy()), {"place": 0.0, "score": 0.0, "slope": -gain}

    def score(curve: PiecewiseLinear) -> float:
        return base["score"] + base["slope"] * (float(curve(np.array([0.0]))[0]) - base["place"])

    def solved(curve: PiecewiseLinear, floor: float) -> SimpleNamespace:
        base["floor"] = floor
        return SimpleNamespace(residual_std=np.full(3, np.exp(score(curve) / 2)))

    def stepped(curve: PiecewiseLinear, circuit: SimpleNamespace) -> PiecewiseLinear:
        slope = -gain if base["floor"] > 0 else loss
        base.update(place=float(curve(np.array([0.0]))[0]), score=score(curve), slope=slope)
        return curve.with_values(curve.values + 1.0)

    _, history = improved(start, np.arange(3), solved, stepped, n_knots=4, n_rounds=60, tolerance=1e-4)
    return history


def test_rounds_end_where_a_shortened_step_gains_nothing():
    """A whole step is worse, a tenth of it as good as none: that is no progress, however often it is repeated."""
    history = rounds(gain=0.1, loss=9e-4)
    assert len(history) < 15
    assert min(row["step"] for row in history) < 1


def test_rounds_go_on_while_they_gain():
    """As long as a round gains more than the tolerance."""
    assert len(rounds(gain=2e-4, loss=-2e-4)) == 60


@pytest.mark.parametrize(("gain", "some_more"), [(1e-2, True), (0.5, False)])
def test_knots_are_added_where_rounds_bring_little_and_knots_a_lot(gain, some_more, monkeypatch):
    """Each time with further rounds, up to some number of knots."""
    monkeypatch.setattr("lobula.regression.spline.MOST_KNOTS", 32)
    history = rounds(gain, -gain)
    assert (len(history) > 60) == some_more
    assert len(history) < 60 + 8 * FURTHER_ROUNDS
    assert history[-1]["n_knots"] < 1.4 * 32
