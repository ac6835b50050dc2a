"""Hands and held objects that Hands23 found on the frames of a recording beforehand (method.md B2).

The usual way to Hands23, which the CS3 paper uses: its authors' demo is run on the frames, and its
``result.json`` is named here. Nothing of theirs is needed then.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cs3_ros.collision import NS_PER_S, Frame, HandObject
from cs3_ros.config import require, setting, validate
from cs3_ros.hands.hands23_results import Hands23Hand, held, image_number, read_results

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hands23JsonConfig:
    """Settings of ``Hands23Json``.

    An image belongs to the frame whose number is the last one in its file name. With ``fps`` that
    is a number of a frame, as in ``ffmpeg -i clip.mp4 frames/%06d.jpg`` or EPIC-KITCHENS; without,
    it is the frame's stamp in nanoseconds, which suits bags and uneven frame rates.
    """

    results: str = setting('', 'The result.json of the Hands23 demo.', weights=True)
    fps: float = setting(
        0.0,
        'Images per second of the recording; 0 where file names hold stamps in nanoseconds.',
        minimum=0.0,
        maximum=10_000.0,
    )
    first: int = setting(
        1, 'Number of the image at media time 0; ffmpeg counts from 1.', minimum=0, maximum=10**12
    )
    origin_s: float = setting(
        1000.0,
        'Stamp of media time 0, s; what cs3 run has as --start.',
        minimum=0.0,
        maximum=1e10,
    )
    hand_threshold: float = setting(
        0.7, 'Score in [0, 1] from which on a hand counts.', minimum=0.0, maximum=1.0
    )
    object_threshold: float = setting(
        0.5, 'Score in [0, 1] from which on its object counts.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class Hands23Json:
    """HandDetector that looks up what the Hands23 demo found on the frames of a recording.

    The images must have the size of the frames. A frame without an image has no hands; a warning
    says so.

    Raises:
        ValueError: no file is named, it cannot be read or is not such a file, or two of its images
            have one number.
    """

    def __init__(self, config: Hands23JsonConfig) -> None:
        require(config, 'results')
        self.config = config
        self._path = Path(config.results)
        self._hands: dict[int, tuple[Hands23Hand, ...]] = {}
        for name, hands in read_results(self._path).items():
            number = image_number(name)
            if number is None:
                raise ValueError(f'{self._path}: {name!r} has no number: it belongs to no frame')
            if number in self._hands:
                raise ValueError(
                    f'{self._path}: two images of number {number}, one is {name!r}; '
                    'expected the frames of one recording'
                )
            self._hands[number] = hands

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one HandObject per side, right first, in pixels of ``frames[index]``."""
        frame = frames[index]
        number = self.number(frame.stamp_ns)
        if number not in self._hands:
            log.warning(
                '%s: no image %d for the frame at %.9f s, so it has no hands; %d images there, '
                '%s. Do fps, first and origin_s fit?',
                self._path,
                number,
                frame.stamp_ns / NS_PER_S,
                len(self._hands),
                f'{min(self._hands)} to {max(self._hands)}' if self._hands else 'none',
            )
            return ()
        return held(
            self._hands[number],
            frame.image.shape,
            self.config.hand_threshold,
            self.config.object_threshold,
        )

    def number(self, stamp_ns: int) -> int:
        """Number of the image of the frame with this stamp."""
        if not self.config.fps:
            return stamp_ns
        media_ns = stamp_ns - round(self.config.origin_s * NS_PER_S)
        return self.config.first + round(media_ns / NS_PER_S * self.config.fps)
