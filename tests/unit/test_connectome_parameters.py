"""Per-type parameters from every source that lobula reads, and what it refuses."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lobula.connectome import (
    Connectome,
    TypeParameters,
    load_parameters,
    optic_lobe,
    optic_lobe_types,
    parameters_to_csv,
)
from lobula.errors import ConfigError, MissingInputError, ShapeError, StoreError

TYPES = optic_lobe_types()
USED_PAIRS = np.bincount(TYPES.offset_pair, weights=TYPES.offset_used, minlength=TYPES.n_pairs) > 0


def some_parameters(seed: int = 0) -> TypeParameters:
    generator = np.random.default_rng(seed)
    strength = np.where(USED_PAIRS, generator.uniform(0.001, 0.1, TYPES.n_pairs), np.nan)
    return TypeParameters(
        generator.uniform(0.02, 0.3, TYPES.n_types), generator.normal(0.5, 0.1, TYPES.n_types), strength
    )


def save_npz(path: Path, parameters: TypeParameters, order: np.ndarray) -> None:
    pairs = np.array([TYPES.pair_names(pair) for pair in np.flatnonzero(USED_PAIRS)])
    np.savez(
        path,
        type_names=np.array(TYPES.names)[order],
        tau=parameters.tau[order],
        v_rest=parameters.v_rest[order],
        pair_source=pairs[:, 0],
        pair_target=pairs[:, 1],
        strength=parameters.strength[USED_PAIRS],
    )


def checkpoint(parameters: TypeParameters) -> dict[str, torch.Tensor]:
    used = TYPES.offset_used
    return {
        "nodes_bias": torch.tensor(parameters.v_rest),
        "nodes_time_const": torch.tensor(parameters.tau),
        "edges_sign": torch.tensor(TYPES.pair_sign[USED_PAIRS]),
        "edges_syn_count": torch.tensor(np.log(TYPES.offset_n_syn[used])),
        "edges_syn_strength": torch.tensor(parameters.strength[USED_PAIRS]),
    }


def assert_same(a: TypeParameters, b: TypeParameters, rtol: float = 1e-12) -> None:
    for name in ("tau", "v_rest", "strength"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=rtol)


def test_shipped_parameters_hold_734_numbers():
    shipped = load_parameters("calibrated", TYPES)
    assert shipped.tau.size + shipped.v_rest.size + np.isfinite(shipped.strength).sum() == 734
    assert (shipped.tau >= 0.02).all()
    assert (shipped.tau <= 0.3).all()
    assert (shipped.strength[USED_PAIRS] > 0).all()


def test_csv_round_trip(tmp_path):
    parameters = some_parameters()
    file = tmp_path / "p.csv"
    file.write_text(parameters_to_csv(parameters, TYPES, "two\nlines"))
    assert_same(load_parameters(file, TYPES), parameters, rtol=1e-5)


def test_npz_in_any_order(tmp_path):
    parameters = some_parameters()
    save_npz(tmp_path / "p.npz", parameters, np.random.default_rng(1).permutation(TYPES.n_types))
    assert_same(load_parameters(tmp_path / "p.npz", TYPES), parameters)


@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoint_equals_npz(tmp_path, wrapped):
    parameters = some_parameters()
    tensors = checkpoint(parameters)
    torch.save({"network": tensors, "epoch": 3} if wrapped else tensors, tmp_path / "p.pt")
    save_npz(tmp_path / "p.npz", parameters, np.arange(TYPES.n_types))
    a, b = optic_lobe(2, tmp_path / "p.pt"), optic_lobe(2, tmp_path / "p.npz")
    np.testing.assert_allclose(a.weight, b.weight, rtol=1e-12)
    np.testing.assert_array_equal(a.tau, b.tau)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    tensors = checkpoint(some_parameters())
    torch.save(tensors | {"edges_syn_strength": torch.ones(10)}, tmp_path / "p.pt")
    with pytest.raises(StoreError, match=r"edges_syn_strength: got \(10,\), expected \(604,\)"):
        load_parameters(tmp_path / "p.pt", TYPES)
    torch.save(tensors | {"edges_sign": -tensors["edges_sign"]}, tmp_path / "q.pt")
    with pytest.raises(StoreError, match="edges_sign"):
        load_parameters(tmp_path / "q.pt", TYPES)


def test_checkpoint_that_would_run_code_is_refused(tmp_path):
    torch.save({"network": os.system}, tmp_path / "p.pt")
    with pytest.raises(StoreError, match="more than tensors"):
        load_parameters(tmp_path / "p.pt", TYPES)


def test_damaged_files_are_refused(tmp_path):
    for name in ("p.pt", "p.npz", "p.csv"):
        (tmp_path / name).write_text("not parameters")
        with pytest.raises(StoreError):
            load_parameters(tmp_path / name, TYPES)


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match="calibrated"):
        load_parameters(tmp_path / "nothing.npz", TYPES)
    (tmp_path / "p.xlsx").write_text("")
    with pytest.raises(ConfigError, match=r"\.xlsx"):
        load_parameters(tmp_path / "p.xlsx", TYPES)


def test_a_missing_type_is_named(tmp_path):
    save_npz(tmp_path / "p.npz", some_parameters(), np.arange(TYPES.n_types - 1))
    with pytest.raises(StoreError, match="TmY18"):
        load_parameters(tmp_path / "p.npz", TYPES)


@pytest.mark.parametrize("tau", [0.0, -0.1, np.nan])
def test_time_constants_are_positive(tau):
    good = some_parameters()
    with pytest.raises(ShapeError, match="tau"):
        TypeParameters(np.full_like(good.tau, tau), good.v_rest, good.strength)


def test_truth_store_round_trip(tmp_path):
    c = optic_lobe(1)
    c.save(tmp_path / "truth.zarr")
    d = Connectome.load(tmp_path / "truth.zarr")
    assert d.cell_type_names == c.cell_type_names
    np.testing.assert_array_equal(d.wiring.edge_index, c.wiring.edge_index)
    for name in ("weight", "tau", "v_rest", "cell_type", "u", "v", "n_syn", "sign", "columns"):
        np.testing.assert_array_equal(getattr(d, name), getattr(c, name))


def test_a_value_per_edge_and_per_neuron_is_required():
    c = optic_lobe(1)
    with pytest.raises(ShapeError, match="weight: got shape"):
        c.with_weight(c.weight[:-1])
