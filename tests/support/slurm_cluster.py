"""A Slurm cluster of this machine alone, from its own daemons on a temporary configuration."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sacct", "scancel")
_CONFIG = """
ClusterName=lobula
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=8
MinJobAge={min_job_age}
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""


def find(program: str) -> str | None:
    """Path of a daemon or command; daemons are often not on a user's PATH."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def missing() -> list[str]:
    """Programs that are not installed."""
    return [program for program in PROGRAMS if find(program) is None]


@contextmanager
def slurm_cluster(folder: Path, min_job_age: int = 300) -> Iterator[Path]:
    """Starts munge, controller and node daemon; gives the path of slurm.conf (for SLURM_CONF).

    Args:
        folder: for all its files; its path should be short (sockets).
        min_job_age: seconds for which ended jobs are listed.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    config = folder / "slurm.conf"
    ports = {"controller_port": _free_port(), "node_port": _free_port()}
    facts = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser(), "folder": folder}
    config.write_text(_CONFIG.format(**facts, **ports, min_job_age=min_job_age))
    files = {"key-file": "key", "seed-file": "seed", "socket": "socket", "pid-file": "pid", "log-file": "log"}
    munge = [f"--{option}={folder}/munge.{name}" for option, name in files.items()] + ["--foreground", "--force"]
    environment = os.environ | {"SLURM_CONF": str(config)}
    with ExitStack() as stack:
        for words in (["munged", *munge], ["slurmctld", "-D", "-f", str(config)], ["slurmd", "-D", "-f", str(config)]):
            log = stack.enter_context((folder / f"{words[0]}.out").open("wb"))
            command = [find(words[0]) or words[0], *words[1:]]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            stack.callback(_end, process)
            if words[0] == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), folder)
        sinfo = [find("sinfo") or "sinfo", "--noheader", "--format=%T"]

        def is_up() -> bool:
            done = subprocess.run(sinfo, env=environment, capture_output=True, text=True)
            return done.stdout.strip() in ("idle", "mixed", "allocated")

        _wait(is_up, folder)
        yield config


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait(happened, folder: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            logs = "\n".join(f"{log.name}: {log.read_text()[-800:]}" for log in sorted(folder.glob("*.log")))
            raise TimeoutError(f"the Slurm cluster did not come up\n{logs}")
        time.sleep(0.2)
