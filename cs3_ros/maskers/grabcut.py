"""Masks from boxes and points by OpenCV's GrabCut: no weights, a CPU.

GrabCut knows colours and edges, not things. It is run on the surroundings of each prompt at a
bounded size, told where the hands are, and overruled where it gives next to nothing or everything:
then the prompt's own shape is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Box, Image, Mask, Prompt
from cs3_ros.config import setting, validate

SEED = 0
"""Start of OpenCV's random numbers before every prompt."""
ROUNDS = 2
"""Rounds of GrabCut; more change next to nothing."""


@dataclass(frozen=True)
class GrabCutConfig:
    """Settings of ``GrabCutMasker``."""

    working_side: int = setting(
        240,
        'Long side on which a prompt is cut out, pixels; below 200 GrabCut tends to give nothing.',
        minimum=32,
        maximum=1024,
    )
    context: float = setting(
        0.35,
        'Margin round the box that shows the background, fraction of the box.',
        minimum=0.05,
        maximum=2.0,
    )
    core: float = setting(
        0.75,
        'Inner part of the box that is taken for the object at first, fraction of each side.',
        minimum=0.1,
        maximum=1.0,
    )
    point_radius: float = setting(
        0.1,
        'Radius round a positive point that surely belongs to the object, fraction of the box.',
        minimum=0.0,
        maximum=0.5,
    )
    min_share: float = setting(
        0.4,
        'A mask below this share of its box counts as collapsed; an eighth of it with points.',
        minimum=0.0,
        maximum=1.0,
    )
    max_share: float = setting(
        0.95, 'A mask above this share of its box counts as collapsed.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class GrabCutMasker:
    """Masker without weights; equal prompts give equal masks, whatever was asked before."""

    def __init__(self, config: GrabCutConfig = GrabCutConfig()) -> None:
        self.config = config

    def encode(self, image: Image) -> Image:
        """The picture itself: nothing is shared between prompts."""
        return image

    def segment(self, encoded: Image, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt.

        Args:
            encoded: RGB uint8 [H, W, 3].
            prompts: each with a box, points or both. Excluded polygons belong to the background at
                first: they also cover what a hand closes round, which colour may win back.

        Raises:
            ValueError: a prompt has neither a box nor a positive point.
        """
        return [self._cut(encoded, prompt) for prompt in prompts]

    def _cut(self, image: Image, prompt: Prompt) -> Mask:
        import cv2

        height, width = image.shape[:2]
        mask = np.zeros((height, width), bool)
        box = _region(prompt, height, width)
        if box is None:
            return mask
        left, top, right, bottom = _with_context(box, self.config.context, height, width)
        crop = image[top:bottom, left:right]
        scale = min(1.0, self.config.working_side / max(crop.shape[:2]))
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        cut = self._cut_small(small, prompt, box, np.array([left, top]), scale)
        shape = (right - left, bottom - top)
        full = cv2.resize(cut.astype(np.uint8), shape, interpolation=cv2.INTER_LINEAR_EXACT)
        mask[top:bottom, left:right] = full > 0
        return mask
