"""What a recording store must hold, and how large it is."""

from pathlib import Path

import zarr

from lobula.data.wiring import Wiring, has_edges
from lobula.errors import StoreError

AFTER = "after"
"""Array (K, N) of a split with trials: the voltage one step after each trial's last frame."""
VISITED = "visited"
"""Array (2 K, N) of a split: lowest and highest voltage of every chunk of frames; older stores have none."""


def field_width(field: str, wiring: Wiring) -> int:
    """Columns of a dynamic field: one per stimulus column for the stimulus (if the wiring has them), else N."""
    return wiring.n_columns if field == "stimulus" and wiring.stimulus_column is not None else wiring.n_neurons


def check_layout(path: Path, root: zarr.Group) -> None:
    """Check that a recording store holds everything that its attributes promise.

    Raises:
        StoreError: if an attribute or an array is missing, or its length is wrong.
    """
    attributes = dict(root.attrs)
    lacking = [name for name in ("dt", "fields", "splits", "chunk_frames") if name not in attributes]
    lacking += [] if "wiring" in root and has_edges(root["wiring"]) else ["wiring/edge_index"]
    for split in attributes.get("splits", ()):
        counts = dict(root[split].attrs) if split in root else {}
        lacking += [f"{split}/{name}" for name in ("n_frames_planned", "n_frames_written") if name not in counts]
        lacking += [f"{split}/{AFTER}"] if "trial_frames" in counts and f"{split}/{AFTER}" not in root else []
        lacking += [f"{split}/{field}" for field in attributes.get("fields", ()) if f"{split}/{field}" not in root]
    if lacking:
        raise StoreError(f"{path}: truncated or damaged, {', '.join(lacking)} missing; run simulate with --force")
    for split in attributes["splits"]:
        counts = dict(root[split].attrs)
        for field in attributes["fields"]:
            length = root[f"{split}/{field}"].shape[0]
            if length != counts["n_frames_planned"] or counts["n_frames_written"] > length:
                raise StoreError(
                    f"{path}: {split}/{field} holds {length} frames, expected {counts['n_frames_planned']}; "
                    "run simulate with --force"
                )


def recording_bytes(n_frames: int, n_neurons: int, n_columns: int, with_drift: bool = False) -> int:
    """Upper bound of a recording's size on disk [bytes], uncompressed float32; columns of the stimulus, 0 for none."""
    return 4 * n_frames * (n_neurons * (2 if with_drift else 1) + n_columns)
