"""Named random streams: independent, reproducible, and without a special seed."""

import numpy as np
import pytest
import torch

from lobula.data.streams import Streams, streams
from lobula.errors import ConfigError

GOLDEN_DRAWS = [189, 339, 296, 138]
GOLDEN_SEED = 1183917255940809193


def test_same_name_same_stream_and_fresh_each_time() -> None:
    first, again = (streams(0).generator("noise", "train", 3).random(5) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("name", "keys"),
    [("noise", ("train", 4)), ("noise", ("test", 3)), ("noise", ("train", "3")), ("init", ("train", 3)), ("noise", ())],
)
def test_other_names_are_other_streams(name: str, keys: tuple) -> None:
    reference = streams(0).generator("noise", "train", 3).standard_normal(4_000)
    other = streams(0).generator(name, *keys).standard_normal(4_000)
    assert abs(np.corrcoef(reference, other)[0, 1]) < 0.06


def test_words_do_not_run_together() -> None:
    assert streams(0).derived_seed("ab", "c") != streams(0).derived_seed("a", "bc")


def test_seed_42_is_like_any_other() -> None:
    draws = [streams(seed).generator("noise").random() for seed in (0, 41, 42, 43, 2**70)]
    assert len(set(draws)) == len(draws)


def test_stream_is_frozen_across_versions() -> None:
    # recordings are reproducible from their seed: these numbers must never change
    assert streams(0).generator("noise", "train", 0).integers(0, 1_000, 4).tolist() == GOLDEN_DRAWS
    assert streams(0).derived_seed("init") == GOLDEN_SEED


def test_torch_generator_follows_the_name() -> None:
    a, b, c = (torch.randn(3, generator=streams(1).torch_generator(n)) for n in ("init", "init", "sampling"))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_numpy_integers_are_integers() -> None:
    assert Streams(np.int64(3)).derived_seed("noise", np.int64(1)) == Streams(3).derived_seed("noise", 1)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", None])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(ConfigError, match="expected an integer >= 0"):
        Streams(seed)  # type: ignore[arg-type]
