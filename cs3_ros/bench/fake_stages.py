"""Stages that need no model and cost nothing, and clicks: what surrounds the stages is looked at.

Used by the node benchmark and by the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Frame, HandObject, Image, Mask, Prompt

NOISE = 1e-3
"""RMS of the noise round the clicks, -60 dBFS."""


class BothHands:
    """Two hands that hold touching boxes in the middle of the frame."""

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """Each hand holds one half of the middle."""
        height, width = frames[index].image.shape[:2]
        x, y = width / 2, height / 2
        box = (x, y, x + 1, y + 1)
        return (
            HandObject('right', 0.9, box, object_box=(x, y / 2, x * 1.5, y * 1.5)),
            HandObject('left', 0.8, box, object_box=(x / 2, y / 2, x, y * 1.5)),
        )


class BoxMasker:
    """The mask of a box is the box."""

    def encode(self, image: Image) -> Any:
        """Only the size matters."""
        return image.shape[:2]

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        """The pixels inside of each prompt's box, which must be there."""
        masks = []
        for prompt in prompts:
            mask = np.zeros(encoded, bool)
            assert prompt.box is not None
            x0, y0, x1, y1 = (round(value) for value in prompt.box)
            mask[y0:y1, x0:x1] = True
            masks.append(mask)
        return masks


def click_sound(
    clicks_s: Sequence[float], duration_s: float, rate: int = 48_000, seed: int = 1
) -> NDArray[np.float32]:
    """Clicks in faint noise, float32 [N] on the grid of S16LE.

    Args:
        clicks_s: times of the clicks' peaks, seconds.
        duration_s: length in seconds.
        rate: samples per second.
        seed: of the noise.
    """
    times = np.arange(round(duration_s * rate)) / rate
    samples = np.random.default_rng(seed).normal(0, NOISE, times.size)
    for click_s in clicks_s:
        after = times - click_s
        ring = 0.5 * np.exp(-np.maximum(after, 0) * 60) * np.cos(2 * np.pi * 2500 * after)
        samples += np.where(after >= 0, ring, 0)
    return (np.round(samples * 32768) / 32768).astype(np.float32)
