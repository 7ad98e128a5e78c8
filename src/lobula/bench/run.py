"""Runs rows and says where they ran."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import torch

from lobula.bench import hardware, rows
from lobula.bench.gpu import gpu
from lobula.bench.names import ROW_NAMES
from lobula.bench.rows import Sizes
from lobula.bench.scale import brain, scale
from lobula.bench.signal import signal
from lobula.bench.timing import Row
from lobula.data.provenance import code_state, device_facts, versions
from lobula.errors import ConfigError
from lobula.kernels.native.build import library

logger = logging.getLogger(__name__)

_CALLS: tuple[Callable[[Sizes], list[Row]], ...] = (
    *(rows.step, rows.simulate, rows.ridge, rows.recover, rows.io),
    *(scale, brain, signal, gpu),
)
ROWS = dict(zip(ROW_NAMES, _CALLS, strict=True))


def chosen_rows(names: Sequence[str]) -> list[str]:
    """The rows that these names stand for; "all" stands for every row, that of a GPU where there is one.

    Raises:
        ConfigError: if a name is not known.
    """
    everything = [name for name in ROWS if name != "gpu" or torch.cuda.is_available()]
    chosen = everything if "all" in names else list(names)
    unknown = [name for name in chosen if name not in ROWS]
    if unknown:
        raise ConfigError(f"bench: got {unknown[0]!r}, expected one of {', '.join(ROWS)}, all")
    return chosen


def run_rows(names: Sequence[str], sizes: Sizes, on_row: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """Times the named rows and the hardware's own limits.

    Args:
        names: out of `ROWS`, or "all".
        sizes: what the rows work on.
        on_row: called with the name of every row before it is timed.

    Returns:
        For JSON: date, machine, versions, hardware limits, rows.

    Raises:
        ConfigError: if a name is not known.
    """
    found: list[dict[str, Any]] = []
    for name in chosen_rows(names):
        logger.info("bench: %s", name)
        on_row(name)
        found += [{"row": name, **row.to_dict()} for row in ROWS[name](sizes)]
    # last, because its arrays are large and the rows look at the peak of memory
    limits = {"gemm_gflop_per_s": hardware.gemm_rate(), "copy_gb_per_s": hardware.copy_rate()}
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": device_facts() | {"kernels": "torch" if library() is None else "C"},
        "versions": versions(),
        "code": code_state(),
        "sizes": vars(sizes),
        "limits": limits,
        "rows": found,
    }
