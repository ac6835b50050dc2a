"""Scores of Clink! Chop! Thud! by its released protocol (method.md F).

Sounding object detection: of the candidates of a picture, one that made the sound. Sounding action
discovery: did the action make the sound at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score

from cs3_ros.metrics import iou

LEAST_PIXELS = 150
"""Smaller masks of the pool are no candidates; at 224 x 224."""
SAME_IOU = 0.6
"""Two masks of a larger overlap are one candidate."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What may have sounded in a picture."""

    masks: NDArray[np.bool_]
    """[M, H, W]."""
    positive: NDArray[np.bool_]
    """Which of them did, [M]."""


def candidates(
    pool: NDArray[np.bool_],
    objects: NDArray[np.bool_],
    least: int = LEAST_PIXELS,
    same: float = SAME_IOU,
) -> Candidates:
    """The pool without doubles, and what sounded among it.

    Args:
        pool: masks of anything, [P, H, W]; of two that overlap the earlier stays.
        objects: masks of what sounded, [O, H, W]; empty ones are passed over. One that overlaps a
            candidate makes the first such a positive; another becomes a candidate of its own.
        least: pixels that a mask of the pool needs.
        same: IoU above which two masks overlap.
    """
    kept: list[NDArray[np.bool_]] = []
    positive: set[int] = set()
    for mask in pool:
        if np.count_nonzero(mask) >= least and _double(mask, kept, same) is None:
            kept.append(mask)
    for mask in objects:
        if not mask.any():
            continue
        found = _double(mask, kept, same)
        if found is None:
            kept.append(mask)
            found = len(kept) - 1
        positive.add(found)
    masks = np.stack(kept) if kept else np.zeros((0, *pool.shape[1:]), bool)
    return Candidates(masks, np.array([k in positive for k in range(len(kept))], bool))


def is_hit(
    scores: NDArray[Any],
    positive: NDArray[np.bool_],
    background: float = np.nan,
    exclude_background: bool = False,
) -> bool:
    """Whether the best candidate is one that sounded.

    Args:
        scores: of the candidates, [M]; NaN for one of which nothing is seen, which never wins.
        positive: which of them sounded, [M].
        background: score of what no mask covers. In the released evaluation it takes part, and
            where it wins nothing is hit (method.md G41).
        exclude_background: leave it out.
    """
    scores = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    if not len(scores) or not np.isfinite(scores).any():
        return False
    best = int(np.argmax(scores))
    if not exclude_background and background >= scores[best]:  # never where it is NaN
        return False
    return bool(positive[best])


def top_1(hits: NDArray[np.bool_]) -> float:
    """Share of samples with a hit, in [0, 1].

    Raises:
        ValueError: no samples.
    """
    if not len(hits):
        raise ValueError('no samples: expected at least one with a sounding action')
    return float(np.mean(hits))


@dataclass(frozen=True)
class Discovery:
    """Areas under the curves of sounding action discovery, in [0, 1]."""

    roc: float
    """Receiver operating characteristic."""
    precision_recall: float
    """Precision over recall, by trapezoids."""


def discovery(scores: NDArray[Any], sounding: NDArray[np.bool_]) -> Discovery:
    """How well scores tell actions that make the sound from others.

    The area under precision and recall is that of the released code: trapezoids over the points
    sorted by recall, points of equal recall in the order of rising thresholds. It is not the
    average precision.

    Args:
        scores: cosine of two of picture, sound and text of each clip, [N].
        sounding: whether its action made the sound, [N].

    Raises:
        ValueError: all clips are of one kind.
    """
    if sounding.all() or not sounding.any():
        raise ValueError(
            f'{len(sounding)} clips, {int(sounding.sum())} with a sounding action: expected both '
            'kinds'
        )
    precision, recall, _ = precision_recall_curve(sounding, scores)
    order = np.argsort(recall, kind='stable')
    area = float(auc(recall[order], precision[order]))
    return Discovery(float(roc_auc_score(sounding, scores)), area)


def roc_areas(
    scores: NDArray[Any], sounding: NDArray[np.bool_], resamples: int = 1000
) -> NDArray[np.float64]:
    """Areas under ROC of bootstrap resamples of the clips, drawn within each kind.

    Args:
        scores: as ``discovery``.
        sounding: as ``discovery``; both kinds.
        resamples: how many, R; the same ones for any scores.

    Returns:
        float64 [R].
    """
    rng = np.random.default_rng(0)
    yes, no = scores[sounding], scores[~sounding]  # [P], [Q]
    order = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)  # [P, Q]; its mean is the area
    times = [
        rng.multinomial(len(part), np.full(len(part), 1 / len(part)), resamples) / len(part)
        for part in (yes, no)
    ]  # [R, P], [R, Q]: the share of each clip
    areas: NDArray[np.float64] = (times[0] @ order * times[1]).sum(1)
    return areas


def _double(mask: NDArray[np.bool_], kept: list[NDArray[np.bool_]], same: float) -> int | None:
    """Number of the first of some masks that overlaps; None for none."""
    return next((k for k, other in enumerate(kept) if iou(mask, other) > same), None)
