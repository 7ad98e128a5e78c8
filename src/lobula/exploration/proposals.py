"""Typed proposals: what an optimiser, an agent or a person may ask a study to do."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lobula.config.base import Section
from lobula.config.messages import one_line
from lobula.errors import ProposalError

Strategy = Literal[
    "baseline",
    "exploit",
    "explore",
    "failure-probe",
    "robustness-test",
    "recombine",
    "forced-branch",
    "switch-dimension",
    "boundary-skip",
    "replicate",
    "random",
    "optimiser",
    "ablate",
    "code",
]
Parents = Annotated[tuple[int, ...], Field(strict=False)]


class Change(Section):
    """A field that changes.

    Attributes:
        path: "section.field".
        old: value in the parent; must match, so that nobody edits what is not there.
        new: value to try.
    """

    path: str
    old: Any = None
    new: Any = None


class _Proposal(Section):
    """What all proposals say.

    Attributes:
        parents: node ids that it starts from; empty: the base of the block.
        strategy: why this place of the tree.
        hypothesis: one line.
        predicted_sign: whether the objective should get better (1), worse (-1) or stay (0).
        predicted_size: by how much, if the proposer dares to say.
    """

    parents: Parents = ()
    strategy: Strategy = "exploit"
    hypothesis: str = ""
    predicted_sign: Literal[-1, 0, 1] | None = None
    predicted_size: float | None = None


class ConfigMutation(_Proposal):
    """Other values for some fields of the parent."""

    kind: Literal["config"] = "config"
    changes: Annotated[tuple[Change, ...], Field(strict=False, min_length=1)]


class CodePatch(_Proposal):
    """A change of code, as a unified diff, and of nothing else."""

    kind: Literal["code"] = "code"
    strategy: Strategy = "code"
    diff: str = Field(min_length=1)


class Replicate(_Proposal):
    """The parent once more, on the next pair of seeds of the panel."""

    kind: Literal["replicate"] = "replicate"
    strategy: Strategy = "robustness-test"


class Recombine(_Proposal):
    """Fields of the second parent put into the first.

    Attributes:
        take: paths to take from the second parent; empty: all in which it differs from the base.
    """

    kind: Literal["recombine"] = "recombine"
    strategy: Strategy = "recombine"
    take: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Ablate(_Proposal):
    """Fields of the parent back at the base's value."""

    kind: Literal["ablate"] = "ablate"
    strategy: Strategy = "ablate"
    paths: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]


class Stop(_Proposal):
    """No more proposals; what runs is finished and judged."""

    kind: Literal["stop"] = "stop"
    reason: str = ""


Proposal = Annotated[ConfigMutation | CodePatch | Replicate | Recombine | Ablate | Stop, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Any] = TypeAdapter(Proposal)


def parse_proposal(values: Any) -> Proposal:
    """A proposal from plain values, as JSON holds them.

    Raises:
        ProposalError: one line that says what is wrong.
    """
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise ProposalError(f"proposal: {one_line(error, _Proposal)}") from None
