"""Detached working trees: made, made again where a kill or a hand left them broken, and removed.

Each is a small repository of its own that borrows the objects of the user's. `git worktree` would note it in the user's
.git instead, where trees that are added at the same time trip over each other, and a kill can leave a note that breaks
the user's own git commands.
"""

import shutil
import tempfile
from pathlib import Path

from lobula.errors import StoreError
from lobula.exploration.patches.git import Git


def ensure_tree(git: Git, path: Path, commit: str) -> Path:
    """A working tree of a commit; a whole one that is there already stays as it is.

    Args:
        git: of the repository that has the commit.
        path: where the tree is or goes; appears there at once, whole.
        commit: what it holds.

    Raises:
        StoreError: if git fails.
    """
    if _is_whole(path, commit):
        return path
    remove_tree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        new = Path(scratch) / "tree"
        form = git.run("rev-parse", "--show-object-format")
        git.run("init", "--quiet", "--template=", f"--object-format={form}", str(new.resolve()))
        alternates = new / ".git" / "objects" / "info" / "alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_text(f"{git.run('rev-parse', '--path-format=absolute', '--git-path', 'objects')}\n")
        here = Git(new)
        here.run("config", "core.autocrlf", "false")
        here.run("checkout", "--quiet", "--detach", commit)
        new.rename(path)
    return path


def remove_tree(path: Path) -> None:
    """Deletes a working tree, whole or half made; nothing there is fine."""
    for place in (path, *path.parent.glob(f".{path.name}-*")):
        delete(place)


def delete(path: Path) -> None:
    """Deletes a folder; of a link the link, never what it points to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _is_whole(path: Path, commit: str) -> bool:
    if path.is_symlink() or not (path / ".git").is_dir():
        return False
    here = Git(path)
    try:
        return here.run("rev-parse", "HEAD") == commit and not here.run("status", "--porcelain", "--untracked-files=no")
    except StoreError:
        return False
