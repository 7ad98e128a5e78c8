"""Named independent random streams that all come from one root seed."""

import hashlib
import json

import numpy as np
import torch

from lobula.errors import ConfigError

_N_WORDS = 4  # 128 bits of stream name: a collision between two streams is out of the question


class Streams:
    """The random streams of one root seed.

    A stream is named by a word and any further keys, for example ``generator("noise", "train", 3)`` for the
    noise of the fourth chunk of the training split. Streams with different names are independent, a stream
    with the same name is the same on every machine, and no stream depends on how much of another was used.
    Names in use: connectome, stimulus, state, burn-in, noise, measurement_noise, gain, init, sampling.

    Args:
        seed: root seed, an integer >= 0. No value is special.

    Raises:
        ConfigError: if the seed is not an integer >= 0.
    """

    __slots__ = ("seed",)

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ConfigError(f"seed: got {seed!r}, expected an integer >= 0; set simulation.seed or training.seed")
        self.seed = int(seed)

    def __repr__(self) -> str:
        return f"Streams(seed={self.seed})"

    def generator(self, name: str, *keys: str | int) -> np.random.Generator:
        """A fresh NumPy generator at the start of the stream `name`, `keys`.

        Args:
            name: stream name.
            keys: further words or numbers, for example a split and a chunk.

        Returns:
            Generator over a counter-based bit generator (Philox).
        """
        return np.random.Generator(np.random.Philox(self._sequence(name, keys)))

    def torch_generator(self, name: str, *keys: str | int, device: str | torch.device = "cpu") -> torch.Generator:
        """A fresh torch generator seeded from the stream `name`, `keys`."""
        return torch.Generator(device=device).manual_seed(self.derived_seed(name, *keys))

    def derived_seed(self, name: str, *keys: str | int) -> int:
        """A seed in [0, 2^63) for a library that takes one number."""
        return int(self._sequence(name, keys).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _sequence(self, name: str, keys: tuple[str | int, ...]) -> np.random.SeedSequence:
        plain = [name, *(int(key) if isinstance(key, np.integer) else key for key in keys)]
        digest = hashlib.sha256(json.dumps(plain).encode()).digest()
        words = np.frombuffer(digest[: 4 * _N_WORDS], dtype="<u4")
        return np.random.SeedSequence(entropy=self.seed, spawn_key=tuple(int(word) for word in words))


def streams(seed: int) -> Streams:
    """The named random streams of a root seed."""
    return Streams(seed)
