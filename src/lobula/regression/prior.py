r"""What is known of the weights besides the graph, as a prior: synapse counts, cell types, signs.

With theta_ij = -k_i W_ij the equation of `gram` reads, weights first,

.. math:: y_i = k_i \Big(v_i - \sum_j W_{ij}\, g_j(v_j)\Big) + c_i + q_i I_i + \varepsilon_i

so what is known of the weights W, not of theta, is stated like this:

.. math:: W_{ij} = n_{ij}\, (\mu_{ab} - \delta_{ij} / k_i), \qquad \delta_{ij} \sim N(0, 1/\alpha_i), \qquad
          \mu_{ab} \sim N(0, 1/\gamma), \qquad s_j W_{ij} \ge 0

=============== ========================================================================================
synapse counts  n_ij is the count over its mean; 1 where counts are not used
ties, none      mu = 0; alpha_i by evidence: evidence ridge (`ridge`) on the regressors n_ij g_j
ties, soft      mu_ab of the weights from type a to type b, alpha_i and gamma by evidence (`tied`)
ties, hard      delta = 0: one strength per pair of types, W = n mu, with k_i, c_i, q_i free (`tied`)
signs           s_j = +1 or -1, bounded least squares (`signed`); 0: this source is free
=============== ========================================================================================

Where signs are used, a pair of types whose sources have different signs has one mean per sign. An inferred sign is
that of the log odds of "all outputs positive" against "all negative" under the estimate without signs
(`inferred_signs`). Reference: Lappalainen et al. (2024), Nature 634:1132 (W = sign x count x strength of the type
pair); MacKay (1992), Bayesian interpolation; Lawson & Hanson (1974), ch. 23.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import log_ndtr

from lobula.config.prior import PriorConfig
from lobula.data.recording import Recording
from lobula.data.wiring import Wiring
from lobula.regression import ridge
from lobula.regression.gram import NeuronGrams
from lobula.regression.ridge import LinearCircuit, Solver
from lobula.regression.signed import with_signs
from lobula.regression.threads import in_parallel
from lobula.regression.tied import Groups, tied_circuit

LEAST_ODDS = np.log(10.0)
"""Log odds below which a sign is left open."""
CLEAR = 100.0
"""Standard errors that count for a weight without any error."""


def solver_for(config: PriorConfig, recording: Recording) -> Solver:
    """The solver of a config; reads the annotations of the recording only if the config asks for them.

    Raises:
        MissingInputError: if the recording lacks an annotation that the config asks for.
    """
    return WeightPrior.of(config, recording).solve if config.is_active else ridge.solve


@dataclass(frozen=True, eq=False)
class WeightPrior:
    """What is known of the weights of a circuit.

    Attributes:
        wiring: the whole graph.
        scale: (E,) n_ij, of mean 1.
        cell_type: (N,) whole numbers, or None where weights are not tied.
        tied: how strongly.
        sign: (N,) +1, -1 or 0 (open), or None where signs are not known.
        infer_sign: whether signs are inferred.
    """

    wiring: Wiring
    scale: np.ndarray
    cell_type: np.ndarray | None = None
    tied: Literal["none", "soft", "hard"] = "none"
    sign: np.ndarray | None = None
    infer_sign: bool = False

    @classmethod
    def of(cls, config: PriorConfig, recording: Recording) -> "WeightPrior":
        """The prior of a config with the annotations of a recording.

        Raises:
            MissingInputError: if the recording lacks an annotation that the config asks for.
        """
        given, wiring = recording.annotations, recording.wiring
        scale, cell_type, sign = np.ones(wiring.n_edges), None, None
        if config.synapse_counts:
            counts = given.asked("n_synapses", "prior.synapse_counts")
            scale = counts / counts.mean() if len(counts) else scale
        if config.tied != "none":
            cell_type = given.asked("cell_type", f"prior.tied={config.tied}")
        if config.sign == "known":
            sign = given.asked("sign", "prior.sign=known")
        return cls(wiring, scale, cell_type, config.tied, sign, config.sign == "inferred")

    def solve(
        self, grams: NeuronGrams, wiring: Wiring, *, floor: float = 0.0, recount: ridge.Recount | None = None
    ) -> LinearCircuit:
        """The circuit under this prior.

        Args:
            grams: from `gram.accumulate`.
            wiring: the graph of the fit: the whole one, or one with some of its edges (`curve_step.some_targets`).
            floor: lower bound on lambda / n_frames.
            recount: as in `ridge.solve`.
        """

        def solved(counted: NeuronGrams) -> LinearCircuit:
            if not self.infer_sign:
                return self._solve(counted, wiring, self.sign, floor)
            free = self._solve(counted, wiring, None, floor)
            return self._solve(counted, wiring, inferred_signs(free, wiring), floor)

        return ridge.twice(solved, grams, wiring, recount)

    def groups(self, wiring: Wiring, sign: np.ndarray | None) -> Groups:
        """The ties among the edges of a wiring, for given signs of the sources (N,)."""
        cell_type = np.zeros(wiring.n_neurons, dtype=np.int64) if self.cell_type is None else self.cell_type
        signs = np.zeros(wiring.n_neurons) if sign is None else sign
        return Groups.of(cell_type[wiring.pre], cell_type[wiring.post], signs[wiring.pre])

    def _solve(self, grams: NeuronGrams, wiring: Wiring, sign: np.ndarray | None, floor: float) -> LinearCircuit:
        scale = self.scale[edges_in(self.wiring, wiring)]
        scaled = scaled_grams(grams, wiring, scale)
        if self.tied == "none" or not wiring.n_edges:
            circuit = ridge.solve(scaled, wiring, floor=floor)
            mean, ratios = np.zeros(wiring.n_edges), circuit.regularisation
        else:
            circuit, mean, ratios = tied_circuit(scaled, wiring, self.groups(wiring, sign), self.tied == "hard", floor)
        if sign is not None and self.tied != "hard":
            circuit = with_signs(circuit, scaled, wiring, sign[wiring.pre], mean)
        per_edge = {name: scale * getattr(circuit, name) for name in ("theta", "theta_stderr", "weight_stderr")}
        return replace(circuit, regularisation=ratios, **per_edge)


def edges_in(whole: Wiring, part: Wiring) -> np.ndarray:
    """(E',) positions in a wiring of the edges of another one that has some of them."""
    if part is whole:
        return np.arange(whole.n_edges)
    key, wanted = (w.post * whole.n_neurons + w.pre for w in (whole, part))
    return np.searchsorted(key, wanted)


def scaled_grams(grams: NeuronGrams, wiring: Wiring, scale: np.ndarray) -> NeuronGrams:
    """Products of the regressors n_ij g_j in place of g_j; (E,) scale n."""

    def scaled(i: int) -> np.ndarray:
        factor = np.ones(len(grams.grams[i]))
        edges = slice(wiring.indptr[i], wiring.indptr[i + 1])
        factor[: edges.stop - edges.start] = scale[edges]
        return grams.grams[i] * factor * factor[:, None]

    return replace(grams, grams=mapped(scaled, wiring.n_neurons))


def mapped(task: Callable[[int], np.ndarray], n: int) -> list[np.ndarray]:
    """``[task(0), ..., task(n - 1)]``, in parallel."""
    found: list[np.ndarray] = [np.zeros(0)] * n

    def one(i: int) -> None:
        found[i] = task(i)

    in_parallel(one, n)
    return found


def inferred_signs(circuit: LinearCircuit, wiring: Wiring) -> np.ndarray:
    r"""(N,) sign of each source by the precision-weighted majority of its outputs; 0 where that is open.

    With independent errors the evidence for "all outputs positive", against no constraint, is
    :math:`\sum_i \log 2\Phi(z_{ij})`, z = weight / standard error: the two signs differ by about z^2 / 2 per clear
    output, next to nothing for an unclear one. A sign must beat the other one, and no constraint, by odds of 10: a
    source whose outputs clearly have both signs stays free.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = circuit.weight(wiring) / circuit.weight_stderr
    z = np.nan_to_num(z, nan=0.0, posinf=CLEAR, neginf=-CLEAR)
    positive, negative = (np.bincount(wiring.pre, log_ndtr(x) + np.log(2.0), wiring.n_neurons) for x in (z, -z))
    is_positive = positive - np.maximum(negative, 0.0) > LEAST_ODDS
    is_negative = negative - np.maximum(positive, 0.0) > LEAST_ODDS
    return is_positive.astype(np.float64) - is_negative
