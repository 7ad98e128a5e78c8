r"""Which of the candidate connections there are, where the graph is not known.

A connection that does not exist has an estimate of 0 within its standard error, so that z = weight / stderr is normal.
The p-values of all candidates are compared with the line of Benjamini & Hochberg (1995): of the connections that are
called present, a share `FALSE_SHARE` is expected to be absent. No truth is needed, and no share of connections.
"""

from dataclasses import replace

import numpy as np
from scipy.stats import norm

from lobula.data.estimates import Estimates

FALSE_SHARE = 0.01


def with_support(estimates: Estimates) -> Estimates:
    """The estimates with two more columns of edges: z (absolute), and present."""
    z = z_scores(estimates.edges["weight"].to_numpy(), estimates.edges["stderr"].to_numpy())
    return replace(estimates, edges=estimates.edges.assign(z=z, present=present_edges(z)))


def z_scores(weight: np.ndarray, stderr: np.ndarray) -> np.ndarray:
    """(E,) absolute weights in standard errors; 0 where nothing is known, infinite where there is no error at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(weight) / stderr
    return np.where(np.isnan(z), 0.0, z)


def present_edges(z: np.ndarray, false_share: float = FALSE_SHARE) -> np.ndarray:
    """(E,) bool, candidates that are no chance at a false discovery rate.

    Args:
        z: (E,) absolute z-scores.
        false_share: expected share of absent connections among those called present.
    """
    p = 2.0 * norm.sf(z)
    order = np.argsort(p)
    below = np.flatnonzero(p[order] <= false_share * np.arange(1, len(p) + 1) / max(len(p), 1))
    found = np.zeros(len(p), dtype=bool)
    if len(below):
        found[order[: below[-1] + 1]] = True
    return found
