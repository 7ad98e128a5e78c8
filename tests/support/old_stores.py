"""Small datasets in the layouts of earlier programs, written with zarr and NumPy alone."""

from pathlib import Path

import numpy as np
import torch
import zarr

N_NEURONS = 6
EDGES = np.array([[0, 1, 2, 3, 4, 5, 0, 3], [2, 3, 4, 2, 5, 4, 3, 4]])  # unsorted, as an exporter may leave it


def frames(n_frames: int, seed: int = 0, dt: float = 0.02) -> dict[str, np.ndarray]:
    """Fields of a circuit that obeys `parameters`: neurons 0 and 1 see one light, neuron 2 another, the rest none."""
    rng, known = np.random.default_rng(seed), parameters()
    light = rng.random((n_frames, 2)).astype(np.float32)
    stimulus = np.zeros((n_frames, N_NEURONS), dtype=np.float32)
    stimulus[:, :2], stimulus[:, 2] = light[:, :1], light[:, 1]
    voltage = np.zeros((n_frames, N_NEURONS), dtype=np.float32)
    drift = np.zeros_like(voltage)
    state = rng.standard_normal(N_NEURONS)
    for t in range(n_frames):
        voltage[t] = state
        message = np.zeros(N_NEURONS)
        np.add.at(message, EDGES[1], known["W"].numpy() * np.maximum(state[EDGES[0]], 0))
        drift[t] = (-state + known["V_i_rest"].numpy() + message + stimulus[t]) / known["tau_i"].numpy()
        state = state + dt * drift[t] + 0.05 * rng.standard_normal(N_NEURONS)
    other = rng.standard_normal((2, n_frames, N_NEURONS)).astype(np.float32)
    return {"voltage": voltage, "stimulus": stimulus, "calcium": other[0], "fluorescence": other[1], "drift": drift}


def static() -> dict[str, np.ndarray]:
    """Static fields."""
    n = np.arange(N_NEURONS)
    pos = np.stack([n * 0.5, -n * 0.25], axis=1).astype(np.float32)
    return {"index": n, "pos": pos, "group_type": n // 3, "neuron_type": np.array([4, 4, 1, 1, 0, 0])}


def parameters() -> dict[str, torch.Tensor]:
    """What ode_params.pt holds."""
    rng = np.random.default_rng(3)
    values = {"tau_i": rng.uniform(0.05, 0.2, N_NEURONS), "V_i_rest": rng.uniform(0, 0.5, N_NEURONS)}
    values["W"] = rng.normal(0, 0.5, EDGES.shape[1])
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    return tensors | {"edge_index": torch.from_numpy(EDGES)}


def packed(values: dict[str, np.ndarray]) -> np.ndarray:
    """(T, N, 9) with columns index, x, y, voltage, stimulus, group, type, calcium, fluorescence."""
    shape, fixed = values["voltage"].shape, static()
    columns = [fixed["index"], *fixed["pos"].T, values["voltage"], values["stimulus"], fixed["group_type"]]
    columns += [fixed["neuron_type"], values["calcium"], values["fluorescence"]]
    return np.stack([np.broadcast_to(column, shape) for column in columns], axis=2).astype(np.float32)


def write(
    path: Path, layout: str, values: dict[str, np.ndarray], zarr_format: int = 2, metadata_columns: int = 5
) -> Path:
    """Write a store; returns where it is."""
    if layout == "npy":
        path = path.with_name(f"{path.name}.npy")
        np.save(path, packed(values))
    elif layout == "v1":
        path = path.with_name(f"{path.name}.zarr")
        write_array(path, packed(values), zarr_format)
    elif layout == "v2":
        fixed = static()
        columns = [fixed["index"], *fixed["pos"].T, fixed["group_type"], fixed["neuron_type"]][5 - metadata_columns :]
        write_array(path / "metadata.zarr", np.stack(columns, axis=1).astype(np.float32), zarr_format)
        series = [values[name] for name in ("voltage", "stimulus", "calcium", "fluorescence")]
        write_array(path / "timeseries.zarr", np.stack(series, axis=2), zarr_format)
    else:
        names = {name: array for name, array in values.items() if name != "drift"}
        for name, array in {**names, **{k: v for k, v in static().items() if k != "index"}}.items():
            write_array(path / f"{name}.zarr", array, zarr_format)
    return path


def write_array(path: Path, values: np.ndarray, zarr_format: int = 2) -> None:
    """Write one zarr array in chunks of some frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = (min(7, len(values)), *values.shape[1:])
    array = zarr.create_array(path, shape=values.shape, dtype=values.dtype, chunks=chunks, zarr_format=zarr_format)
    array[...] = values


def write_dataset(folder: Path, n_train: int = 90, n_test: int = 30, with_drift: bool = True) -> Path:
    """A dataset folder with x_list_train, x_list_test, their derivatives and ode_params.pt."""
    for split, n_frames, seed in (("train", n_train, 1), ("test", n_test, 2)):
        values = frames(n_frames, seed)
        write(folder / f"x_list_{split}", "v3", values)
        if with_drift:
            write_array(folder / f"y_list_{split}.zarr", values["drift"][:, :, None])
    torch.save(parameters(), folder / "ode_params.pt")
    return folder
