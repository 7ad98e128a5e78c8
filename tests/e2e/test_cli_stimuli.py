"""Every kind of stimulus runs through `lobula simulate`, and files that change are noticed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lobula.config.stimulus import FROM_FILES
from lobula.data import Recording
from lobula.stimuli import STIMULI

FRAMES = ("simulation.n_frames=120", "simulation.n_frames_validation=20", "simulation.n_frames_test=60")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos as folders of images, and three photographs beside them."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    for k in range(3):
        (folder / f"video-{k}").mkdir()
        for t in range(4):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"video-{k}" / f"{t}.png")
        Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)).save(folder / f"photo-{k}.png")
    return folder


def words(kind: str, path: Path, out: Path) -> list[object]:
    settings = [f"stimulus.kind={kind}", "connectome.extent=1", *FRAMES]
    settings += ["stimulus.m_sequence_order=6"] if kind in ("flicker", "m_sequence") else []
    settings += [f"stimulus.path={path}"] if kind in (*FROM_FILES, "mixed") else []
    settings += ["stimulus.mixed_kinds=[video, flash, photos]"] if kind == "mixed" else []
    return ["simulate", "fly-small", "--out", out, *(word for s in settings for word in ("--set", s))]


@pytest.mark.parametrize("kind", STIMULI)
def test_every_kind_can_be_simulated(lobula, tmp_path, files, kind):
    done = lobula(*words(kind, files, tmp_path / "run"))
    assert done.code == 0, done.err
    recording = Recording.open(tmp_path / "run" / "recording.zarr")
    train, test = recording["train"].stimulus(), recording["test"].stimulus()
    assert train.shape == (120, 7)
    assert 0 <= train.min() <= train.max() <= 1
    if kind in ("grey", "blank"):
        assert (train == 0.5).all()
    else:
        assert train.std() > 0.01
        assert not np.array_equal(train[:60], test)


def test_footage_that_changes_is_simulated_again(lobula, tmp_path, files):
    command = words("video", files, tmp_path / "run")
    path = tmp_path / "run" / "recording.zarr"

    def light() -> np.ndarray:
        done = lobula(*command)
        assert done.code == 0, done.err
        return Recording.open(path)["train"].stimulus()

    first, made = light(), (path / "zarr.json").stat().st_mtime_ns
    np.testing.assert_array_equal(light(), first)
    assert (path / "zarr.json").stat().st_mtime_ns == made  # nothing changed: skipped
    for file in (files / "video-0").iterdir():
        pixels = np.asarray(Image.open(file))
        Image.fromarray(255 - pixels).save(file)
        os.utime(file, ns=(made, made))  # clocks of file systems may be coarse
    assert not np.allclose(light(), first)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("stimulus.kind=video",), "ConfigError: stimulus.path: not given, expected the files of kind video"),
        (("stimulus.kind=mixed", "stimulus.mixed_kinds=[flash, photos]"), "expected the files of kind photos"),
        (("stimulus.kind=video", "stimulus.path=nowhere"), "stimulus.path: got 'nowhere', expected an existing"),
        (("stimulus.mixed_kinds=[]",), "stimulus.mixed_kinds: got [], expected one or more distinct kinds"),
        (("stimulus.kind=gratin",), "did you mean grating?"),
    ],
)
def test_what_is_wrong_is_said(lobula, tmp_path, settings, said):
    line = lobula("simulate", "--out", tmp_path / "run", *(w for s in settings for w in ("--set", s))).error_line
    assert said in line


def test_a_folder_without_footage(lobula, tmp_path):
    (tmp_path / "empty").mkdir()
    line = lobula(*words("video", tmp_path / "empty", tmp_path / "run")).error_line
    assert line.startswith("MissingInputError: stimulus.path: no videos in")
