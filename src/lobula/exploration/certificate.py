"""What a study may claim: winner and base on the hidden pairs, which nothing was chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass

from lobula.exploration.judge import classify
from lobula.exploration.outcomes import goal_value, observations
from lobula.exploration.policies.race import baseline, groups, winner
from lobula.exploration.records import NodeRecord, Snapshot
from lobula.exploration.statistics import Paired, Verdict, paired, verdict


@dataclass(frozen=True)
class Certificate:
    """The result of a study, or of a block of it that stands for itself.

    Attributes:
        block: number of the block; None where all blocks race together.
        winner: node id.
        baseline: node id of the unchanged base, or None if it was not run.
        panel: value of the winner on the panel, by which it was chosen, higher is better: expect less.
        holdout: value of the winner on the hidden pairs; None as long as there is none.
        difference: winner less base on the hidden pairs; None without both, or where the base has won.
        verdict: on the winner's hidden runs: a run holds if it has converged.
    """

    block: int | None
    winner: int
    baseline: int | None
    panel: float
    holdout: float | None
    difference: Paired | None
    verdict: Verdict


def certificates(snapshot: Snapshot) -> list[Certificate]:
    """One certificate per group of nodes that race each other, as far as its runs go; none where nothing was scored."""
    found = [_certificate(snapshot, nodes) for nodes in groups(snapshot)]
    return [certificate for certificate in found if certificate is not None]


def compare(snapshot: Snapshot, first: str, second: str, holdout: bool = False) -> Paired | None:
    """First config less second on the pairs that both have, failures counted low; None without a common pair."""
    return paired(observations(snapshot, first, holdout), observations(snapshot, second, holdout))


def _certificate(snapshot: Snapshot, nodes: Sequence[NodeRecord]) -> Certificate | None:
    best, base = winner(snapshot, nodes), baseline(nodes)
    if best is None:
        return None
    objective = snapshot.study.objective
    hidden = observations(snapshot, best.config, holdout=True)
    classes = [classify(objective, run) for run in snapshot.runs_of(best.config, holdout=True)]
    judged = [name for name in classes if name is not None]
    differs = base is not None and base.config != best.config
    return Certificate(
        block=None if snapshot.study.blocks.path is None else best.block,
        winner=best.id,
        baseline=None if base is None else base.id,
        panel=goal_value(objective, observations(snapshot, best.config).values()),
        holdout=goal_value(objective, hidden.values()) if hidden else None,
        difference=compare(snapshot, best.config, base.config, holdout=True) if base is not None and differs else None,
        verdict=verdict(judged.count("converged"), len(judged)),
    )
