"""Events for random networks: a random picture and sound, and hands with fixed boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cs3_ros.bench.sounds import impact
from cs3_ros.collision import AudioClip, Box, CollisionClip, Frame, HandObject, Onset
from cs3_ros.pipeline import HandDetector

RATE = 48_000


class FixedBoxes:
    """The detector runs; what it found is replaced by two objects in the middle of the picture."""

    def __init__(self, detector: HandDetector | None) -> None:
        self.detector = detector

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """A right and a left hand with touching objects."""
        if self.detector is not None:
            self.detector.detect(frames, index)
        right, left = fixed_boxes(*frames[index].image.shape[:2])
        return (
            HandObject('right', 0.9, right, object_box=right),
            HandObject('left', 0.8, left, object_box=left),
        )


def fixed_boxes(height: int, width: int) -> tuple[Box, Box]:
    """The objects of the right and of the left hand."""
    x, y = width / 2, height / 2
    return (x, 0.6 * y, 1.4 * x, 1.4 * y), (0.6 * x, 0.6 * y, x, 1.4 * y)


def random_event(seed: int, width: int, height: int, audio_s: float) -> CollisionClip:
    """A picture of coloured patches, and a synthetic impact half-way in faint noise.

    Args:
        seed: of everything random; impacts of different seeds are of different kinds.
        width: of the picture, pixels.
        height: of the picture, pixels.
        audio_s: length of the sound, seconds.
    """
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (-(-height // 40), -(-width // 40), 3))
    picture = patches.repeat(40, 0).repeat(40, 1)[:height, :width]
    picture = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255)
    sound = rng.normal(0, 0.001, max(round(audio_s * RATE), 1))
    rest = sound[sound.size // 2 :]
    hit = rng.uniform(0.2, 0.9) * impact(rng, RATE)[: rest.size]
    rest[: hit.size] += hit
    samples = sound.clip(-1, 1).astype(np.float32)
    audio = AudioClip(1, RATE, samples, np.ones(samples.size, bool))
    frame = Frame.from_rgb(1, picture.astype(np.uint8))
    return CollisionClip(Onset(1, -20.0, 20.0), (frame,), 0, audio)
