"""A sample whose every row is known by hand, and stages that answer as they are told."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from cs3_ros.bench.fake_stages import BoxMasker
from cs3_ros.collision import (
    AudioClip,
    Box,
    CollisionClip,
    Frame,
    HandObject,
    Localisation,
    Mask,
    Onset,
)
from cs3_ros.pipeline import Pipeline
from cs3_training.evaluation.rows import ROWS, Result
from cs3_training.evaluation.samples import Sample

A, B = (20, 20, 40, 40), (40, 20, 60, 40)
"""The colliding objects, 4 % of the picture each, side by side."""
FAR_LEFT, FAR_RIGHT = (0, 70, 20, 90), (70, 70, 90, 90)
HALF_B = (40, 20, 50, 40)


BY_SOUND = {'full_contact', 'full_sounding', 'full_sounding_shuffled'}
"""Rows of bundles whose verifier is ``sounding``."""
OTHERS = BY_SOUND | {'touch'}
"""Rows that a bundle without it, which looks for its hands itself, has not."""


def area(box: Box) -> Mask:
    mask = np.zeros((100, 100), bool)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    mask[y0:y1, x0:x1] = True
    return mask


def sound(level: float) -> AudioClip:
    return AudioClip(0, 16_000, np.full(16_000, level, np.float32), np.ones(16_000, bool))


def known_sample(names: Sequence[str] = ('a block', 'a brick'), index: int = 0) -> Sample:
    picture = np.random.default_rng(index).integers(0, 256, (100, 100, 3), np.uint8)
    clip = CollisionClip(
        Onset(500_000_000, 0.0, 0.0), (Frame.from_rgb(500_000_000, picture),), 0, sound(0.5)
    )
    return Sample(index, index, clip, sound(0.1), (area(A), area(B)), tuple(names), True)


class Hands:
    """The right hand holds A, the left one something else."""

    def detect(self, frames, index):
        return (
            HandObject('left', 0.8, None, object_box=FAR_LEFT),
            HandObject('right', 0.9, None, object_box=A),
        )


class Ears:
    """Hears B in loud sounds, though only half of it is hot; something else in quiet ones."""

    encoded = 0

    def encode(self, frames, index):
        self.encoded += 1
        return frames[index].image.shape

    def locate(self, encoded, audio):
        assert encoded == (100, 100, 3)
        box, hot = (B, HALF_B) if audio.samples.max() > 0.3 else (FAR_RIGHT, FAR_RIGHT)
        return Localisation(np.where(area(hot), 0.9, 0.4).astype(np.float32), box, 0.9)


class CountingMasker(BoxMasker):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Box | None] = []

    def segment(self, encoded, prompts):
        self.asked += [prompt.box for prompt in prompts]
        return super().segment(encoded, prompts)


def known_pipeline() -> Pipeline:
    return Pipeline('known', CountingMasker(), hands=Hands(), localiser=Ears())


def result(index: int, scores: dict[str, float] | float, areas=(0.04, 0.04)) -> Result:
    """A result in which every row scores alike but for those that are given."""
    rows = dict.fromkeys(ROWS, 0.2)
    rows |= scores if isinstance(scores, dict) else dict.fromkeys(ROWS, scores)
    return Result(
        index=index,
        seed=index,
        areas=tuple(areas),
        in_hand=index % 5 != 0,
        scores=rows,
        ious={row: [score] * len(areas) for row, score in rows.items()},
        rule='closest_pair',
        candidates=('right_hand', 'audio_visual'),
        chosen=('right_hand', 'audio_visual'),
        group=str(index // 2),
    )


def known_scorer(count: int = 20, name: str = 'known') -> SimpleNamespace:
    """What the report takes for its pictures."""
    from cs3_training.evaluation.evidence import Evaluator

    evaluator = Evaluator(known_pipeline())
    evaluator.name = name
    return SimpleNamespace(
        evaluator=evaluator, samples=[known_sample(index=k) for k in range(count)]
    )
