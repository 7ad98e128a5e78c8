"""Per-type parameters of the fly circuit: the shipped ones, an .npz of values, or a flyvis checkpoint."""

import csv
import io
import pickle  # for its error only
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from lobula.connectome.optic_lobe_graph import OpticLobeTypes
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError

CALIBRATED = "calibrated"
CALIBRATED_FILE = "optic_lobe_parameters.csv"
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", "")


@dataclass(frozen=True, eq=False)
class TypeParameters:
    """One tau and rest per cell type, one strength per type pair: W = sign * n_syn * strength.

    Attributes:
        tau: (C,) float64 [s].
        v_rest: (C,) float64 [a.u.].
        strength: (P,) float64 [a.u. per synapse]; NaN for a pair that has none.
        n_syn: (K,) float64 synapse counts of the offsets where the source replaces the published ones, else None.
    """

    tau: np.ndarray
    v_rest: np.ndarray
    strength: np.ndarray
    n_syn: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.tau).all() and (self.tau > 0).all()):
            raise ShapeError("tau: got values that are not finite and positive, expected seconds > 0 for every type")
        if not np.isfinite(self.v_rest).all():
            raise ShapeError("v_rest: got values that are not finite, expected one number per type")


def load_parameters(source: str | Path, types: OpticLobeTypes) -> TypeParameters:
    """Read per-type parameters.

    Args:
        source: "calibrated" for the shipped values, or the path of a .csv (written by `parameters_to_csv`), an
            .npz (type_names, tau, v_rest, pair_source, pair_target, strength) or a flyvis checkpoint.
        types: the types and pairs that they belong to.

    Returns:
        The parameters in the order of `types`.

    Raises:
        MissingInputError: if there is no such file.
        ConfigError: if the kind of file is not known.
        StoreError: if the file does not hold the parameters of these types.
    """
    if str(source) == CALIBRATED:
        text = resources.files("lobula.package_data").joinpath(CALIBRATED_FILE).read_text(encoding="utf-8")
        return parameters_from_csv(text, types, CALIBRATED_FILE)
    path = Path(source).expanduser()
    if not path.is_file():
        raise MissingInputError(
            f"connectome.parameters: no file {str(source)!r}, expected 'calibrated' or the path of a .csv, .npz or "
            "flyvis checkpoint"
        )
    if path.suffix == ".csv":
        return parameters_from_csv(path.read_text(encoding="utf-8"), types, str(path))
    if path.suffix == ".npz":
        return _from_npz(path, types)
    if path.suffix in CHECKPOINT_SUFFIXES:
        return _from_checkpoint(path, types)
    raise ConfigError(
        f"connectome.parameters: got {path.name}, a file of kind {path.suffix!r}, expected .csv, .npz or a flyvis "
        "checkpoint (.pt)"
    )


def parameters_to_csv(parameters: TypeParameters, types: OpticLobeTypes, comment: str) -> str:
    """The parameters as readable text: one line per type (tau, v_rest), then one per pair (strength)."""
    out = io.StringIO()
    out.writelines(f"# {line}\n" for line in comment.splitlines())
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["kind", "source", "target", "tau_s", "v_rest", "strength"])
    for name, tau, v_rest in zip(types.names, parameters.tau, parameters.v_rest, strict=True):
        writer.writerow(["type", name, "", f"{tau:.6g}", f"{v_rest:.6g}", ""])
    for pair, strength in enumerate(parameters.strength):
        if np.isfinite(strength):
            writer.writerow(["pair", *types.pair_names(pair), "", "", f"{strength:.6g}"])
    return out.getvalue()


def parameters_from_csv(text: str, types: OpticLobeTypes, name: str) -> TypeParameters:
    """Read what `parameters_to_csv` wrote.

    Args:
        text: content of the file.
        types: the types and pairs that they belong to.
        name: what to call the file in an error.

    Raises:
        StoreError: if a row cannot be read, or a type or pair is missing.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    try:
        rows = list(csv.DictReader(lines))
        per_type = [(row["source"], float(row["tau_s"]), float(row["v_rest"])) for row in rows if row["kind"] == "type"]
        per_pair = [(row["source"], row["target"], float(row["strength"])) for row in rows if row["kind"] == "pair"]
    except (KeyError, TypeError, ValueError) as cause:
        raise StoreError(
            f"{name}: cannot be read ({cause}), expected columns kind, source, target, tau_s, ..."
        ) from cause
    names = [row[0] for row in per_type]
    tau, v_rest = [row[1] for row in per_type], [row[2] for row in per_type]
    return _ordered(name, types, names, tau, v_rest, {(s, t): value for s, t, value in per_pair})


def _from_npz(path: Path, types: OpticLobeTypes) -> TypeParameters:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as cause:
        raise StoreError(f"{path}: not a readable .npz archive ({cause})") from cause
    wanted = ("type_names", "tau", "v_rest", "pair_source", "pair_target", "strength")
    if missing := [key for key in wanted if key not in arrays]:
        raise StoreError(f"{path}: {', '.join(missing)} missing, expected {', '.join(wanted)}")
    pairs = zip(arrays["pair_source"].tolist(), arrays["pair_target"].tolist(), strict=True)
    strength = dict(zip(pairs, arrays["strength"].tolist(), strict=True))
    return _ordered(str(path), types, arrays["type_names"].tolist(), arrays["tau"], arrays["v_rest"], strength)


def _ordered(
    name: str,
    types: OpticLobeTypes,
    names: list[str],
    tau: np.ndarray | list[float],
    v_rest: np.ndarray | list[float],
    strength: dict[tuple[str, str], float],
) -> TypeParameters:
    """Bring named values into the order of `types`; pairs that no edge uses may be missing."""
    if missing := [type_name for type_name in types.names if type_name not in names]:
        raise StoreError(f"{name}: no values for {len(missing)} cell types ({', '.join(missing[:5])}), expected all")
    rows = [names.index(type_name) for type_name in types.names]
    return TypeParameters(
        tau=np.asarray(tau, dtype=np.float64)[rows],
        v_rest=np.asarray(v_rest, dtype=np.float64)[rows],
        strength=np.array([strength.get(types.pair_names(pair), np.nan) for pair in range(types.n_pairs)]),
    )


def _from_checkpoint(path: Path, types: OpticLobeTypes) -> TypeParameters:
    """The five tensors of a trained flyvis network; pairs and offsets in file order, the unused pair left out."""
    tensors = _checkpoint_tensors(path)
    used_offsets = types.offset_used
    used = np.bincount(types.offset_pair, weights=used_offsets, minlength=types.n_pairs) > 0
    n_types, n_pairs, n_offsets = types.n_types, int(used.sum()), int(used_offsets.sum())
    expected = {
        "nodes_bias": n_types,
        "nodes_time_const": n_types,
        "edges_sign": n_pairs,
        "edges_syn_count": n_offsets,
        "edges_syn_strength": n_pairs,
    }
    for key, size in expected.items():
        if key not in tensors or tensors[key].shape != (size,):
            got = tensors[key].shape if key in tensors else "nothing"
            raise StoreError(
                f"{path}: {key}: got {got}, expected ({size},); is this a flyvis network of this connectome?"
            )
    if not np.array_equal(np.sign(tensors["edges_sign"]), types.pair_sign[used]):
        raise StoreError(f"{path}: edges_sign: differs from the signs of the connectome, expected the same pairs")
    strength = np.full(types.n_pairs, np.nan)
    strength[used] = tensors["edges_syn_strength"]
    n_syn = types.offset_n_syn.copy()
    n_syn[used_offsets] = np.exp(tensors["edges_syn_count"])
    return TypeParameters(tensors["nodes_time_const"], tensors["nodes_bias"], strength, n_syn)


def _checkpoint_tensors(path: Path) -> dict[str, np.ndarray]:
    import torch  # only this reader needs it, and it takes a second to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as cause:
        raise StoreError(f"{path}: not a checkpoint that torch.load(weights_only=True) can read") from cause
    except pickle.UnpicklingError as cause:
        raise StoreError(f"{path}: refused, it holds more than tensors; export its state_dict and try again") from cause
    for key in ("network", "state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise StoreError(f"{path}: got {type(content).__name__}, expected a dictionary of tensors")
    return {
        str(key): value.detach().to(torch.float64).numpy()
        for key, value in content.items()
        if isinstance(value, torch.Tensor)
    }
