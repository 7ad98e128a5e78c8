"""Scoring against the truth: the only room that holds both."""

from lobula.scoring.circuit import circuit_facts, graded_facts
from lobula.scoring.details import size_table, type_table, write_tables
from lobula.scoring.graph import on_graph
from lobula.scoring.noise_free import with_noise_free
from lobula.scoring.probe import make_probe
from lobula.scoring.run import Ceiling, choose_rollouts, score_ceiling, score_estimates, score_prediction
from lobula.scoring.spectra import spectrum_scores, true_spectrum
from lobula.scoring.truth_gauge import in_gauge

__all__ = [
    "Ceiling",
    "choose_rollouts",
    "circuit_facts",
    "graded_facts",
    "in_gauge",
    "make_probe",
    "on_graph",
    "score_ceiling",
    "score_estimates",
    "score_prediction",
    "size_table",
    "spectrum_scores",
    "true_spectrum",
    "type_table",
    "with_noise_free",
    "write_tables",
]
