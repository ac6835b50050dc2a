"""Which of a detector's boxes are proposals: objects, each once, within the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Proposal

NOT_OBJECTS = frozenset(('person', 'hand', 'left_hand', 'right_hand', 'arm', 'face'))
"""Classes that are no objects here: the wearer is what holds them."""
MOST = 100
"""Proposals of one picture, at most."""
LEAST_SIDE = 4.0
"""Width and height of a box below which it is no proposal, pixels."""


def select(
    boxes: NDArray[Any],
    scores: NDArray[Any],
    names: Sequence[str],
    size: tuple[int, int],
    min_score: float,
    max_iou: float,
) -> tuple[Proposal, ...]:
    """Proposals, surest first.

    Args:
        boxes: [N, 4], x0, y0, x1, y1 in pixels of the picture; those with a number that is not
            finite are left out.
        scores: [N] in [0, 1].
        names: of the N classes.
        size: height and width of the picture.
        min_score: least score.
        max_iou: of two boxes that overlap more the surer one stays, whatever their classes: one
            thing is often seen as a cup and as a bowl.
    """
    import cv2

    height, width = size
    limit = np.array([width, height, width, height], np.float64)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores, np.float64)
    good = np.isfinite(boxes).all(1) & (scores >= min_score)
    boxes = np.clip(np.where(good[:, None], boxes, 0), 0, limit)
    good &= (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(1)
    rows = np.flatnonzero(good)
    if not len(rows):
        return ()
    corners = boxes[rows]
    sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    kept = cv2.dnn.NMSBoxes(sides.tolist(), scores[rows].tolist(), 0.0, max_iou)
    found = [
        Proposal(tuple(corners[k].tolist()), float(scores[rows[k]]), names[rows[k]]) for k in kept
    ]
    # Not earlier: what is surer a part of a person than a bottle is no bottle.
    return tuple(one for one in found if one.name not in NOT_OBJECTS)[:MOST]
