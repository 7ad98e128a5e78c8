"""Marked regions of a module, and the check that a change stays inside them: by line, then by syntax tree.

A region lies between two comment lines of equal indentation, ``# === LLM-MODIFIABLE: NAME START ===`` and the same with
END. Regions may lie in regions; what counts is the outermost.
"""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lobula.errors import PatchError

_WORD = "LLM-MODIFIABLE"
_MARK = re.compile(rf"( *)# === {_WORD}: (.+) (START|END) ===")
_LEAVES = ast.Return | ast.Yield | ast.YieldFrom | ast.Await
_Def = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = _Def | ast.ClassDef | ast.Lambda


@dataclass
class Region:
    """A marked region.

    Attributes:
        name: as in its markers.
        indent: of the markers, columns.
        first, last: lines of the markers, from 1.
        statements: that it holds, once the module is cut.
        in_function: whether it lies in a function's body.
    """

    name: str
    indent: int
    first: int
    last: int
    statements: list[ast.stmt] = field(default_factory=list)
    in_function: bool = False


@dataclass
class Module:
    """A module, cut into regions and the rest.

    Attributes:
        lines: of its text.
        tree: syntax tree of all but the regions.
        regions: outermost ones, in order.
    """

    lines: list[str]
    tree: ast.Module
    regions: list[Region]

    @property
    def outside(self) -> list[tuple[int, str]]:
        """Number and text of the lines outside the regions, markers included."""
        inside = {n for region in self.regions for n in range(region.first + 1, region.last)}
        return [(n, line) for n, line in enumerate(self.lines, 1) if n not in inside]


def parse_module(text: str, name: str) -> Module:
    """Cuts a module.

    Args:
        text: source.
        name: of the file, for messages.

    Raises:
        PatchError: if it does not parse, its markers do not pair, or a statement crosses one.
    """
    lines = text.split("\n")
    module = Module(lines, _tree(text, name), list(_regions(lines, name)))
    _cut(module.tree, module.regions, name, False)
    return module


def check_marks(before: str, after: str, name: str) -> None:
    """Refuses a change of a marker, or of any line that speaks of them.

    Raises:
        PatchError: naming the file.
    """
    old, new = ([line for line in text.split("\n") if _WORD in line] for text in (before, after))
    if old != new:
        raise PatchError(f"{name}: the patch changes a marker, expected all {_WORD} lines as they were")


def check_inside(old: Module, new: Module, name: str) -> list[Region]:
    """The regions that differ, where nothing else does.

    Raises:
        PatchError: if a line or a statement outside the regions differs, or a region changes what the code
            around it counts on: signatures, names, returns.
    """
    for (_, was), (n, now) in zip(old.outside, new.outside, strict=False):
        if was != now:
            raise PatchError(f"{name}:{n}: the patch changes a line outside the markers ({now.strip() or was.strip()})")
    if len(old.outside) != len(new.outside):
        raise PatchError(f"{name}: the patch adds or removes lines outside the markers")
    if ast.dump(old.tree) != ast.dump(new.tree):
        raise PatchError(f"{name}: the patch changes the meaning of code outside the markers")
    changed = []
    for before, after in zip(old.regions, new.regions, strict=True):
        if [ast.dump(s) for s in before.statements] != [ast.dump(s) for s in after.statements]:
            _check_region(new, before, after, name)
            changed.append(after)
    return changed


def _tree(text: str, name: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, name, "exec", dont_inherit=True)  # finds a stray break, which ast.parse does not
            return ast.parse(text)
    except SyntaxError as error:
        raise PatchError(f"{name}:{error.lineno}: does not parse ({error.msg})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise PatchError(f"{name}: does not parse ({error})") from None


def _regions(lines: Sequence[str], name: str) -> Iterator[Region]:
    open_ones: list[Region] = []
    for n, line in enumerate(lines, 1):
        found = _MARK.fullmatch(line)
        if found is None:
            continue
        indent, title, end = len(found[1]), found[2], found[3] == "END"
        if not end:
            open_ones.append(Region(title, indent, n, n))
        elif not open_ones or (open_ones[-1].name, open_ones[-1].indent) != (title, indent):
            raise PatchError(f"{name}:{n}: END of {title} has no START of that name and indentation")
        else:
            region = open_ones.pop()
            region.last = n
            if not open_ones:
                yield region
    if open_ones:
        raise PatchError(f"{name}:{open_ones[-1].first}: START of {open_ones[-1].name} has no END")


def _cut(node: ast.AST, regions: list[Region], name: str, in_function: bool) -> None:
    """Moves statements from the tree to the region that holds them."""
    in_function = (in_function or isinstance(node, _Def)) and not isinstance(node, ast.ClassDef)
    for children in (value for _, value in ast.iter_fields(node) if isinstance(value, list)):
        for child in list(children):
            if not isinstance(child, ast.stmt):
                if isinstance(child, ast.ExceptHandler | ast.match_case):
                    _cut(child, regions, name, in_function)
                continue
            region = _holding(child, regions, name)
            if region is None:
                _cut(child, regions, name, in_function)
                continue
            if child.col_offset != region.indent:
                raise PatchError(
                    f"{name}:{child.lineno}: a statement of {region.name} stands at column {child.col_offset}, "
                    f"expected {region.indent}, as its markers do"
                )
            children.remove(child)
            region.statements.append(child)
            region.in_function = in_function


def _holding(statement: ast.stmt, regions: list[Region], name: str) -> Region | None:
    starts = [statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))]
    first, last = min(starts), statement.end_lineno or statement.lineno
    for region in regions:
        if region.first < first and last < region.last:
            return region
        apart, around = last < region.first or first > region.last, first < region.first and last > region.last
        # a body's last statement ends before an END that follows it: it is around what it began before
        if not apart and not around and not (first < region.first and _ends_in(statement, region)):
            raise PatchError(f"{name}:{first}: a statement crosses a marker of {region.name}")
    return None


def _ends_in(statement: ast.stmt, region: Region) -> bool:
    """Whether a compound statement ends with a statement of the region that its own body holds."""
    return any(
        isinstance(child, ast.stmt)
        and child is not statement
        and region.first < child.lineno
        and child.col_offset == region.indent
        for child in ast.walk(statement)
    )


def _check_region(module: Module, old: Region, new: Region, name: str) -> None:
    where = f"{name}: {new.name}"
    was, now = signatures(old.statements), signatures(new.statements)
    for function, form in was.items():
        if now.get(function) != form:
            raise PatchError(f"{where}: signature or decorators of {function} changed, expected them as they were")
    added = Counter(_leaving(new.statements)) - Counter(_leaving(old.statements))
    lost = Counter(_leaving(old.statements)) - Counter(_leaving(new.statements))
    if added or lost:
        raise PatchError(f"{where}: what is returned from around the region changed, expected returns as they were")
    if not new.in_function:
        taken = sorted(bound(new.statements) & names_outside(module.tree) - bound(old.statements))
        if taken:
            raise PatchError(f"{where}: binds {taken[0]}, which the code outside the markers defines")


def signatures(statements: Sequence[ast.stmt], prefix: str = "") -> dict[str, str]:
    """What each function and class of some statements looks like from outside, by name."""
    found = {}
    for node in statements:
        decorators = [ast.dump(d) for d in getattr(node, "decorator_list", ())]
        if isinstance(node, _Def):
            returns = ast.dump(node.returns) if node.returns else ""
            found[prefix + node.name] = f"{type(node).__name__} {ast.dump(node.args)} {returns} {decorators}"
        elif isinstance(node, ast.ClassDef):
            found[prefix + node.name] = f"class {[ast.dump(b) for b in (*node.bases, *node.keywords)]} {decorators}"
            found |= signatures(node.body, f"{prefix}{node.name}.")
    return found


def bound(statements: Sequence[ast.stmt]) -> set[str]:
    """Names that some statements bind in their own scope."""
    return {name for statement in statements for node in _shallow(statement) for name in _binds(node)}


def names_outside(tree: ast.Module) -> set[str]:
    """Names of functions, classes, imports and constants that a module defines, at any depth of its classes."""
    found = bound(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= bound(node.body)
    return found


def _binds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _Def | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        yield node.id


def _leaving(statements: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        yield from (ast.dump(node) for node in _shallow(statement) if isinstance(node, _LEAVES))


def _shallow(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it, but not what is in functions and classes."""
    yield node
    if not isinstance(node, _Scope):
        for child in ast.iter_child_nodes(node):
            yield from _shallow(child)
