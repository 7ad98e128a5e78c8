"""Footage: videos shown one after the other, each turned and mirrored, with different videos in every split."""

from dataclasses import dataclass

import numpy as np

from lobula.config.stimulus import StimulusConfig
from lobula.errors import ConfigError
from lobula.stimuli.base import Scope, luminance
from lobula.stimuli.footage import SPLITS, Footage, find_footage, for_split, luma, span_of
from lobula.stimuli.hexeye import BOX, HexEye

N_ORIENTATIONS = 8


@dataclass(frozen=True)
class Stretch:
    """Consecutive pictures of one video, and the number of frames that they last.

    Attributes:
        footage: the video.
        start: its first picture shown.
        stop: one past the last.
        n_frames: frames of the stimulus.
    """

    footage: Footage
    start: int
    stop: int
    n_frames: int


class Video:
    """Videos of a split, streamed one after the other without a pause, for ever.

    Each round shows every video once, in an order of its own, at its own rate (a picture stays until the next is due),
    turned and mirrored in one of 8 ways; 8 rounds show all of them. Luma of the centre crop, box averages per column.
    Pictures are decoded when their frames are asked for, and only one is in memory.

    Args:
        config: path, rate, background, contrast and clip length.
        columns: (H, 2) axial coordinates of the eye's columns.
        dt: time between frames [s].
        scope: split and random streams.

    Raises:
        ConfigError: if there are too few videos for the splits.
        MissingInputError: if there are none.
        MissingDependencyError: if video files are there and PyAV is not.
        StoreError: if a video cannot be decoded.
    """

    def __init__(self, config: StimulusConfig, columns: np.ndarray, dt: float, scope: Scope) -> None:
        self.n_columns, self.clip_frames = len(columns), config.clip_frames
        self._config = config
        self._scope = scope
        self._eye = HexEye(int(np.abs(columns).max()))
        place = {(u, v): i for i, (u, v) in enumerate(self._eye.columns.tolist())}
        self._order = np.array([place[u, v] for u, v in columns.tolist()])
        self._side = self._eye.min_frame + BOX - 1  # what the eye sees
        self._dt = dt
        self.stretches = self._stretches(find_footage(config.path), scope.split)
        self._round_frames = sum(stretch.n_frames for stretch in self.stretches)

    def clip(self, index: int, generator: np.random.Generator) -> np.ndarray:
        """(clip_frames, H) float32, the next frames of the stream; chance comes in round by round instead."""
        movie = np.empty((self.clip_frames, self.n_columns), dtype=np.float32)
        done = 0
        while done < self.clip_frames:
            turn, frame = divmod(index * self.clip_frames + done, self._round_frames)
            order = self._scope.generator("order", turn).permutation(len(self.stretches))
            ends = np.cumsum([self.stretches[k].n_frames for k in order])
            place = int(np.searchsorted(ends, frame, side="right"))
            stretch = self.stretches[order[place]]
            n = min(self.clip_frames - done, int(ends[place]) - frame)
            begin = frame - (int(ends[place]) - stretch.n_frames)
            orientation = self._orientations(turn)[order[place]]
            movie[done : done + n] = self._shown(stretch, orientation, np.arange(begin, begin + n))
            if begin + n == stretch.n_frames:
                stretch.footage.close()
            done += n
        return luminance(self._config, movie)

    def _stretches(self, footage: list[Footage], split: str) -> list[Stretch]:
        if self._config.split_by == "video":
            otherwise = ", or set stimulus.split_by=time to cut each video (its scenes are then alike in all splits)"
            chosen = [(video, 0, video.n_pictures) for video in for_split(footage, split, "videos", otherwise)]
        else:
            chosen = [(video, *_part(video, split)) for video in footage]
        stretches = []
        for video, start, stop in chosen:
            per_frame = self._pictures_per_frame(video)
            n_frames = int(np.ceil((stop - start) / per_frame - 1e-9))
            stretches.append(Stretch(video, start, stop, max(n_frames, 1)))
        return stretches

    def _pictures_per_frame(self, video: Footage) -> float:
        return (self._config.video_rate or video.rate) * self._dt

    def _orientations(self, turn: int) -> np.ndarray:
        """(n_videos,) orientation of every video in a round."""
        generator = self._scope.generator("orientation", turn // N_ORIENTATIONS)
        every = np.tile(np.arange(N_ORIENTATIONS), (len(self.stretches), 1))
        return generator.permuted(every, axis=1)[:, turn % N_ORIENTATIONS]

    def _shown(self, stretch: Stretch, orientation: int, frames: np.ndarray) -> np.ndarray:
        """(t, H) float32 raw luminance of some frames of a stretch."""
        video = stretch.footage
        numbers = stretch.start + np.floor(frames * self._pictures_per_frame(video) + 1e-9).astype(int)
        numbers = np.minimum(numbers, stretch.stop - 1)
        seen = np.empty((len(frames), self.n_columns), dtype=np.float32)
        for number, pixels in enumerate(video.pictures(numbers[0], numbers[-1] + 1), start=int(numbers[0])):
            if (when := numbers == number).any():  # footage faster than the frames leaves pictures out
                crop = oriented(luma(centre_crop(pixels, self._side)), orientation)
                seen[when] = self._eye(crop[None])[0, self._order]
        return seen


def _part(video: Footage, split: str) -> tuple[int, int]:
    """First picture and one past the last of a split, where each video is cut in time."""
    n = video.n_pictures
    if n < len(SPLITS):
        raise ConfigError(f"{video.name}: {n} pictures, expected at least {len(SPLITS)} to cut it in time; take it out")
    return span_of(n, split)


def centre_crop(pixels: np.ndarray, side: int) -> np.ndarray:
    """The central square of a picture, of the side given or of the picture's shorter side.

    Args:
        pixels: (height, width, ...).
        side: an odd number of pixels, so that the centre stays the centre in every orientation.
    """
    side = min(side, *pixels.shape[:2])
    top, left = (length // 2 - side // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def oriented(picture: np.ndarray, orientation: int) -> np.ndarray:
    """A square picture turned by a quarter `orientation` % 4 times, and mirrored from 4 on."""
    turned = np.rot90(picture, orientation % 4)
    return turned[:, ::-1] if orientation >= N_ORIENTATIONS // 2 else turned
