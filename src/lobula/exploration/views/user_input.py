"""`user_input.md`: what a person tells a study while it runs. The person owns the file; only the marks are ours.

Every line below the heading that is not marked yet is pending. Once the study has taken it up, it is marked with the
time: ``- [acknowledged 2026-01-31 12:00:00 UTC] try smaller steps``.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from lobula.data.atomic import atomic_write_text
from lobula.exploration.views.words import one_line, stamp

HEADER = """# User input

Write a line below; it is read before the next proposal, and marked as acknowledged.

"""
_MARK = re.compile(r"\[acknowledged [^\]]*\] ")
_BULLET = re.compile(r"^[-*+]\s+")


def pending(text: str) -> list[str]:
    """Lines of the file that nobody has acknowledged yet."""
    return [_words(line) for line in text.splitlines() if _is_pending(line)]


def acknowledged(text: str) -> list[str]:
    """Marked lines of the file, with their marks."""
    return [_words(line) for line in text.splitlines() if _MARK.match(_words(line))]


def acknowledge(text: str, lines: Iterable[str], seconds: float) -> str:
    """The file with some of its pending lines marked; what a person has added meanwhile stays pending.

    Args:
        text: the file.
        lines: pending lines, as `pending` gave them.
        seconds: time of the mark, since 1970.
    """
    left = list(lines)
    marked = []
    for line in text.splitlines():
        if _is_pending(line) and _words(line) in left:
            left.remove(_words(line))
            line = f"- [acknowledged {stamp(seconds)}] {_words(line)}"
        marked.append(line)
    return "\n".join(marked) + "\n" if marked else ""


def add(text: str, line: str) -> str:
    """The file with one more pending line at its end; an empty line adds nothing."""
    words = one_line(line).lstrip("#-*+ ")
    if not words:
        return text
    start = text or HEADER
    return f"{start}{'' if start.endswith(chr(10)) else chr(10)}- {words}\n"


def read_pending(path: Path) -> list[str]:
    """Pending lines of a file; none where there is no file."""
    return pending(path.read_text(encoding="utf-8")) if path.is_file() else []


def write_acknowledged(path: Path, lines: Iterable[str], seconds: float) -> None:
    """Mark some pending lines of a file. Call it after the lines are in the journal: a crash between repeats a line,
    and never loses one."""
    atomic_write_text(path, acknowledge(path.read_text(encoding="utf-8"), lines, seconds))


def write_added(path: Path, line: str) -> None:
    """Add a pending line to a file, which is made if need be."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    atomic_write_text(path, add(text, line))


def _is_pending(line: str) -> bool:
    words = _BULLET.sub("", line.strip())
    return bool(words) and not words.startswith("#") and not _MARK.match(words) and words not in HEADER.splitlines()


def _words(line: str) -> str:
    return _BULLET.sub("", line.strip())
