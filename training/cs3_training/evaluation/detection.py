"""Scores of detectors and classifiers: areas under their curves, the best threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_auc_score


def roc_auc(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve.

    Args:
        scores: [N].
        truth: [N].

    Returns:
        The chance that a true sample scores above a false one; 0.5 where one kind is missing.
    """
    return 0.5 if truth.all() or not truth.any() else float(roc_auc_score(truth, scores))


def average_precision(scores: NDArray[Any], hits: NDArray[np.bool_], count: int) -> float:
    """Area under precision over recall, precision made monotone, as detections are scored.

    Args:
        scores: of boxes, [N].
        hits: whether each is right, [N].
        count: true boxes in all, those that no box found among them.

    Returns:
        In [0, 1]; 0 where there is no true box or no hit. Boxes of equal scores count together.
    """
    if not count or not hits.any():
        return 0.0
    precision, recall, _ = precision_recall_curve(hits, scores)  # by rising score
    best = np.maximum.accumulate(precision)  # at this recall or a higher one
    found = hits.sum() / count  # recall so far counts hits alone
    return float(-(np.diff(recall) * best[:-1]).sum() * found)


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
