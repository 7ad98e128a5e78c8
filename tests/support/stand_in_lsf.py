"""A stand-in for LSF: bsub, bjobs, bhist, bkill and ssh as small programs that keep jobs in a folder.

`install(folder)` writes them; put `folder / "bin"` first on PATH. Jobs are real processes. Files in the folder steer
it: `hidden` (numbers that bjobs forgets), `garbage` (bjobs says this instead), `down` (every command fails).
"""

import sys
from pathlib import Path

_PROGRAM = """#!{python} -S
import json, os, signal, subprocess, sys, time
from pathlib import Path
home = Path({home!r})
jobs = home / "jobs"
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(json.dumps([name, *words]) + "\\n")

def option(key, default=None):
    return words[words.index(key) + 1] if key in words else default

def fail(text, status=255):
    sys.stderr.write(text + "\\n")
    sys.exit(status)

def load(number):
    return json.loads((jobs / number).read_text())

def save(number, facts):
    (jobs / (number + ".new")).write_text(json.dumps(facts))
    (jobs / (number + ".new")).replace(jobs / number)

def refresh(number):
    facts = load(number)
    done = home / "ended" / number
    if facts["STAT"] in ("PEND", "RUN") and done.exists():
        code = int(done.read_text())
        facts["STAT"], facts["EXIT_CODE"] = ("EXIT" if code else "DONE"), (str(code) if code else "")
        save(number, facts)
    return facts

if (home / "down").exists():
    fail("Failed in an LSF library call: LIM is down; try later.")
if name == "ssh":
    host, command = words[-2:]
    if host != "login1":
        fail("ssh: Could not resolve hostname " + host)
    environment = dict(os.environ, VIA=host, HOME=str(home), PATH="/usr/bin:/bin")  # the login shell finds the rest
    sys.exit(subprocess.run(command, shell=True, env=environment).returncode)
if name == "bsub":
    number = str(101 + len([p for p in jobs.iterdir() if p.name.isdigit()]))
    (home / "scripts" / number).write_text(sys.stdin.read())
    facts = dict(JOBID=number, JOB_NAME=option("-J"), STAT="RUN", EXIT_CODE="", EXIT_REASON="")
    facts["via"] = os.environ.get("VIA")
    save(number, facts)
    run = "LSB_JOBID=%s bash %s; echo $? > %s" % (number, home / "scripts" / number, home / "ended" / (number + ".new"))
    run += "; mv %s %s" % (home / "ended" / (number + ".new"), home / "ended" / number)
    log = open(option("-oo"), "ab")
    process = subprocess.Popen(["bash", "-c", run], start_new_session=True, stdin=-3, stdout=log, stderr=log)
    save(number, facts | dict(pid=process.pid))
    print("Job <%s> is submitted to queue <%s>." % (number, option("-q", "normal")))
elif name == "bjobs":
    if (home / "garbage").exists():
        print((home / "garbage").read_text())
        sys.exit(0)
    hidden = (home / "hidden").read_text().split() if (home / "hidden").exists() else []
    numbers = sorted(p.name for p in jobs.iterdir() if p.name.isdigit() and p.name not in hidden)
    found = [facts for facts in map(refresh, numbers) if option("-J") in (None, facts["JOB_NAME"])]
    if not found:
        fail("No job found")
    keys = option("-o").upper().split()
    print(json.dumps(dict(COMMAND="bjobs", JOBS=len(found), RECORDS=[dict((k, f[k]) for k in keys) for f in found])))
elif name == "bhist":
    number = words[-1]
    if not (jobs / number).exists():
        fail("No matching job found")
    facts = refresh(number)
    text = "\\nJob <%s>, Job Name <%s>, User <someone>, Project <default>\\n" % (number, facts["JOB_NAME"])
    text += "Mon Jan  5 10:00:00: Submitted from host <login1>;\\n"
    text += "Mon Jan  5 10:00:01: Starting (Pid 1);\\n"
    if facts["STAT"] == "DONE":
        text += "Mon Jan  5 10:00:09: Done successfu\\n                     lly. The CPU time used is 1.0 seconds;\\n"
    if facts["STAT"] == "EXIT":
        text += "Mon Jan  5 10:00:09: Exited with exit code %s;\\n" % facts["EXIT_CODE"]
        text += "Mon Jan  5 10:00:09: Completed <ex\\n                     it>; %s;\\n" % facts["EXIT_REASON"]
    print(text)
elif name == "bkill":
    number = words[-1]
    if not (jobs / number).exists():
        fail("Job <%s>: No matching job found" % number)
    facts = refresh(number)
    if facts["STAT"] in ("DONE", "EXIT"):
        fail("Job <%s>: Job has already finished" % number)
    save(number, facts | dict(EXIT_REASON="TERM_OWNER: job killed by owner."))
    for wait, signal_number in ((0, signal.SIGTERM), (3, signal.SIGKILL)):
        time.sleep(wait * (not (home / "ended" / number).exists()))
        try:
            children = Path("/proc/%d/task/%d/children" % (facts["pid"], facts["pid"])).read_text().split()
            for child in map(int, children):
                os.kill(child, signal_number)
        except (FileNotFoundError, ProcessLookupError):
            break
        for _ in range(150):
            if (home / "ended" / number).exists():
                break
            time.sleep(0.02)
    print("Job <%s> is being terminated" % number)
"""


def install(folder: Path) -> Path:
    """Writes the programs below a folder; returns the folder that belongs on PATH."""
    for name in ("bin", "jobs", "scripts", "ended"):
        (folder / name).mkdir(parents=True)
    for name in ("bsub", "bjobs", "bhist", "bkill", "ssh"):
        program = folder / "bin" / name
        program.write_text(_PROGRAM.format(python=sys.executable, home=str(folder)))
        program.chmod(0o755)
    (folder / ".bash_profile").write_text(f"export PATH={folder / 'bin'}:$PATH\n")
    return folder / "bin"
