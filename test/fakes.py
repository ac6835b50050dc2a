"""Stages that do nothing clever: they let tests look at what surrounds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cs3_ros.collision import Frame, HandObject, Image, Mask, Prompt
from cs3_ros.pipeline import Pipeline


class BothHands:
    """Two hands that hold touching boxes in the middle of the frame."""

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        height, width = frames[index].image.shape[:2]
        x, y = width / 2, height / 2
        box = (x, y, x + 1, y + 1)
        return (
            HandObject('right', 0.9, box, object_box=(x, y / 2, x * 1.5, y * 1.5)),
            HandObject('left', 0.8, box, object_box=(x / 2, y / 2, x, y * 1.5)),
        )


class BoxMasker:
    """The mask of a box is the box; a pause or an exception can be put in."""

    def __init__(self, pause_s: float = 0.0, fail: Callable[[], bool] = lambda: False) -> None:
        self.pause_s = pause_s
        self.fail = fail

    def encode(self, image: Image) -> Any:
        time.sleep(self.pause_s)
        if self.fail():
            raise RuntimeError('this stage was told to fail')
        return image.shape[:2]

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        masks = []
        for prompt in prompts:
            mask = np.zeros(encoded, bool)
            assert prompt.box is not None
            x0, y0, x1, y1 = (round(value) for value in prompt.box)
            mask[y0:y1, x0:x1] = True
            masks.append(mask)
        return masks


def fake_pipeline(pause_s: float = 0.0, fail: Callable[[], bool] = lambda: False) -> Pipeline:
    """A pipeline that always finds two touching boxes."""
    return Pipeline('fake', BoxMasker(pause_s, fail), hands=BothHands())
