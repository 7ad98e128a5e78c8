"""What the commands do with a study: start it, drive it, look at it, ask it for something, take results out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lobula.config import load_config, save_config
from lobula.config.yaml_format import dump_yaml
from lobula.data.atomic import atomic_write_text
from lobula.errors import ConfigError, MissingInputError
from lobula.exploration import inbox, patches
from lobula.exploration.controller import Controller, Parts
from lobula.exploration.engines.registry import make_engine
from lobula.exploration.explain import node_of
from lobula.exploration.folder import StudyFolder
from lobula.exploration.journal import Journal
from lobula.exploration.policies.registry import make_policy
from lobula.exploration.policies.ucb import ucb_rows
from lobula.exploration.proposers.registry import make_proposer
from lobula.exploration.records import RunState, Snapshot
from lobula.exploration.repeat import is_same, repeat_run
from lobula.exploration.scorer import Scorer
from lobula.exploration.study import Study
from lobula.exploration.study_files import save_study
from lobula.exploration.variance import posteriors, variance_rows
from lobula.exploration.views.render import write_views

SERVE_EVERY = 0.5


def start(study: Study, path: Path) -> None:
    """Makes a study's folder: definition, instructions, frozen code, journal. One that is there stays as it is.

    Raises:
        ConfigError: if another study is there already, or the study is not valid.
    """
    folder = StudyFolder(path)
    if folder.journal.exists():
        with Journal.open(folder) as journal:
            if journal.study != study:
                raise ConfigError(
                    f"{path}: holds study {journal.study.name!r} with other settings, expected those it was started "
                    f"with; lobula explore resume {path} goes on with it, another --out starts anew"
                )
        return
    study.base_config(0)
    study.dimensions()
    make_proposer(study, path)
    path.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder.definition, save_study(study))
    if study.instructions is not None:
        atomic_write_text(folder.instructions, study.instructions.read_text(encoding="utf-8"))
    base = patches.freeze(folder, study)
    Journal.create(folder, study, base.tree).close()


def drive(path: Path) -> Snapshot:
    """Goes on with a study to its end.

    Raises:
        MissingInputError: if there is no study.
        JournalError: if another controller drives it.
    """
    folder = StudyFolder(path)
    with Journal.open(_existing(folder), writer=True) as journal:
        study = journal.study
        patches.freeze(folder, study)
        engine = make_engine(study.engine, folder)
        proposer = make_proposer(study, path)

        def render(snapshot: Snapshot) -> None:
            verdicts = {row.config: row.verdict.name for row in variance_rows(snapshot)}
            write_views(snapshot, folder, ucb_rows(snapshot), verdicts)

        parts = Parts(engine, make_policy(study), proposer, Scorer(engine), render)
        return Controller(folder, journal, parts).run()


def read(path: Path, events: bool = False) -> Snapshot:
    """What a study knows now.

    Raises:
        MissingInputError: if there is no study.
    """
    with Journal.open(_existing(StudyFolder(path))) as journal:
        return journal.snapshot(events)


def ask(path: Path, kind: str, content: Mapping[str, Any]) -> None:
    """Leaves a request for the study's controller, which answers when it runs.

    Raises:
        MissingInputError: if there is no study.
    """
    _existing(StudyFolder(path))
    inbox.submit(path, kind, content)


def node_diff(path: Path, number: int) -> str:
    """Settings of a node against the base of its block, and its code against the base commit.

    Raises:
        ProposalError: if there is no such node.
    """
    folder = StudyFolder(path)
    with Journal.open(_existing(folder)) as journal:
        node = node_of(journal.snapshot(), number)
        base = journal.base(node.block).to_dict()
    lines = []
    for name, value in sorted(node.values.items()):
        section, _, field = name.partition(".")
        lines.append(f"{name}: {base[section][field]} -> {value}")
    text = patches.diff(folder, node)
    return "\n".join([*(lines or ["settings: those of the base"]), *([text] if text else [])])


def promote_node(path: Path, number: int, out: Path | None, branch: str | None) -> list[str]:
    """Writes a node's settings as a recipe and, with ``branch``, its code as a branch; says what was written.

    Raises:
        ProposalError: if there is no such node.
        ConfigError: if the file exists.
        PatchError: if the node has no code of its own, or the branch exists.
    """
    folder = StudyFolder(path)
    with Journal.open(_existing(folder)) as journal:
        node = node_of(journal.snapshot(), number)
        config = journal.config(node.config)
    name = f"{journal.study.name}-{number}"
    target = out or Path(f"{name}.yaml")
    if target.exists():
        raise ConfigError(f"--out: {target} exists, expected a new file")
    text = f"node {number} of the study {journal.study.name}: {node.hypothesis or node.strategy}"
    atomic_write_text(target, save_config(config.with_values({"name": name, "description": text})))
    load_config(target)
    lines = [f"settings: {target} (lobula run {target})"]
    if branch is not None:
        commit = patches.promote(folder, node, branch)
        lines.append(f"code: branch {branch} at {commit[:12]}")
    elif node.code is not None:
        lines.append("this node has code of its own: --branch NAME makes a branch of it")
    return lines


def replay_run(path: Path, number: int) -> tuple[list[list[str]], bool]:
    """Repeats a scored run beside the study; rows of metric, then and now, and whether all are the same.

    Raises:
        ConfigError: if there is no such run, or it was not scored.
    """
    snapshot = read(path)
    run = next((run for run in snapshot.runs if run.id == number), None)
    if run is None or run.state is not RunState.SCORED:
        state = "no such run" if run is None else run.state.value
        raise ConfigError(f"run {number}: {state}, expected a run that was scored (lobula explore status {path})")
    objective = snapshot.study.objective
    names = [name for name in (objective.metric, objective.second, *objective.report) if name]
    rows = repeat_run(StudyFolder(path), number, dict(run.metrics), names)
    return [[name, f"{then:.9g}", f"{now:.9g}"] for name, then, now in rows], all(is_same(a, b) for _, a, b in rows)


def page(path: Path) -> dict[str, Any]:
    """What the dashboard shows."""
    from lobula.exploration.dashboard.data import page_data

    snapshot = read(path, events=True)
    notes = StudyFolder(path).user_input
    text = notes.read_text(encoding="utf-8") if notes.is_file() else ""
    return page_data(snapshot, variance_rows(snapshot), posteriors(snapshot), ucb_rows(snapshot), text)


def export_study(path: Path, out: Path) -> Path:
    """The dashboard as one file (index.html), the study as YAML and its runs as CSV; returns the page's path."""
    import pandas as pd

    from lobula.exploration.dashboard.page import export_page

    snapshot = read(path)
    found = export_page(page(path), out / "index.html")
    rows = [
        {"run": run.id, "node": run.node, "config": run.config, "pair": run.pair.index, "holdout": run.pair.holdout}
        | {"data_seed": run.pair.data, "init_seed": run.pair.init, "state": run.state.value, "seconds": run.seconds}
        | dict(snapshot.node(run.node).values)
        | dict(run.metrics)
        for run in snapshot.runs
    ]
    atomic_write_text(out / "runs.csv", pd.DataFrame(rows).to_csv(index=False))
    atomic_write_text(out / "study.yaml", dump_yaml(snapshot.study.to_dict()))
    return found


def serve_dashboard(path: Path, port: int, say: Callable[[str], None]) -> None:
    """Serves the live page until interrupted.

    Raises:
        MissingInputError: if there is no study.
        EngineError: if the port is in use.
    """
    from lobula.exploration.dashboard.server import Dashboard

    name = read(path).study.name

    def post(kind: str, text: str) -> None:
        inbox.submit(path, kind, {"text": text} if kind == inbox.NOTE else {"reason": text})

    with Dashboard(lambda: page(path), post, name, port=port) as dashboard:
        say(f"{dashboard.url} (Ctrl-C ends it; the study goes on)")
        while True:
            time.sleep(SERVE_EVERY)


def serve_mcp(path: Path) -> None:
    """Serves the study to an MCP client on stdin and stdout.

    Raises:
        MissingInputError: if there is no study.
        MissingDependencyError: if the extra `agents` is not installed.
    """
    from lobula.exploration.mcp_server import serve

    _existing(StudyFolder(path))
    serve(path, lambda folder: read(folder, events=True))


def _existing(folder: StudyFolder) -> StudyFolder:
    if not folder.journal.is_file():
        raise MissingInputError(
            f"{folder.path}: no study here ({folder.journal.name} is missing); start one with lobula explore run"
        )
    return folder
