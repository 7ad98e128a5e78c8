"""Image files and video files as pictures, decoded one at a time, and how they are shared out among the splits."""

import importlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from lobula.errors import ConfigError, MissingDependencyError, MissingInputError, StoreError

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".gif")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
IMAGE_RATE = 24.0  # pictures per second of a folder of images, as in DAVIS
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1
SPLITS = ("train", "validation", "test")
MAX_SHORTFALL = 0.05  # a container may announce more pictures than there are; beyond this share it is damaged

Item = TypeVar("Item")


class Footage(Protocol):
    """One video: pictures in order, at a rate."""

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    @property
    def n_pictures(self) -> int:
        """Number of pictures."""
        ...

    @property
    def rate(self) -> float:
        """Pictures per second."""
        ...

    def pictures(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """(height, width, 3) uint8 red, green, blue of the pictures start..stop-1."""
        ...

    def close(self) -> None:
        """Let go of the file until it is asked for again."""
        ...


class ImageFolder:
    """A video whose pictures are the image files of one folder, sorted by name.

    Args:
        folder: where the images are.
    """

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self.rate = IMAGE_RATE
        self._files = _files(folder, IMAGES)

    @property
    def n_pictures(self) -> int:
        """Number of pictures."""
        return len(self._files)

    def pictures(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """(height, width, 3) uint8 red, green, blue of the pictures start..stop-1."""
        for file in self._files[start:stop]:
            yield read_image(file)

    def close(self) -> None:
        """Nothing is held open."""


class VideoFile:
    """A video file, decoded from its beginning to where it is wanted; going on from there costs nothing extra.

    Args:
        path: any file that FFmpeg reads.

    Raises:
        MissingDependencyError: without PyAV.
        StoreError: if it is no video.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._av = _imported("av", f"{path}: a video file")
        with self._checked(), self._av.open(self.name) as container:
            if not container.streams.video:
                raise StoreError(f"{path}: no video stream, expected a video; take it out of the folder")
            stream = container.streams.video[0]
            self.rate = float(stream.average_rate or stream.guessed_rate or IMAGE_RATE)
            self.n_pictures = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        if self.n_pictures < 1:
            raise StoreError(f"{path}: no pictures, expected a video; take it out of the folder")
        self._position = 0
        self._decoder: Generator[Any, None, None] | None = None
        self._last: Any = None

    def pictures(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """(height, width, 3) uint8 red, green, blue of the pictures start..stop-1."""
        if self._last is not None and start == self._position - 1 < stop:  # the picture that the last call ended with
            yield self._pixels(self._last)
            start += 1
        if start >= stop:
            return
        if self._decoder is None or start < self._position:
            self.close()
            self._decoder = self._decoded()
        while self._position < stop:
            picture = next(self._decoder, None)
            if picture is None:
                break
            self._position, self._last = self._position + 1, picture
            if self._position > start:
                yield self._pixels(picture)
        # the container announced a few pictures more than it has: the last one stays, as a player would do it
        missing = range(max(start, self._position), stop)
        if missing and self._position < (1 - MAX_SHORTFALL) * self.n_pictures - 1:
            raise StoreError(
                f"{self._path}: ends after {self._position} pictures, expected {self.n_pictures}; the file is cut, "
                "encode it again or take it out"
            )
        for _ in missing:
            yield self._pixels(self._last)

    def close(self) -> None:
        """Let go of the file; the next picture is decoded from its beginning."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder, self._position, self._last = None, 0, None

    def _decoded(self) -> Generator[Any, None, None]:
        with self._checked(), self._av.open(self.name) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield from container.decode(stream)

    def _pixels(self, picture: Any) -> np.ndarray:
        with self._checked():
            return picture.to_ndarray(format="rgb24")

    def _checked(self) -> "_Decoding":
        return _Decoding(self._path, self._av.error.FFmpegError)


class _Decoding:
    """Turns what a decoder raises into one clear line."""

    def __init__(self, path: Path, errors: type[Exception] | tuple[type[Exception], ...]) -> None:
        self._path = path
        self._errors = errors

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._errors) and not isinstance(error, StoreError):
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise StoreError(
                f"{self._path}: cannot be decoded ({reason}), expected an image or a video; repair it or take it out"
            ) from error


def read_image(path: Path) -> np.ndarray:
    """(height, width, 3) uint8 red, green, blue of an image file, turned upright.

    Raises:
        MissingDependencyError: without Pillow.
        StoreError: if it cannot be decoded.
    """
    _imported("PIL", f"{path}: an image")
    from PIL import Image, ImageOps

    with _Decoding(path, (OSError, SyntaxError, ValueError, Image.DecompressionBombError)), Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def luma(pixels: np.ndarray) -> np.ndarray:
    """(height, width) float32 luminance in [0, 1], .299 red + .587 green + .114 blue."""
    return (pixels @ LUMA) / np.float32(255)


def find_footage(path: Path | None) -> list[Footage]:
    """The videos at a path, sorted by name.

    Args:
        path: one video file; or a folder of video files, of folders of images, or in the layout of DAVIS
            (``JPEGImages/480p/<video>/*.jpg``).

    Raises:
        ConfigError: if there is no path.
        MissingInputError: if there is nothing, or no footage in it.
        MissingDependencyError: if a video file is there and PyAV is not.
        StoreError: if a video file cannot be opened.
    """
    path = _existing(path, "video", "a video file, a folder of videos or a DAVIS folder")
    if path.is_file():
        return [VideoFile(path)]
    folder = path
    if (path / "JPEGImages").is_dir():
        folder = path / "JPEGImages"
        sizes = sorted(inner for inner in folder.iterdir() if inner.is_dir() and not _files(inner, IMAGES))
        folder = folder / "480p" if (folder / "480p").is_dir() else sizes[0] if len(sizes) == 1 else folder
    footage: list[Footage] = [VideoFile(file) for file in _files(folder, VIDEOS)]
    footage += [ImageFolder(inner) for inner in folder.iterdir() if inner.is_dir() and _files(inner, IMAGES)]
    if not footage:
        raise MissingInputError(
            f"stimulus.path: no videos in {folder}, expected video files ({', '.join(VIDEOS)}) or folders of images; "
            "check the path"
        )
    return sorted(footage, key=lambda video: video.name)


def find_images(path: Path | None) -> list[Path]:
    """The image files of a folder, sorted by name.

    Raises:
        ConfigError: if there is no path.
        MissingInputError: if there is nothing, or no image in it.
    """
    path = _existing(path, "photos", "a folder of images")
    images = [path] if path.is_file() else _files(path, IMAGES)
    if not images:
        raise MissingInputError(
            f"stimulus.path: no images in {path}, expected files that end in {', '.join(IMAGES)}; check the path"
        )
    return images


def for_split(items: Sequence[Item], split: str, what: str, otherwise: str = "") -> list[Item]:
    """The items that belong to a split: of the sorted ones, the last fifth is for test, a tenth before it validates.

    Args:
        items: sorted; no item is in two splits.
        split: train, validation or test.
        what: what they are, for messages.
        otherwise: another next step, for messages.

    Raises:
        ConfigError: if there are fewer than three.
    """
    if len(items) < len(SPLITS):
        raise ConfigError(
            f"stimulus.path: number of {what} is {len(items)}, expected at least {len(SPLITS)}, so that train, "
            f"validation and test show different ones; add some{otherwise}"
        )
    low, high = span_of(len(items), split)
    return list(items[low:high])


def span_of(n: int, split: str) -> tuple[int, int]:
    """First and one past the last of n >= 3 consecutive things that belong to a split.

    Raises:
        ConfigError: if the split has no share of files.
    """
    if split not in SPLITS:
        raise ConfigError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}; files are shared among these")
    n_test, n_validation = (max(1, round(share * n)) for share in (TEST_SHARE, VALIDATION_SHARE))
    bounds = (0, n - n_test - n_validation, n - n_test, n)
    place = SPLITS.index(split)
    return bounds[place], bounds[place + 1]


def _existing(path: Path | None, kind: str, expected: str) -> Path:
    if path is None:
        raise ConfigError(f"stimulus.path: not given, expected {expected} for kind {kind}; set stimulus.path")
    if not path.exists():
        raise MissingInputError(f"stimulus.path: {path} does not exist, expected {expected}; check the path")
    return path


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = (f for f in folder.iterdir() if f.suffix.lower() in suffixes and not f.name.startswith("."))
    return sorted(file for file in found if file.is_file())


def _imported(name: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as cause:
        library = {"av": "PyAV", "PIL": "Pillow"}[name]
        raise MissingDependencyError(
            f"{what}, but {library} is not installed, expected it for stimuli from files; "
            "python -m pip install 'lobula[video]'"
        ) from cause
