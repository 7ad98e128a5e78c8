"""Patches of code: what the gate refuses and admits, and what of the user's repository stays as it was."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from lobula.errors import ConfigError, PatchError, StoreError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.patches import Base, check, code_path, diff, freeze, gate, promote, read_base, remove_code
from lobula.exploration.patches.regions import parse_module
from lobula.exploration.patches.smoke import check_import, check_smoke, smoke_config, tiny_recording
from lobula.exploration.proposals import CodePatch
from lobula.exploration.records import NodeRecord
from lobula.exploration.study import CodeSettings, Study
from support.patches import BAD_PATCHES, FASTER, GOOD_PATCHES
from support.toy_checkout import (
    FILES,
    LOOP,
    STEP,
    content,
    edit,
    git,
    in_regularisers,
    in_step,
    make_checkout,
    make_dirty,
)

REPOSITORY = Path(__file__).resolve().parents[2]
TRAINING = "src/lobula/training"
RUN = f"{TRAINING}/run.py"
REAL = [
    (f"{TRAINING}/schedules.py", "        return 1.0\n", "        return 0.9\n", "LEARNING RATE SCHEDULE"),
    (f"{TRAINING}/optimiser.py", "return Adam(groups)", "return torch.optim.AdamW(groups)", "OPTIMIZER"),
    (f"{TRAINING}/penalties.py", "share * (1.0 - share)", "torch.sqrt(share * (1.0 - share))", "REGULARISERS"),
    (f"{TRAINING}/penalties.py", "c * (1.0 - math.exp", "2.0 * c * (1.0 - math.exp", "REGULARISER SCHEDULE"),
    (RUN, "total_loss(loss, penalties)", "total_loss(2.0 * loss, penalties)", "LOSS"),
    (RUN, "length = phase.schedule", "length = (0, self.total)", "OPTIMIZER SETUP"),
]


def study_of(name: str = "toy", **code: object) -> Study:
    files = [LOOP, "src/lobula/plain.py", "src/lobula/absent.py", "README.md"]
    return Study.from_dict({"name": name, "code": {"allowed": True, "files": files, **code}})


def node_of(number: int, code: str | None) -> NodeRecord:
    return NodeRecord(number, 0, None, (), "config", {}, (), "person", "code", code=code)


def patch_of(text: str, **values: object) -> CodePatch:
    return CodePatch(diff=text, **values)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "user")


@pytest.fixture
def folder(tmp_path: Path, checkout: Path) -> StudyFolder:
    """A study on the toy, started."""
    folder = StudyFolder(tmp_path / "study")
    freeze(folder, study_of(), checkout / "src" / "lobula")
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Base, Path]:
    """A started study for checks that leave nothing."""
    place = tmp_path_factory.mktemp("toy")
    top = make_checkout(place / "user")
    return freeze(StudyFolder(place / "study"), study_of(), top / "src" / "lobula"), top


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of lobula as it is here."""
    place = tmp_path_factory.mktemp("real")
    shutil.copytree(REPOSITORY / "src", place / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", place)
    return make_checkout(place, {})


# -------------------------------------------------------------------- what the gate says


@pytest.mark.parametrize("name", BAD_PATCHES)
def test_bad_patches_are_refused_with_their_reason(toy: tuple[Base, Path], name: str) -> None:
    text, reason = BAD_PATCHES[name]
    with pytest.raises(PatchError) as caught:
        check(toy[0], study_of().code, patch_of(text))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD_PATCHES)
def test_good_patches_are_admitted(toy: tuple[Base, Path], name: str) -> None:
    text, region = GOOD_PATCHES[name]
    change = check(toy[0], study_of().code, patch_of(text))
    assert region in change.regions[0]
    assert len(change.regions) == (2 if name == "two regions" else 1)
    assert change.files == (LOOP,)
    assert git(toy[1], "for-each-ref", "--format=%(refname)").split() == ["refs/explore/toy/base", "refs/heads/main"]


def test_what_a_region_did_before_it_may_go_on_doing(tmp_path: Path) -> None:
    text = FILES[LOOP].replace(STEP, STEP + "            getattr(self, 'judge')()\n")
    top = make_checkout(tmp_path / "user", {**FILES, LOOP: text})
    base = freeze(StudyFolder(tmp_path / "study"), study_of(), top / "src" / "lobula")
    once, twice = "            getattr(self, 'judge')()\n", 2 * "            getattr(self, 'judge')()\n"
    assert check(base, study_of().code, patch_of(edit(("0.5 * self", "0.4 * self"), text=text))).regions
    with pytest.raises(PatchError, match="uses getattr"):
        check(base, study_of().code, patch_of(edit((once, twice), text=text)))


@pytest.mark.parametrize(
    ("line", "seconds", "reason"),
    [
        ("raise RuntimeError('unstable')", 20, "status 1: RuntimeError: unstable"),
        ("self.loss = float('nan')", 20, "loss=nan at step 5"),
        ("self.loss = 7.0", 20, "no row of metrics"),
        ("time.sleep(60)", 0.4, "took longer than 0.4 s"),
    ],
)
def test_a_patch_that_does_not_run_leaves_nothing(
    folder: StudyFolder, checkout: Path, line: str, seconds: float, reason: str
) -> None:
    tiny_recording(folder, study_of(), smoke_config(study_of()))
    before = content(checkout / ".git", "objects")
    with pytest.raises(PatchError, match=reason):
        gate(folder, study_of(smoke_seconds=seconds), 1, patch_of(in_step(line)))
    assert content(checkout / ".git", "objects") == before
    assert not folder.worktree(1).exists()


def test_a_patch_that_cannot_be_imported_leaves_nothing(folder: StudyFolder, checkout: Path) -> None:
    with pytest.raises(PatchError, match=r"lobula\.loop cannot be imported .*NameError: name 'absent'"):
        gate(folder, study_of(), 1, patch_of(in_regularisers("CUBE = absent(3)")))
    assert not folder.worktree(1).exists()
    assert not list(folder.worktree(1).parent.iterdir())
    assert git(checkout, "for-each-ref", "--format=%(refname)", "refs/explore").split() == ["refs/explore/toy/base"]


def test_code_must_be_allowed(folder: StudyFolder) -> None:
    with pytest.raises(PatchError, match=r"code\.allowed=true"):
        gate(folder, study_of(allowed=False), 1, patch_of(FASTER))


# -------------------------------------------------------------------- what a patch becomes


def test_an_admitted_patch_is_a_commit_a_ref_and_a_tree(folder: StudyFolder, checkout: Path) -> None:
    commit = gate(folder, study_of(), 3, patch_of(FASTER, hypothesis="Halving is too slow", parents=(2,)))
    assert git(checkout, "rev-parse", "refs/explore/toy/3").strip() == commit
    assert git(checkout, "rev-parse", f"{commit}^").strip() == read_base(folder).commit
    message = git(checkout, "log", "-1", "--format=%B", commit)
    assert message.splitlines()[0] == "Halving is too slow"
    assert "Node: 3 (from 2)" in message
    assert f"Region: {LOOP}: TRAINING LOOP" in message
    path = code_path(folder, commit)
    assert path == folder.worktree(3)
    assert "0.4 * self.loss" in (path / LOOP).read_text()
    assert (code_path(folder, None) / LOOP).read_text() == FILES[LOOP] == (checkout / LOOP).read_text()
    assert diff(folder, node_of(3, commit)).splitlines()[5:] == FASTER.splitlines()[3:]
    assert diff(folder, node_of(4, None)) == ""


def test_a_patch_stacks_on_its_parent(folder: StudyFolder, checkout: Path) -> None:
    first = gate(folder, study_of(), 1, patch_of(FASTER))
    middle = FILES[LOOP].replace("0.5 * self.loss", "0.4 * self.loss")
    again = edit(("0.4 * self.loss", "0.3 * self.loss"), text=middle)
    with pytest.raises(PatchError, match="does not apply"):
        gate(folder, study_of(), 2, patch_of(again))
    second = gate(folder, study_of(), 2, patch_of(again), parent=first)
    text = diff(folder, node_of(2, second))
    assert "-            self.loss = 0.5" in text
    assert "+            self.loss = 0.3" in text
    assert git(checkout, "rev-list", "--count", f"HEAD..{second}").strip() == "2"


def test_the_author_is_the_users_or_neutral(
    folder: StudyFolder, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    neutral = gate(folder, study_of(), 1, patch_of(FASTER))
    git(checkout, "config", "user.name", "Ada")
    own = gate(folder, study_of(), 2, patch_of(FASTER))
    names = [git(checkout, "log", "-1", "--format=%an", commit).strip() for commit in (neutral, own)]
    assert names == ["lobula", "Ada"]


def test_patches_in_parallel_have_a_tree_each(folder: StudyFolder) -> None:
    texts = [edit(("0.5 * self.loss", f"0.{n} * self.loss")) for n in (1, 2, 3, 4)]
    with ThreadPoolExecutor(4) as pool:
        commits = list(pool.map(lambda n: gate(folder, study_of(), n, patch_of(texts[n - 1])), (1, 2, 3, 4)))
    assert len(set(commits)) == 4
    for n, commit in enumerate(commits, 1):
        assert f"0.{n} * self.loss" in (code_path(folder, commit) / LOOP).read_text()
        assert code_path(folder, commit) == folder.worktree(n)


def test_the_gate_goes_on_after_a_kill(folder: StudyFolder, checkout: Path) -> None:
    commit = gate(folder, study_of(), 1, patch_of(FASTER))
    (folder.worktree(1) / LOOP).unlink()
    shutil.rmtree(folder.path / "smoke")  # would be made again by a second smoke run
    assert gate(folder, study_of(), 1, patch_of(FASTER)) == commit
    assert not (folder.path / "smoke").exists()
    assert "0.4 * self.loss" in (folder.worktree(1) / LOOP).read_text()
    shutil.rmtree(folder.worktree(1))
    assert "0.4 * self.loss" in (code_path(folder, commit) / LOOP).read_text()
    git(checkout, "update-ref", "-d", "refs/explore/toy/1")  # killed before the ref: the tree is there already
    assert (code_path(folder, gate(folder, study_of(), 1, patch_of(FASTER))) / LOOP).is_file()


def test_a_node_that_was_never_accepted_leaves_no_ref(folder: StudyFolder, checkout: Path) -> None:
    gate(folder, study_of(), 1, patch_of(FASTER))
    with pytest.raises(PatchError, match="unstable"):
        gate(folder, study_of(), 1, patch_of(in_step("raise RuntimeError('unstable')")))
    assert git(checkout, "for-each-ref", "--format=%(refname)", "refs/explore").split() == ["refs/explore/toy/base"]


def test_a_kill_while_a_tree_is_added_does_no_harm(real: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from lobula.exploration.folder import StudyFolder\n"
        "from lobula.exploration.patches import freeze; from lobula.exploration.study import Study\n"
        "freeze(StudyFolder(Path(sys.argv[1])), Study(name='killed'), Path(sys.argv[2]))"
    )
    for attempt in range(5):
        folder = StudyFolder(tmp_path / f"study-{attempt}")
        words = [sys.executable, "-c", script, str(folder.path), str(real / "src" / "lobula")]
        with subprocess.Popen(words, start_new_session=True) as process:
            while not (made := list(folder.path.glob(".code-*/tree/src"))) and process.poll() is None:
                time.sleep(0.001)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if made and not folder.code.exists():
            break
    assert made, "never caught in the middle"
    assert not folder.code.exists()
    assert folder.base.exists()
    base = freeze(folder, Study(name="killed"), real / "src" / "lobula")
    assert base == read_base(folder)
    assert git(folder.code, "status", "--porcelain") == ""
    assert content(folder.code / "src") == content(real / "src")
    assert not list(folder.path.glob(".code-*"))


# -------------------------------------------------------------------- what stays as it was


def test_the_users_checkout_is_never_touched(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_dirty(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    folder, own = StudyFolder(tmp_path / "study"), (".git/refs/explore", ".git/objects")
    before = content(checkout, *own)
    assert {".git/index", ".git/HEAD", ".git/refs/stash", ".git/config"} <= set(before)
    assert any(name.startswith(".git/rebase-merge/") for name in before)
    assert freeze(folder, study_of(), checkout / "src" / "lobula").dirty
    commit = gate(folder, study_of(), 1, patch_of(FASTER))
    with pytest.raises(PatchError):
        gate(folder, study_of(), 2, patch_of(in_step("raise RuntimeError")))
    assert diff(folder, node_of(1, commit)).startswith(f"diff --git a/{LOOP} b/{LOOP}")
    assert content(checkout, *own) == before
    promote(folder, node_of(1, commit), "explored/faster")
    added = content(checkout, *own)
    assert set(added) - set(before) == {".git/refs/heads/explored", ".git/refs/heads/explored/faster"}
    remove_code(folder)
    monkeypatch.undo()
    git(checkout, "update-ref", "-d", "refs/heads/explored/faster")
    assert {k: v for k, v in content(checkout, *own).items() if "explored" not in k and "hooked" not in k} == before
    assert git(checkout, "for-each-ref", "refs/explore") == ""


def test_promotion_makes_a_new_branch_and_no_other(folder: StudyFolder, checkout: Path) -> None:
    commit = gate(folder, study_of(), 1, patch_of(FASTER))
    assert promote(folder, node_of(1, commit), "faster") == commit
    assert git(checkout, "rev-parse", "refs/heads/faster").strip() == commit
    assert git(checkout, "branch", "--show-current").strip() == "main"
    assert git(checkout, "status", "--porcelain") == ""
    for branch, reason in (
        ("faster", "exists"),
        ("main", "exists"),
        ("faster/still", "cannot be made"),
        ("a..b", "no name"),
    ):
        with pytest.raises(PatchError, match=reason):
            promote(folder, node_of(1, commit), branch)
    with pytest.raises(PatchError, match="code of the base"):
        promote(folder, node_of(2, None), "other")
    remove_code(folder)
    assert git(checkout, "rev-parse", "refs/heads/faster").strip() == commit


def test_removal_stays_in_the_study(folder: StudyFolder, checkout: Path, tmp_path: Path) -> None:
    gate(folder, study_of(), 1, patch_of(FASTER))
    other = StudyFolder(tmp_path / "other")
    assert freeze(other, study_of(), checkout / "src" / "lobula").refs == "refs/explore/toy-2"
    git(checkout, "worktree", "add", "--quiet", "--detach", str(tmp_path / "own"))
    (tmp_path / "own").rename(tmp_path / "on-a-disk-that-is-away")
    (tmp_path / "precious").mkdir()
    folder.worktree(7).symlink_to(tmp_path / "precious")
    remove_code(folder)
    assert (tmp_path / "precious").is_dir()
    assert not folder.code.exists()
    assert not folder.worktree(0).parent.exists()
    assert str(tmp_path / "own") in git(checkout, "worktree", "list")
    assert git(checkout, "for-each-ref", "--format=%(refname)", "refs/explore").split() == ["refs/explore/toy-2/base"]
    assert freeze(other, study_of(), checkout / "src" / "lobula").commit
    remove_code(folder)  # a second time, as after a kill


# -------------------------------------------------------------------- without a checkout of lobula


def test_a_repository_that_only_holds_lobula_is_left_alone(tmp_path: Path) -> None:
    vendored = "libraries/lobula/__init__.py"
    top = make_checkout(tmp_path / "project", {"pyproject.toml": '[project]\nname = "mine"\n', vendored: "X = 1\n"})
    before, folder = content(top), StudyFolder(tmp_path / "study")
    base = freeze(folder, study_of(), (top / vendored).parent)
    assert base.commit is None
    assert (folder.code / "src" / "lobula" / "__init__.py").read_text() == "X = 1\n"
    with pytest.raises(PatchError, match="no git checkout"):
        gate(folder, study_of(), 1, patch_of(FASTER))
    assert freeze(folder, study_of(), (top / vendored).parent) == base
    (folder.code / "src" / "lobula" / "__init__.py").write_text("X = 2\n")
    again = StudyFolder(tmp_path / "again")
    assert freeze(again, study_of(), folder.code / "src" / "lobula").tree != base.tree
    remove_code(folder)
    assert not folder.code.exists()
    assert content(top) == before


def test_another_project_in_the_same_layout_is_left_alone(tmp_path: Path) -> None:
    top = make_checkout(tmp_path / "project", {**FILES, "pyproject.toml": '[project]\nname = "mine"\n'})
    before = content(top)
    assert freeze(StudyFolder(tmp_path / "study"), study_of(), top / "src" / "lobula").commit is None
    assert content(top) == before


def test_a_repository_that_moved_away_is_named(folder: StudyFolder, checkout: Path) -> None:
    checkout.rename(checkout.with_name("moved"))
    with pytest.raises(StoreError, match=r"user/\.git: not there"):
        gate(folder, study_of(), 1, patch_of(FASTER))


# -------------------------------------------------------------------- the real trainer


def test_the_trainer_has_its_markers() -> None:
    found = {
        file: [region.name for region in parse_module((REPOSITORY / file).read_text(), file).regions]
        for file in CodeSettings().files
    }
    assert {"OPTIMIZER SETUP", "TRAINING LOOP", "BACKWARD AND STEP", "LOSS"} == set(found.pop(RUN))
    assert "REGULARISERS" in found["src/lobula/training/penalties.py"]
    assert all(found.values())


def test_a_patch_of_the_trainer_is_imported_from_its_own_tree(real: Path, tmp_path: Path) -> None:
    folder, study = StudyFolder(tmp_path / "study"), Study.from_dict({"name": "real", "code": {"allowed": True}})
    base = freeze(folder, study, real / "src" / "lobula")
    for name, old, new, region in REAL:
        text = (REPOSITORY / name).read_text()
        change = check(base, study.code, patch_of(edit((old, new), text=text, name=name)))
        assert change.regions == (f"{name}: {region}",)
    check_import(folder.code, [name for name, *_ in REAL], 60)


def test_an_experiment_that_cannot_be_small_says_so() -> None:
    with pytest.raises(ConfigError, match=r"code\.smoke"):
        smoke_config(Study.from_dict({"name": "x", "code": {"smoke": ["training.n_stepz=5"]}}))


@pytest.mark.slow
def test_smoke_runs_of_the_trainer(real: Path, tmp_path: Path) -> None:
    folder, study = StudyFolder(tmp_path / "study"), Study.from_dict({"name": "smoke", "code": {"allowed": True}})
    freeze(folder, study, real / "src" / "lobula")
    text, step = (REPOSITORY / RUN).read_text(), "        backward(total)\n"
    commit = gate(folder, study, 1, patch_of(edit((step, "        (0.5 * total).backward()\n"), text=text, name=RUN)))
    assert "(0.5 * total)" in (code_path(folder, commit) / RUN).read_text()
    assert not list((folder.path / "smoke").rglob("*truth*"))
    check_smoke(folder, study, folder.code)
    broken = edit((step, f"        total = total * float('nan')\n{step}"), text=text, name=RUN)
    with pytest.raises(PatchError, match="smoke run"):
        gate(folder, study, 2, patch_of(broken))
    assert not folder.worktree(2).exists()
