"""The policy: search, race, certification, done. The tree searches of the documents are it without the race."""

from dataclasses import dataclass

from lobula.exploration.policies.base import Action, NextPhase, Wait
from lobula.exploration.policies.race import certify_action, race_action, sizes_of
from lobula.exploration.policies.search import SearchRules, is_stopped, search_action
from lobula.exploration.records import Snapshot


@dataclass(frozen=True)
class StagedPolicy:
    """Proposals for what the race leaves of the budget, a race over panel seeds, certification on hidden seeds.

    Attributes:
        rules: how the search goes, and whether a race follows by itself. A phase that a person asks for is played in
            any case.
    """

    rules: SearchRules

    def decide(self, snapshot: Snapshot) -> Action:
        """What one free slot does next."""
        if snapshot.phase == "search":
            action = search_action(snapshot, self.rules)
        elif snapshot.phase == "race":
            action = race_action(snapshot)
        elif snapshot.phase == "certify":
            action = certify_action(snapshot)
        else:
            return Wait("the study is done")
        return self._next_phase(snapshot) if action is None else action

    def _next_phase(self, snapshot: Snapshot) -> NextPhase:
        study, phase = snapshot.study, snapshot.phase
        stopped = "a proposal to stop" if is_stopped(snapshot) else "the search has had its share of the budget"
        if phase == "search" and self.rules.race and sizes_of(snapshot):
            return NextPhase("race", stopped)
        if phase in ("search", "race") and study.policy.certify and study.seeds.holdout > 0 and _any_scored(snapshot):
            return NextPhase("certify", stopped if phase == "search" else "the race is over")
        return NextPhase("done", f"after {phase}")


def _any_scored(snapshot: Snapshot) -> bool:
    return any(run.state == "scored" for run in snapshot.runs)
