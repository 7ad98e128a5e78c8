"""What kind of circuit was recorded: facts that say how hard it is, whatever the estimator."""

import numpy as np

from lobula.data.recording import Recording
from lobula.metrics import Spectrum, activity_spectrum, spectral_radius
from lobula.recovery.gauge import sample_voltage
from lobula.scoring.spectra import radius_of
from lobula.simulation.lyapunov import lyapunov_exponent
from lobula.simulation.truth import Truth

MOST_NEURONS = 2000
"""Above, eigenvalues of the weights are not computed."""
RANK_FRAMES = 10_000
GRADED_RANK_FRAMES = 2000
"""Of a graded circuit, which may have many neurons: its components are those of a matrix of frames by frames."""
N_STARTS = 4


def circuit_facts(truth: Truth, recording: Recording) -> dict[str, float | int | None]:
    """Spectral radii, effective rank and Lyapunov exponent of a signal network.

    Returns:
        spectral_radius_W and spectral_radius_gW (None above 2,000 neurons); effective_rank_90 and effective_rank_99,
        components that hold these shares of the variance, of all components around the mean of training frames;
        n_components that there are; lyapunov_exponent, the largest [1/s].
    """
    circuit, split = truth.dynamics.connectome, recording["train"]  # type: ignore[union-attr]
    few = circuit.n_neurons <= MOST_NEURONS
    weights = {"W": circuit.weight, "gW": circuit.effective_weight}
    facts: dict[str, float | int | None] = {
        f"spectral_radius_{name}": spectral_radius(circuit.wiring.csr(w)) if few else None
        for name, w in weights.items()
    }
    voltage = split.voltage(0, min(split.n_frames, RANK_FRAMES))
    spectrum = activity_spectrum(voltage)
    facts |= {"effective_rank_90": spectrum.rank(0.9), "effective_rank_99": spectrum.rank(0.99)}
    facts["n_components"] = len(spectrum.share)
    starts = voltage[np.linspace(0, len(voltage) - 1, N_STARTS).astype(int)]
    return facts | {"lyapunov_exponent": lyapunov_exponent(circuit, starts, recording.dt)}


def graded_facts(truth: Truth, recording: Recording, spectrum: Spectrum | None) -> dict[str, float | int | None]:
    """Spectral radius and effective rank of a graded circuit.

    Args:
        truth: the circuit.
        recording: what was recorded from it.
        spectrum: of its weights, from `spectra.true_spectrum`.

    Returns:
        spectral_radius_W (None if it did not converge); effective_rank_90 and effective_rank_99, as of a signal
        network, of 2,000 training frames in evenly spaced stretches; n_components that there are.
    """
    found = activity_spectrum(sample_voltage(recording["train"], GRADED_RANK_FRAMES))
    ranks = {"effective_rank_90": found.rank(0.9), "effective_rank_99": found.rank(0.99)}
    return {"spectral_radius_W": radius_of(spectrum), **ranks, "n_components": len(found.share)}
