r"""Weights of a known sign: the equation of every neuron as a bounded least-squares problem.

In scaled regressors n_ij g_j with coefficients t_ij = theta_ij / n_ij, about means mu and with strength lambda,

.. math:: \min_{t, k, c, q} \tfrac12 \|y - X t - k v - c - q I\|^2 + \tfrac{\lambda}{2} \|t + k \mu\|^2
          \quad\text{subject to}\quad s_j t_{ij} \ge 0, \quad k \le -\kappa

is what `ridge` (mu = 0) and `tied` solve without the bounds; neurons whose weights have their signs anyway are left as
they are. As W = -theta / k, the bound on the leak k makes the sign of theta that of the weight. It needs the Gram
matrices only: what is free is projected out, the rest is non-negative least squares. lambda stays as the evidence
without signs found it, and so do standard errors and resolution: with signs both are better than stated. Reference:
Lawson & Hanson (1974), Solving least squares problems, ch. 23.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import nnls

from lobula.data.wiring import Wiring
from lobula.regression.gram import NeuronGrams
from lobula.regression.ridge import ROUNDING, LinearCircuit
from lobula.regression.threads import in_parallel

EXACT = 1e-14
"""Share of the largest curvature that double precision resolves."""
MOST_STEPS = 50
"""Steps of non-negative least squares per unknown."""
LEAST_LEAK = 1e-3
"""kappa [1/s]: with signs, no time constant is above 1,000 s or negative."""


def bounded_minimum(hessian: np.ndarray, rhs: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """(p,) x that minimises x'Hx/2 - rhs'x with sign * x >= 0.

    Args:
        hessian: (p, p) positive semidefinite; the part of the free unknowns must be definite.
        rhs: (p,).
        sign: (p,) +1 or -1 for a bounded unknown, 0 for a free one.
    """
    free, bound = np.flatnonzero(sign == 0), np.flatnonzero(sign)
    s, h, r = sign[bound], hessian[np.ix_(bound, bound)], rhs[bound]
    factor, cross = None, hessian[np.ix_(free, bound)]
    if len(free):
        factor = cho_factor(hessian[np.ix_(free, free)], lower=True)
        h = h - cross.T @ cho_solve(factor, cross)
        r = r - cross.T @ cho_solve(factor, rhs[free])
    values, vectors = np.linalg.eigh((h + h.T) / 2 * np.outer(s, s))
    kept = values > EXACT * values.max(initial=0.0)
    root = np.sqrt(values[kept])
    x = np.zeros(len(rhs))
    if len(bound):
        rotated = vectors[:, kept].T
        least, _ = nnls(root[:, None] * rotated, rotated @ (s * r) / root, maxiter=MOST_STEPS * len(bound))
        x[bound] = s * least
    if factor is not None:
        x[free] = cho_solve(factor, rhs[free] - cross @ x[bound])
    return x


def with_signs(
    circuit: LinearCircuit, grams: NeuronGrams, wiring: Wiring, sign: np.ndarray, mean: np.ndarray
) -> LinearCircuit:
    """The circuit with signs; neurons whose weights have theirs already stay as they are.

    Args:
        circuit: the solution without signs, in units of the scaled regressors.
        grams: products of the scaled regressors.
        wiring: the graph of the fit.
        sign: (E,) +1, -1, or 0 for a free weight.
        mean: (E,) mu of every edge.
    """
    per_neuron = {name: getattr(circuit, name).copy() for name in ("k", "c", "q", "residual_std")}
    theta = circuit.theta.copy()

    def task(i: int) -> None:
        edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
        if np.all(-circuit.k[i] * sign[edges] * theta[edges] >= 0):
            return
        least = 10 * ROUNDING * np.diag(grams.grams[i])[:-1].max()  # confounded sources: the smaller weight
        lam = max(circuit.regularisation[i] * grams.n_frames, least)
        x, rss = neuron_with_signs(grams.grams[i], sign[edges], mean[edges], lam)
        d = edges.stop - edges.start
        theta[edges] = x[:d]
        per_neuron["k"][i], per_neuron["c"][i] = x[d], x[d + 1]
        per_neuron["q"][i] = x[d + 2] if grams.has_stimulus[i] else 0.0
        dof = max(grams.n_frames - (len(x) - d), 1)
        per_neuron["residual_std"][i] = np.sqrt(max(rss, 0.0) / dof)

    in_parallel(task, wiring.n_neurons)
    return replace(circuit, theta=theta, **per_neuron)


def neuron_with_signs(gram: np.ndarray, sign: np.ndarray, mean: np.ndarray, lam: float) -> tuple[np.ndarray, float]:
    """(p,) coefficients of ``[messages (d), v, 1, (I)]`` and the residual sum of squares of one neuron.

    Args:
        gram: (p + 1, p + 1) products, the target last.
        sign: (d,) of the messages.
        mean: (d,) mu.
        lam: lambda.
    """
    d, products, rhs = len(sign), gram[:-1, :-1], gram[:-1, -1]
    hessian = products.copy()
    hessian[np.arange(d), np.arange(d)] += lam
    hessian[d, :d] += lam * mean
    hessian[:d, d] += lam * mean
    hessian[d, d] += lam * float(mean @ mean)
    diagonal = np.diag(hessian)
    hessian += np.diag(np.where(diagonal > 0, 1e-14 * diagonal, 1.0))
    bounds = np.zeros(len(rhs))
    bounds[:d], bounds[d] = sign, -1.0
    x = bounded_minimum(hessian, rhs + LEAST_LEAK * hessian[:, d], bounds)  # unknown k + kappa <= 0
    x[d] -= LEAST_LEAK
    return x, float(gram[-1, -1] - 2 * rhs @ x + x @ products @ x)
