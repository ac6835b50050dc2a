"""Events for random networks: random pictures and sound, and hands with fixed boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cs3_ros.bench.sounds import impact
from cs3_ros.collision import (
    NS_PER_S,
    AudioClip,
    Box,
    CollisionClip,
    Frame,
    HandObject,
    Image,
    Onset,
)
from cs3_ros.pipeline import HandDetector

RATE = 48_000
FRAME_NS = NS_PER_S // 30


class FixedBoxes:
    """The detector runs; what it found is replaced by two objects in the middle of the picture.

    It looks at the event frame alone: a search of its neighbours, for want of a hand in random
    pictures, would be no usual event.
    """

    def __init__(self, detector: HandDetector | None) -> None:
        self.detector = detector

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """A right and a left hand with touching objects."""
        if self.detector is not None:
            self.detector.detect(frames[index : index + 1], 0)
        right, left = fixed_boxes(*frames[index].image.shape[:2])
        return (
            HandObject('right', 0.9, right, object_box=right),
            HandObject('left', 0.8, left, object_box=left),
        )


def fixed_boxes(height: int, width: int) -> tuple[Box, Box]:
    """The objects of the right and of the left hand."""
    x, y = width / 2, height / 2
    return (x, 0.6 * y, 1.4 * x, 1.4 * y), (0.6 * x, 0.6 * y, x, 1.4 * y)


def random_event(
    seed: int, width: int, height: int, audio_s: float, around: int = 0
) -> CollisionClip:
    """A picture of coloured patches, and a synthetic impact half-way in faint noise.

    In the frames round the event's a part of the picture, a third as wide and high, moves.

    Args:
        seed: of everything random; impacts of different seeds are of different kinds.
        width: of the picture, pixels.
        height: of the picture, pixels.
        audio_s: length of the sound, seconds.
        around: frames before the event frame, and as many after it, at 30 Hz.
    """
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (-(-height // 40), -(-width // 40), 3))
    patches = patches.repeat(40, 0).repeat(40, 1)[:height, :width]
    noisy = np.clip(patches + rng.normal(0, 8, patches.shape), 0, 255)
    picture = noisy.astype(np.uint8)
    sound = rng.normal(0, 0.001, max(round(audio_s * RATE), 1))
    rest = sound[sound.size // 2 :]
    hit = rng.uniform(0.2, 0.9) * impact(rng, RATE)[: rest.size]
    rest[: hit.size] += hit
    samples = sound.clip(-1, 1).astype(np.float32)
    onset_ns = 1 + around * FRAME_NS
    audio = AudioClip(onset_ns, RATE, samples, np.ones(samples.size, bool))
    frames = tuple(
        Frame.from_rgb(1 + k * FRAME_NS, _moved(picture, round((k - around) * width / 100)))
        for k in range(2 * around + 1)
    )
    return CollisionClip(Onset(onset_ns, -20.0, 20.0), frames, around, audio)


def _moved(picture: Image, pixels: int) -> Image:
    """The picture with its middle so far to the right, at most a third of its width."""
    height, width = picture.shape[:2]
    top, left, bottom, right = height // 3, width // 3, height * 2 // 3, width * 2 // 3
    moved = picture.copy()
    moved[top:bottom, left + pixels : right + pixels] = picture[top:bottom, left:right]
    return moved
