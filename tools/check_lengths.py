"""Check that files and functions stay short: 400 lines a file, 60 lines a function (docstring included)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
FOLDERS = ("src", "tests", "tools", "benchmarks", "examples")


def findings(file: Path) -> Iterator[str]:
    """Yield one line for the file and for each function that is too long."""
    text = file.read_text(encoding="utf-8")
    n_lines = len(text.splitlines())
    if n_lines > MAX_FILE_LINES:
        yield f"{file}: {n_lines} lines, expected at most {MAX_FILE_LINES}; split it"
    for node in ast.walk(ast.parse(text, filename=str(file))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{file}:{node.lineno}: {node.name} has {length} lines, expected at most {MAX_FUNCTION_LINES}"


def main() -> int:
    """Print what is too long; exit status 1 if anything is."""
    root = Path(__file__).resolve().parent.parent
    files = sorted(file for folder in FOLDERS for file in (root / folder).rglob("*.py"))
    found = [finding for file in files for finding in findings(file)]
    print("\n".join(found) if found else f"{len(files)} files, all short enough")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
