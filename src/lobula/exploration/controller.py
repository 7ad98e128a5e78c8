"""The loop: take in what ended, score it, judge, and give free slots something to do.

The journal is the only state. Every turn brings the world in line with it, so a controller that was killed at any
moment is simply started again: proposals without a verdict are judged, nodes without a run get one, accepted runs are
submitted (an engine starts no job of one name twice), submitted ones are polled, finished ones scored.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lobula.errors import EngineError, LobulaError, ProposalError, ProposerError
from lobula.exploration import patches
from lobula.exploration.engines.base import Engine, Job, JobState
from lobula.exploration.engines.status import JobWatch
from lobula.exploration.folder import StudyFolder
from lobula.exploration.gate import Gate, NewNode, with_code
from lobula.exploration.identity import data_id
from lobula.exploration.journal import Journal
from lobula.exploration.panel import next_pair, with_pair
from lobula.exploration.policies.base import NextBlock, NextPhase, Policy, Propose, RunAgain, Wait
from lobula.exploration.proposals import CodePatch, parse_proposal
from lobula.exploration.proposers.base import Proposer, Request
from lobula.exploration.proposers.registry import ask
from lobula.exploration.records import PENDING, NodeRecord, RunRecord, RunState, Snapshot
from lobula.exploration.requests import answer_requests
from lobula.exploration.run_job import RunJob
from lobula.exploration.scorer import Scores

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MAX_REFUSED = 20
"""Proposals refused in a row before a free slot waits for a run to end."""
MAX_FAILURES = 3
"""Times in a row that a proposer has none, before a study in which nothing runs ends with an error."""
ASK_AGAIN_S = 60.0
"""Seconds after which a proposer that had no answer is asked again while the same runs go on."""
BASELINE = {"kind": "baseline"}
"""Content of the proposal that makes the first node of a block: its base, unchanged."""
HOLDING = (RunState.SUBMITTED, RunState.RUNNING, RunState.OK)
"""States of a run that has a slot; OK until it is scored."""
RESULT_FACTS = ("wall_s", "trajectory")
"""What of a run's result file goes into the journal."""


@dataclass(frozen=True)
class Parts:
    """What a controller works with.

    Attributes:
        engine: runs jobs.
        policy: decides.
        proposer: proposes; None where only people and MCP clients do.
        score: scores a run that ended well; None while that goes on. Called again until there is an answer.
        render: writes the text files of a snapshot.
        program: words that take the place of the worker; for trying the controller on something quick.
    """

    engine: Engine
    policy: Policy
    proposer: Proposer | None
    score: Callable[[RunJob], Scores | None]
    render: Callable[[Snapshot], None]
    program: tuple[str, ...] = ()


class Controller:
    """Drives a study to its end, or until it is stopped.

    Args:
        folder: of the study.
        journal: open for writing.
        parts: engine, policy, proposer, ...
    """

    def __init__(self, folder: StudyFolder, journal: Journal, parts: Parts) -> None:
        self.folder, self.journal, self.parts = folder, journal, parts
        self.study = journal.study
        self.gate = Gate(self.study, journal.code, journal.base)
        self.watch = JobWatch(parts.engine)
        self._failures, self._error = 0, "got no reason"
        self._asked = 0, 0.0  # runs under way when a proposer was last asked, and when that was

    def run(self, wait: Callable[[float], None] = time.sleep) -> Snapshot:
        """Turns until the study is done and nothing runs any more.

        Args:
            wait: called with the seconds between turns.

        Returns:
            The last snapshot.
        """
        n_shown = -1
        while True:
            try:
                self.turn()
            except LobulaError:
                self.parts.render(self.journal.snapshot(events=True))
                raise
            n_events = self.journal.n_events
            snapshot = self.journal.snapshot(events=n_events != n_shown)
            if n_events != n_shown:
                self.parts.render(snapshot)
                n_shown = n_events
            if snapshot.phase == "done" and not pending(snapshot):
                return snapshot
            wait(POLL_SECONDS)

    def turn(self) -> None:
        """One round: what people and agents ask for, what ended, what to score, what to start."""
        answer_requests(self.folder, self.journal, self.take, time.time())
        self._judge_proposals()
        self._start_nodes()
        self._follow_runs()
        self._fill_slots()

    # ---------------------------------------------------------------- runs

    def _follow_runs(self) -> None:
        """Brings every run to where its result file or the scheduler says it is, scores what ended well, and gives
        what the machine failed its slot again."""
        for run in self.journal.snapshot().runs:
            if run.state is RunState.ACCEPTED:
                run = self._start(run)
            if run.state in (RunState.SUBMITTED, RunState.RUNNING):
                run = self._poll(run)
            if run.state is RunState.OK:
                run = self._score(run)
            self._again(run)

    def _start(self, run: RunRecord) -> RunRecord:
        """Submits an accepted run if there is a slot for it; else it waits, ahead of new proposals."""
        busy = sum(other.state in HOLDING for other in self.journal.snapshot().runs)
        return self._submit(run) if run.state is RunState.ACCEPTED and busy < self.study.engine.slots else run

    def _again(self, run: RunRecord) -> RunRecord:
        """Accepts a run that the machine failed once more, if its retries allow it."""
        if run.state not in (RunState.INFRA, RunState.LOST) or run.attempt > self.study.budget.retries:
            return run
        logger.info("run %d: %s, tried again", run.id, run.error or run.state.value)
        return self.journal.move(run.id, RunState.ACCEPTED)

    def _submit(self, run: RunRecord) -> RunRecord:
        job = self._job(run)
        try:
            job.write()
            handle = self.parts.engine.submit(self._engine_job(job))
        except EngineError as error:
            return self._again(self.journal.move(run.id, RunState.INFRA, error=str(error)))
        return self.journal.move(run.id, RunState.SUBMITTED, handle=handle, slot=self._free_slot())

    def _poll(self, run: RunRecord) -> RunRecord:
        status = self.watch.look(self._engine_job(self._job(run)), run.handle or "", run.attempt)
        begun = status.state is JobState.RUNNING or status.outcome is not None
        if begun and run.state is RunState.SUBMITTED:
            run = self.journal.move(run.id, RunState.RUNNING)
        if status.outcome is not None:
            facts = {key: value for key, value in (status.result or {}).items() if key in RESULT_FACTS}
            run = self.journal.move(run.id, status.outcome, error=status.error, facts=facts)
            logger.info("run %d: %s%s", run.id, run.state.value, f" ({run.error})" if run.error else "")
        return run

    def _job(self, run: RunRecord) -> RunJob:
        config = with_pair(self.journal.config(run.config), run.pair)
        settings, node = self.study.engine, self.journal.snapshot().node(run.node)
        threads = settings.threads or max(1, (os.cpu_count() or 1) // settings.slots)
        sizes = (self.study.budget.run_seconds, threads, 1 if settings.gpus else 0, settings.memory_gb)
        code = self.folder.code if node.code is None else patches.code_path(self.folder, node.code)
        return RunJob(self.folder, run.id, run.attempt, config.to_dict(), data_id(config), code, *sizes)

    def _engine_job(self, job: RunJob) -> Job:
        found = job.engine_job()
        return replace(found, command=(*self.parts.program, found.command[-1])) if self.parts.program else found

    def _score(self, run: RunRecord) -> RunRecord:
        scores = self.parts.score(self._job(run))
        if scores is None:  # still at work
            return run
        metric, status, error = self.study.objective.metric, scores.status, scores.error
        if status is RunState.OK and metric not in scores.metrics:
            status, error = RunState.NAN, f"score: {metric}: not among the finite scores of the run"
        if status is not RunState.OK:
            logger.info("run %d: %s (%s)", run.id, status.value, error)
            return self.journal.move(run.id, status, error=error)
        left_out = {"not_finite": list(scores.left_out)} if scores.left_out else {}
        run = self.journal.score(run.id, scores.metrics, left_out)
        limit = self.study.budget.n_runs
        of = f" of {limit}" if limit is not None and not run.pair.holdout else ""
        logger.info("run %d%s: %s %.4f", run.id, of, metric, scores.metrics[metric])
        return run

    def _free_slot(self) -> int:
        used = {run.slot for run in pending(self.journal.snapshot())}
        return next(slot for slot in range(len(used) + 1) if slot not in used)

    # ---------------------------------------------------------------- proposals

    def _fill_slots(self) -> None:
        """Asks the policy what every free slot does, and does it.

        Raises:
            ProposerError: if nothing runs and one proposal after the other is refused.
        """
        for _ in range(MAX_REFUSED):
            snapshot = self.journal.snapshot()
            if snapshot.phase == "done" or len(pending(snapshot)) >= self.study.engine.slots:
                return
            if not self._step(snapshot):
                break
        self._check_supply()

    def _check_supply(self) -> None:
        snapshot = self.journal.snapshot()
        refused = [record for record in snapshot.proposals[-MAX_REFUSED:] if record.verdict == "rejected"]
        if pending(snapshot) or snapshot.phase != "search":
            return
        next_step = f"lobula explore race {self.folder.path} ends the search, resume goes on"
        if len(refused) == MAX_REFUSED:
            raise ProposerError(
                f"{refused[-1].proposer}: {MAX_REFUSED} proposals in a row were refused and nothing runs, expected one "
                f"that fits the study; the last: {refused[-1].reason}; {next_step}"
            )
        if self._failures >= MAX_FAILURES:
            raise ProposerError(
                f"no proposal {MAX_FAILURES} times in a row and nothing runs: {self._error}; {next_step}"
            )

    def _step(self, snapshot: Snapshot) -> bool:
        """One action for a free slot; False if there is nothing to do until a run ends."""
        if not any(node.block == snapshot.block for node in snapshot.nodes):
            self.take("study", BASELINE)
            return True
        action = self.parts.policy.decide(snapshot)
        if isinstance(action, NextPhase):
            logger.info("phase %s: %s", action.phase, action.reason)
            self.journal.set_phase(action.phase)
        elif isinstance(action, NextBlock):
            logger.info("next block: %s", action.reason)
            self.journal.next_block()
        elif isinstance(action, RunAgain):
            self._start(self.journal.add_run(action.node, action.pair))
        elif isinstance(action, Propose):
            return self._propose(action)
        return not isinstance(action, Wait)

    def _propose(self, action: Propose) -> bool:
        """Asks for a proposal; False if there is none to be had now."""
        proposer = self.parts.proposer
        if proposer is None:
            return False
        snapshot = self.journal.snapshot(events=True)
        asked = len(pending(snapshot)), time.monotonic()
        if self._failures and asked[0] and asked[0] == self._asked[0] and asked[1] < self._asked[1] + ASK_AGAIN_S:
            return False  # it had no answer, and has nothing new to go on
        self._asked = asked
        answer = ask(proposer, Request(snapshot, action.parents, action.strategy, 1, self.folder.path))
        self._failures = 0 if answer.proposals else self._failures + 1
        for name, error in answer.failures:
            self._error = f"{name}: {error}"
            logger.warning("%s", self._error)
            self.journal.event("agent", name, {"error": error})
        for proposal in answer.proposals:
            content = proposal.model_dump(mode="json", exclude_unset=True) | {"kind": proposal.kind}
            self.take(answer.proposer, content)
        return bool(answer.proposals)

    def take(self, proposer: str, content: Mapping[str, Any], request: str | None = None) -> int:
        """Keeps a proposal and judges it at once; returns its number."""
        number = self.journal.propose(proposer, content, request)
        self._judge_proposals()
        self._start_nodes()
        return number

    def _judge_proposals(self) -> None:
        """A verdict for every proposal that has none."""
        for record in self.journal.snapshot().proposals:
            if record.verdict != "pending":
                continue
            snapshot = self.journal.snapshot()
            try:
                if record.content.get("kind") == "stop":
                    self.journal.accept_stop(record.id)
                    continue
                baseline = record.content == BASELINE
                node = self.gate.baseline(snapshot) if baseline else self.gate.check(record.content, snapshot)
                self.journal.accept(record.id, self._patched(node, record.content))
            except ProposalError as error:
                logger.info("proposal %d of %s: refused: %s", record.id, record.proposer, error)
                self.journal.reject(record.id, str(error))

    def _patched(self, node: NewNode, content: Mapping[str, Any]) -> NewNode:
        """The node with its code patch applied and tried, if it has one.

        Raises:
            PatchError: if the patch does not pass its gate.
        """
        if node.diff is None:
            return node
        patch = parse_proposal(dict(content))
        if not isinstance(patch, CodePatch):
            raise ProposalError("code: got a diff with another proposal, expected a code patch")
        number = len(self.journal.snapshot().nodes) + 1
        return with_code(node, patches.gate(self.folder, self.study, number, patch, node.code))

    def _start_nodes(self) -> None:
        """The first run of every node that has none."""
        snapshot = self.journal.snapshot()
        started = {run.node for run in snapshot.runs}
        for node in snapshot.nodes:
            if node.id not in started:
                self._start_node(snapshot, node)

    def _start_node(self, snapshot: Snapshot, node: NodeRecord) -> None:
        pair = next_pair(snapshot, node.config)
        if pair is not None:
            self._start(self.journal.add_run(node.id, pair))


def pending(snapshot: Snapshot) -> list[RunRecord]:
    """Runs that have a slot or wait for one, and those that are still to be scored."""
    return [run for run in snapshot.runs if run.state in (*PENDING, RunState.OK)]
