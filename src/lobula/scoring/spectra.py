"""Whether a recovered circuit has the spectrum and the main directions of the true one."""

from typing import Any

import numpy as np
import scipy.sparse.linalg

from lobula.data.estimates import Estimates
from lobula.data.wiring import Wiring
from lobula.metrics import Spectrum, subspace_alignment, weight_spectrum
from lobula.simulation.truth import Truth

N_DIRECTIONS = 10
"""Leading singular vectors that are compared."""
MOST_EDGES = 2_000_000
"""Above, spectra are not computed: at the rim of a large dense random matrix they take minutes."""
_NEGLIGIBLE = 1e-9


def true_spectrum(truth: Truth) -> Spectrum | None:
    """Spectrum of the true weights, as estimates state them; None where it does not converge, or would take minutes."""
    return _spectrum(truth.connectome.wiring, truth.connectome.weight)


def spectrum_scores(estimates: Estimates, true: Spectrum | None) -> dict[str, Any]:
    """Spectral radius of the recovered weights beside the true one, and how well the main directions agree.

    Returns:
        spectral_radius and true_spectral_radius; alignment_senders and alignment_receivers, the mean squared cosine of
        the principal angles between the spaces of the first n_directions singular vectors (1: the same space), which
        are 10, or fewer where either matrix has fewer. None for what does not converge or does not exist.
    """
    found = _spectrum(estimates.wiring, estimates.edges["weight"].to_numpy())
    radii = {"spectral_radius": radius_of(found), "true_spectral_radius": radius_of(true)}
    n = min(_n_directions(found), _n_directions(true))
    if found is None or true is None or n == 0:
        return radii | {"alignment_senders": None, "alignment_receivers": None, "n_directions": 0}
    sides = {"senders": (true.right, found.right), "receivers": (true.left, found.left)}
    aligned = {f"alignment_{side}": float(subspace_alignment(a[:, :n], b[:, :n])[-1]) for side, (a, b) in sides.items()}
    return radii | aligned | {"n_directions": n}


def radius_of(spectrum: Spectrum | None) -> float | None:
    """Spectral radius; None where not all of the eigenvalues asked for converged."""
    if spectrum is None or not (spectrum.is_complete or len(spectrum.eigenvalues) >= N_DIRECTIONS):
        return None
    return spectrum.radius


def _n_directions(spectrum: Spectrum | None) -> int:
    """Leading singular values, up to `N_DIRECTIONS`, that are not rounding."""
    if spectrum is None:
        return 0
    values = spectrum.singular_values[:N_DIRECTIONS]
    return int(np.sum(values > _NEGLIGIBLE * values.max(initial=0.0)))


def _spectrum(wiring: Wiring, weight: np.ndarray) -> Spectrum | None:
    if not np.any(weight[np.isfinite(weight)]):  # nothing to iterate on
        empty = np.zeros((wiring.n_neurons, 0))
        return Spectrum(np.zeros(wiring.n_neurons, dtype=complex), np.zeros(0), empty, empty, True)
    if wiring.n_edges > MOST_EDGES:
        return None
    try:
        return weight_spectrum(wiring.csr(weight), N_DIRECTIONS)
    except scipy.sparse.linalg.ArpackError:
        return None
