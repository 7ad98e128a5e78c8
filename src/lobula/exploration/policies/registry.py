"""From the policy of a study's settings to the object that decides."""

from lobula.exploration.policies.base import Policy
from lobula.exploration.policies.search import SearchRules
from lobula.exploration.policies.staged import StagedPolicy
from lobula.exploration.study import Study


def make_policy(study: Study) -> Policy:
    """The policy that a study asks for."""
    name = study.policy.name
    if name == "staged":
        return StagedPolicy(SearchRules("ucb_scaled", race=True))
    return StagedPolicy(SearchRules(name, race=False))
