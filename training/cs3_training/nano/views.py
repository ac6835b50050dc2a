"""Augmented looks at a scene: a window, mirrored or not, in another light."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.store import ARMS, HAND, HANDS, Scenes

_MIRROR = np.arange(256, dtype=np.uint8)
for _pair in (ARMS, HANDS):
    _MIRROR[list(_pair)] = _pair[::-1]


@dataclass(frozen=True, eq=False)
class View:
    """What is seen of a scene."""

    image: NDArray[np.uint8]
    """RGB [S, S, 3]."""
    numbers: NDArray[np.uint8]
    """Instance map [S, S]; hands are those of the mirrored wearer where it is mirrored."""
    objects: NDArray[np.int8]
    """[SLOTS, 5], as in ``Scenes``."""
    counts: NDArray[np.int64]
    """Pixels of every number, [256]."""

    def seen(self, least: int) -> list[int]:
        """Rows of objects of which at least so many pixels are seen."""
        rows = np.flatnonzero(self.objects[:, 0] >= 0)
        return [int(row) for row in rows if self.counts[row + 1] >= least]

    def box(self, number: int) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 round the pixels of a number; all 0 where there are none."""
        x, y, wide, high = cv2.boundingRect((self.numbers == number).view(np.uint8))
        return x, y, x + wide, y + high


def look(scenes: Scenes, row: int, size: int, rng: np.random.Generator, zoom: float = 0.6) -> View:
    """A random window of a scene, at least half as wide as it.

    Args:
        scenes: where from.
        row: which scene.
        size: side of the result, pixels.
        rng: source of the random numbers.
        zoom: share of looks that are windows; the others show all of the scene.
    """
    side = scenes.image.shape[1]
    width = round(side * rng.uniform(0.5, 1.0)) if rng.random() < zoom else side
    left, top = (int(rng.integers(side - width + 1)) for _ in range(2))
    view = window(scenes, row, (left, top, left + width, top + width), size)
    image, numbers, objects = view.image, view.numbers, view.objects
    if rng.random() < 0.5:
        image, numbers = image[:, ::-1], _MIRROR[numbers[:, ::-1]]
        objects = objects.copy()
        objects[:, HAND] = np.array([0, 2, 1, -1], np.int8)[objects[:, HAND]]
    light = rng.uniform(0.85, 1.15) * rng.uniform(0.96, 1.04, 3)  # RGB
    image = np.asarray(cv2.convertScaleAbs(image * light.astype(np.float32)), np.uint8)
    return View(image, np.ascontiguousarray(numbers), objects, _counts(numbers))


def window(scenes: Scenes, row: int, box: tuple[int, int, int, int], size: int) -> View:
    """A window (x0, y0, x1, y1) of a scene, as it is, at another size."""
    x0, y0, x1, y1 = box
    image, numbers = scenes.image[row, y0:y1, x0:x1], scenes.numbers[row, y0:y1, x0:x1]
    how = cv2.INTER_AREA if x1 - x0 > size else cv2.INTER_LINEAR
    image = np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
    numbers = np.asarray(
        cv2.resize(numbers, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
    )
    return View(image, numbers, np.asarray(scenes.objects[row]), _counts(numbers))


def whole(scenes: Scenes, row: int, size: int) -> View:
    """All of a scene, as it is."""
    side = scenes.image.shape[1]
    return window(scenes, row, (0, 0, side, side), size)


def _counts(numbers: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(numbers.ravel(), minlength=256)
