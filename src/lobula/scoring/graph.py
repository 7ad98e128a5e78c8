"""The truth on the candidates of a fit, where the graph was not known."""

from dataclasses import replace

import numpy as np

from lobula.data.estimates import Estimates
from lobula.data.wiring import Wiring
from lobula.metrics import support_scores
from lobula.simulation.truth import Truth


def on_graph(truth: Truth, wiring: Wiring) -> Truth:
    """The truth with the weights of the edges of another graph of the same neurons; 0 for those that do not exist.

    Edges that the other graph does not have are left out.
    """
    circuit, n = truth.connectome, wiring.n_neurons
    known, wanted = (w.post.astype(np.int64) * n + w.pre for w in (circuit.wiring, wiring))
    if np.array_equal(known, wanted):
        return truth
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    exists = known[place] == wanted if len(known) else np.zeros(len(wanted), dtype=bool)
    weight, n_syn, sign = (np.where(exists, a[place], 0) for a in (circuit.weight, circuit.n_syn, circuit.sign))
    moved = replace(circuit, wiring=wiring, weight=weight, n_syn=n_syn, sign=sign)
    return replace(truth, connectome=moved)


def support_of(estimates: Estimates, truth: Truth) -> dict[str, float | int]:
    """Scores of the recovered graph; a connection whose weight is 0 does not exist."""
    edges = estimates.edges
    return support_scores(truth.connectome.weight != 0, edges["z"].to_numpy(), edges["present"].to_numpy())
