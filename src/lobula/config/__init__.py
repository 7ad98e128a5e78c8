"""The config of an experiment: strict, frozen, and its own documentation."""

from lobula.config.experiment import ExperimentConfig, section_names
from lobula.config.loader import load_config, recipe_names, save_config
from lobula.config.space import Dimension, ParamRow, params_doc, search_space

__all__ = [
    "Dimension",
    "ExperimentConfig",
    "ParamRow",
    "load_config",
    "params_doc",
    "recipe_names",
    "save_config",
    "search_space",
    "section_names",
]
