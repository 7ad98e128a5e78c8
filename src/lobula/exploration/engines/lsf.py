"""Engine `lsf`: bsub, bjobs, bhist, bkill, here or on a host that ssh reaches."""

import json
import re
from collections.abc import Mapping, Sequence

from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.cluster import Seen, minutes
from lobula.exploration.engines.commands import Answer, ask, refused

_FIELDS = "jobid job_name stat exit_code exit_reason"
_STATES = {
    **dict.fromkeys(("PEND", "PSUSP", "WAIT"), JobState.QUEUED),
    **dict.fromkeys(("RUN", "USUSP", "SSUSP", "PROV"), JobState.RUNNING),
    **dict.fromkeys(("DONE", "EXIT"), JobState.ENDED),
}
_NOTES = (
    ("timeout", r"TERM_(RUNLIMIT|DEADLINE|CPULIMIT)"),
    ("oom", r"TERM_(MEMLIMIT|SWAP)"),
    ("killed", r"TERM_(OWNER|FORCE_OWNER|ADMIN|FORCE_ADMIN)"),
)
_NO_JOB = re.compile(r"no (unfinished |matching )?job|is not found|already finished", re.IGNORECASE)
_HISTORY = (
    (JobState.ENDED, r"Done successfully|Exited|Completed <"),
    (JobState.RUNNING, r"Starting|Started"),
    (JobState.QUEUED, r"Submitted"),
)


class Lsf:
    """The LSF scheduler.

    Args:
        queue: to ask for, or None for the default one.
        host: host to run its commands on by ssh; None: here. Paths must be the same there.
        options: further words for bsub.
    """

    name = "lsf"

    def __init__(self, queue: str | None = None, host: str | None = None, options: Sequence[str] = ()) -> None:
        self.queue = queue
        self.host = host
        self.options = tuple(options)

    def submit(self, name: str, script: str, job: Job) -> str:
        """bsub < script; see `Scheduler`."""
        log = job.folder.resolve() / "lsf.log"
        words = ["bsub", "-J", name, "-n", str(job.threads), "-R", "span[hosts=1]", "-W", str(minutes(job))]
        words += ["-rn", "-oo", str(log)]  # never run again by itself
        words += ["-q", self.queue] if self.queue else []
        words += ["-gpu", f"num={job.gpus}"] if job.gpus else []
        words += ["-R", f"rusage[mem={job.memory_gb:g}GB]"] if job.memory_gb else []
        answer = ask([*words, *self.options], script, self.host)
        found = re.search(r"Job <(\d+)> is submitted", answer.out)
        if answer.status != 0 or found is None:
            raise refused("bsub", answer)
        return found.group(1)

    def find(self, name: str) -> str | None:
        """bjobs by name; see `Scheduler`."""
        records = _records(ask(["bjobs", "-a", "-J", name, "-json", "-o", _FIELDS], host=self.host))
        return max((record["JOBID"] for record in records), key=int, default=None)

    def listing(self) -> Mapping[str, Seen]:
        """bjobs, with lately ended jobs; see `Scheduler`."""
        records = _records(ask(["bjobs", "-a", "-json", "-o", _FIELDS], host=self.host))
        return {record["JOBID"]: _seen(record) for record in records}

    def history(self, number: str) -> Seen | None:
        """bhist over all its files; see `Scheduler`."""
        answer = ask(["bhist", "-n", "0", "-l", number], host=self.host)
        text = re.sub(r"\n\s+", "", answer.out)  # it breaks lines within words
        if f"Job <{number}>" not in text:
            return None
        for state, pattern in _HISTORY:
            if re.search(pattern, text):
                return Seen(state, _note(text) if state is JobState.ENDED else None)
        return None

    def kill(self, number: str) -> None:
        """bkill; see `Scheduler`."""
        answer = ask(["bkill", number], host=self.host)
        if answer.status != 0 and not _NO_JOB.search(answer.text):
            raise refused("bkill", answer)


def _records(answer: Answer) -> list[dict[str, str]]:
    """Records of `bjobs -json`; those that name an error in place of a job are left out."""
    if not answer.out.strip() and _NO_JOB.search(answer.err):
        return []
    try:
        records = json.loads(answer.out)["RECORDS"]
        return [record for record in records if record.get("JOBID", "").isdigit() and "STAT" in record]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise refused("bjobs", answer) from None


def _seen(record: Mapping[str, str]) -> Seen:
    state = _STATES.get(record["STAT"], JobState.UNKNOWN)
    return Seen(state, _note(record.get("EXIT_REASON") or "") if state is JobState.ENDED else None)


def _note(text: str) -> str | None:
    return next((note for note, pattern in _NOTES if re.search(pattern, text)), None)
