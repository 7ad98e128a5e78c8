"""How cost grows with the circuit: the same rows at several sizes, and the slope of log time against log size.

Size is counted twice: the networks of a training step cost by neurons, products and messages by edges, and larger
circuits have more edges per neuron, because fewer of their neurons lie at the rim.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lobula.bench.rows import Sizes, driven_recording, own_model, own_trials, random_frames, training_step
from lobula.bench.timing import Row, compared, interleaved, peak_memory
from lobula.connectome import Connectome, optic_lobe
from lobula.data import Wiring
from lobula.regression.fit import fit_circuit

EXTENTS = (3, 4, 5, 8, 15)
"""About 1/6, 1/4, 2/5, 1 and 3.3 times the published circuit."""
BRAIN_NEURONS, BRAIN_EDGES = 139_255, 15_000_000
BATCH = 4
N_FRAMES, N_TRIALS = 50, 16


def scale(sizes: Sizes) -> list[Row]:
    """Seconds at every size, and the exponent. All sizes take turns, so that a slow moment hits all of them."""
    names, edges, neurons = ("training step", "simulation", "ridge"), [], []
    calls: dict[str, dict[int, Callable[[], object]]] = {name: {} for name in names}
    for extent in EXTENTS:
        circuit = optic_lobe(extent)
        edges.append(circuit.wiring.n_edges)
        neurons.append(circuit.wiring.n_neurons)
        for name, call in _calls(circuit).items():
            calls[name][extent] = call
    rows = []
    for name, by_extent in calls.items():
        few = name == "ridge"
        timed = interleaved(by_extent, sizes.repeats if few else 3 * sizes.repeats, settle=0 if few else 1)
        seconds = [float(np.median(timed[extent])) for extent in EXTENTS]
        facts: dict[str, Any] = {"extents": EXTENTS, "edges": edges, "neurons": neurons, "seconds": seconds}
        facts |= {"log_log_slope": exponent(edges, seconds), "log_log_slope_neurons": exponent(neurons, seconds)}
        rows.append(Row(f"scale: {name}", seconds[EXTENTS.index(8)], facts=facts))
    return rows


def exponent(size: Sequence[int], seconds: Sequence[float]) -> float:
    """Least-squares slope of log seconds against log size."""
    return float(np.polyfit(np.log(size), np.log(seconds), 1)[0])


def _calls(circuit: Connectome) -> dict[str, Callable[[], object]]:
    wiring = circuit.wiring
    model, batch = own_model(wiring), random_frames(wiring, BATCH)
    stimulus = np.random.default_rng(0).random((N_FRAMES, wiring.n_columns), dtype=np.float32)
    split = driven_recording(circuit, 1000)["train"]
    return {
        "training step": lambda: training_step(model, batch),
        "simulation": lambda: own_trials(circuit, stimulus, N_TRIALS),
        "ridge": lambda: fit_circuit(split, wiring, lambda v: np.maximum(v, 0)),
    }


def brain(sizes: Sizes) -> list[Row]:
    """One training step of a random circuit of the size of the whole fly brain."""
    rng = np.random.default_rng(0)
    n, e = BRAIN_NEURONS, BRAIN_EDGES
    code = np.unique(rng.integers(0, n * n, int(1.001 * e)))  # distinct (post, pre) pairs
    code = np.sort(rng.permutation(code)[:e])
    wiring = Wiring.from_edges(np.stack([code % n, code // n]), n)
    model, batch = own_model(wiring), random_frames(wiring, BATCH)
    facts = {"neurons": n, "edges": wiring.n_edges, "batch": BATCH}
    row = compared("training step, whole brain", lambda: training_step(model, batch), None, sizes.repeats, facts)
    row.facts["peak_memory"] = peak_memory()
    return [row]
