"""What a study is: the experiment it varies, what it may change, how it judges, and what it may spend."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lobula.config import ExperimentConfig, load_config
from lobula.config.base import Section, StrTuple
from lobula.config.messages import one_line
from lobula.config.space import Dimension, known_paths, search_space
from lobula.errors import ConfigError

SEED_FIELDS = ("simulation.seed", "training.seed")
PolicyName = Literal["staged", "ucb", "ucb_dual", "puct", "ucb_scaled"]
ProposerName = Literal["tpe", "gp", "cmaes", "random", "mutator", "replay", "agent", "none"]
EngineName = Literal["local", "slurm", "lsf", "ray"]
Numbers = Annotated[tuple[float, ...], Field(strict=False)]
Values = Annotated[tuple[Any, ...], Field(strict=False)]


class Objective(Section):
    """What a run is judged by.

    Attributes:
        metric: path into scores.json, such as "gnn.W.r2".
        direction: which way is better.
        goal: of several runs of a config: their mean, or their worst, in the sense of a lower quantile ("robust").
        converged: a run at least this good is converged.
        failed: a run worse than this has failed; between the two it is partial.
        floor: values that are worse count as this: R2 has no lower end, and one diverged run would drown all means.
        second: a second metric (cell types in the dual form), or none.
        weights: of metric and second metric in the dual score.
        second_converged: as `converged`, for the second metric.
        report: further metrics that are kept of every run.
    """

    metric: str = "gnn.W.r2"
    direction: Literal["higher", "lower"] = "higher"
    goal: Literal["mean", "robust"] = "mean"
    converged: float = 0.9
    failed: float = 0.1
    floor: float | None = None
    second: str | None = None
    weights: Annotated[tuple[float, float], Field(strict=False)] = (0.6, 0.4)
    second_converged: float = 0.9
    report: StrTuple = ()


class SpaceEntry(Section):
    """A dimension of the search whose range differs from the config's own.

    Attributes:
        path: "section.field".
        low: lowest value.
        high: highest value.
        choices: values to try instead of a range.
        scale: steps on a linear or a logarithmic axis; default is the field's own.
    """

    path: str
    low: float | None = None
    high: float | None = None
    choices: Values = ()
    scale: Literal["linear", "log"] | None = None


class Blocks(Section):
    """Blocks of iterations, within which some fields are fixed.

    Attributes:
        n_iter: iterations of a block; None: the study is one block.
        path: the field that is fixed within a block and changes between blocks, or None.
        values: its value in the first block, in the second, and so on; after the last the study ends.
    """

    n_iter: int | None = Field(None, ge=2)
    path: str | None = None
    values: Values = ()


class Seeds(Section):
    """Seeds as a design: run j of every config has pair j of a fixed panel, so that configs compare in pairs.

    Attributes:
        mode: "different-data": every pair has its own data and initialisation; "same-data": one recording, several
            initialisations.
        first: first seed of the panel; seed 42 is a seed like any other.
        panel: pairs in the panel.
        holdout: pairs that are used once, to certify; fewer than six can show no difference at the 5 % level.
    """

    mode: Literal["different-data", "same-data"] = "different-data"
    first: int = Field(0, ge=0)
    panel: int = Field(4, ge=1, le=64)
    holdout: int = Field(6, ge=0, le=64)


class Budget(Section):
    """What a study may spend.

    Attributes:
        n_runs: runs, certification apart; None: no limit.
        hours: hours of slots, certification apart; None: no limit.
        run_seconds: a run that takes longer is killed with all its children.
        retries: how often a run that the machine failed (not the config) is started again.
    """

    n_runs: int | None = Field(40, ge=1)
    hours: float | None = Field(None, gt=0)
    run_seconds: float = Field(3600.0, gt=0)
    retries: int = Field(2, ge=0)


class AgentSettings(Section):
    """A language model, or any program, that proposes: JSON context on stdin, JSON proposals on stdout.

    Attributes:
        command: words of the command; empty: no agent.
        preset: a shipped adapter in place of a command: the Claude command-line client or the Anthropic SDK.
        model: model name for a preset; None: the client's default.
        share: share of the proposals that it makes beside the optimiser, to begin with.
        adaptive: whether the share follows its credit per hour of runs.
        timeout_s: an answer that takes longer counts as a failure.
        max_failures: after so many failures in a row the optimiser goes on alone.
        replay: file of recorded answers (JSON lines), for the proposer "replay".
    """

    command: StrTuple = ()
    preset: Literal["claude-cli", "anthropic"] | None = None
    model: str | None = None
    share: float = Field(0.3, ge=0.0, le=1.0)
    adaptive: bool = True
    timeout_s: float = Field(600.0, gt=0)
    max_failures: int = Field(3, ge=1)
    replay: Annotated[Path | None, Field(strict=False)] = None


class ProposerSettings(Section):
    """Who proposes.

    Attributes:
        name: the engine of the optimiser ("replay" and "agent": the agent alone; "none": a person or an MCP client).
        seed: of the optimiser's draws.
        n_startup: proposals drawn at random before a model is fitted.
        agent: mixed in, where it has a command or a preset.
    """

    name: ProposerName = "tpe"
    seed: int = Field(0, ge=0)
    n_startup: int = Field(8, ge=1)
    agent: AgentSettings = AgentSettings()


class PolicySettings(Section):
    """Where the budget goes.

    Attributes:
        name: "staged": proposals, then a race over panel seeds, then certification; "ucb", "ucb_dual", "puct": the
            tree searches of the instruction documents; "ucb_scaled": the same with c in units of the scores' spread.
        c: exploration constant of the tree searches.
        race_share: share of the budget that the race has.
        n_race: configs that enter the race.
        replicate: share of proposals that run the best config again on the next pair before the race.
        certify: whether winner and baseline run on the hold-out pairs at the end.
        max_changes: fields that a proposal may change at once; the optimiser, random draws and recombination may
            always change many; None: no limit.
    """

    name: PolicyName = "staged"
    c: float = Field(1.414, ge=0.0)
    race_share: float = Field(0.3, ge=0.0, lt=1.0)
    n_race: int = Field(6, ge=2)
    replicate: float = Field(0.0, ge=0.0, le=0.5)
    certify: bool = True
    max_changes: int | None = Field(None, ge=1)


class EngineSettings(Section):
    """Where runs run.

    Attributes:
        name: local process groups, or a cluster's scheduler.
        slots: runs at the same time.
        threads: threads of a run; None: cores over slots.
        gpus: devices to lease to local slots, one per run; empty: processor only.
        memory_gb: memory to ask the scheduler for.
        queue: partition (Slurm) or queue (LSF).
        host: host to reach LSF through by ssh; None: this one.
        options: further words for the scheduler.
    """

    name: EngineName = "local"
    slots: int = Field(4, ge=1, le=256)
    threads: int | None = Field(None, ge=1)
    gpus: StrTuple = ()
    memory_gb: float | None = Field(None, gt=0)
    queue: str | None = None
    host: str | None = None
    options: StrTuple = ()


class CodeSettings(Section):
    """Whether proposals may change code.

    Attributes:
        allowed: whether they may.
        files: files that may change, relative to the repository, and only between LLM-MODIFIABLE markers.
        after: iterations of a block before the first code proposal.
        smoke: overrides of the short run that a patch must survive.
        smoke_seconds: time of that run.
    """

    allowed: bool = False
    files: StrTuple = (
        *("src/lobula/training/run.py", "src/lobula/training/penalties.py"),
        *("src/lobula/training/optimiser.py", "src/lobula/training/schedules.py"),
    )
    after: int = Field(4, ge=0)
    smoke: StrTuple = ("training.n_steps=5", "training.rounds=0", "training.gauss_newton_steps=0")
    smoke_seconds: float = Field(120.0, gt=0)


class Study(Section):
    """A study. Read from YAML by `load_study`; frozen from its start on.

    Attributes:
        name: short name, also the default folder below studies/.
        description: one sentence.
        base: recipe or YAML file of the experiment.
        set: overrides of every run.
        objective: how runs are judged.
        space: paths to vary, or entries with own ranges; empty: all tunable fields of `training` and `model` that can
            act on the base.
        frozen: paths that no proposal may change.
        blocks: blocks of iterations.
        seeds: the panel.
        budget: what may be spent.
        proposer: who proposes.
        policy: where the budget goes.
        engine: where runs run.
        code: whether code may change.
        instructions: Markdown for a person or an agent, copied beside the study when it starts.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    description: str = ""
    base: str = "fly-small"
    set: StrTuple = ()
    objective: Objective = Objective()
    space: Annotated[tuple[str | SpaceEntry, ...], Field(strict=False)] = ()
    frozen: StrTuple = ()
    blocks: Blocks = Blocks()
    seeds: Seeds = Seeds()
    budget: Budget = Budget()
    proposer: ProposerSettings = ProposerSettings()
    policy: PolicySettings = PolicySettings()
    engine: EngineSettings = EngineSettings()
    code: CodeSettings = CodeSettings()
    instructions: Annotated[Path | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        paths = [*self.frozen, *(entry if isinstance(entry, str) else entry.path for entry in self.space)]
        unknown = [
            path for path in (*paths, *([self.blocks.path] if self.blocks.path else [])) if path not in known_paths()
        ]
        if unknown:
            raise ValueError(f"{unknown[0]}: no such field (lobula info params)")
        if self.blocks.values and self.blocks.path is None:
            raise ValueError("blocks.values: got values, expected blocks.path, too")
        if self.policy.name == "ucb_dual" and self.objective.second is None:
            raise ValueError("policy.name=ucb_dual: expected objective.second, the second metric")
        return self

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Study":
        """Validate nested plain values.

        Raises:
            ConfigError: one line that names every bad key or value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"study: {one_line(error, cls)}") from None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values; `from_dict` reads them back to an equal study."""
        return self.model_dump(mode="json")

    def base_config(self, block: int = 0) -> ExperimentConfig:
        """The experiment that proposals of a block start from.

        Raises:
            ConfigError: if the base or an override is not valid, or there is no such block.
        """
        config = load_config(self.base, list(self.set))
        if self.blocks.path is None or not self.blocks.values:
            return config
        if block >= len(self.blocks.values):
            raise ConfigError(
                f"block {block}: got {len(self.blocks.values)} blocks in the study, expected a block of it"
            )
        return config.with_values({self.blocks.path: self.blocks.values[block]})

    @property
    def n_blocks(self) -> int | None:
        """Blocks of the study; None where nothing but the budget ends it."""
        if self.blocks.values:
            return len(self.blocks.values)
        return 1 if self.blocks.n_iter is None else None

    def dimensions(self) -> list[Dimension]:
        """The dimensions that proposals may vary within a block, with the base config's values as defaults.

        Raises:
            ConfigError: if a path has no range and none is given.
        """
        return _dimensions(self)


def _tunable(study: Study) -> list[str]:
    """What a study without a space varies: tunable fields that can act in every block, and are numbers in its base
    where they have a range."""
    from lobula.training.checks import cannot_act  # torch: seconds that studies with a space of their own do not pay

    found = [d for d in search_space() if d.role == "tunable" and d.path.startswith(("training.", "model."))]
    for block in range(max(1, len(study.blocks.values))):
        base = study.base_config(block)
        idle, given = cannot_act(base), base.to_dict()
        idle |= {d.path for d in found if not d.choices and _at(given, d.path) is None}
        found = [d for d in found if d.path not in idle]
    return [d.path for d in found]


def _at(config: dict[str, Any], path: str) -> Any:
    section, _, field = path.partition(".")
    return config[section][field]


def _dimensions(study: Study) -> list[Dimension]:
    base = study.base_config().to_dict()
    known = {dimension.path: dimension for dimension in search_space()}
    fixed = {*study.frozen, *SEED_FIELDS, *([study.blocks.path] if study.blocks.path else [])}
    given = study.space or _tunable(study)
    entries = [SpaceEntry(path=entry) if isinstance(entry, str) else entry for entry in given]
    found = []
    for entry in entries:
        if entry.path in fixed:
            continue
        default, own = _at(base, entry.path), known.get(entry.path)
        if entry.choices:
            found.append(Dimension(entry.path, "choice", default, None, None, entry.choices, "linear", "tunable"))
            continue
        low = entry.low if entry.low is not None else own.low if own else None
        high = entry.high if entry.high is not None else own.high if own else None
        scale = entry.scale or (own.scale if own else "linear")
        if own is not None and own.choices:
            found.append(Dimension(entry.path, "choice", default, None, None, own.choices, "linear", "tunable"))
        elif default is None:
            raise ConfigError(
                f"space: {entry.path}: got null in the base, expected a number; give one in set, or choices"
            )
        elif low is None or high is None or isinstance(default, bool | str):
            raise ConfigError(f"space: {entry.path}: got no range, expected low and high, or choices")
        else:
            kind: Literal["int", "float"] = "int" if isinstance(default, int) else "float"
            found.append(Dimension(entry.path, kind, default, low, high, (), scale, "tunable"))
    return found
