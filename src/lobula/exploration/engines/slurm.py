"""Engine `slurm`: sbatch, squeue, sacct, scancel."""

import getpass
from collections.abc import Mapping, Sequence

from lobula.exploration.engines.base import Job, JobState
from lobula.exploration.engines.cluster import Seen, minutes
from lobula.exploration.engines.commands import ask, refused

_QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_RUNNING = ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED", "STOPPED", "RESIZING")
_ENDED = {
    **dict.fromkeys(("COMPLETED", "FAILED", "NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED")),
    "TIMEOUT": "timeout",
    "DEADLINE": "timeout",
    "OUT_OF_MEMORY": "oom",
    "CANCELLED": "killed",
}


class Slurm:
    """The Slurm scheduler.

    Args:
        partition: to ask for, or None for the default one.
        options: further words for sbatch.
    """

    name = "slurm"

    def __init__(self, partition: str | None = None, options: Sequence[str] = ()) -> None:
        self.partition = partition
        self.options = tuple(options)

    def submit(self, name: str, script: str, job: Job) -> str:
        """sbatch; see `Scheduler`."""
        words = ["sbatch", "--parsable", f"--job-name={name}", "--no-requeue", "--nodes=1", "--ntasks=1"]
        words += [f"--cpus-per-task={job.threads}", f"--time={minutes(job)}", f"--chdir={job.folder.resolve()}"]
        words += [f"--output={job.folder.resolve() / 'slurm.log'}", "--open-mode=append"]
        words += [f"--partition={self.partition}"] if self.partition else []
        words += [f"--gres=gpu:{job.gpus}"] if job.gpus else []
        words += [f"--mem={int(job.memory_gb * 1024)}M"] if job.memory_gb else []
        answer = ask([*words, *self.options], script)
        number = answer.out.strip().splitlines()[-1].partition(";")[0] if answer.out.strip() else ""
        if answer.status != 0 or not number.isdigit():
            raise refused("sbatch", answer)
        return number

    def find(self, name: str) -> str | None:
        """squeue, then sacct, by name; see `Scheduler`."""
        answer = ask(["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}", f"--name={name}", "-o%A"])
        if answer.status != 0:
            raise refused("squeue", answer)
        numbers = answer.out.split()
        if not numbers:
            past = ask(["sacct", "--noheader", "-X", "-P", f"--name={name}", "--starttime=now-30days", "-oJobID"])
            numbers = past.out.split() if past.status == 0 else []
        return next((number for number in reversed(numbers) if number.isdigit()), None)

    def listing(self) -> Mapping[str, Seen]:
        """squeue, with lately ended jobs; see `Scheduler`."""
        answer = ask(["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}", "-o%A %T"])
        if answer.status != 0:
            raise refused("squeue", answer)
        found = {}
        for line in answer.out.splitlines():
            number, _, word = line.strip().partition(" ")
            if not number.isdigit() or not word:
                raise refused("squeue", answer)
            found[number] = seen(word)
        return found

    def history(self, number: str) -> Seen | None:
        """sacct; None where the cluster keeps no accounts. See `Scheduler`."""
        answer = ask(["sacct", "--noheader", "-X", "-P", f"--jobs={number}", "-oState"])
        words = answer.out.split() if answer.status == 0 else []
        return seen(words[0]) if words else None

    def kill(self, number: str) -> None:
        """scancel; see `Scheduler`."""
        answer = ask(["scancel", number])
        if answer.status != 0 and "invalid job id" not in answer.text.lower():
            raise refused("scancel", answer)


def seen(word: str) -> Seen:
    """A job from Slurm's word for its state, such as "CANCELLED by 1000" or "COMPLETED+"."""
    state = word.split()[0].rstrip("+").upper()
    if state in _QUEUED:
        return Seen(JobState.QUEUED)
    if state in _RUNNING:
        return Seen(JobState.RUNNING)
    return Seen(JobState.ENDED, _ENDED[state]) if state in _ENDED else Seen(JobState.UNKNOWN)
