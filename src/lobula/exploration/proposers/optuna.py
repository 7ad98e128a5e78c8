"""Optuna's samplers: the default engine. The study is rebuilt in memory for every request, so nothing can be lost."""

from collections.abc import Mapping
from typing import Any, Literal

from lobula.exploration.proposals import Proposal
from lobula.exploration.proposers.axes import Axis
from lobula.exploration.proposers.base import Request
from lobula.exploration.proposers.history import History, generator
from lobula.exploration.proposers.random import N_DRAWS, draw

_TRIES = 8  # of the model, before a random draw


class OptunaProposer:
    """Asks Optuna for the next config: multivariate TPE, or a Gaussian process.

    Every config that was observed is a trial with its mean score (a failure counts as a bad value), every one under
    way is a running trial, so that parallel slots do not try the same thing. Where the machine failed, there is no
    trial. Scores of all nodes of the block count, whatever their code.

    Args:
        sampler: "tpe" or "gp".
        seed: of the draws.
        n_startup: configs with a score before the model is used; random ones until then.

    Reference:
        Akiba et al. (2019), Optuna; Watanabe (2023), arXiv 2304.11127, on TPE.
    """

    def __init__(self, sampler: Literal["tpe", "gp"] = "tpe", seed: int = 0, n_startup: int = 8) -> None:
        self._sampler: Literal["tpe", "gp"] = sampler
        self._seed = seed
        self._n_startup = n_startup

    @property
    def name(self) -> str:
        """Name of the sampler."""
        return self._sampler

    def propose(self, request: Request) -> list[Proposal]:
        """The base of a block first, then what the model expects most of, as changes of the parent or the best node.

        Raises:
            ProposerError: if there is nothing new in the space.
        """
        history = History(request.snapshot)
        moves = history.first_moves(request.n)
        if len(moves) == request.n:
            return moves
        rng = generator(self._seed, request.snapshot)
        study = self._study(history, int(rng.integers(2**31)))
        distributions = {axis.path: _distribution(axis) for axis in history.axes}
        parent = history.parent(request.parents)
        why = f"{self.name} over {len(history.observed)} observed configs"

        def ask() -> Mapping[str, Any]:
            trial = study.ask(distributions)  # stays running: the next one keeps away from it
            return {axis.path: _value(axis, trial.params[axis.path]) for axis in history.axes}

        draws = [(_TRIES, ask), (N_DRAWS, lambda: draw(history.axes, rng))]
        return moves + history.fill(
            draws, lambda values: history.mutation(parent, values, "optimiser", why), request.n - len(moves), self.name
        )

    def _study(self, history: History, seed: int) -> Any:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if self._sampler == "gp":
            sampler: Any = optuna.samplers.GPSampler(seed=seed, n_startup_trials=self._n_startup)
        else:
            sampler = optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=self._n_startup
            )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = {axis.path: _distribution(axis) for axis in history.axes}
        rows = [(tried.values, tried.score) for tried in history.observed]
        rows += [(values, None) for values in history.pending]
        for values, score in rows:
            params = {axis.path: _param(axis, values[axis.path]) for axis in history.axes}
            if any(param is None for param in params.values()):
                continue  # a choice that is not in the space
            state = optuna.trial.TrialState.RUNNING if score is None else optuna.trial.TrialState.COMPLETE
            study.add_trial(
                optuna.trial.create_trial(state=state, value=score, params=params, distributions=distributions)
            )
        return study


def _distribution(axis: Axis) -> Any:
    from optuna import distributions

    if axis.is_choice:
        return distributions.CategoricalDistribution(tuple(range(len(axis.choices))))
    if _is_whole(axis):
        low, high = round(axis.value(0.0)), round(axis.value(1.0))
        return distributions.IntDistribution(low, high, log=axis.is_log)
    return distributions.FloatDistribution(0.0, 1.0)


def _param(axis: Axis, value: Any) -> Any:
    """A value as the distribution holds it."""
    if axis.is_choice:
        return axis.choices.index(value) if value in axis.choices else None
    return axis.clipped(value) if _is_whole(axis) else axis.unit(value)


def _value(axis: Axis, param: Any) -> Any:
    """The value that a parameter of a trial stands for."""
    if axis.is_choice:
        return axis.choices[param]
    return int(param) if _is_whole(axis) else axis.value(param)


def _is_whole(axis: Axis) -> bool:
    """Whether Optuna's integers fit: not where one value, outside the range, has a share of the axis."""
    return axis.dimension.kind == "int" and not axis.off
