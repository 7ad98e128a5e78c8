"""What is done with code of a study: looked at, found on disk, promoted to a branch, deleted."""

from pathlib import Path

from lobula.errors import PatchError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.patches.base import git_of, read_base
from lobula.exploration.patches.trees import delete, ensure_tree, remove_tree
from lobula.exploration.records import NodeRecord


def code_path(folder: StudyFolder, code: str | None) -> Path:
    """Folder whose src/ holds the code of a node; made again where a kill or a hand left it broken.

    Args:
        folder: of the study.
        code: commit (`NodeRecord.code`, which config changes inherit from their parent); None: the frozen copy.

    Raises:
        PatchError: if the study has no such patch.
        StoreError: if git fails.
    """
    if code is None:
        return folder.code
    base = read_base(folder)
    git = git_of(base)
    refs = git.run("for-each-ref", "--format=%(refname)", f"--points-at={code}", f"{base.refs}/").splitlines()
    nodes = sorted(int(name) for ref in refs if (name := ref.rpartition("/")[2]).isdigit())
    if not nodes:
        raise PatchError(f"commit {code[:12]}: no patch of this study, expected a ref below {base.refs}")
    return ensure_tree(git, folder.worktree(nodes[0]), code)


def diff(folder: StudyFolder, node: NodeRecord) -> str:
    """What the code of a node changes against the base of the study, as a unified diff; empty where nothing.

    Raises:
        StoreError: if git fails.
    """
    if node.code is None:
        return ""
    base = read_base(folder)
    plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3")
    text = git_of(base).run("diff-tree", "-p", *plain, str(base.commit), node.code)
    return text + "\n" if text else ""


def promote(folder: StudyFolder, node: NodeRecord, branch: str) -> str:
    """A new branch at the code of a node: the base of the study and a commit per patch. It is not checked out.

    Returns:
        The branch's commit.

    Raises:
        PatchError: if the node has no code of its own, or the branch exists or cannot have that name.
        StoreError: if git fails.
    """
    if node.code is None:
        raise PatchError(f"node {node.id}: has the code of the base, expected a patch; its config is all there is")
    git = git_of(read_base(folder))
    if git.attempt("check-ref-format", "--branch", branch)[0] != branch:
        raise PatchError(f"branch {branch}: no name for a branch, expected letters, digits, - and /")
    ref = f"refs/heads/{branch}"
    if git.attempt("rev-parse", "--verify", "--quiet", ref)[0] is not None:
        raise PatchError(f"branch {branch}: exists, expected a new name; nothing was changed")
    made, error = git.attempt("update-ref", ref, node.code, "0" * len(node.code))  # only if it is still not there
    if made is None:
        raise PatchError(f"branch {branch}: cannot be made ({error})")
    return node.code


def remove_code(folder: StudyFolder) -> None:
    """Deletes the code of a study: working trees, the frozen copy, and its refs.

    For whoever deletes a study, before the rest of its folder. Nothing but folders of the study and its own refs is
    deleted; promoted branches stay, and commits that no branch has are collected by git in its own time.

    Raises:
        StoreError: if git fails.
    """
    base = read_base(folder)
    remove_tree(folder.code)
    delete(folder.worktree(0).parent)
    if base.commit is None:
        return
    git = git_of(base)
    for ref in git.run("for-each-ref", "--format=%(refname)", f"{base.refs}/").splitlines():
        git.run("update-ref", "-d", ref)
