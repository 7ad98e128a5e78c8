"""A writer that is interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lobula.data import RecordingWriter


@contextmanager
def interrupted_after(n_blocks: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it, appending to a recording is interrupted after some blocks; fails if that does not happen."""
    append, written = RecordingWriter.append, []

    def crash(writer, split, **fields) -> None:
        if len(written) == n_blocks:
            raise KeyboardInterrupt
        written.append(split)
        append(writer, split, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(RecordingWriter, "append", crash)
        with pytest.raises(KeyboardInterrupt):
            yield
