"""What code of a patch may not do: reach the truth, files, processes, other modules' insides, or the seeds.

A check for honest mistakes and lazy shortcuts, not a cage: whoever wants around it finds a way. That a patched training
cannot report its own score is what keeps a study honest: the scorer is another process that runs the code of the base.
"""

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

ALLOWED_IMPORTS = (
    *("collections", "contextlib", "copy", "dataclasses", "functools", "itertools", "logging", "math", "operator"),
    *("statistics", "typing", "numpy", "scipy", "torch"),
    *("lobula.config", "lobula.errors", "lobula.kernels", "lobula.models", "lobula.regression", "lobula.training"),
)
TRUTH = ("lobula.scoring", "lobula.simulation", "lobula.connectome", "lobula.exploration", "lobula.pipeline")
_MODULES = (
    *("os", "sys", "subprocess", "socket", "shutil", "importlib", "builtins", "ctypes"),
    *("multiprocessing", "pickle", "signal", "threading", "tempfile", "pathlib", "inspect", "gc"),
    *("urllib", "requests", "hub", "cpp_extension"),
)
_NAMES = (
    *("eval", "exec", "compile", "__import__", "globals", "locals", "vars", "getattr", "setattr"),
    *("delattr", "input", "breakpoint", "exit", "quit", "SystemExit", "KeyboardInterrupt"),
    *("__builtins__", "__loader__", "__spec__"),
)
_FILES = (
    *("open", "load", "save", "loads", "dump", "dumps", "savez", "savetxt", "loadtxt", "genfromtxt"),
    *("fromfile", "tofile", "memmap", "read_text", "read_bytes", "write_text", "write_bytes"),
    *("unlink", "rmdir", "mkdir", "rename", "touch", "chmod", "symlink_to", "hardlink_to", "iterdir"),
    *("glob", "rglob"),
)
_SEEDS = ("manual_seed", "manual_seed_all", "set_rng_state", "use_deterministic_algorithms")
_DUNDERS = ("__init__", "__call__")


def forbidden(old: Sequence[ast.stmt], new: Sequence[ast.stmt], names: Collection[str]) -> list[str]:
    """What the statements of a region do that they may not, and did not do before.

    Args:
        old: statements before the patch.
        new: statements after it.
        names: that the module defines or imports outside the region.
    """
    before = Counter(reason for _, reason in _findings(old, names))
    found = []
    for line, reason in _findings(new, names):
        if before[reason] > 0:
            before[reason] -= 1
        else:
            found.append(f"line {line}: {reason}")
    return found


def _findings(statements: Sequence[ast.stmt], names: Collection[str]) -> Iterator[tuple[int, str]]:
    for statement in statements:
        for node in ast.walk(statement):
            yield from ((getattr(node, "lineno", 0), reason) for reason in _reasons(node, names))


def _reasons(node: ast.AST, names: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (reason for alias in node.names if (reason := _import(alias.name)))
    elif isinstance(node, ast.ImportFrom):
        whole = [f"{node.module}.{alias.name}" for alias in node.names]
        known = [reason for name in whole if (reason := _import(name))]
        yield from ["imports relative to its package"] if node.level else known
    elif isinstance(node, ast.Global | ast.Nonlocal):
        yield f"declares {', '.join(node.names)} as {type(node).__name__.lower()}"
    elif isinstance(node, ast.Name):
        yield from _name(node.id)
    elif isinstance(node, ast.Attribute):
        yield from _attribute(node, names)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        yield from _assigned(node, names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "truth" in node.value.lower():
        yield f"names the truth ({node.value[:40]!r})"


def _import(name: str) -> str | None:
    if _is_below(name, TRUTH):
        return f"imports {name}, which knows the truth or judges"
    parts = set(name.split("."))
    if "*" in parts:
        return f"imports {name}, expected names"
    if parts.intersection(_MODULES) or not any(
        name == module or name.startswith(f"{module}.") for module in ALLOWED_IMPORTS
    ):
        return f"imports {name}, expected one of {', '.join(ALLOWED_IMPORTS)}"
    if parts.intersection((*_FILES, *_NAMES, *_SEEDS)):
        return f"imports {name}, which reaches files, names or seeds"
    return None


def _is_below(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _name(name: str) -> Iterator[str]:
    if name in _MODULES or name in _NAMES:
        yield f"uses {name}"
    elif name == "open":
        yield "reads or writes files (open)"
    elif "truth" in name.lower():
        yield f"names the truth ({name})"


def _attribute(node: ast.Attribute, names: Collection[str]) -> Iterator[str]:
    name, chain = node.attr, ast.unparse(node)
    if name in _MODULES or name in _NAMES or (name.startswith("__") and name.endswith("__") and name not in _DUNDERS):
        yield f"uses {chain}"
    elif name in _FILES:
        yield f"reads or writes files ({chain})"
    elif name in _SEEDS:
        yield f"changes seeds or determinism ({chain})"
    elif "truth" in name.lower():
        yield f"names the truth ({chain})"
    if chain.startswith("lobula."):
        yield f"uses {chain}; import what is needed"
    if isinstance(node.ctx, ast.Store | ast.Del):
        yield from _assigned(node, names)


def _assigned(node: ast.Attribute | ast.Subscript, names: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in names:
        yield f"replaces {ast.unparse(node)}"
    root: ast.expr = node
    while isinstance(root, ast.Attribute | ast.Subscript):
        root = root.value
    if isinstance(root, ast.Call):
        yield f"changes the insides of {ast.unparse(root)}"
    elif isinstance(root, ast.Name) and root.id in names:
        yield f"changes {ast.unparse(node)}, which lives outside the region"
