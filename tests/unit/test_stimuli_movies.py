"""Every family of movies: deterministic, random access, disjoint splits, luminance in range."""

import hashlib

import numpy as np
import pytest

from lobula.config.stimulus import FROM_FILES, StimulusConfig
from lobula.connectome import hexagonal_columns
from lobula.errors import ConfigError
from lobula.stimuli import STIMULI, make_stimulus

COLUMNS = hexagonal_columns(2)
MADE_UP = sorted(set(STIMULI) - set(FROM_FILES))  # test_stimuli_footage.py has the others
RANDOM = sorted(set(MADE_UP) - {"grey", "blank"})


def movie(kind: str = "dead_leaves", seed: int = 0, split: str = "train", **settings):
    return make_stimulus(StimulusConfig(kind=kind, **settings), COLUMNS, 0.02, seed, split)


@pytest.mark.parametrize("kind", MADE_UP)
def test_frames_are_luminances_per_column(kind):
    frames = movie(kind).frames(0, 250)
    assert frames.shape == (250, len(COLUMNS))
    assert frames.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


@pytest.mark.parametrize("kind", MADE_UP)
def test_any_window_equals_the_whole(kind):
    whole = movie(kind).frames(0, 400)
    again = movie(kind)
    for start, stop in [(311, 400), (0, 1), (7, 7), (59, 61), (120, 333), (1, 2)]:
        np.testing.assert_array_equal(again.frames(start, stop), whole[start:stop])


@pytest.mark.parametrize("kind", RANDOM)
@pytest.mark.parametrize("change", [{"seed": 1}, {"split": "test"}])
def test_seed_and_split_change_the_movie(kind, change):
    assert not np.array_equal(movie(kind).frames(0, 300), movie(kind, **change).frames(0, 300))


def test_splits_share_no_scene():
    clips = {}
    for split in ("train", "validation", "test"):
        frames = movie(split=split).frames(0, 30 * 60).reshape(30, 60, -1)
        clips[split] = {hashlib.sha256(np.sort(clip, axis=1).tobytes()).hexdigest() for clip in frames}
        assert len(clips[split]) == 30
    assert not (clips["train"] & clips["test"])
    assert not (clips["train"] & clips["validation"])
    assert not clips["test"] & clips["validation"]


def test_dead_leaves_have_the_contrast_and_motion_of_footage():
    columns = hexagonal_columns(8)
    clips = make_stimulus(StimulusConfig(), columns).frames(0, 3_000).reshape(50, 60, -1)
    contrast = clips.std(axis=2).mean()
    motion = np.abs(np.diff(clips, axis=1)).mean()
    assert clips.mean() == pytest.approx(0.5, abs=0.05)
    assert contrast == pytest.approx(0.22, abs=0.02)
    assert motion == pytest.approx(0.021, abs=0.003)


def test_dead_leaves_without_motion_stand_still():
    frames = movie(pan_speed=0.0, rotation_speed=0.0, zoom_speed=0.0).frames(0, 60)
    assert np.ptp(frames, axis=0).max() == 0
    assert frames.std() > 0


@pytest.mark.parametrize("kind", MADE_UP)
def test_no_contrast_is_grey(kind):
    np.testing.assert_allclose(movie(kind, contrast=0.0, grey=0.4).frames(0, 130), 0.4, rtol=1e-6)


def test_flash_starts_grey_and_lights_the_whole_eye():
    frames = movie("flash", flash_period=0.4).frames(0, 20)
    np.testing.assert_array_equal(frames[:10], 0.5)
    assert np.ptp(frames[10:]) == 0
    assert frames[10, 0] != 0.5


def test_edge_sweeps_over_every_column_once():
    stimulus = movie("moving_edge")
    for clip in range(5):
        frames = stimulus.frames(clip * stimulus.clip_frames, (clip + 1) * stimulus.clip_frames)
        assert np.ptp(frames[0]) == 0
        assert np.ptp(frames[-1]) == 0
        assert abs(frames[-1, 0] - frames[0, 0]) > 0.2
        change = np.diff(frames, axis=0)
        assert (change >= 0).all() or (change <= 0).all()


def test_white_noise_is_held_and_independent():
    frames = movie("white_noise", noise_hold=3, clip_frames=30).frames(0, 900)
    held = frames.reshape(300, 3, -1)
    assert np.ptp(held, axis=1).max() == 0
    correlation = np.corrcoef(held[:, 0].T)
    assert np.abs(correlation - np.eye(len(COLUMNS))).max() < 0.3


def test_leaf_sizes_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="leaf_radius_max"):
        movie(leaf_radius_min=50.0, leaf_radius_max=20.0)


def test_a_scene_that_would_fill_the_memory_is_refused():
    with pytest.raises(ConfigError, match="leaves"):
        movie(leaf_radius_min=0.01).frames(0, 1)
