"""Photographs and videos: what is seen of them, which split sees which, and what is said when they are not right."""

import builtins
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lobula.config.stimulus import StimulusConfig
from lobula.connectome import hexagonal_columns
from lobula.errors import ConfigError, MissingDependencyError, MissingInputError, StoreError
from lobula.stimuli import HexEye, make_stimulus
from lobula.stimuli.footage import VideoFile, find_footage, luma, read_image
from lobula.stimuli.video import oriented

COLUMNS = hexagonal_columns(2)
SPLITS = ("train", "validation", "test")
DT = 1 / 24  # one picture per frame


def picture(rng: np.random.Generator, height: int = 90, width: int = 120) -> np.ndarray:
    """(height, width, 3) uint8: smooth colours, so that JPEG keeps them."""
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def davis(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Ten videos of 3 to 12 pictures in the layout of DAVIS."""
    for k in range(10):
        folder = tmp_path / "davis" / "JPEGImages" / "480p" / f"video-{k}"
        folder.mkdir(parents=True)
        for t in range(3 + k):
            Image.fromarray(picture(rng)).save(folder / f"{t:05d}.jpg", quality=95)
    return tmp_path / "davis"


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Five photographs of one grey each, so that a frame tells which one it shows; another file is no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(5):
        Image.fromarray(np.full((70 + k, 200, 3), 40 * (k + 1), dtype=np.uint8)).save(folder / f"photo-{k}.png")
    (folder / "readme.txt").write_text("not an image")
    return folder


def shown(kind: str, path: Path | None, split: str = "train", seed: int = 0, dt: float = DT, **settings):
    settings = {"clip_frames": 7, **settings}
    return make_stimulus(StimulusConfig(kind=kind, path=path, **settings), COLUMNS, dt, seed, split)


def expected(file: Path, orientation: int) -> np.ndarray:
    """(H,) an oriented picture on the eye, computed from the centre square of the whole picture."""
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(np.float64)
    grey = pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114
    top, left = grey.shape[0] // 2 - 44, grey.shape[1] // 2 - 44
    square = grey[top : top + 89, left : left + 89] / 255
    ways = [square, square[::-1, ::-1], square.T, square[::-1, ::-1].T]
    ways += [square[:, ::-1], square[::-1], square.T[:, ::-1], square.T[::-1]]
    return HexEye(2)(np.stack(ways))[orientation]


def test_eight_orientations_are_distinct() -> None:
    square = np.arange(9).reshape(3, 3)
    assert len({oriented(square, k).tobytes() for k in range(8)}) == 8


def test_luma_is_that_of_broadcasting() -> None:
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    np.testing.assert_allclose(luma(pixels), [[0.299, 0.587, 0.114, 1.0]], rtol=1e-6)


def test_videos_are_streamed_whole_and_in_all_orientations(davis: Path) -> None:
    movie = shown("video", davis)
    lengths = {f"video-{k}": 3 + k for k in range(7)}  # the last fifth is for test, a tenth before it validates
    total = sum(lengths.values())
    files = {name: sorted((davis / "JPEGImages/480p" / name).iterdir()) for name in lengths}
    seen: set[tuple[str, int]] = set()
    for turn in range(8):
        frames, at, left = movie.frames(turn * total, (turn + 1) * total), 0, dict(lengths)
        while left:
            found = [
                (n, w) for n in left for w in range(8) if np.allclose(frames[at], expected(files[n][0], w), atol=1e-5)
            ]
            assert len(found) == 1
            name, way = found[0]
            for t in range(left.pop(name)):
                np.testing.assert_allclose(frames[at + t], expected(files[name][t], way), atol=1e-5)
            at += lengths[name]
            seen.add((name, way))
        assert at == total
    assert len(seen) == 8 * len(lengths)


def test_splits_share_no_video_and_every_video_is_in_one(davis: Path) -> None:
    names = {split: {s.footage.name for s in shown("video", davis, split)._source.stretches} for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [7, 1, 2]
    assert len(set.union(*names.values())) == 10
    assert sorted(Path(name).name for name in names["test"]) == ["video-8", "video-9"]


def test_cut_in_time_shares_no_picture(davis: Path) -> None:
    spans: dict[str, list] = {}
    for split in SPLITS:
        for s in shown("video", davis, split, split_by="time")._source.stretches:
            spans.setdefault(s.footage.name, []).append((s.start, s.stop, s.footage.n_pictures))
    assert len(spans) == 10
    for (a, b, n), (c, d, _), (e, f, _) in spans.values():
        assert a == 0 < b == c < d == e < f == n


@pytest.mark.parametrize("kind", ["video", "photos"])
def test_any_window_equals_the_whole_and_seeds_differ(kind: str, davis: Path, photos: Path) -> None:
    path = davis if kind == "video" else photos
    whole = shown(kind, path).frames(0, 150)
    assert whole.dtype == np.float32
    assert 0 <= whole.min() <= whole.max() <= 1
    again = shown(kind, path)
    for start, stop in [(101, 150), (0, 1), (7, 7), (6, 8), (33, 101), (1, 2)]:
        np.testing.assert_array_equal(again.frames(start, stop), whole[start:stop])
    assert not np.array_equal(shown(kind, path, seed=1).frames(0, 150), whole)
    np.testing.assert_allclose(shown(kind, path, contrast=0.0, grey=0.4).frames(0, 20), 0.4, rtol=1e-6)


def test_video_is_shown_at_its_rate(davis: Path) -> None:
    slow = shown("video", davis, "validation", dt=1 / 96).frames(0, 40)  # video-7, ten pictures, four frames each
    at_rate = shown("video", davis, "validation").frames(0, 10)
    np.testing.assert_array_equal(slow, np.repeat(at_rate, 4, axis=0))
    np.testing.assert_array_equal(
        shown("video", davis, "validation", dt=1 / 96, video_rate=96.0).frames(0, 10), at_rate
    )
    fast = shown("video", davis, "validation", video_rate=48.0).frames(0, 5)
    np.testing.assert_array_equal(fast, at_rate[::2])


def test_small_pictures_are_resized_to_the_eye(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"v{k}").mkdir()
        Image.fromarray(np.full((20, 30, 3), 51, dtype=np.uint8)).save(tmp_path / f"v{k}" / "0.png")
    inner = np.abs(COLUMNS).max(axis=1) < 2
    np.testing.assert_allclose(shown("video", tmp_path).frames(0, 3)[:, inner], 0.2, rtol=1e-5)


def test_each_split_sees_its_own_photographs(photos: Path) -> None:
    greys = {}
    for split in SPLITS:
        frames = shown("photos", photos, split).frames(0, 7 * 60)
        assert np.ptp(frames, axis=1).max() < 1e-6
        greys[split] = set(np.unique((frames[:, 0] * 255).round()).astype(int))
    assert greys == {"train": {40, 80, 120}, "validation": {160}, "test": {200}}


def test_a_still_eye_sees_the_photograph_itself(tmp_path: Path) -> None:
    ramp = np.tile((20 + np.arange(600) // 3).astype(np.uint8), (480, 1))
    for k in range(3):
        Image.fromarray(ramp).save(tmp_path / f"{k}.png")
    still = {"pan_speed": 0.0, "rotation_speed": 0.0, "zoom_speed": 0.0}
    clips = shown("photos", tmp_path, **still).frames(0, 7 * 40).reshape(40, 7, -1)
    assert np.ptp(clips, axis=1).max() == 0
    inside = [clip[0] for clip in clips if clip.min() > 45 / 255 and clip.max() < 195 / 255]
    assert len(inside) > 15
    slopes = np.sort(13 * COLUMNS[:, 1]) / 3 / 255  # of the columns from left to right, however the eye is turned
    for frame in inside:
        np.testing.assert_allclose(np.sort(frame) - frame.mean(), slopes, atol=1.5 / 255)
    assert len({frame.tobytes() for frame in inside}) == len(inside)


def _broken(folder: Path, kind: str) -> None:
    file = folder / "JPEGImages/480p/video-0/00000.jpg" if kind == "video" else folder / "photo-0.png"
    file.write_bytes(file.read_bytes()[:60])


@pytest.mark.parametrize("kind", ["video", "photos"])
def test_what_is_wrong_is_said(kind: str, davis: Path, photos: Path, tmp_path: Path) -> None:
    path = davis if kind == "video" else photos
    with pytest.raises(ConfigError, match=r"stimulus\.path: not given, expected .* set stimulus\.path"):
        shown(kind, None)
    with pytest.raises(MissingInputError, match="nowhere does not exist, expected"):
        shown(kind, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match=r"stimulus\.path: no (videos|images) in .*empty"):
        shown(kind, tmp_path / "empty")
    _broken(path, kind)
    with pytest.raises(StoreError, match=r"cannot be decoded .*, expected an image or a video; repair it"):
        shown(kind, path).frames(0, 300)
    for left in sorted((path / "JPEGImages/480p").iterdir() if kind == "video" else path.glob("*.png"))[2:]:
        left.rename(tmp_path / left.name)
    with pytest.raises(ConfigError, match=r"number of (videos|photographs) is 2, expected at least 3"):
        shown(kind, path)


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")

    def refuse(name: str):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingDependencyError, match=r"PyAV is not installed.*pip install 'lobula\[video\]'"):
        find_footage(tmp_path)
    with pytest.raises(MissingDependencyError, match=r"Pillow is not installed"):
        read_image(tmp_path / "a.png")
    assert issubclass(MissingDependencyError, builtins.ImportError)


@pytest.fixture
def film(tmp_path: Path) -> Callable[[str, int], Path]:
    """Writes a video file of grey pictures, 8 levels apart; skips the test without PyAV."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra: video)")

    def write(name: str, n_pictures: int) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 80, "yuv420p"
            for t in range(n_pictures):
                pixels = np.full((80, 96, 3), 16 + 8 * t, dtype=np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return tmp_path / name

    return write


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_video_files_are_decoded_in_order(film: Callable, tmp_path: Path, suffix: str) -> None:
    for k in range(4):
        film(f"film-{k}.{suffix}", 12 + k)
    movie = shown("video", tmp_path, "test", dt=0.04)
    (stretch,) = movie._source.stretches
    assert (Path(stretch.footage.name).name, stretch.footage.n_pictures, stretch.n_frames) == (
        f"film-3.{suffix}",
        15,
        15,
    )
    assert stretch.footage.rate == pytest.approx(25)
    whole = movie.frames(0, 60)
    levels = (16 + 8 * np.arange(15)) / 255
    np.testing.assert_allclose(whole[:, 9], np.tile(levels, 4), atol=0.02)
    for start, stop in [(50, 60), (3, 17), (3, 17), (0, 60), (14, 15)]:
        np.testing.assert_array_equal(movie.frames(start, stop), whole[start:stop])


def test_a_film_is_decoded_once_however_its_frames_are_asked_for(
    film: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened = film("only.avi", 25), []
    decoded = VideoFile._decoded
    monkeypatch.setattr(VideoFile, "_decoded", lambda video: (opened.append(1), decoded(video))[1])
    movie = shown("video", path, dt=0.02, split_by="time", clip_frames=3)  # 18 pictures, 36 frames
    (stretch,) = movie._source.stretches
    frames = np.concatenate([movie.frames(t, t + 1) for t in range(33)])
    assert len(opened) == 1
    assert stretch.footage._decoder is not None
    np.testing.assert_array_equal(shown("video", path, dt=0.02, split_by="time", clip_frames=33).frames(0, 33), frames)
    list(stretch.footage.pictures(3, 5))
    assert len(opened) == 3
    stretch.footage.close()
    assert stretch.footage._decoder is None


def test_one_film_needs_to_be_cut_in_time(film: Callable) -> None:
    path = film("only.mp4", 20)
    with pytest.raises(ConfigError, match=r"number of videos is 1, expected at least 3.*split_by=time"):
        shown("video", path)
    test = shown("video", path, "test", dt=0.04, split_by="time").frames(0, 4)
    np.testing.assert_allclose(test[:, 9], (16 + 8 * np.arange(16, 20)) / 255, atol=0.02)


def test_files_that_are_no_films(film: Callable, tmp_path: Path) -> None:
    whole = film("a.avi", 25).read_bytes()
    (tmp_path / "a.avi").write_bytes(b"nothing that could be decoded")
    with pytest.raises(StoreError, match=r"a\.avi: cannot be decoded"):
        shown("video", tmp_path)
    (tmp_path / "a.avi").write_bytes(whole)
    (video,) = find_footage(tmp_path)
    video.n_pictures = 40  # as a container that was cut would say
    with pytest.raises(StoreError, match="ends after 25 pictures, expected 40"):
        list(video.pictures(0, 40))
    video.n_pictures = 26  # one more than there are: the last one stays
    pictures = list(video.pictures(20, 26))
    assert len(pictures) == 6
    np.testing.assert_array_equal(pictures[-1], pictures[-2])
