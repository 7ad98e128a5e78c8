"""`lobula bench`: how fast lobula is on this machine, as ratios against plain formulations."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lobula.bench.names import ROW_NAMES
from lobula.cli.options import AsJson, Debug
from lobula.cli.session import session
from lobula.cli.tables import plain_table, size, terminal
from lobula.data.atomic import atomic_write_bytes, atomic_write_text
from lobula.errors import ConfigError

Names = Annotated[
    list[str] | None, typer.Argument(metavar="[ROW]...", help=f"{', '.join(ROW_NAMES)}, all.", show_default="step")
]
Extent = Annotated[int, typer.Option("--extent", min=0, max=20, help="Radius of the optic lobe; 8 is the whole.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Times that each call is timed; medians are shown.")]
Frames = Annotated[int, typer.Option("--frames", min=100, help="Frames of the ridge and refit rows.")]
Folder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Also write the result there, dated.", show_default=False)
]


def bench(
    rows: Names = None,
    extent: Extent = 8,
    repeats: Repeats = 5,
    frames: Frames = 8000,
    out: Folder = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Time the hot paths against plain formulations of the same arithmetic, in this process, in turns.

    Rows: step (training), simulate, ridge, recover (refit from a network), io, scale (cost against size),
    brain (139,255 neurons), signal (1,000 neurons, all connected), gpu (steps on the first GPU; part of all where there
    is one). Nothing else should run meanwhile.

    Example:  [bold]lobula bench step ridge --out benchmarks/results/speed[/bold]
    """
    with session(debug):
        from lobula.bench.rows import Sizes
        from lobula.bench.run import chosen_rows, run_rows

        if out is not None and out.exists() and not out.is_dir():
            raise ConfigError(f"--out: {out} is a file, expected a folder; choose another")
        names = chosen_rows(rows or ["step"])
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("bench", total=len(names) + 1)

            def begin(name: str) -> None:
                bar.update(task, description=f"bench: {name}", advance=1)

            result = run_rows(names, Sizes(extent, repeats, frames), begin)
        text = json.dumps(result, indent=1)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            name = f"{datetime.now(UTC):%Y-%m-%d}-{'-'.join(rows or ['step'])}.json"
            atomic_write_text(out / name, text + "\n")
            draw_cost(result["rows"], out / name.replace(".json", ".png"))
        if as_json:
            typer.echo(text)
        else:
            limits = result["limits"]
            terminal().print(plain_table(["", "lobula", "plain", "ratio", ""], [_line(row) for row in result["rows"]]))
            typer.echo(
                f"this machine: {limits['gemm_gflop_per_s']:.0f} GFLOP/s in a large matrix product, "
                f"{limits['copy_gb_per_s']:.0f} GB/s in a copy"
            )


def draw_cost(rows: list[dict[str, Any]], path: Path) -> None:
    """The figure of the row `scale`, if it was timed."""
    measured = [row for row in rows if row["row"] == "scale"]
    if measured:
        facts = {row["name"].removeprefix("scale: "): row["facts"] for row in measured}
        seconds, exponents = ({n: own[key] for n, own in facts.items()} for key in ("seconds", "log_log_slope"))
        from lobula.figures import LIGHT, cost_curves  # matplotlib takes a second to import

        figure, _ = cost_curves(measured[0]["facts"]["edges"], seconds, exponents, LIGHT)
        atomic_write_bytes(path, LIGHT.save(figure, "png"))


def _line(row: dict[str, Any]) -> list[str]:
    facts, notes = row["facts"], []
    if "share_of_gemm" in facts:
        notes.append(f"{facts['gflop_per_s']:.0f} GFLOP/s, {100 * facts['share_of_gemm']:.0f} % of the matrix product")
    if "log_log_slope" in facts:
        notes.append(f"grows as edges^{facts['log_log_slope']:.2f}, neurons^{facts['log_log_slope_neurons']:.2f}")
    notes += [f"{label} {size(facts[key])}" for key, label in _MEMORY.items() if key in facts]
    if "share_of_allowed" in facts:
        notes.append(f"{100 * facts['share_of_allowed']:.0f} % of what operations and bytes allow")
    if "seconds_as_published" in facts:
        notes.append(f"128,000 steps in {_time(facts['seconds_as_published'])}")
    if "write_mb_per_s" in facts:
        notes.append(f"writes {facts['write_mb_per_s']:.0f} MB/s")
    plain, ratio = row["plain_seconds"], row["ratio"]
    times = [_time(row["seconds"]), _time(plain) if plain else "-", f"{ratio:.1f}" if ratio else "-"]
    return [row["name"], *times, ", ".join(notes)]


def _time(seconds: float) -> str:
    unit, factor = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e-3)) if seconds >= f), ("µs", 1e-6))
    return f"{seconds / factor:.3g} {unit}"


_MEMORY = {"peak_memory_of_a_step": "memory of a step", "peak_memory": "memory"}
