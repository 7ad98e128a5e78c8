"""Bars, gratings, flicker, m-sequences, blue noise and mixtures against formulas and against rendered pixels."""

import numpy as np
import pytest

from lobula.config.stimulus import StimulusConfig
from lobula.connectome import hexagonal_columns
from lobula.errors import ConfigError
from lobula.stimuli import HexEye, make_stimulus
from lobula.stimuli.hexeye import BOX

COLUMNS = hexagonal_columns(2)
DT = 0.02


def stimulus(kind: str, columns: np.ndarray = COLUMNS, **settings):
    return make_stimulus(StimulusConfig(kind=kind, **settings), columns, DT, seed=5)


def one_clip(kind: str, index: int = 0, columns: np.ndarray = COLUMNS, **settings) -> np.ndarray:
    movie = stimulus(kind, columns, **settings)
    return movie.frames(index * movie.clip_frames, (index + 1) * movie.clip_frames)


def test_blank_is_grey():
    np.testing.assert_array_equal(one_clip("blank", grey=0.3), one_clip("grey", grey=0.3))
    np.testing.assert_array_equal(one_clip("blank", grey=0.3), np.float32(0.3))


def rendered(wave: np.ndarray, phase: float, columns_extent: int) -> np.ndarray:
    """(H,) what the eye sees of a sinusoid that was drawn pixel by pixel."""
    y, x = (np.mgrid[-100:101, -100:101]) / BOX
    picture = 0.5 + 0.5 * np.sin(2 * np.pi * (wave[0] * y + wave[1] * x) + phase)
    return HexEye(columns_extent)(picture[None])[0]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("spatial", [0.05, 0.23])
def test_grating_is_what_the_eye_sees_of_a_drawn_sinusoid(index, spatial):
    frames = one_clip("grating", index, spatial_frequency=spatial, temporal_frequency=2.0)
    fits = []
    for turn in range(12):
        angle = 2 * np.pi * turn / 12
        wave = spatial * np.array([np.sin(angle), np.cos(angle)])
        zero, quarter = (rendered(wave, phase, 2) - 0.5 for phase in (0.0, np.pi / 2))
        # frame t is cos(p) zero + sin(p) quarter with p = phase - 2 pi f t: fit the phase in frame 0, predict the rest
        basis = np.stack([zero, quarter], axis=1)
        (cos, sin), *_ = np.linalg.lstsq(basis, frames[0] - 0.5, rcond=None)
        p = np.arctan2(sin, cos) - 2 * np.pi * 2.0 * DT * np.arange(len(frames))[:, None]
        fits.append(np.abs(0.5 + np.cos(p) * zero + np.sin(p) * quarter - frames).max())
    assert min(fits) < 2e-3  # 13 pixels a column stand for the integral
    assert sorted(fits)[1] > 0.05  # one direction only


def test_grating_of_frequency_zero_is_a_full_field_sinusoid():
    frames = one_clip("grating", spatial_frequency=0.0, temporal_frequency=5.0, contrast=0.6, grey=0.4, clip_frames=50)
    assert np.ptp(frames, axis=1).max() == 0
    np.testing.assert_allclose(frames[:40], frames[10:], atol=1e-6)  # a period is 10 frames
    spectrum = np.abs(np.fft.rfft(frames[:, 0] - 0.4)) / 25
    assert spectrum[5] == pytest.approx(0.3, abs=1e-6)
    assert np.delete(spectrum, 5).max() < 1e-6


@pytest.mark.parametrize("index", range(5))
def test_bar_passes_every_column_for_the_time_its_width_takes(index):
    frames = one_clip("moving_bar", index, edge_speed=10.0, bar_width=3.0).astype(np.float64)
    background = frames[0, 0]
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert np.ptp(frames[0]) == 0
    change = frames - background
    height = change[np.unravel_index(np.abs(change).argmax(), change.shape)]
    assert abs(height) > 0.2
    # area under every column's trace: height times width over speed, whatever its place
    np.testing.assert_allclose(change.sum(axis=0) * DT, height * 3.0 / 10.0, rtol=1e-5)
    assert np.ptp(change.argmax(axis=0) if height > 0 else change.argmin(axis=0)) > 0


def test_bars_take_all_directions():
    clips = [one_clip("moving_bar", i, edge_speed=2.0) for i in range(60)]
    assert len({tuple((clip != clip[0]).argmax(axis=0)) for clip in clips}) == 12


def test_flicker_is_a_balanced_m_sequence_in_the_whole_field():
    frames = one_clip("flicker", m_sequence_order=6, noise_hold=2, contrast=0.8)
    assert len(frames) == 63 * 2
    assert np.ptp(frames, axis=1).max() == 0
    assert np.unique(frames) == pytest.approx([0.1, 0.9], abs=1e-6)
    values = frames[::2, 0]
    np.testing.assert_array_equal(values, frames[1::2, 0])
    assert (values > 0.5).sum() == 32
    signs = np.sign(values - 0.5)
    circular = [signs @ np.roll(signs, lag) for lag in range(63)]
    assert circular == [63] + [-1] * 62


def test_m_sequence_tiles_are_uncorrelated_over_a_period():
    frames = one_clip("m_sequence", m_sequence_order=7)
    signs = np.sign(frames - 0.5)
    assert signs.shape == (127, len(COLUMNS))
    assert (signs.sum(axis=0) == 1).all()  # one more bright than dark
    gram = signs.T @ signs
    np.testing.assert_array_equal(gram, np.where(np.eye(len(COLUMNS)) > 0, 127, -1))
    # two tiles are the same sequence at lags no closer than the period has room for
    first = signs[:, 0]
    lags = sorted(int(np.argmax([first @ np.roll(column, -k) for k in range(127)])) for column in signs.T)
    assert np.diff(lags).min() == 127 // len(COLUMNS)


@pytest.mark.parametrize("kind", ["m_sequence", "blue_noise"])
def test_tiles_span_several_columns(kind):
    columns = hexagonal_columns(4)
    frames = one_clip(kind, columns=columns, tile_width=3)
    tile = (columns + 1) // 3
    for name in np.unique(tile, axis=0):
        assert np.ptp(frames[:, (tile == name).all(axis=1)], axis=1).max() == 0
    assert len(np.unique(frames, axis=1).T) == len(np.unique(tile, axis=0))
    centre = (tile == 0).all(axis=1)
    assert centre.sum() == 9
    np.testing.assert_array_equal(columns[centre].mean(axis=0), 0)


def test_a_sequence_too_short_for_the_tiles_is_refused():
    with pytest.raises(ConfigError, match="m_sequence_order: got 4, which gives 15 values, expected at least one per"):
        stimulus("m_sequence", m_sequence_order=4)


def test_blue_noise_has_power_that_grows_with_spatial_frequency():
    columns = hexagonal_columns(8)
    frames = stimulus("blue_noise", columns, contrast=0.5).frames(0, 1_200).astype(np.float64) - 0.5
    assert frames.std() == pytest.approx(0.1, rel=0.03)
    place = np.stack([columns[:, 0] + columns[:, 1] / 2, np.sqrt(0.75) * columns[:, 1]], axis=1)
    window = np.cos(np.pi * np.linalg.norm(place, axis=1) / 18) ** 2
    power = []
    for frequency in (0.1, 0.2, 0.3, 0.4):
        waves = [frequency * np.array([np.sin(a), np.cos(a)]) for a in np.arange(12) * np.pi / 6]
        amplitude = np.stack([frames @ (window * np.exp(2j * np.pi * place @ wave)) for wave in waves])
        power.append((np.abs(amplitude) ** 2).mean())
    np.testing.assert_allclose(np.array(power) / power[0], [1, 2, 3, 4], rtol=0.12)


def test_blue_noise_neighbours_differ_and_frames_are_independent():
    columns = hexagonal_columns(3)
    frames = stimulus("blue_noise", columns, noise_hold=2, clip_frames=40).frames(0, 4_000)
    np.testing.assert_array_equal(frames[::2], frames[1::2])
    values = frames[::2] - 0.5
    index = {tuple(c): i for i, c in enumerate(columns.tolist())}
    ring = [index[u, v] for u, v in [(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)]]
    correlation = np.corrcoef(values[:, [index[0, 0], *ring]].T)[0, 1:]
    assert (correlation < -0.04).all()
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.08


def test_mixed_shows_one_clip_of_each_kind_in_turn():
    kinds = ("grey", "flash", "white_noise")
    settings = {"clip_frames": 30, "flash_period": 0.4, "mixed_kinds": kinds}
    movie = stimulus("mixed", **settings)
    assert movie.clip_frames == 30 + 20 + 30
    for index in range(3):
        grey, flash, noise = np.split(movie.frames(80 * index, 80 * (index + 1)), [30, 50])
        np.testing.assert_array_equal(grey, 0.5)
        np.testing.assert_array_equal(flash[:10], 0.5)
        assert np.ptp(flash[10:]) == 0
        assert noise.std() > 0.2
    assert not np.array_equal(movie.frames(30, 50), movie.frames(110, 130))


def test_families_of_a_mixture_have_streams_of_their_own():
    def noise(*kinds: str) -> np.ndarray:
        return stimulus("mixed", mixed_kinds=kinds, clip_frames=30).frames(0, 60)

    np.testing.assert_array_equal(noise("white_noise", "grating")[:30], noise("grating", "white_noise")[30:])
    assert not np.array_equal(noise("white_noise", "grating")[:30], one_clip("white_noise", clip_frames=30))
