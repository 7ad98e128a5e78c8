r"""The graph neural network of the fly circuit (flyvis_A).

.. math:: \dot v_i = f_\theta(v_i, a_i, \sum_j W_{ij}\, g_\phi(v_j, a_j)^2, I_i)

Reference: Allier et al. (2026), arXiv 2602.13325.
"""

from lobula.models.fields import all_but
from lobula.models.graph_network import SourceNetwork
from lobula.models.registry import register


@register("flyvis_A", "f(v_i, a_i, sum_j W_ij g(v_j, a_j), I_i)", reads=all_but())
class CircuitGNN(SourceNetwork):
    """Messages of the source alone; the update sees their sum."""
