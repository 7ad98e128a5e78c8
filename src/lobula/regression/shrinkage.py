r"""How strongly each neuron's weights are shrunk: evidence, with a prior over the population of neurons.

The marginal likelihood of one neuron (`log_evidence`) says how large its weights are, as a standard deviation
exp(u_i) [1/s]. Where a neuron has few inputs, or rarely active ones, it says little, and its maximum may be anywhere:
a single input that hardly ever fires gets a weight a thousand times too large, and an unbounded one. So u_i ~ N(m,
s^2), with m and s estimated from all neurons (empirical Bayes, one level up), and lambda_i is its posterior mean in
the logarithm. Neurons with many active inputs are not moved. Reference: MacKay (1992), Bayesian interpolation; Efron &
Morris (1973), on borrowing strength.
"""

import numpy as np

LOG_RATIOS = np.linspace(-20.0, 3.0, 93)
"""Grid of log10(lambda / n_frames)."""
N_ROUNDS = 30
LEAST_SPREAD = 0.3
"""Bound on s: a handful of like neurons must not forbid the next one to differ."""


def log_evidence(
    s: np.ndarray,
    z2: np.ndarray,
    rss0: np.ndarray,
    dof: np.ndarray,
    ratios: np.ndarray,
    redundancy: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Log marginal likelihood of the equations of B neurons, up to a constant, and the residual variance.

    .. math:: \log p(y|\lambda) = -\tfrac12 \sum_k \log(1 + s_k/\lambda)
              - \tfrac{n-u}{2c} \log\Big(r_0 - \sum_k \tfrac{z_k^2}{s_k+\lambda}\Big)

    Args:
        s: (B, d) eigenvalues of the problems after the free columns are projected out.
        z2: (B, d) squares of their rotated right-hand sides.
        rss0: (B,) r_0, the residual sums of squares without messages.
        dof: (B,) n - u, frames less free columns.
        ratios: (G,) values of lambda.
        redundancy: (B,) c, frames that say as much as one independent frame.

    Returns:
        (B, G) log evidence and (B, G) residual variance.
    """
    at, rss0, dof = ratios[:, None], rss0[:, None], dof[:, None]
    misfit = np.maximum(rss0 - (z2[:, None] / (s[:, None] + at)).sum(2), rss0 * 1e-15 + 1e-300)
    log_det = np.log1p(s[:, None] / at).sum(2)
    return -0.5 * log_det - 0.5 * dof / redundancy[:, None] * np.log(misfit), misfit / dof


def population_ratios(
    evidence: np.ndarray, variance: np.ndarray, n_frames: int, redundancy: np.ndarray | None = None
) -> np.ndarray:
    """Posterior mean of log lambda for every neuron, under a prior fitted to all of them.

    Args:
        evidence: (M, G) log evidence over `LOG_RATIOS`, one row per neuron that has active inputs.
        variance: (M, G) residual variance there [a.u.^2/s^2].
        n_frames: frames behind every row.
        redundancy: (M,) frames that say as much as one independent frame; None: 1.

    Returns:
        (M,) lambda / n_frames.
    """
    if not len(evidence):
        return np.zeros(0)
    scale = 0.5 * (np.log(variance) - np.log(n_frames) - np.log(10.0) * LOG_RATIOS)
    if redundancy is not None:
        scale = scale + 0.5 * np.log(redundancy)[:, None]
    rows = np.arange(len(evidence))
    centre, spread = float(np.median(scale[rows, evidence.argmax(1)])), 1.0
    for _ in range(N_ROUNDS):
        posterior = _posterior(evidence, scale, centre, spread)
        before = centre, spread
        centre = float((posterior * scale).sum() / len(scale))
        spread = max(float(np.sqrt((posterior * (scale - centre) ** 2).sum() / len(scale))), LEAST_SPREAD)
        if np.allclose(before, (centre, spread), atol=1e-3):
            break
    return 10.0 ** (_posterior(evidence, scale, centre, spread) @ LOG_RATIOS)


def _posterior(evidence: np.ndarray, scale: np.ndarray, centre: float, spread: float) -> np.ndarray:
    """(M, G) probabilities over the grid."""
    log_density = evidence - 0.5 * ((scale - centre) / spread) ** 2
    density = np.exp(log_density - log_density.max(1, keepdims=True))
    return density / density.sum(1, keepdims=True)
