r"""Which of the candidate connections there are, where the graph is not known.

A connection that does not exist has an estimate of 0 within its standard error, so that z = weight / stderr is normal.
Standard errors take the residual for noise; an error of the message function is none, and repeats itself. How much too
small they are is seen where the two halves of the recording are fitted alone: their weights differ by that much more
than their standard errors say. The p-values of all candidates are compared with the line of Benjamini & Hochberg
(1995): of the connections that are called present, a share `FALSE_SHARE` is expected to be absent. No truth is needed,
and no share of connections.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr

from lobula.config.update import UpdateConfig
from lobula.data.estimates import Estimates
from lobula.data.recording import Recording
from lobula.regression.fit import fit_circuit
from lobula.regression.gram import Frames
from lobula.regression.update_form import prepare

FALSE_SHARE = 0.01
NORMAL_MEDIAN = 0.6745
"""Of the magnitude of a standard normal variable."""


def with_support(estimates: Estimates, recording: Recording, update: UpdateConfig) -> Estimates:
    """The estimates with two more columns of edges, z (absolute) and present, and a note on the standard errors.

    Args:
        estimates: of all candidates.
        recording: what was fitted.
        update: section `update`.
    """
    z = z_scores(estimates.edges["weight"].to_numpy(), estimates.edges["stderr"].to_numpy())
    factor = error_factor(estimates, recording, update)
    z = z / factor
    notes = {**estimates.notes, "stderr_factor": factor}
    return replace(estimates, edges=estimates.edges.assign(z=z, present=present_edges(z)), notes=notes)


@dataclass
class _Part:
    """Some targets of a split that follow each other, as `regression.gram.Frames`."""

    whole: Frames
    first: int
    n_frames: int

    def n_targets(self, kind: str) -> int:
        return self.n_frames

    def voltage(self, start: int, stop: int) -> np.ndarray:
        return self.whole.voltage(self.first + start, self.first + stop)

    def stimulus(self, start: int, stop: int) -> np.ndarray | None:
        return self.whole.stimulus(self.first + start, self.first + stop)

    def target(self, kind: str, start: int, stop: int) -> np.ndarray:
        return self.whole.target(kind, self.first + start, self.first + stop)


def error_factor(estimates: Estimates, recording: Recording, update: UpdateConfig) -> float:
    """By how much standard errors are too small, at least 1: from both halves of the training frames."""
    frames, target = recording["train"], estimates.target
    middle, last = frames.n_targets(target) // 2, frames.n_targets(target)
    form = prepare(update.form, frames, recording.wiring, target, update.n_knots)
    first, second = (
        fit_circuit(part, form.wiring, estimates.message, target, own=form.own)
        for part in (_Part(frames, 0, middle), _Part(frames, middle, last - middle))
    )
    z = z_scores(first.theta - second.theta, np.hypot(first.theta_stderr, second.theta_stderr))
    known = np.isfinite(z) & np.isfinite(first.theta_stderr + second.theta_stderr)
    return max(1.0, float(np.median(z[known])) / NORMAL_MEDIAN) if known.any() else 1.0


def z_scores(weight: np.ndarray, stderr: np.ndarray) -> np.ndarray:
    """(E,) absolute weights in standard errors; 0 where nothing is known, infinite where there is no error at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs(weight) / stderr
    return np.where(np.isnan(z), 0.0, z)


def present_edges(z: np.ndarray, false_share: float = FALSE_SHARE) -> np.ndarray:
    """(E,) bool, candidates that are no chance at a false discovery rate.

    Args:
        z: (E,) absolute z-scores.
        false_share: expected share of absent connections among those called present.
    """
    p = 2.0 * ndtr(-z)
    order = np.argsort(p)
    below = np.flatnonzero(p[order] <= false_share * np.arange(1, len(p) + 1) / max(len(p), 1))
    found = np.zeros(len(p), dtype=bool)
    if len(below):
        found[order[: below[-1] + 1]] = True
    return found
