"""The proposer of a study, from its settings; and how it is asked."""

from pathlib import Path

from lobula.errors import ConfigError, ProposerError
from lobula.exploration.proposers.agent import AgentProposer
from lobula.exploration.proposers.base import Answer, Proposer, Request
from lobula.exploration.proposers.cmaes import CmaEsProposer
from lobula.exploration.proposers.history import baseline
from lobula.exploration.proposers.mixture import Mixture
from lobula.exploration.proposers.mutator import MutatorProposer
from lobula.exploration.proposers.optuna import OptunaProposer
from lobula.exploration.proposers.presets import AnthropicProposer, claude_client
from lobula.exploration.proposers.random import RandomProposer
from lobula.exploration.proposers.replay import ReplayProposer
from lobula.exploration.study import AgentSettings, ProposerSettings, Study


def make_proposer(study: Study, folder: Path) -> Proposer | None:
    """The proposer that a study's settings name; None for "none": a person or a client of the MCP server proposes.

    Args:
        study: its definition.
        folder: the study's folder, which a relative path of recorded answers starts from.

    Raises:
        ConfigError: if an agent is wanted and there is neither a command nor a preset, or no file of answers.
        MissingDependencyError: if a library of an extra is needed and not installed.
    """
    settings = study.proposer
    if settings.name == "none":
        return None
    if settings.name == "replay":
        return _replay(settings.agent, folder)
    agent = _agent(settings.agent)
    if settings.name == "agent":
        if agent is None:
            raise ConfigError("proposer: got name=agent and no agent, expected agent.command or agent.preset")
        return agent
    optimiser = _optimiser(settings)
    if agent is None and settings.agent.replay is not None:
        agent = _replay(settings.agent, folder)
    return optimiser if agent is None else Mixture(optimiser, agent, settings.agent)


def ask(proposer: Proposer, request: Request) -> Answer:
    """Ask, and take an agent's failure as part of the answer.

    The base of a block, which a policy asks for, needs no proposer. The journal is to record every failure as an event
    of the kind "agent", with the agent's name as subject and ``{"error": line}`` as content, before the proposals.

    Args:
        proposer: from `make_proposer`.
        request: what is wanted, with a snapshot that has its events.

    Raises:
        ConfigError: if the study's base or space is not valid.
    """
    if request.strategy == "baseline":
        return Answer("policy", (baseline(),))
    try:
        if isinstance(proposer, Mixture):
            return proposer.ask(request)
        return Answer(proposer.name, tuple(proposer.propose(request)))
    except ProposerError as error:
        return Answer(proposer.name, (), ((proposer.name, str(error)),))


def _optimiser(settings: ProposerSettings) -> Proposer:
    if settings.name == "random":
        return RandomProposer(settings.seed)
    if settings.name == "mutator":
        return MutatorProposer(settings.seed)
    if settings.name == "cmaes":
        return CmaEsProposer(settings.seed)
    return OptunaProposer("gp" if settings.name == "gp" else "tpe", settings.seed, settings.n_startup)


def _agent(settings: AgentSettings) -> Proposer | None:
    if settings.command and settings.preset:
        raise ConfigError("proposer.agent: got a command and a preset, expected one of them")
    if settings.command:
        return AgentProposer(settings.command, settings.timeout_s)
    if settings.preset == "claude-cli":
        return claude_client(settings.model, settings.timeout_s)
    if settings.preset == "anthropic":
        return AnthropicProposer(settings.model, settings.timeout_s)
    return None


def _replay(settings: AgentSettings, folder: Path) -> ReplayProposer:
    if settings.replay is None:
        raise ConfigError("proposer: got name=replay and no file, expected agent.replay, a file of recorded answers")
    return ReplayProposer(folder / settings.replay)
