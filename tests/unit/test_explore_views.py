"""The rendered files of a study: the seeds' log form, exact numbers, no entry lost or moved, the same bytes twice."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lobula.config.yaml_format import parse_yaml
from lobula.exploration.folder import StudyFolder
from lobula.exploration.policies.ucb import UcbRow, ucb_rows
from lobula.exploration.records import RunRecord, RunState, SeedPair, Snapshot
from lobula.exploration.views.analysis import analysis
from lobula.exploration.views.memory import MOST_LINES, memory
from lobula.exploration.views.reasoning import reasoning
from lobula.exploration.views.render import render, write_views
from lobula.exploration.views.ucb_file import ucb_file
from lobula.exploration.views.user_input import (
    HEADER,
    acknowledge,
    add,
    pending,
    read_pending,
    write_acknowledged,
    write_added,
)
from support.explored import make_run, make_snapshot, make_study

ORDER = ["Node", "Mode/Strategy", "Seeds", "Run", "Config", "Metrics", "R2 trajectory", "Activity", "Scatter"]
ORDER += ["Embedding", "Mutation", "Parent rule", "Observation", "Variance update", "Next"]


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return make_snapshot(40, n_live=2)


def entries(text: str) -> list[str]:
    """Entries of a log, without block summaries."""
    return [part for part in re.split(r"\n(?=## )", text) if part.startswith("## Iter")]


def fields(entry: str) -> dict[str, str]:
    """Lines of an entry by their name."""
    return {name: rest for name, _, rest in (line.partition(": ") for line in entry.strip().splitlines()[1:])}


def values(line: str) -> dict[str, object]:
    """name=value pairs of a line, read as YAML."""
    return {name: parse_yaml(text, "line") for name, _, text in (pair.partition("=") for pair in line.split(", "))}


def test_every_ended_run_has_an_entry_in_the_form_of_the_instructions(snapshot: Snapshot) -> None:
    found = entries(analysis(snapshot))
    assert len(found) == 38
    assert all(re.match(r"## Iter \d+: (converged|partial|failed)\n", entry) for entry in found)
    scored = next(entry for entry in found if "state=scored" in entry)
    assert list(fields(scored)) == ORDER
    assert "eff_rank=84" in fields(scored)["Activity"]


def test_numbers_read_back_exactly() -> None:
    study = make_study(space=["training.coeff_W_L1", "training.lr"])
    whole = make_snapshot(1, study=study)
    node = replace(
        whole.nodes[0],
        values={"training.coeff_W_L1": 8.1e-05, "training.lr": 0.1 + 0.2},
        changes=(("training.coeff_W_L1", 0.0, 8.1e-05),),
    )
    run = replace(whole.runs[0], metrics={"gnn.W.r2": -0.37000000000000005, "gnn.tau.r2": 1.2e-17})
    entry = fields(entries(analysis(replace(whole, nodes=(node,), runs=(run,))))[0])
    assert values(entry["Config"]) == {"coeff_W_L1": 8.1e-05, "lr": 0.1 + 0.2}
    metrics = values(entry["Metrics"])
    assert metrics["connectivity_R2"] == -0.37000000000000005
    assert metrics["tau_R2"] == 1.2e-17
    assert entry["Mutation"] == "training.coeff_W_L1: 0.0 -> 8.1e-05"


def test_failed_slots_get_an_entry_with_the_reason(snapshot: Snapshot) -> None:
    failed = [entry for entry in entries(analysis(snapshot)) if re.search(r"state=(nan|timeout)", entry)]
    assert len(failed) == 3
    assert all(entry.split("\n")[0].endswith(": failed") for entry in failed)
    assert all("loss is not finite at step 312" in fields(entry)["Observation"] for entry in failed)


@pytest.mark.parametrize(("attempt", "has_entry"), [(1, False), (2, False), (3, True)])
def test_a_run_that_the_machine_failed_waits_for_its_last_attempt(attempt: int, has_entry: bool) -> None:
    whole = make_snapshot(1)
    lost = replace(whole.runs[0], state=RunState.INFRA, metrics={}, attempt=attempt, error="node down")
    text = analysis(replace(whole, runs=(lost,)))
    assert ("## Iter 1: failed" in text) == has_entry
    assert ("the machine, not the config" in text) == has_entry


def test_the_log_only_grows() -> None:
    later = make_snapshot(40)
    ended = sorted(later.runs, key=lambda run: (run.ended, run.id))
    moment = ended[20].ended
    assert moment is not None
    known = [run for run in later.runs if run.created <= moment]
    nodes = tuple(node for node in later.nodes if node.id <= max(run.node for run in known))
    still = [run if run.ended <= moment else replace(run, state=RunState.RUNNING, ended=None) for run in known]  # type: ignore[operator]
    before, after = entries(analysis(replace(later, nodes=nodes, runs=tuple(still)))), entries(analysis(later))
    assert len(before) == 21

    def settled(entry: str) -> list[str]:
        return [line for line in entry.strip().splitlines() if not line.startswith(("Next:", "Observation:"))]

    assert [settled(entry) for entry in before] == [settled(entry) for entry in after[:21]]


def test_next_is_the_parent_that_was_chosen_and_never_the_next_slot() -> None:
    whole = make_snapshot(4)
    parents, times = (None, None, 1, 2), ((0.0, 10.0), (0.0, 20.0), (15.0, 40.0), (21.0, 50.0))
    nodes = tuple(replace(node, parent=parent) for node, parent in zip(whole.nodes, parents, strict=True))
    runs = tuple(replace(r, created=a, started=a, ended=b) for r, (a, b) in zip(whole.runs, times, strict=True))
    found = [fields(entry) for entry in entries(analysis(replace(whole, nodes=nodes, runs=runs)))]
    assert [entry["Next"] for entry in found] == ["parent=1", "parent=2", "parent=open", "parent=open"]
    assert [entry["Node"] for entry in found] == [
        *("id=1, parent=root", "id=2, parent=root", "id=3, parent=1", "id=4, parent=2"),
    ]


def test_replicates_pool_and_say_so(snapshot: Snapshot) -> None:
    again = [fields(entry) for entry in entries(analysis(snapshot)) if "robustness re-run" in entry]
    assert len(again) == 3
    assert all(entry["Mode/Strategy"].startswith("robustness-test") for entry in again)
    assert all(re.search(r"now has [2-9] runs.*CV\(connectivity_R2\)=", entry["Variance update"]) for entry in again)


def test_blocks_are_summed_up_where_they_end() -> None:
    study = make_study(blocks={"n_iter": 4, "path": "training.time_step", "values": [1, 4]}, base="fly-small")
    whole = make_snapshot(8, study=study)
    nodes = tuple(replace(node, block=int(node.id > 4)) for node in whole.nodes)
    text = analysis(replace(whole, nodes=nodes, block=1))
    assert text.count("## Block 1 summary") == 1
    assert "training.time_step=1" in text.partition("## Block 1 summary")[2].split("\n\n")[0]
    assert "## Block 2 summary" not in text
    assert "## Block 2 summary" in analysis(replace(whole, nodes=nodes, block=1, phase="done"))
    config = [values(fields(entry)["Config"])["time_step"] for entry in entries(text)]
    assert sorted(config) == [1, 1, 1, 1, 4, 4, 4, 4]  # type: ignore[type-var]
    assert "| Block | time_step |" in memory(replace(whole, nodes=nodes, block=1))


@pytest.mark.parametrize("n_runs", [0, 1, 12, 60, 400])
def test_the_memory_is_short_and_ends_with_emerging_observations(n_runs: int) -> None:
    whole = make_snapshot(max(n_runs, 1)) if n_runs else Snapshot(make_study())
    text = memory(replace(whole, principles=tuple(f"principle {i}\nwith a second line" for i in range(300))))
    assert len(text.splitlines()) <= MOST_LINES
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings[-1] == "### Emerging Observations"
    places = ["### Comparison Table", "### Variance Estimates", "### Established Principles", "### Open Questions"]
    places += ["### Block Info", "### Hypothesis", "### Iterations This Block"]
    assert [line for line in headings if line in places] == places
    assert "principle 299 with a second line" in text


def test_the_memory_shows_verdicts_and_questions(snapshot: Snapshot) -> None:
    text = memory(snapshot, {"c0013": "robust"})
    assert re.search(r"\| c0013 \| 13 \| \d+ .*\| robust \|", text)
    questions = text.partition("### Open Questions")[2].partition("---")[0]
    assert "does hidden_dim matter at all?" in questions
    assert "does hidden_dim" not in text.partition("### Established Principles")[2].partition("###")[0]


def test_scatter_and_embedding_are_told_in_words() -> None:
    whole = make_snapshot(1)
    shapes = [(1.0, 0.99, "tight diagonal"), (0.01, 0.0, "horizontal band")]
    shapes += [(0.5, 0.6, "shrunk"), (-0.4, -2.0, "turned")]
    for slope, r2, words in shapes:
        run = replace(whole.runs[0], metrics={"gnn.W.r2": r2, "gnn.W.slope": slope, "gnn.cell_types.accuracy": 0.99})
        entry = fields(entries(analysis(replace(whole, runs=(run,))))[0])
        assert words in entry["Scatter"]
        assert "types separated" in entry["Embedding"]


def test_ucb_lines_have_the_form_of_the_instructions() -> None:
    rows = [
        UcbRow(1, 2.110, None, 2, 0.934, 0.88),
        UcbRow(2, 2.175, 1, 1, 8.1e-05, 0.95),
        UcbRow(3, 1.5, 1, 1, -0.2, None),
    ]
    assert ucb_file(rows).splitlines() == [
        "Node 2: UCB=2.175, parent=1, visits=1, R2=8.1e-05, cluster=0.95",
        "Node 1: UCB=2.11, parent=root, visits=2, R2=0.934, cluster=0.88",
        "Node 3: UCB=1.5, parent=1, visits=1, R2=-0.2",
    ]
    assert ucb_file([]) == ""


def test_the_tree_search_of_a_study_is_written_best_first(snapshot: Snapshot) -> None:
    rows = ucb_rows(snapshot)
    lines = ucb_file(rows).splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"Node {row.node}" for row in rows]


def test_reasons_are_kept_of_accepted_and_rejected_proposals(snapshot: Snapshot) -> None:
    text = reasoning(snapshot)
    assert "by agent: rejected: training.lr: got 5.0, expected < 1" in text
    assert "accepted -> Node 7" in text
    assert text.count("proposal ") == len(snapshot.proposals)


def test_a_persons_lines_are_acknowledged_once_and_none_is_lost() -> None:
    text = add(add(HEADER, "try smaller steps"), "# - stop\nat night")
    assert pending(text) == ["try smaller steps", "stop at night"]
    written_meanwhile = text + "and look at tau\n"
    marked = acknowledge(written_meanwhile, ["try smaller steps", "stop at night"], 0.0)
    assert pending(marked) == ["and look at tau"]
    assert "- [acknowledged 1970-01-01 00:00:00 UTC] try smaller steps" in marked
    assert acknowledge(marked, ["try smaller steps"], 9.0) == marked
    assert pending("Write\n") == ["Write"]  # part of a line of the header


def test_user_input_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "user_input.md"
    assert read_pending(path) == []
    write_added(path, "more replicates")
    assert path.read_text().startswith(HEADER)
    write_acknowledged(path, read_pending(path), 1.0)
    assert read_pending(path) == []


def test_the_same_snapshot_gives_the_same_bytes_and_writes_once(snapshot: Snapshot, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    written = write_views(snapshot, folder)
    assert sorted(path.name for path in written) == [
        *("made-up_analysis.md", "made-up_memory.md", "reasoning.log", "ucb_scores.txt", "user_input.md"),
    ]
    assert render(snapshot)["ucb_scores.txt"] == ucb_file(ucb_rows(snapshot)) != ""
    assert render(snapshot) == {name: (tmp_path / name).read_text() for name in render(snapshot)}
    folder.user_input.write_text("mine\n")
    assert write_views(snapshot, folder) == []
    assert folder.user_input.read_text() == "mine\n"
    assert [path.name for path in write_views(snapshot, folder, [UcbRow(1, 1.0, None, 1, 0.5, None)])] == [
        "ucb_scores.txt"
    ]


def test_a_second_run_of_a_node_is_an_entry_of_its_own() -> None:
    import numpy as np

    whole = make_snapshot(1)
    second = make_run(2, whole.nodes[0], 1, np.random.default_rng(1), created=whole.runs[0].ended)
    holdout = replace(second, id=3, pair=SeedPair(0, 90, 90, True))
    text = analysis(replace(whole, runs=(*whole.runs, second, holdout)))
    assert text.count("## Iter 1: ") == 3
    assert "hold-out certification" in text
    assert "now has 3 runs" not in text  # the hold-out is not pooled


def test_code_is_told_apart_from_configs() -> None:
    whole = make_snapshot(1)
    node = replace(whole.nodes[0], parent=None, code="abc123", strategy="code", hypothesis="clip\nthe gradient")
    entry = entries(analysis(replace(whole, nodes=(node,))))[0]
    assert "CODE MODIFICATION:\n  Commit: abc123\n  Hypothesis: clip the gradient" in entry
    assert fields(entry)["Mutation"] == "[code] clip the gradient"


def test_a_metric_that_is_better_lower_keeps_its_sign() -> None:
    study = make_study(objective={"metric": "gnn.W.rmse", "direction": "lower", "converged": 0.1, "failed": 0.5})
    whole = make_snapshot(2, study=study)
    runs: list[RunRecord] = [
        replace(run, metrics={"gnn.W.rmse": value}) for run, value in zip(whole.runs, (0.3, 0.05), strict=True)
    ]
    text = analysis(replace(whole, runs=tuple(runs)))
    assert "gnn.W.rmse 0.05 against 0.3 of parent 1 on the same seeds (-0.2500); could be luck" in text
    assert "## Iter 2: converged" in text
    assert "Node 2, 0.05 (n=1)" in memory(replace(whole, runs=tuple(runs)))


def test_a_run_on_seeds_that_its_parent_lacks_is_compared_with_the_mean() -> None:
    whole = make_snapshot(2)
    scores = ({"gnn.W.r2": 0.5}, {"gnn.W.r2": 0.9})
    runs = [replace(run, metrics=found) for run, found in zip(whole.runs, scores, strict=True)]
    runs[1] = replace(runs[1], pair=SeedPair(3, 3, 3))
    text = analysis(replace(whole, runs=tuple(runs)))
    assert "connectivity_R2 0.9 against 0.5 of parent 1 on other seeds (+0.4000); could be luck" in text
