r"""Messages :math:`g_r(v_j)` that depend on the receiving neuron's group r, of a circuit with plasticity (N7).

Neither groups nor functions are known. Every equation is solved for tanh of a few widths, one for all neurons at a
time; the width between these at which a neuron's misfit would be least is about the same for neurons with the same
function, whatever that function is. Gaps between such widths part the groups. Every group then has its function found
from its own equations (`changing_curve`), and neurons join the group whose function explains them best, until all stay.
"""

import logging

import numpy as np

from lobula.data.kept_steps import NOT_KEPT, KeptSteps
from lobula.data.wiring import Wiring
from lobula.regression.changing_curve import Search, Start, found_curve
from lobula.regression.curve import Curve, initial_knots
from lobula.regression.curve_set import TypedFit
from lobula.regression.drifting import DriftCourse
from lobula.regression.edge_messages import GroupMessages, inputs_of
from lobula.regression.modulated import fed_sample, settled_course
from lobula.regression.own_curves import GroupCurves
from lobula.regression.plasticity import PlasticCourse, score_of
from lobula.regression.spline import SplineFit, tanh_curves, visited_between
from lobula.regression.varying import fit_changing
from lobula.regression.widths import N_ROUNDS, grouped

logger = logging.getLogger(__name__)

WIDTHS = 2.0 ** np.arange(-4.0, 2.1)
"""Of tanh, in standard deviations of the voltage."""
FEWEST = 4
"""Neurons of a group: fewer join the next."""
MOST_SORTINGS = 4


def fit_receiver_curves(search: Search, wiring: Wiring, steps: KeptSteps = NOT_KEPT) -> SplineFit:
    """Circuit, message functions of groups of receivers, and plasticity.

    Args:
        search: what they are searched with; what changes is the plasticity.
        wiring: the known graph.
        steps: keeps and shows rounds, whose score is the mean log residual variance.

    Returns:
        The fit; ``own`` has the functions of all groups, ``curve`` is that of the first.
    """
    group, starts = first_groups(search, wiring, steps)
    curves: list[Curve] = []
    history: list[dict[str, float]] = []
    for sorting in range(MOST_SORTINGS):
        found = [found_curve(search, inputs_of(wiring, group == r), start, steps) for r, start in enumerate(starts)]
        history += [{"sorting": sorting, "group": r, **row} for r, (_, rows) in enumerate(found) for row in rows]
        before, course = group, starts[0][1]
        left = steps.once(misfits, search, wiring, [curve for curve, _ in found], course)
        better = left.argmin(0)
        used, group = np.unique(better, return_inverse=True)
        curves = [found[r][0] for r in used]
        moved = int((better != before).sum())
        logger.info("receivers: %d groups, %d of %d neurons joined another", len(curves), moved, len(group))
        if not moved:
            break
        starts = [(curve, course) for curve in curves]
    tables = [GroupCurves(np.zeros_like(group), [curve.as_linear()]) for curve in curves]
    message = GroupMessages(group, tables) if len(tables) > 1 else tables[0]
    settings = search.settings
    circuit = fit_changing(
        search.frames, wiring, message, search.change, search.target, settings.max_frames, search.own
    )
    own = TypedFit(circuit, group, tables)
    return SplineFit(circuit, curves[0].as_linear(), visited_between(search.sample), history, own)


def first_groups(search: Search, wiring: Wiring, steps: KeptSteps) -> tuple[np.ndarray, list[Start]]:
    """(N,) groups of receivers by the width of tanh that is most like their function, and where each starts."""
    knots = initial_knots(search.sample, search.settings.n_knots)
    widths = WIDTHS * float(search.sample.std())
    curves = tanh_curves(search.settings.basis, knots, widths)
    course = search.best_start(inputs_of(wiring, fed_sample(wiring)), curves, steps)[1]
    width = steps.once(lambda: interpolated(widths, misfits(search, wiring, curves, course)))
    group = joined(width, grouped(width)[0])
    middle = np.array([np.median(width[group == r]) for r in range(int(group.max()) + 1)])
    logger.info("receivers: first groups of %s", np.bincount(group).tolist())
    return group, [(curve, course) for curve in tanh_curves(search.settings.basis, knots, middle)]


def misfits(search: Search, wiring: Wiring, curves: list[Curve], course: PlasticCourse | DriftCourse) -> np.ndarray:
    """(C, N) log of what every equation leaves with every curve, the plasticity found from a course on."""
    problems = [search.problem(wiring, curve) for curve in curves]
    return np.stack([score_of(problem, settled_course(problem, course, N_ROUNDS)) for problem in problems])


def interpolated(widths: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(N,) where misfits (W, N) at widths (W,), even in the logarithm, are least: of parabolas through three."""
    every = np.arange(left.shape[1])
    middle = np.clip(left.argmin(0), 1, len(widths) - 2)
    below, at, above = (left[middle + step, every] for step in (-1, 0, 1))
    bend = below - 2.0 * at + above
    shift = np.where(bend > 0, 0.5 * (below - above) / np.maximum(bend, 1e-12), np.sign(below - above))
    return widths[middle] * (widths[1] / widths[0]) ** np.clip(shift, -1.0, 1.0)


def joined(width: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Groups (N,), numbered by width; those of fewer than `FEWEST` have joined the next in width."""
    group = group.copy()
    while True:
        names, sizes = np.unique(group, return_counts=True)
        if len(names) == 1 or sizes.min() >= FEWEST:
            return np.unique(group, return_inverse=True)[1]
        small = names[sizes.argmin()]
        middle = np.log([np.median(width[group == name]) for name in names])
        away = np.abs(middle - middle[names == small])
        away[names == small] = np.inf
        group[group == small] = names[away.argmin()]
