"""Instruction documents, written for a language model, run as they are: a document becomes a study.

What the document fixes (recipe, parameters and their ranges, what a block fixes, classes, tree search, slots, code
permission) is read; the document itself stays the study's instructions, for a person or an agent. A parameter that this
version has no place for is an error; what was read, and what was left aside and why, is listed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lobula.config import load_config
from lobula.config.legacy import SECTIONS, translate
from lobula.config.space import Dimension, known_paths, search_space
from lobula.errors import ConfigError, MissingInputError
from lobula.exploration.instruction_text import Document, Parameter, read_document
from lobula.exploration.study import Study
from lobula.exploration.views.words import number

CIRCUITS = (
    ("gs-two-stage", r"flyvis_62_1_gs_alternate|Two-Stage Alternate"),
    ("gs", r"flyvis_62_1"),
    ("signal-n2", r"PDE_N2|Signal_N2|data_train_signal"),
)
"""Recipe of the circuit that a document speaks of: the first that matches."""
OWN_NAMES = {
    "w_init_mode": "model.w_init",
    "connectivity_type": "signal.connectivity",
    "params": "signal.parameters",
    "n_frames": "simulation.n_frames",
    "ode_state_clamp": "training.state_clamp",
}
LEFT_ASIDE = {
    "input_size": "follows from embedding_dim",
    "input_size_update": "follows from embedding_dim",
    "n_neuron_types": "follows from the table of types",
    "recurrent_parameters": "has no effect, in the document's own words",
    "dataset": "runs get folders of their own",
    "neural_ODE_training": "off in the document",
}
GROWING = ("coeff_W_L1", "coeff_g_phi_weight_L1", "coeff_f_theta_weight_L1")
"""Penalties whose coefficient grows with the epochs in the published protocol (rate .5)."""
_CONTROL = {"n_iter_block": "n_iter", "ucb_c": "c"}
_SECONDS_PER_TARGET = 1.5
_BLOCKS_WITHOUT_NUMBER = 4


@dataclass(frozen=True)
class Instructions:
    """A document as a study.

    Attributes:
        study: the study; its instructions are the document.
        mapped: what was read, one line each: name in the document, what it became.
        notes: what was left aside or assumed, with the reason.
    """

    study: Study
    mapped: tuple[str, ...]
    notes: tuple[str, ...]


def read_instructions(path: str | Path, name: str | None = None, base: str | None = None) -> Instructions:
    """Read a document into a study.

    Args:
        path: the Markdown document.
        name: name of the study; default is the file's.
        base: recipe or YAML file to start from; default is the recipe of the circuit that the document names.

    Raises:
        MissingInputError: if there is no such file.
        ConfigError: if the document names no known circuit, or a parameter that has no place here; says which.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file, expected an instruction document (Markdown)")
    name = name or re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_")
    found = parse_instructions(path.read_text(encoding="utf-8"), name, base, str(path))
    study = Study.from_dict(found.study.to_dict() | {"instructions": str(path.resolve())})
    return replace(found, study=study)


def parse_instructions(text: str, name: str, base: str | None = None, source: str = "document") -> Instructions:
    """`read_instructions` of a text."""
    document = read_document(text, source)
    recipe = base or next((recipe for recipe, pattern in CIRCUITS if re.search(pattern, text)), None)
    if recipe is None:
        raise ConfigError(
            f"{source}: names no circuit of a shipped recipe; give the recipe to start from (base=RECIPE)"
        )
    reading = _Reading(document, recipe, source)
    reading.read()
    study = Study.from_dict(reading.study(name))
    for block in range(study.n_blocks or 1):
        study.base_config(block)
    study.dimensions()
    return Instructions(study, tuple(reading.mapped), tuple(reading.notes))


class _Reading:
    """One document on its way to a study."""

    def __init__(self, document: Document, recipe: str, source: str) -> None:
        self.document, self.recipe, self.source = document, recipe, source
        self.base = load_config(recipe).to_dict()
        self.values: dict[str, Any] = {}
        self.space: list[dict[str, Any]] = []
        self.frozen: list[str] = []
        self.blocks: dict[str, Any] = {}
        self.mapped: list[str] = []
        self.notes: list[str] = []

    def read(self) -> None:
        """Give every parameter its place."""
        parameters, strange = list(self.document.parameters.values()), []
        for parameter in parameters:
            if parameter.name in LEFT_ASIDE and not (parameter.name == "neural_ODE_training" and parameter.default):
                self.notes.append(f"{parameter.name}: {LEFT_ASIDE[parameter.name]}")
            elif parameter.name in _CONTROL:
                continue
            elif not self._read_regime(parameter):
                path = self._path(parameter)
                if path is None:
                    strange.append(f"{parameter.name} (line {parameter.line})")
                else:
                    self._place(path, parameter)
        if strange:
            raise ConfigError(
                f"{self.source}: got parameters that have no place here: {', '.join(strange)}; expected fields of the "
                "config or their published names; rename or remove them (lobula info params)"
            )
        self._settle()

    def study(self, name: str) -> dict[str, Any]:
        """The study as plain values."""
        return {
            "name": name,
            "description": _title(self.document.text),
            "base": self.recipe,
            "set": [f"{path}={number(value)}" for path, value in self.values.items() if self._differs(path, value)],
            "space": self.space,
            "frozen": self.frozen,
            **self._frame(),
        }

    def _read_regime(self, parameter: Parameter) -> bool:
        """Parameters of the published trainer that are a value of another field here; whether this was one."""
        if parameter.name in ("recurrent_training", "neural_ODE_training"):
            regime = "neural_ode" if parameter.name == "neural_ODE_training" else "recurrent"
            self._set("training.regime", regime if parameter.default else "one_step", parameter)
            return True
        if parameter.name == "recurrent_training_start_epoch":
            if parameter.default not in (None, 0):
                raise ConfigError(
                    f"{self.source}: recurrent_training_start_epoch: got {parameter.default}, expected 0; a later "
                    "start is a share of the steps here: set training.recurrent_start"
                )
            self._set("training.recurrent_start", 0.0, parameter)
            return True
        ode = self.document.parameters.get("neural_ODE_training")
        if parameter.name.startswith("ode_") and not (ode and ode.default):
            self.notes.append(f"{parameter.name}: only with neural_ODE_training")
            return True
        return False

    def _path(self, parameter: Parameter) -> str | None:
        """Our path of a document's name, or None."""
        if parameter.name in OWN_NAMES:
            return OWN_NAMES[parameter.name]
        sections = [parameter.section] if parameter.section not in ("", "claude") else []
        for section in dict.fromkeys([*sections, "training", "graph_model", "simulation", "signal"]):
            (path,) = translate({f"{section}.{parameter.name}": None}, known_paths(), self.source)
            if path in known_paths() and path.partition(".")[0] not in SECTIONS:
                return path
        return None

    def _place(self, path: str, parameter: Parameter) -> None:
        """A parameter becomes what a block fixes, a dimension of the search, or a fixed value."""
        if parameter.per_block and parameter.choices:
            self.blocks = {"path": path, "values": list(parameter.choices)}
            self.mapped.append(f"{parameter.name} -> blocks of {path}: {number(parameter.choices)}")
            return
        own = next((dimension for dimension in search_space() if dimension.path == path), None)
        section = path.partition(".")[0]
        is_free = section in ("training", "model") and not parameter.fixed
        has_range = parameter.low is not None or bool(parameter.choices)
        if parameter.has_default:
            self._set(path, parameter.default, parameter)
        if is_free and (has_range or (own is not None and own.role == "tunable")):
            self._vary(path, parameter, own)
        elif parameter.fixed and section in ("training", "model"):
            self.frozen.append(path)
            self.mapped.append(f"{parameter.name} -> {path}: must not change")
        elif is_free:
            self.notes.append(f"{parameter.name}: no range, so {path} keeps its value")

    def _vary(self, path: str, parameter: Parameter, own: Dimension | None) -> None:
        entry: dict[str, Any] = {"path": path}
        if parameter.choices:
            entry["choices"] = list(parameter.choices)
            words = f"one of {number(parameter.choices)}"
        else:
            low, high = parameter.low, parameter.high
            if (low is None or high is None) and own is not None:
                low, high = _around(own, self.values.get(path))
            if own is None or not own.choices:
                entry |= {"low": low, "high": high}
            if low and high and low > 0.0 and high / low >= 100.0:
                entry["scale"] = "log"
            words = f"one of {number(own.choices)}" if own and own.choices else f"{number(low)} to {number(high)}"
        self.space.append(entry)
        self.mapped.append(f"{parameter.name} -> {path}: {words}")

    def _set(self, path: str, value: Any, parameter: Parameter) -> None:
        section, _, key = path.partition(".")
        current = self.base[section][key]
        if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        self.values[path] = value.lower() if path == "signal.connectivity" else value
        self.mapped.append(f"{parameter.name} -> {path} = {number(self.values[path])}")

    def _differs(self, path: str, value: Any) -> bool:
        section, _, key = path.partition(".")
        return bool(self.base[section][key] != value)

    def _settle(self) -> None:
        """What follows from several parameters together."""
        if self.base["connectome"]["source"] == "signal":
            self.values["training.estimators"] = ["gnn"]
        if self.values.get("training.regime", "one_step") != "one_step":
            self.values["training.target"] = "observed"
            self.notes.append("training.target=observed: unrolled voltages are compared with recorded ones")
        n_epochs = self.values.get("training.n_epochs", self.base["training"]["n_epochs"])
        if "training.augmentation" in self.values and n_epochs is None:
            n_epochs = self.values["training.n_epochs"] = 1
            self.notes.append("training.n_epochs=1: the document counts in epochs and gives no number")
        types = self.document.parameters.get("n_neuron_types")
        table = self.values.get("signal.parameters")
        if types and table and types.default != len(table):
            raise ConfigError(
                f"{self.source}: n_neuron_types: got {types.default}, expected {len(table)}, as many as params has rows"
            )
        if self.recipe.startswith("gs") and n_epochs == 1:
            self._rest_growing()

    def _rest_growing(self) -> None:
        """Penalties that grow from 0 with the epochs never act in one epoch: they stay off, as in the recipe."""
        for key in GROWING:
            if self.values.get(f"training.{key}"):
                for path in (f"training.{key}", f"training.{key}_rate"):
                    self.values.pop(path, None)
                    self.space = [entry for entry in self.space if entry["path"] != path]
                    self.mapped = [line for line in self.mapped if not re.search(rf" -> {path}\b", line)]
                    self.notes = [line for line in self.notes if f"so {path} keeps" not in line]
                self.notes.append(
                    f"training.{key}: its coefficient grows from 0 with the epochs and never acts in one epoch, so it "
                    "stays off (training.n_epochs=2 would let it act)"
                )

    def _frame(self) -> dict[str, Any]:
        """All of the study that is no parameter."""
        facts, text = self.document.facts, self.document.text
        n_iter = int(facts.get("n_iter", 12))
        n_blocks = len(self.blocks.get("values", ())) or facts.get("n_blocks")
        if n_blocks is None:
            n_blocks = _BLOCKS_WITHOUT_NUMBER
            self.notes.append(f"number of blocks: not in the document, {_BLOCKS_WITHOUT_NUMBER} assumed")
        for key, value in (("n_iter", 12), ("converged", 0.8), ("failed", 0.3)):
            if key not in facts:
                self.notes.append(f"{key}: not in the document, {value} assumed")
        if not {"minutes", "limit_minutes"} & set(facts):
            self.notes.append("time of a run: no limit in the document, 3 hours assumed")
        is_dual = "second_converged" in facts
        objective = {
            "metric": "gnn.W.r2",
            "floor": 0.0,  # below it says nothing more
            "converged": facts.get("converged", 0.8),
            "failed": facts.get("failed", 0.3),
            "report": _reported(self.base["connectome"]["source"]),
        }
        if is_dual:
            objective |= {"second": "gnn.cell_types.accuracy", "second_converged": facts["second_converged"]}
            objective["weights"] = list(facts.get("weights", (0.6, 0.4)))
        c = self.document.parameters.get("ucb_c")
        policy: dict[str, Any] = {"name": "ucb_dual" if is_dual else "ucb", "replicate": facts.get("replicate", 0.0)}
        policy |= {"c": float(c.default)} if c and c.has_default else {}
        seconds = 60.0 * facts.get("limit_minutes", _SECONDS_PER_TARGET * facts.get("minutes", 120.0))
        same = bool(re.search(r"same dataset", text, re.IGNORECASE))
        allowed = "code_after" in facts
        self.mapped.append(f"blocks: {n_blocks} of {n_iter}; classes: converged above {objective['converged']}")
        self.mapped.append(f"policy: {policy['name']}; a run may take {seconds:g} s; code may change: {allowed}")
        return {
            "objective": objective,
            "blocks": {"n_iter": n_iter, **self.blocks},
            "seeds": {"mode": "same-data" if same else "different-data"},
            "budget": {"n_runs": n_iter * n_blocks, "run_seconds": seconds},
            "policy": policy,
            "engine": {"slots": int(facts.get("slots", 4))},
            "code": {"allowed": allowed, "after": int(facts.get("code_after", 4))},
        }


def _around(own: Dimension, default: Any) -> tuple[float | None, float | None]:
    """The field's own range, widened so that the document's default lies well within it."""
    low, high = own.low, own.high
    if low is None or high is None or not isinstance(default, int | float) or low <= default <= high:
        return low, high
    factor = 4.0 if own.scale == "log" else 1.0
    return min(low, default / factor), max(high, default * factor)


def _reported(source: str) -> Sequence[str]:
    both = ["gnn.cell_types.accuracy", "gnn.prediction.one_step_pearson", "gnn.prediction.rollout_pearson"]
    own = ["circuit.effective_rank_99", "circuit.spectral_radius_W"] if source == "signal" else []
    return [*both, *(own or ["gnn.tau.r2", "gnn.v_rest.r2"])]


def _title(text: str) -> str:
    """The first heading."""
    heading = next((line for line in text.splitlines() if line.startswith("# ")), "")
    return heading.removeprefix("# ").strip()
