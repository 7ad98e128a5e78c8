"""What an instruction document says, as plain values: parameters with ranges, blocks, classes, permissions.

The documents are Markdown for a language model. What they fix is in YAML examples with comments, in tables of
parameters, in bullets, and in a few standing phrases; the rest is advice, and stays in the document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lobula.config.yaml_format import parse_yaml
from lobula.errors import ConfigError

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"range:?\s*({_NUMBER})\s*(?:to|-)\s*({_NUMBER})")
_LIST = re.compile(
    r"(?:values|options|choose from|to explore|available[^:]*values):\**\s*((?:[\w.+-]+)(?:,\s*[\w.+-]+)+)"
)
_FENCE = re.compile(r"^```(\w*)\s*$")
_KEY = re.compile(r"^\s*(\w+):(?:\s|$)")
_NAME = re.compile(r"`(\w+)(?::\s*([^`]+))?`")
_IN_PARENTHESES = re.compile(rf"`?(\w+)`?\s*\(({_NUMBER})\s*(?:-|to)\s*({_NUMBER})\)")
_FORBIDDEN = re.compile(r"do not (?:change|modify)|don't change|\bfixed\b", re.IGNORECASE)


@dataclass(frozen=True)
class Parameter:
    """A parameter as a document states it.

    Attributes:
        section: section of the YAML that it stands in, or empty.
        name: its name there.
        line: where it is first named, from 1.
        has_default: whether a default is given.
        default: the default.
        low: lowest value to try.
        high: highest value to try.
        choices: values to try.
        fixed: must not change at all.
        per_block: changes between blocks only.
    """

    section: str
    name: str
    line: int
    has_default: bool = False
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    fixed: bool = False
    per_block: bool = False

    def merged(self, other: "Parameter") -> "Parameter":
        """This one with what another mention adds; what is known already stays."""
        named = self if self.section else replace(self, section=other.section)
        if not self.has_default and other.has_default:
            named = replace(named, has_default=True, default=other.default)
        if self.low is None and other.low is not None:
            named = replace(named, low=other.low, high=other.high)
        choices = self.choices or other.choices
        fixed, per_block = self.fixed or other.fixed, self.per_block or other.per_block
        return replace(named, choices=choices, fixed=fixed, per_block=per_block)


@dataclass(frozen=True)
class Document:
    """What a document says.

    Attributes:
        text: the document.
        parameters: by name.
        facts: further facts by name, those that are there: n_iter, n_blocks, converged, failed, second_converged,
            weights, c, slots, replicate, minutes, limit_minutes, code_after.
    """

    text: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def read_document(text: str, source: str) -> Document:
    """Extract what a document fixes.

    Args:
        text: Markdown.
        source: its name, for messages.

    Raises:
        ConfigError: if an example in it is not valid YAML.
    """
    found: dict[str, Parameter] = {}
    lines = text.splitlines()
    mentions = [*_from_yaml(lines, source), *_from_tables(lines), *_from_bullets(lines), *_from_phrases(lines)]
    for parameter in mentions:
        known = found.get(parameter.name)
        found[parameter.name] = known.merged(parameter) if known else parameter
    return Document(text, found, _facts(text))


def scalar(text: str) -> Any:
    """A value of a table cell: what stands before a remark in parentheses."""
    return parse_yaml(re.sub(r"\s*\(.*\)\s*$", "", text.strip().strip("`*")), "value")


def _from_yaml(lines: list[str], source: str) -> Iterator[Parameter]:
    """Parameters of the YAML examples. The bold line above an example says when its values may change."""
    start, title = None, ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence and start is None:
            start = number + 1 if fence[1] in ("yaml", "yml") else -1
        elif fence:
            if start is not None and start > 0:
                yield from _example(lines[start:number], start, title, source)
            start = None
        elif start is None and line.startswith(("**", "#")):
            title = line


def _example(body: list[str], start: int, title: str, source: str) -> Iterator[Parameter]:
    document = parse_yaml("\n".join(body), f"{source}, example in line {start + 1}")
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise ConfigError(f"{source}: example in line {start + 1}: got no sections, expected section: and fields below")
    at_block, fixed = "block boundaries" in title.lower(), "fixed" in title.lower()
    for section, values in document.items():
        for name, default in values.items():
            number, comment = _comment(body, name)
            whole = at_block and "CHANGE AT BLOCK" not in "\n".join(body)
            yield _with_remark(
                Parameter(
                    *(section, name, start + number + 1, True, default),
                    fixed=fixed or bool(_FORBIDDEN.search(comment)),
                    per_block=(whole and "fixed" not in comment.lower()) or "change at block" in comment.lower(),
                ),
                comment,
            )


def _comment(body: list[str], name: str) -> tuple[int, str]:
    """Line of a key, and its comment with the comment lines that follow it without a key of their own."""
    index = next(i for i, line in enumerate(body) if (key := _KEY.match(line)) and key[1] == name)
    words = [body[index].partition("#")[2]]
    for line in body[index + 1 :]:
        if not line.strip().startswith("#") or "explore" not in line:
            break
        words.append(line.partition("#")[2])
    return index, " ".join(words)


def _with_remark(parameter: Parameter, remark: str) -> Parameter:
    """A parameter with the range or the values that a remark gives."""
    bounds, listed = _RANGE.search(remark), _LIST.search(remark.lower() if "`" not in remark else remark)
    if bounds:
        low, high = sorted(float(bound) for bound in bounds.groups())
        parameter = replace(parameter, low=low, high=high)
    if listed:
        parameter = replace(parameter, choices=tuple(scalar(word) for word in listed[1].split(",")))
    return parameter


def _from_tables(lines: list[str]) -> Iterator[Parameter]:
    """Parameters of tables with a column "Parameter", and ranges in parentheses of tables of blocks."""
    head: list[str] = []
    for number, line in enumerate(lines):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            head = []
        elif not head:
            head = [cell.lower() for cell in cells]
        elif set(line.strip()) <= set("|-: "):
            continue
        elif head[0] in ("parameter", "config parameter") and len(cells) == len(head):
            yield from _row(dict(zip(head, cells, strict=True)), number + 1)
        elif head[0] == "block" and "parameters to explore" in head:
            for name, low, high in _IN_PARENTHESES.findall(cells[-1]):
                yield Parameter("", name, number + 1, low=float(low), high=float(high))


def _row(cells: dict[str, str], line: int) -> Iterator[Parameter]:
    named = re.match(r"`(\w+)`", next(iter(cells.values())))
    if named is None:
        return
    parameter = Parameter("", named[1], line)
    default = next((text for head, text in cells.items() if head.startswith("default")), None)
    if default:
        parameter = replace(parameter, has_default=True, default=scalar(default))
    spread = next((text for head, text in cells.items() if "range" in head), "")
    parameter = _with_remark(parameter, f"range: {spread}" if re.match(rf"{_NUMBER}\s*(?:to|-)", spread) else "")
    if spread.count(",") and not spread.startswith("["):
        parameter = replace(parameter, choices=tuple(scalar(word) for word in spread.split(",")))
    quoted = re.findall(r'"(\w+)" or "(\w+)"', cells.get("description", ""))
    yield replace(parameter, choices=quoted[0]) if quoted else parameter


def _from_bullets(lines: list[str]) -> Iterator[Parameter]:
    """Bullets such as "- `hidden_dim` / `n_layers`: ... (default: 80 / 3)" and "- `ucb_c`: float value (0.5-3.0)"."""
    for number, line in enumerate(lines):
        bullet = re.match(r"^[-*]\s+((?:`\w+`(?:\s*/\s*)?)+):\s*(.*)$", line)
        if bullet is None:
            continue
        names, rest = re.findall(r"`(\w+)`", bullet[1]), bullet[2]
        given = re.search(r"\(default:\s*([^)]*)\)", rest)
        defaults = [scalar(word) for word in given[1].split("/")] if given else []
        if len(defaults) == len(names):
            pairs = zip(names, defaults, strict=True)
            yield from (Parameter("", name, number + 1, True, default) for name, default in pairs)
        elif re.match(r"(?:int|float)\b", rest):
            yield Parameter("claude", names[0], number + 1)


def _from_phrases(lines: list[str]) -> Iterator[Parameter]:
    """Parameters that must not change, and lists of the values of a block."""
    for number, line in enumerate(lines):
        forbidden = re.search(r"DO NOT change\**(.*)", line)
        if forbidden and not line.lstrip().startswith(("#", "|")):
            for name, value in _NAME.findall(forbidden[1]):
                default = {"has_default": True, "default": scalar(value)} if value else {}
                yield Parameter("", name, number + 1, fixed=True, **default)
        listed = re.search(rf"Available `(\w+)` values:\s*({_NUMBER}(?:,\s*{_NUMBER})+)", line)
        if listed:
            yield Parameter("", listed[1], number + 1, choices=tuple(scalar(word) for word in listed[2].split(",")))
        defines = re.search(r"`(\w+)` value defines the block", line)
        if defines:
            yield Parameter("", defines[1], number + 1, per_block=True)


def _facts(text: str) -> dict[str, Any]:
    """Standing phrases with a number in them."""
    patterns = {
        "n_iter": r"n_iter_block`?\s+iterations\s+\(default\s+(\d+)\)|\((\d+) total baseline runs\)",
        "converged": rf"\*\*Converged\*\*:\s*connectivity_R2\s*>\s*({_NUMBER})",
        "failed": rf"\*\*Failed\*\*:\s*connectivity_R2\s*<\s*({_NUMBER})|<\s*({_NUMBER})\s*\|[^|]*\|\s*\*\*failed\*\*",
        "c": rf"ucb_c:\s*({_NUMBER})",
        "slots": r"(\d+) (?:results per batch|parallel slots)",
        "minutes": r"training_time\s*~\s*(\d+)\s*min",
        "limit_minutes": r"exceeds\s+(\d+)\s+minutes",
        "code_after": r"modify code in (?:the )?first (\d+) iterations",
    }
    found: dict[str, Any] = {}
    for name, pattern in patterns.items():
        hit = re.search(pattern, text)
        if hit:
            found[name] = float(next(group for group in hit.groups() if group is not None))
    dual = re.search(rf">\s*({_NUMBER})\s*\|\s*>\s*({_NUMBER})\s*\|\s*\*\*CONVERGED\*\*", text)
    if dual:
        found |= {"converged": float(dual[1]), "second_converged": float(dual[2])}
    weights = re.search(rf"\(({_NUMBER})\s*[×x*]\s*R²\w*\s*\+\s*({_NUMBER})\s*[×x*]\s*cluster\w*\)", text)
    if weights:
        found["weights"] = (float(weights[1]), float(weights[2]))
    hours = re.search(r"Target ~(\d+)h per iteration", text)
    if hours and "minutes" not in found:
        found["minutes"] = 60.0 * float(hours[1])
    share = re.search(r"At least (\d+) of (\d+) slots should be replicates", text)
    if share:
        found["replicate"] = int(share[1]) / int(share[2])
    partition = re.findall(r"^\|\s*(\d+)\s*\|[^|]*\|[^|]*\|\s*$", text.partition("## Block Partition")[2], re.MULTILINE)
    return found | ({"n_blocks": len(partition)} if partition else {})
