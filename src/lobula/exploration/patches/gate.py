"""The gate of code patches, from cheap to dear: what a patch may touch, where, what it may do, and whether it runs."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lobula.errors import PatchError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.patches.base import Base, git_of, read_base
from lobula.exploration.patches.forbidden import forbidden
from lobula.exploration.patches.git import Git
from lobula.exploration.patches.regions import (
    Module,
    Region,
    bound,
    check_inside,
    check_marks,
    names_outside,
    parse_module,
)
from lobula.exploration.patches.smoke import check_import, check_smoke
from lobula.exploration.patches.trees import ensure_tree, remove_tree
from lobula.exploration.proposals import CodePatch
from lobula.exploration.study import CodeSettings, Study

logger = logging.getLogger(__name__)

MOST_CHARACTERS = 60_000
MOST_LINES = 200
_PLAIN_FILES = ("100644", "100755")


@dataclass(frozen=True)
class Change:
    """A patch that keeps to the rules, not run yet.

    Attributes:
        parent: commit it applies to.
        tree: hash of the code with the patch.
        regions: what it changes, such as "src/lobula/training/run.py: TRAINING LOOP".
        files: files that it changes.
    """

    parent: str
    tree: str
    regions: tuple[str, ...]
    files: tuple[str, ...]


def gate(folder: StudyFolder, study: Study, node: int, patch: CodePatch, parent: str | None = None) -> str:
    """Admits a patch as the code of a node: its commit, kept by the ref <refs>/<node>, and a working tree of it.

    A patch that fails leaves neither. Called again for the same node after a kill, it goes on: a patch that had passed
    is not run again, a half-made working tree is made anew.

    Args:
        folder: of a study whose code is frozen (`freeze`).
        study: its `code` section says what a patch may do, its base experiment is what the smoke run shrinks.
        node: the node that the patch becomes.
        patch: the proposal.
        parent: commit of the parent's code (`NodeRecord.code`); None: the study's base.

    Returns:
        The commit, for `NodeRecord.code`.

    Raises:
        PatchError: one line that says why the patch is refused.
        ConfigError: if the smoke run cannot even be set up, whatever the patch.
        StoreError: if git fails.
    """
    if not study.code.allowed:
        raise PatchError("patch: the study allows no code, expected code.allowed=true")
    base = read_base(folder)
    change = check(base, study.code, patch, parent)
    git, ref = git_of(base), f"{base.refs}/{node}"
    known = git.attempt("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")[0]
    if known is not None and _is_same(git, known, change):
        ensure_tree(git, folder.worktree(node), known)
        return known
    git.run("update-ref", "-d", ref)
    commit = git.run("commit-tree", change.tree, "-p", change.parent, given=_message(study, node, patch, change))
    try:
        path = ensure_tree(git, folder.worktree(node), commit)
        check_import(path, change.files, study.code.smoke_seconds)
        check_smoke(folder, study, path)
        git.run("update-ref", ref, commit)
    except BaseException:
        remove_tree(folder.worktree(node))
        raise
    logger.info("node %d: patch of %s admitted as %s", node, "; ".join(change.regions), commit[:12])
    return commit


def check(base: Base, settings: CodeSettings, patch: CodePatch, parent: str | None = None) -> Change:
    """All that can be said about a patch without running it. Nothing but objects of git is written.

    Raises:
        PatchError: one line that says why the patch is refused.
        StoreError: if git fails.
    """
    origin = parent or base.commit
    if origin is None:
        raise PatchError("patch: this lobula is no git checkout, expected one; the study can change the config only")
    diff = patch.diff.replace("\r\n", "\n").rstrip("\n") + "\n"
    if len(diff) > MOST_CHARACTERS:
        raise PatchError(f"patch: got {len(diff):,} characters, expected at most {MOST_CHARACTERS:,}")
    git = git_of(base)
    files = _files(git, diff, settings)
    with tempfile.TemporaryDirectory(prefix="lobula-patch-") as scratch:
        staged = Git(git.folder, index=Path(scratch) / "index")
        staged.run("read-tree", origin)
        applied, error = staged.attempt("apply", "--cached", "--recount", "-", given=diff)
        if applied is None:
            raise PatchError(f"patch: does not apply to {origin[:12]} ({error})")
        _check_kinds(staged, origin)
        regions = [
            f"{file}: {region.name}"
            for file in files
            for region in _changed(file, staged.blob(f"{origin}:{file}"), staged.blob(f":{file}"))
        ]
        if not regions:
            raise PatchError("patch: changes nothing but comments or layout, expected another behaviour")
        return Change(origin, staged.run("write-tree"), tuple(regions), files)


def _files(git: Git, diff: str, settings: CodeSettings) -> tuple[str, ...]:
    """Files that a diff changes."""
    counts, error = git.attempt("apply", "--numstat", "-z", "--recount", "-", given=diff)
    if counts is None:
        raise PatchError(f"patch: not a unified diff ({error})")
    lines, files = 0, []
    for entry in counts.rstrip("\0").split("\0"):
        added, removed, file = entry.split("\t", 2)
        parts = Path(file).parts
        if ".." in parts or Path(file).is_absolute():
            raise PatchError(f"patch: {file} leads out of the repository, expected one of {', '.join(settings.files)}")
        if file not in settings.files:
            raise PatchError(f"patch: {file} may not change, expected one of {', '.join(settings.files)}")
        if "-" in (added, removed):
            raise PatchError(f"patch: {file}: binary, expected lines of text")
        if not file.startswith("src/") or not file.endswith(".py"):
            raise PatchError(f"patch: {file}: expected a Python file below src/; correct code.files of the study")
        lines += int(added) + int(removed)
        files.append(file)
    if lines > MOST_LINES:
        raise PatchError(f"patch: adds and removes {lines} lines, expected at most {MOST_LINES}: one idea at a time")
    summary = git.run("apply", "--summary", "--recount", "-", given=diff).strip()
    if summary:
        raise PatchError(f"patch: {summary.splitlines()[0].strip()}; expected changed lines in files that are there")
    return tuple(dict.fromkeys(files))


def _check_kinds(staged: Git, origin: str) -> None:
    """Whatever the diff said: files that were there, are there, and are plain files."""
    entries = staged.run("diff-index", "--cached", "--raw", "--no-renames", "-z", origin).rstrip("\0").split("\0")
    for entry, file in zip(entries[::2], entries[1::2], strict=False):
        before, after, *_, status = entry.removeprefix(":").split(" ")
        if status != "M" or before != after or before not in _PLAIN_FILES:
            raise PatchError(f"patch: {file}: added, removed, linked or of another mode; expected changed lines")


def _changed(file: str, before: bytes, after: bytes) -> list[Region]:
    was, now = _text(before, file), _text(after, file)
    check_marks(was, now, file)
    old, new = parse_module(was, file), parse_module(now, file)
    if not old.regions:
        raise PatchError(f"patch: {file}: has no LLM-MODIFIABLE markers, so nothing in it may change")
    changed = check_inside(old, new, file)
    for region in changed:
        previous = old.regions[new.regions.index(region)]
        found = forbidden(previous.statements, region.statements, _names(new, region))
        if found:
            raise PatchError(f"{file}: {region.name}: {found[0]}")
    return changed


def _names(module: Module, region: Region) -> set[str]:
    others = [other for other in module.regions if other is not region]
    return names_outside(module.tree) | {
        name for other in others if not other.in_function for name in bound(other.statements)
    }


def _text(content: bytes, file: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise PatchError(f"patch: {file}: not UTF-8, expected plain text") from None
    if "\r" in text:
        raise PatchError(f"patch: {file}: holds a carriage return, expected lines that end with a line feed")
    return text


def _is_same(git: Git, commit: str, change: Change) -> bool:
    known = git.run("show", "--no-patch", "--format=%T %P", commit)
    return known == f"{change.tree} {change.parent}"


def _message(study: Study, node: int, patch: CodePatch, change: Change) -> str:
    idea = " ".join(patch.hypothesis.split()) or f"Change of {', '.join(change.regions)}"
    title = idea if len(idea) <= 72 else f"{idea[:71]}…\n\n{idea}"
    parents = ", ".join(map(str, patch.parents)) or "base"
    regions = "".join(f"Region: {region}\n" for region in change.regions)
    return f"{title}\n\nStudy: {study.name}\nNode: {node} (from {parents})\n{regions}"
