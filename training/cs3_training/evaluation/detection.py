"""Scores of boxes: overlap, average precision, the best threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def box_iou(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Overlap of two boxes x0, y0, x1, y1, intersection over union."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(np.clip(box[2:] - box[:2], 0, None))) for box in (first, second)]
    return shared / max(sum(areas) - shared, 1e-9)


def average_precision(scores: NDArray[Any], hits: NDArray[np.bool_], count: int) -> float:
    """Area under precision over recall, precision made monotone; ``count`` true boxes in all."""
    if not count:
        return 0.0
    order = np.argsort(-scores, kind='stable')
    found = np.cumsum(hits[order])
    precision = found / np.arange(1, len(found) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((precision * hits[order]).sum() / count)


def best_threshold(scores: NDArray[Any], hits: NDArray[np.bool_], count: int) -> float:
    """The score from which on boxes give the largest F1, in whole hundredths.

    Args:
        scores: of boxes, in [0, 1].
        hits: whether each is right; where none is, there is nothing to choose by: 0.5.
        count: true boxes in all.
    """
    if not hits.any():
        return 0.5
    steps = np.arange(1, 100) / 100
    taken = scores[None] >= steps[:, None]  # [99, boxes]
    f1 = 2 * (taken & hits).sum(1) / np.maximum(taken.sum(1) + count, 1)  # [99]
    return float(steps[np.argmax(f1)])
