"""Which masks of a clip are kept: no doubles, at most two objects, at most fifteen distractors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.metrics import iou
from cs3_training.evaluation.sounding import LEAST_PIXELS, SAME_IOU
from cs3_training.sounding.mask_files import OBJECTS, POOL


def suppress(
    tracks: Sequence[NDArray[np.bool_]],
    scores: Sequence[float] | NDArray[Any],
    same: float = SAME_IOU,
) -> list[int]:
    """Non-maximum suppression of masks, or of masks through a clip.

    Args:
        tracks: bool, all of one shape, [H, W] or [F, H, W]; of those through a clip the pixels of
            all frames are compared together.
        scores: higher is better; of equal ones the earlier stays.
        same: two that overlap more are one.

    Returns:
        Numbers of those that stay, the best first.

    Raises:
        ValueError: not one score for each, or shapes that differ.
    """
    if len(tracks) != len(scores):
        raise ValueError(f'{len(tracks)} masks, {len(scores)} scores: expected one for each')
    kept: list[int] = []
    for number in np.argsort(-np.asarray(scores, np.float64), kind='stable'):
        if all(iou(tracks[number], tracks[other]) <= same for other in kept):
            kept.append(int(number))
    return kept


def choose_objects(
    tracks: Sequence[NDArray[np.bool_]],
    scores: Sequence[float] | NDArray[Any],
    most: int = OBJECTS,
    same: float = SAME_IOU,
) -> list[int]:
    """The objects of a clip: of all that hands hold, the best that differ.

    Args:
        tracks: as ``suppress``.
        scores: of the detector.
        most: how many at most.
        same: as ``suppress``.

    Returns:
        Numbers of them, the best first; one without a pixel is none.
    """
    seen = [number for number, track in enumerate(tracks) if track.any()]
    kept = suppress([tracks[k] for k in seen], [scores[k] for k in seen], same)
    return [seen[k] for k in kept][:most]


def choose_pool(
    masks: Sequence[NDArray[np.bool_]],
    scores: Sequence[float] | NDArray[Any],
    objects: Sequence[NDArray[np.bool_]],
    most: int = POOL,
    same: float = SAME_IOU,
    least: int = LEAST_PIXELS,
) -> list[int]:
    """The distractors of a frame: what differs from each other and from the objects.

    Args:
        masks: of anything, bool [H, W].
        scores: higher is better.
        objects: of the objects in the same frame, bool [H, W].
        most: how many at most.
        same: as ``suppress``.
        least: smaller ones are none, pixels.

    Returns:
        Numbers of them, the best first.
    """
    free = [
        number
        for number, mask in enumerate(masks)
        if np.count_nonzero(mask) >= least and all(iou(mask, one) <= same for one in objects)
    ]
    kept = suppress([masks[k] for k in free], [scores[k] for k in free], same)
    return [free[k] for k in kept][:most]
