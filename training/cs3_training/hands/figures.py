"""How good a detector of hands is, by the best box of each label: the package uses no other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from cs3_training.evaluation.detection import average_precision, best_threshold
from cs3_training.hands.labels import LABELS

HIT_IOU = 0.5
"""IoU from which on a box is right."""


def figures(
    found: Sequence[NDArray[np.float32]],
    truth: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]],
) -> dict[str, float]:
    """For hands and held objects: average precision at IoU 0.5 of the best box per picture, recall,
    and ``threshold``, the score from which on precision and recall are best together, by F1.

    Args:
        found: of each picture [4, 5], score and corners of the best box of each label.
        truth: of each picture boxes [n, 4] and labels [n], places in ``LABELS``.
    """
    hit = np.zeros((len(found), len(LABELS)), bool)  # [N, 4]
    there = np.zeros_like(hit)
    for row, (table, (corners, labels)) in enumerate(zip(found, truth, strict=True)):
        overlaps = box_iou(torch.from_numpy(corners), torch.from_numpy(table[labels, 1:]))
        for label, overlap in zip(labels, overlaps.diagonal().tolist(), strict=True):  # [n]
            there[row, label] = True
            hit[row, label] |= overlap >= HIT_IOU
    score = np.stack([table[:, 0] for table in found])  # [N, 4]
    told: dict[str, float] = {}
    for kind, columns in (('hands', slice(0, 2)), ('held objects', slice(2, 4))):
        scores, hits = score[:, columns].ravel(), hit[:, columns].ravel()
        count = int(there[:, columns].sum())
        threshold = best_threshold(scores, hits, count)
        told[f'AP50 {kind}'] = average_precision(scores, hits, count)
        told[f'recall {kind}'] = float((hits & (scores >= threshold)).sum() / max(count, 1))
        told[f'threshold {kind}'] = threshold
    return told
