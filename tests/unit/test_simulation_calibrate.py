"""The shipped parameters make a living circuit, and the recipe makes them again."""

import numpy as np
import pytest

from lobula.connectome import build_graph, load_parameters, optic_lobe_types
from lobula.simulation.calibrate import MAX_NEVER_ACTIVE, calibrate, check_activity


@pytest.mark.parametrize("extent", [3, 5, 8])
def test_shipped_parameters_are_alive(extent):
    check = check_activity(load_parameters("calibrated", optic_lobe_types()), extent, n_frames=1_500)
    assert check.n_silent_types == 0
    assert check.never_active < MAX_NEVER_ACTIVE
    assert check.max_voltage < 3
    assert 0.1 < check.mean_std < 0.2


def test_calibration_is_deterministic_and_bounded():
    a, b = (calibrate(3, extent=1, n_rounds=3, n_frames=100) for _ in range(2))
    np.testing.assert_array_equal(a.strength, b.strength)
    assert np.isfinite(a.strength).sum() == np.unique(build_graph(1).edge_pair).size
    assert (a.tau >= 0.02).all()
    assert (a.tau <= 0.3).all()


@pytest.mark.slow
def test_the_shipped_file_is_what_the_command_writes():
    types = optic_lobe_types()
    shipped, again = load_parameters("calibrated", types), calibrate(seed=14)
    np.testing.assert_allclose(again.v_rest, shipped.v_rest, atol=1e-3)
    np.testing.assert_allclose(again.strength, shipped.strength, rtol=1e-2)
    np.testing.assert_allclose(again.tau, shipped.tau, rtol=1e-5)
