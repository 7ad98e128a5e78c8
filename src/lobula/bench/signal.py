"""The row `signal`: a training step of the graph network of signal networks, all pairs connected."""

from functools import partial

from lobula.bench import plain
from lobula.bench.rows import HIDDEN, Sizes, random_frames, training_step
from lobula.bench.timing import Row, compared
from lobula.config.model import ModelConfig
from lobula.data import Streams, Wiring
from lobula.models import Scales, SignalGNN

BATCH, PLAIN_BATCH = 8, 1
"""A frame of the plain formulation takes a second and 2 GB for 1,000 neurons."""


def signal_model(wiring: Wiring, hidden: int = HIDDEN) -> SignalGNN:
    """The network at the size of the benchmark, in the units of the plain one."""
    config = ModelConfig(name="signal", hidden_dim=hidden, hidden_dim_update=hidden)
    return SignalGNN(config, wiring, Scales(1.0, 1.0, 1.0), Streams(0))


def signal(sizes: Sizes) -> list[Row]:
    """One training step per frame, against messages edge by edge."""
    wiring = Wiring.all_pairs(sizes.signal_neurons)
    facts = {"neurons": wiring.n_neurons, "edges": wiring.n_edges, "hidden": HIDDEN}
    own, slow = signal_model(wiring), plain.PlainSignalGNN(wiring, HIDDEN)
    row = compared(
        f"signal network, training step, batch {BATCH}, per frame",
        partial(training_step, own, random_frames(wiring, BATCH)),
        partial(training_step, slow, random_frames(wiring, PLAIN_BATCH)),
        sizes.repeats,
        facts | {"batch": BATCH, "plain_batch": PLAIN_BATCH},
        (BATCH, PLAIN_BATCH),
    )
    return [row]
