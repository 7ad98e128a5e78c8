"""The error tree. Every leaf also inherits the builtin that a caller would catch.

A message says what, got, expected and the next step, in one line.
"""


class LobulaError(Exception):
    """Base of every error that lobula raises on purpose."""


class ConfigError(LobulaError, ValueError):
    """A configuration key or value is not valid."""


class ShapeError(LobulaError, ValueError):
    """An array has the wrong shape or dtype."""


class EdgeError(ShapeError, IndexError):
    """An edge points outside the neurons, or appears twice."""


class NonFiniteError(LobulaError, ValueError):
    """A recording or a result holds NaN or infinity."""


class StillError(LobulaError, ValueError):
    """A recording of a circuit that rests: it tells nothing."""


class MissingInputError(LobulaError, FileNotFoundError):
    """A file or directory that a stage needs does not exist."""


class MissingDependencyError(LobulaError, ImportError):
    """A library of an extra is needed and not installed."""


class StoreError(LobulaError, OSError):
    """A store is truncated, foreign or of an unknown version."""


class DiskFullError(StoreError):
    """The disk is full; what was written before is intact."""


class RunLockedError(LobulaError, RuntimeError):
    """Another process works in this run directory."""


class DeadPenaltyError(LobulaError, RuntimeError):
    """A penalty with a positive coefficient never acted while it was scheduled on."""


class DivergedError(LobulaError, ArithmeticError):
    """A simulation or a training left the finite numbers."""


class ProcessLostError(LobulaError, RuntimeError):
    """Another process of the same training ended."""


class ProposerError(LobulaError, RuntimeError):
    """A proposer cannot answer: an agent died, timed out, or said what is no proposal."""


class ProposalError(LobulaError, ValueError):
    """A proposal is not allowed, or does not fit the study; says why."""


class DuplicateProposalError(ProposalError):
    """A proposal is what a node of the study tried already.

    Attributes:
        node: id of that node.
    """

    def __init__(self, message: str, node: int) -> None:
        super().__init__(message)
        self.node = node


class PatchError(ProposalError):
    """A code patch does not pass the gate."""


class EngineError(LobulaError, RuntimeError):
    """A scheduler cannot be reached, or refuses a job."""


class JournalError(StoreError):
    """A journal is damaged, in use by another controller, or asked for a step that its states do not allow."""
