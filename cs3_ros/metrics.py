"""Scores of predicted mask pairs against the annotated ones (method.md D1, D2).

Everything is per sample: a sample has one or two annotated masks and zero to two predicted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs3_ros.collision import Mask

Denominator = Literal['max', 'truth']

AUC_THRESHOLDS = np.linspace(0.0, 1.0, 21)
"""Thresholds of ``auc``: 0, 0.05, ..., 1."""


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union of two bool masks [H, W], in [0, 1]; 0 where both are empty.

    Raises:
        ValueError: the masks differ in size.
    """
    if first.shape != second.shape:
        raise ValueError(
            f'masks of {first.shape} and {second.shape} cannot be compared: expected one size; '
            'resize the prediction to the annotation (nearest) first'
        )
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def iou_matrix(truth: Sequence[Mask], predicted: Sequence[Mask]) -> NDArray[np.float64]:
    """``iou`` of every pair, float64 [len(truth), len(predicted)] in [0, 1].

    Raises:
        ValueError: masks differ in size.
    """
    pairs = [iou(mask, other) for mask in truth for other in predicted]
    return np.array(pairs, np.float64).reshape(len(truth), len(predicted))


def best_assignment(matrix: NDArray[np.float64]) -> tuple[tuple[int, int], ...]:
    """The one-to-one pairs of rows and columns with the largest total, as by the Hungarian method.

    All assignments are tried: meant for matrices of at most a few rows and columns.

    Args:
        matrix: [R, C] of finite numbers.

    Returns:
        (row, column) of min(R, C) pairs, by rising row.
    """
    if matrix.shape[0] > matrix.shape[1]:
        pairs = ((row, column) for column, row in best_assignment(matrix.T))
        return tuple(sorted(pairs))
    rows = np.arange(matrix.shape[0])
    choices = permutations(range(matrix.shape[1]), matrix.shape[0])
    best = max(choices, key=lambda columns: float(matrix[rows, list(columns)].sum()))
    return tuple(zip(rows.tolist(), best, strict=True))


def matched_ious(truth: Sequence[Mask], predicted: Sequence[Mask]) -> list[float]:
    """IoU of every annotated mask with the prediction that the best assignment gives it, or 0.

    Args:
        truth: the annotated masks, bool [H, W].
        predicted: the predicted masks at the same size.

    Returns:
        One number in [0, 1] for each of ``truth``.

    Raises:
        ValueError: masks differ in size.
    """
    matrix = iou_matrix(truth, predicted)
    matched = [0.0] * len(truth)
    for row, column in best_assignment(matrix):
        matched[row] = float(matrix[row, column])
    return matched


def sample_score(
    truth: Sequence[Mask], predicted: Sequence[Mask], denominator: Denominator = 'max'
) -> float:
    """Score of one sample in [0, 1]: the total IoU of the best assignment over a count of masks.

    Args:
        truth: the annotated masks, bool [H, W]; at least one.
        predicted: the predicted masks at the same size; may be empty.
        denominator: 'max' divides by the larger of the two counts, so that a missing and a
            needless mask both count as 0; 'truth' by the number of annotated masks. The paper
            says that a missing mask counts as 0 and leaves needless ones open (method.md G28).

    Raises:
        ValueError: no annotated mask, sizes that differ or an unknown denominator.
    """
    if not truth:
        raise ValueError('a sample without an annotated mask has no score: leave it out')
    if denominator not in ('max', 'truth'):
        raise ValueError(f'denominator {denominator!r}: expected max or truth')
    count = len(truth) if denominator == 'truth' else max(len(truth), len(predicted))
    return sum(matched_ious(truth, predicted)) / count


def auc(scores: ArrayLike) -> float:
    """Area under the success curve of per-sample scores, in [0, 1].

    The share of samples with a score of at least t, for t = 0, 0.05, ..., 1, integrated by the
    trapezoid rule, as ACL-SSL's evaluation does (method.md G29). The share at t = 0 is 1, so the
    area is at least 0.025.

    Args:
        scores: per-sample scores in [0, 1], one dimension, at least one.

    Raises:
        ValueError: no scores or scores that are not in [0, 1].
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f'scores of shape {values.shape}: expected a non-empty list of numbers')
    if not np.all((values >= 0) & (values <= 1 + 1e-9)):
        raise ValueError('scores outside [0, 1]: expected fractions, not percent')
    share = (values[None] >= AUC_THRESHOLDS[:, None] - 1e-9).mean(1)
    return float(((share[1:] + share[:-1]) / 2 * np.diff(AUC_THRESHOLDS)).sum())


def centred_square(height: int, width: int, share: float = 0.1) -> Mask:
    """The paper's Centre baseline: a centred square (method.md D4).

    Args:
        height: H, pixels.
        width: W, pixels.
        share: area of the square, fraction of the image's; sides longer than the image are cut.

    Returns:
        bool [H, W].
    """
    side = round((share * height * width) ** 0.5)
    mask = np.zeros((height, width), bool)
    top, left = max((height - side) // 2, 0), max((width - side) // 2, 0)
    mask[top : top + side, left : left + side] = True
    return mask
