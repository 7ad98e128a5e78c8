"""A run directory: one process at a time, a manifest, and stages that are skipped when nothing changed."""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from lobula.config import ExperimentConfig, save_config
from lobula.config.applicable import RECORDING_SECTIONS
from lobula.data.atomic import atomic_write_json, atomic_write_text
from lobula.data.provenance import code_state, device_facts, versions
from lobula.errors import MissingInputError, RunLockedError, StoreError

logger = logging.getLogger(__name__)

MANIFEST = "run.json"
CONFIG = "config.yaml"
LOCK = ".lock"
MANIFEST_VERSION = 1
_SAMPLE = 1 << 16  # bytes at either end of a file that its digest sees


@dataclass(frozen=True)
class Stage:
    """What the body of a stage has to know.

    Attributes:
        name: stage name.
        is_done: nothing to do, the outputs for these inputs are there.
        can_resume: an earlier attempt with the same inputs was cut off, its partial outputs may be continued;
            if False, partial outputs must be discarded.
    """

    name: str
    is_done: bool
    can_resume: bool


class RunDir:
    """A run directory (made if need be). As a context manager it holds the directory's lock.

    Reading the manifest needs no lock; `start` and `stage` take it if it is not held.

    Args:
        path: the directory.

    Raises:
        StoreError: if `path` is a file, or a directory with other content.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock_file: TextIO | None = None
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path}: a file, expected a run directory; choose another --out")
        if self.path.is_dir() and not (self.path / MANIFEST).exists():
            foreign = [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]
            if foreign:
                raise StoreError(
                    f"{self.path}: not a run directory (holds {foreign[0]!r} but no {MANIFEST}), expected an empty "
                    "or a new one; choose another --out"
                )

    @classmethod
    def existing(cls, path: str | Path) -> "RunDir":
        """Open a run directory that must be there already.

        Raises:
            MissingInputError: if there is no run at `path`.
        """
        if not (Path(path) / MANIFEST).is_file():
            raise MissingInputError(
                f"{path}: no run here ({MANIFEST} is missing); run `lobula run` first, or check --out"
            )
        return cls(path)

    def __truediv__(self, name: str) -> Path:
        """Path of a file in the run directory."""
        return self.path / name

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unlock()

    def lock(self) -> None:
        """Take the lock; taking it twice is fine. A killed process leaves no lock behind.

        Raises:
            RunLockedError: if another process works here; names its process id.
        """
        if self._lock_file is not None:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / LOCK).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise RunLockedError(
                f"{self.path}: in use by process {owner}, expected a free run directory; wait, or choose another --out"
            ) from cause
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock_file = file

    def unlock(self) -> None:
        """Give the lock back."""
        if self._lock_file is not None:
            self._lock_file.truncate(0)
            self._lock_file.close()  # closing gives the flock back
            self._lock_file = None

    @property
    def is_locked(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock_file is not None

    @property
    def manifest(self) -> dict[str, Any]:
        """What `run.json` says; empty before `start`.

        Raises:
            StoreError: if it is not readable.
        """
        file = self.path / MANIFEST
        if not file.exists():
            return {}
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError) as cause:
            raise StoreError(f"{file}: damaged ({cause}), expected JSON; move the run away and start again") from cause

    @property
    def config(self) -> ExperimentConfig:
        """The resolved config that the run was started with last.

        Raises:
            MissingInputError: before `start`.
        """
        manifest = self.manifest
        if "config" not in manifest:
            raise MissingInputError(f"{self.path}: no config in {MANIFEST}; start the run with `lobula run --out`")
        return ExperimentConfig.from_dict(manifest["config"])

    def start(self, config: ExperimentConfig, parent: str | None = None) -> None:
        """Write `config.yaml` and the head of `run.json`; what finished stages left there is kept.

        Args:
            config: resolved config.
            parent: name of the run that this one continues from, if any.
        """
        self.lock()
        old = self.manifest
        now = _now()
        atomic_write_text(self.path / CONFIG, save_config(config))
        self._save(
            {
                "version": MANIFEST_VERSION,
                "name": config.name,
                "status": "running",
                "created": old.get("created", now),
                "parent": parent,
                "seeds": {"simulation": config.simulation.seed, "training": config.training.seed},
                "config_digest": config.digest(),
                "config": config.to_dict(),
                "code": code_state(),
                "versions": versions(),
                "device": device_facts(),
                "stages": old.get("stages", {}),
            }
        )

    def finish(self, status: str = "done") -> None:
        """Note how the run as a whole ended."""
        self._save(self.manifest | {"status": status})

    @contextmanager
    def stage(self, name: str, inputs_digest: str, force: bool = False, outputs: Sequence[str] = ()) -> Iterator[Stage]:
        """Run a stage, or learn that it need not run.

        Usage::

            with run.stage("simulate", digest, force, outputs=["recording.zarr"]) as stage:
                if not stage.is_done:
                    simulate(..., resume=stage.can_resume)

        Args:
            name: stage name.
            inputs_digest: digest of everything that decides the stage's outputs, see `combined_digest`.
            force: repeat it even if nothing changed.
            outputs: files or directories of the run that must exist for the stage to count as done.

        Yields:
            What the body has to know.
        """
        self.lock()
        old = self._stages().get(name, {})
        same = old.get("digest") == inputs_digest and not force
        if same and old.get("status") == "done" and all((self.path / output).exists() for output in outputs):
            logger.info("%s: unchanged, skipped (--force repeats it)", name)
            yield Stage(name, is_done=True, can_resume=False)
            return
        can_resume = same and old.get("status") != "done"
        entry: dict[str, Any] = {"status": "running", "digest": inputs_digest, "started": _now()}
        entry["n_attempts"] = old.get("n_attempts", 0) + 1 if can_resume else 1
        self._save_stage(name, entry)
        begin = time.perf_counter()
        try:
            yield Stage(name, is_done=False, can_resume=can_resume)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
            status = "interrupted" if interrupted else "failed"
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self._save_stage(name, entry | {"status": status, "wall_s": _since(begin), "error": reason})
            raise
        self._save_stage(name, entry | {"status": "done", "wall_s": _since(begin)})

    def stage_facts(self, name: str) -> dict[str, Any]:
        """Status, digest, wall time [s] and attempts of a stage; empty if it never ran."""
        return dict(self._stages().get(name, {}))

    def _stages(self) -> dict[str, Any]:
        return self.manifest.get("stages", {})

    def _save_stage(self, name: str, entry: Mapping[str, Any]) -> None:
        manifest = self.manifest or {"version": MANIFEST_VERSION, "status": "running", "created": _now()}
        manifest["stages"] = manifest.get("stages", {}) | {name: dict(entry)}
        if entry["status"] in ("failed", "interrupted"):
            manifest["status"] = entry["status"]
        self._save(manifest)

    def _save(self, manifest: Mapping[str, Any]) -> None:
        atomic_write_json(self.path / MANIFEST, {**manifest, "updated": _now()})


def combined_digest(*parts: str) -> str:
    """One digest of several, for a stage that depends on a config and on other stages."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def content_digest(*paths: str | Path | None) -> str:
    """Digest of the files that a config names: names, sizes, first and last bytes of each; cheap.

    Args:
        paths: files or folders; one that is None or does not exist counts as absent.
    """
    digest = hashlib.sha256()
    for path in paths:
        root = Path(path) if path is not None else None
        files = [] if root is None else [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
        for file in files:
            size = file.stat().st_size
            digest.update(f"{file.relative_to(root) if root else ''} {size}\n".encode())
            with file.open("rb") as content:
                digest.update(content.read(_SAMPLE))
                content.seek(max(size - _SAMPLE, 0))
                digest.update(content.read(_SAMPLE))
        digest.update(b"end")
    return digest.hexdigest()


def listing_digest(path: str | Path | None) -> str:
    """Digest of a file or of everything in a folder: names, sizes and times of last change; for many large files."""
    digest = hashlib.sha256()
    root = Path(path) if path is not None else None
    files = [] if root is None else [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
    for file in files:
        facts = file.stat()
        digest.update(f"{file.relative_to(root) if root else ''} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def recording_digest(config: ExperimentConfig) -> str:
    """Digest of the settings that make the recording, and of the content of the files that they name."""
    return combined_digest(config.digest(*RECORDING_SECTIONS), named_files_digest(config))


def named_files_digest(config: ExperimentConfig) -> str:
    """Digest of the content of the files that a config names for its recording."""
    named = content_digest(config.connectome.parameters, config.simulation.recording)
    parts = [named, listing_digest(config.stimulus.path)]
    if config.connectome.source == "signal":
        parts.append(content_digest(config.signal.connectivity_file, config.drive.path))
    return "\n".join(parts)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _since(begin: float) -> float:
    return round(time.perf_counter() - begin, 3)
