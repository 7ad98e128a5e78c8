"""The code that a study starts from: recorded once, and kept in a frozen copy."""

import hashlib
import json
import shutil
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from lobula.data.atomic import atomic_write_json
from lobula.errors import MissingInputError, StoreError
from lobula.exploration.folder import StudyFolder
from lobula.exploration.patches.git import Git
from lobula.exploration.patches.trees import delete, ensure_tree
from lobula.exploration.study import Study

PACKAGE = Path(__file__).resolve().parents[2]
NEUTRAL = ("lobula", "lobula@localhost")


@dataclass(frozen=True)
class Base:
    """Where the code of a study comes from.

    Attributes:
        commit: commit that was checked out when the study started; None without a git checkout of lobula.
        tree: hash of the code's content; equal trees are equal code, whatever the commit.
        repository: folder of git's objects and refs, or None.
        refs: prefix of the study's refs, such as "refs/explore/my-study", or None.
        dirty: whether the checkout held changes that were not committed, which are no part of the study.
    """

    commit: str | None
    tree: str
    repository: str | None = None
    refs: str | None = None
    dirty: bool = False


def freeze(folder: StudyFolder, study: Study, package: Path = PACKAGE) -> Base:
    """Records the code that a study starts from and copies it to ``folder.code``; what is there already stays.

    From a git checkout of lobula the copy is a detached working tree of the commit that is checked out; from an
    installed lobula, a plain copy of the package. A repository that holds lobula without being its checkout (an
    environment in a project of the user's) is left alone. May be called again after a kill.

    Args:
        folder: of the study.
        study: its name becomes the prefix of its refs; with a number behind it, where another study has that name.
        package: the package's folder.

    Raises:
        StoreError: if git fails, or the record is damaged.
    """
    if folder.base.exists():
        base = read_base(folder)
    else:
        folder.path.mkdir(parents=True, exist_ok=True)
        base = _from_git(study, package) or _from_package(folder, package)
        atomic_write_json(folder.base, asdict(base))
    if base.commit is not None:
        ensure_tree(git_of(base), folder.code, base.commit)
    return base


def read_base(folder: StudyFolder) -> Base:
    """What `freeze` recorded.

    Raises:
        MissingInputError: if it recorded nothing.
        StoreError: if the record is damaged.
    """
    if not folder.base.is_file():
        raise MissingInputError(f"{folder.base}: not there, expected the record of the code; start the study first")
    try:
        return Base(**json.loads(folder.base.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as cause:
        raise StoreError(f"{folder.base}: damaged ({cause}), expected JSON as the study wrote it") from None


def git_of(base: Base) -> Git:
    """git for the repository of a study, with the user's name on commits, or a neutral one.

    Raises:
        StoreError: if there is none, or it is no longer where it was.
    """
    if base.repository is None:
        raise StoreError("code of the study: got a lobula that is no git checkout, expected one for changes of code")
    if not Path(base.repository).is_dir():
        raise StoreError(f"{base.repository}: not there, expected the repository that the study started from")
    plain = Git(Path(base.repository))
    name, email = (plain.attempt("config", f"user.{key}")[0] for key in ("name", "email"))
    return Git(plain.folder, author=(name or NEUTRAL[0], email or NEUTRAL[1]))


def _from_git(study: Study, package: Path) -> Base | None:
    package = package.resolve()
    top, _ = Git(package).attempt("rev-parse", "--show-toplevel")
    if top is None or not _is_checkout(Path(top), package):
        return None
    here = Git(Path(top))
    commit, _ = here.attempt("rev-parse", "--verify", "HEAD^{commit}")
    if commit is None or here.attempt("cat-file", "-e", f"{commit}:src/lobula/__init__.py")[0] is None:
        return None
    repository = here.run("rev-parse", "--path-format=absolute", "--git-common-dir")
    dirty = bool(here.run("status", "--porcelain", "--untracked-files=no"))
    tree = here.run("rev-parse", f"{commit}^{{tree}}")
    return Base(commit, tree, repository, _claim(here, study.name, commit), dirty)


def _is_checkout(top: Path, package: Path) -> bool:
    if package != top.resolve() / "src" / "lobula":
        return False
    try:
        return tomllib.loads((top / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == "lobula"
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _claim(git: Git, name: str, commit: str) -> str:
    """A prefix for refs that no other study has; its ref "base" also keeps the commit from being collected."""
    for number in range(1, 1000):
        refs = f"refs/explore/{name}" if number == 1 else f"refs/explore/{name}-{number}"
        made, error = git.attempt("update-ref", f"{refs}/base", commit, "0" * len(commit))  # only if it is not there
        if made is not None:
            return refs
        if git.attempt("rev-parse", "--verify", "--quiet", f"{refs}/base")[0] is None:
            raise StoreError(f"{refs}: cannot be written ({error})")
    raise StoreError(f"refs/explore/{name}: got 999 studies of that name, expected a free one; remove old ones")


def _from_package(folder: StudyFolder, package: Path) -> Base:
    place = folder.code / "src" / "lobula"
    partial = place.with_name("lobula.partial")
    for old in (partial, place):
        delete(old)
    shutil.copytree(package, partial, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    partial.rename(place)
    return Base(None, _digest(place))


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in package.rglob("*") if path.is_file()):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(package).as_posix()}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
