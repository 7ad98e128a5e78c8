"""What `import lobula` offers."""

from lobula.api import fit
from lobula.config import ExperimentConfig, load_config
from lobula.connectome import Connectome, optic_lobe
from lobula.data import NeuronState, NeuronTimeSeries, Recording, Wiring
from lobula.data.estimates import Estimates
from lobula.errors import LobulaError
from lobula.pipeline import RunResult, recover, report, run, score, simulate, train
from lobula.simulation import integrate, signal_network

__all__ = [
    "Connectome",
    "Estimates",
    "ExperimentConfig",
    "LobulaError",
    "NeuronState",
    "NeuronTimeSeries",
    "Recording",
    "RunResult",
    "Wiring",
    "fit",
    "integrate",
    "load_config",
    "optic_lobe",
    "recover",
    "report",
    "run",
    "score",
    "signal_network",
    "simulate",
    "train",
]
