"""Stages and recordings that do nothing clever: they let tests look at what surrounds them."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Frame, HandObject, Image, Mask, Prompt
from cs3_ros.pcm import SoundChunk, SoundFormat
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


class ClickRecording:
    """Frames that change colour and clicks in faint noise, as a recording in memory.

    Args:
        clicks_s: times of the clicks in media time.
        duration_s: length.
        size: width and height.
        frame_rate: frames per second.
        rate: sound samples per second.
    """

    path = Path('clicks')
    origin_ns = 0

    def __init__(
        self,
        clicks_s: Sequence[float],
        duration_s: float = 3.0,
        size: tuple[int, int] = (96, 64),
        frame_rate: float = 30.0,
        rate: int = 48_000,
    ) -> None:
        self.clicks_s = tuple(clicks_s)
        self.duration_s = duration_s
        self.size = size
        self.frame_rate = frame_rate
        self.sound_format = SoundFormat(rate, 1, 'S16LE')

    def frames(self) -> Iterator[Frame]:
        width, height = self.size
        for k in range(round(self.duration_s * self.frame_rate)):
            image = np.full((height, width, 3), (k * 3 % 256, 90, 160), np.uint8)
            yield Frame.from_rgb(round(k * NS_PER_S / self.frame_rate), image)

    def sound(self) -> Iterator[SoundChunk]:
        rate = self.sound_format.rate
        times = np.arange(round(self.duration_s * rate)) / rate
        samples = np.random.default_rng(1).normal(0, 1e-3, times.size)
        for click_s in self.clicks_s:
            after = times - click_s
            ring = 0.5 * np.exp(-np.maximum(after, 0) * 60) * np.cos(2 * np.pi * 2500 * after)
            samples += np.where(after >= 0, ring, 0)
        samples = np.round(samples * 32768) / 32768
        for start in range(0, times.size, rate // 50):
            chunk = samples[start : start + rate // 50].astype(np.float32)[:, None]
            yield SoundChunk(round(start * NS_PER_S / rate), rate, chunk)

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        return heapq.merge(self.frames(), self.sound(), key=lambda item: item.stamp_ns)
