"""Masks from boxes and points by OpenCV's GrabCut: no weights, a CPU.

GrabCut separates colours, not objects. It runs on the surroundings of each prompt at a bounded
size, with the hands marked as probable background. Where it gives next to nothing or nearly
everything, the prompt's own shape (the box, or discs round the points) is the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Box, Image, Mask, Points, Prompt
from cs3_ros.config import setting, validate

SEED = 0
"""Start of OpenCV's random numbers before every prompt."""
ROUNDS = 2
"""Rounds of GrabCut; more change next to nothing."""
GAUSSIANS = 5
"""Colours in each of GrabCut's models; it needs as many pixels."""
POINT_REACH = 0.2
"""Margin of the region round points where no box is given, fraction of the picture's short side."""


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
    """Masker without weights; equal prompts give equal masks, whatever was segmented before.

    Args:
        config: how a prompt's surroundings are cut out.
    """

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
        """One prompt: cut out of its surroundings at working size, resized to the picture."""
        import cv2

        height, width = image.shape[:2]
        mask = np.zeros((height, width), bool)
        region = _region(prompt, height, width)
        if region is None:
            return mask
        left, top, right, bottom = _with_context(region, self.config.context, height, width)
        crop = image[top:bottom, left:right]
        scale = min(1.0, self.config.working_side / max(crop.shape[:2]))
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
        cut = self._cut_small(
            small, _moved(prompt, (left, top), scale), _scaled(region, (left, top), scale)
        )
        soft = cv2.resize(
            cut.astype(np.uint8) * 255, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
        )
        mask[top:bottom, left:right] = soft >= 128
        return mask

    def _cut_small(self, image: Image, prompt: Prompt, region: Box) -> NDArray[np.bool_]:
        """GrabCut on the working picture, or the prompt's own shape where that collapses."""
        import cv2

        config = self.config
        height, width = image.shape[:2]
        inside = _rectangle(region, 1.0, height, width)
        hands = np.zeros((height, width), np.uint8)
        for polygon in prompt.exclude:
            if len(polygon) >= 3:
                cv2.fillPoly(hands, [np.round(polygon).astype(np.int32)], (1,))
        radius = max(round(config.point_radius * _side(region)), 1)
        sure = _discs(prompt.positive_points, radius, height, width)
        shape = inside
        if prompt.box is None:
            shape = _discs(prompt.positive_points, max(round(_side(region) / 4), 1), height, width)
        shape = (shape & (hands == 0)) | (sure & inside)

        trimap = np.full((height, width), cv2.GC_BGD, np.uint8)
        trimap[inside] = cv2.GC_PR_BGD
        trimap[_rectangle(region, config.core, height, width)] = cv2.GC_PR_FGD
        trimap[hands > 0] = cv2.GC_PR_BGD
        trimap[sure] = cv2.GC_FGD
        trimap[_discs(prompt.negative_points, radius, height, width)] = cv2.GC_BGD
        if not _both(trimap):
            return shape
        # Its Gaussians start from OpenCV's global random numbers.
        cv2.setRNGSeed(SEED)
        cv2.grabCut(
            image,
            trimap,
            (0, 0, 0, 0),
            np.zeros((1, 65)),
            np.zeros((1, 65)),
            ROUNDS,
            cv2.GC_INIT_WITH_MASK,
        )
        cut = (trimap & 1) == 1
        least = config.min_share / 8 if len(prompt.positive_points) else config.min_share
        share = np.count_nonzero(cut) / max(np.count_nonzero(inside), 1)
        return cut if least <= share <= config.max_share else shape


def _region(prompt: Prompt, height: int, width: int) -> Box | None:
    """The box within the image, or one round the points; None where nothing of it is visible."""
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
    elif len(prompt.positive_points):
        reach = POINT_REACH * min(height, width)
        x0, y0 = (float(value) for value in prompt.positive_points.min(0) - reach)
        x1, y1 = (float(value) for value in prompt.positive_points.max(0) + reach)
    else:
        raise ValueError(
            'GrabCut needs a box or at least one positive point, the prompt has neither: leave out '
            'prompts of empty hands'
        )
    if not np.isfinite([x0, y0, x1, y1]).all():
        raise ValueError(f'box ({x0}, {y0}, {x1}, {y1}): expected finite pixels')
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    return box if box[2] - box[0] >= 2 and box[3] - box[1] >= 2 else None


def _with_context(box: Box, context: float, height: int, width: int) -> tuple[int, int, int, int]:
    """The box grown by a fraction of its sides, in whole pixels within the image."""
    x0, y0, x1, y1 = box
    grow_x, grow_y = context * (x1 - x0), context * (y1 - y0)
    return (
        max(round(x0 - grow_x), 0),
        max(round(y0 - grow_y), 0),
        min(round(x1 + grow_x), width),
        min(round(y1 + grow_y), height),
    )


def _moved(prompt: Prompt, origin: tuple[int, int], scale: float) -> Prompt:
    """The points and polygons of a prompt in the pixels of a scaled crop."""

    def move(points: Points) -> Points:
        return ((points - np.array(origin, np.float32)) * np.float32(scale)).astype(np.float32)

    return Prompt(
        prompt.box,
        move(prompt.positive_points),
        move(prompt.negative_points),
        tuple(move(polygon) for polygon in prompt.exclude),
    )


def _scaled(box: Box, origin: tuple[int, int], scale: float) -> Box:
    """A box in the pixels of a scaled crop."""
    (left, top), (x0, y0, x1, y1) = origin, box
    return ((x0 - left) * scale, (y0 - top) * scale, (x1 - left) * scale, (y1 - top) * scale)


def _side(box: Box) -> float:
    """Side of the square that is as large as the box."""
    return float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))


def _rectangle(box: Box, share: float, height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width]: pixels whose centres lie in the inner share of a box."""
    x0, y0, x1, y1 = box
    x = np.abs(np.arange(width) + 0.5 - (x0 + x1) / 2) <= share * (x1 - x0) / 2
    y = np.abs(np.arange(height) + 0.5 - (y0 + y1) / 2) <= share * (y1 - y0) / 2
    return y[:, None] & x[None]


def _discs(points: Points, radius: int, height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width]: filled discs round points."""
    import cv2

    discs = np.zeros((height, width), np.uint8)
    for x, y in np.round(points).astype(int).tolist():
        cv2.circle(discs, (x, y), radius, (1,), -1)
    return discs > 0


def _both(trimap: NDArray[np.uint8]) -> bool:
    """Whether there is enough of object and background for GrabCut's two colour models."""
    count = int(np.count_nonzero(trimap & 1))
    return GAUSSIANS <= count <= trimap.size - GAUSSIANS
