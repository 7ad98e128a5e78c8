"""A study without a space varies what can act on its base: whatever it proposes can be trained."""

import pytest
from tests.support.explore import make_study
from tests.support.planted import DT, planted_circuit

from lobula.config import search_space
from lobula.data.recording import Recording
from lobula.errors import ConfigError
from lobula.exploration.study import Study
from lobula.training import new_model
from lobula.training.checks import check
from lobula.training.distributed import ALONE

TUNABLE = {d.path for d in search_space() if d.role == "tunable" and d.path.startswith(("training.", "model."))}
STUDIES = {
    "default": make_study(set=[]),
    "known equation": make_study(set=["model.name=flyvis_linear"]),
    "low rank": make_study(set=["model.name=signal_low_rank"]),
    "two stages": make_study(base="gs-two-stage", set=[]),
}


@pytest.fixture(scope="module")
def recording() -> Recording:
    planted = planted_circuit(n=8, in_degree=3, n_frames=300)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def varied(study: Study) -> set[str]:
    return {dimension.path for dimension in study.dimensions()}


def refused(study: Study, recording: Recording, paths: set[str]) -> set[str]:
    """Fields of which training refuses an end of the range, or a choice."""
    found = set()
    for dimension in (d for d in search_space() if d.path in paths):
        for value in dimension.choices or (dimension.low, dimension.high):
            config = study.base_config().with_values({dimension.path: value})
            try:
                check(config, new_model(recording, config), ALONE)
            except ConfigError:
                found.add(dimension.path)
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_nothing_that_is_varied_is_refused(recording: Recording, name: str) -> None:
    study = STUDIES[name]
    assert varied(study) >= {"training.lr", "training.lr_W", "training.batch_size", "model.w_init"}
    assert refused(study, recording, varied(study)) == set()
    assert refused(study, recording, TUNABLE).isdisjoint(varied(study))


def test_a_known_equation_is_not_given_penalties_on_networks(recording: Recording) -> None:
    study = STUDIES["known equation"]
    left_out = TUNABLE - varied(study)
    assert "training.coeff_g_phi_diff" in refused(study, recording, TUNABLE)
    networks = ("g_phi", "f_theta", "hidden_dim", "n_layers", "embedding")
    assert {path for path in TUNABLE if any(word in path for word in networks)} <= left_out
    assert {"training.coeff_W_L1", "training.coeff_W_sign", "training.grad_clip"} <= varied(study)


def test_a_number_that_is_null_in_the_base_has_no_place_on_an_axis() -> None:
    assert "training.grad_clip" in varied(STUDIES["default"])
    assert "training.grad_clip" not in varied(STUDIES["two stages"])
    with pytest.raises(ConfigError, match=r"training\.grad_clip: got null in the base, expected a number"):
        make_study(base="gs-two-stage", set=[], space=["training.grad_clip"]).dimensions()
    given = make_study(base="gs-two-stage", set=["training.grad_clip=1.0"])
    assert "training.grad_clip" in varied(given)


def test_the_length_of_a_training_is_varied_where_it_is_given() -> None:
    steps, epochs = {"training.n_steps"}, {"training.augmentation"}
    assert varied(STUDIES["default"]) & (steps | epochs) == steps
    assert varied(STUDIES["two stages"]) & (steps | epochs) == epochs


def test_ratios_of_stages_are_varied_only_where_there_are_stages() -> None:
    ratios = {"training.alternate_lr_ratio", "training.alternate_joint_ratio"}
    assert not varied(STUDIES["default"]) & ratios
    assert ratios <= varied(STUDIES["two stages"])


def test_what_acts_in_one_block_alone_is_left_out() -> None:
    blocks = {"n_iter": 4, "path": "model.name", "values": ["flyvis_A", "flyvis_linear"]}
    study = make_study(set=[], blocks=blocks)
    assert varied(study) == varied(STUDIES["known equation"])
