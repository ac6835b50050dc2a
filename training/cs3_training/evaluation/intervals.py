"""Tables of scores: means with bootstrap intervals, differences of paired methods, breakdowns.

Scores of one sample come from ``cs3_ros.metrics`` (method.md D1, D2). Everything here is in percent
where it is for reading, and in fractions where it is for computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cs3_ros.metrics import auc

RESAMPLES = 2000
"""Bootstrap resamples behind every interval."""
SIZE_EDGES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1.0)
"""Edges of the breakdown by object size, fractions of the image (method.md D3)."""


@dataclass(frozen=True)
class Summary:
    """One row of a table, in percent."""

    miou: float
    """Mean score."""
    auc: float
    """Area under the success curve."""
    ci: tuple[float, float]
    """95 % bootstrap interval of ``miou``."""
    n: int
    """Number of samples."""


@dataclass(frozen=True)
class Difference:
    """How much better one method is than another on the same samples, in percent points."""

    mean: float
    low: float
    high: float
    """95 % interval of the paired bootstrap."""

    @property
    def apart(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def _means(
    values: NDArray[np.float64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Means over resampled groups, float64 [RESAMPLES]; a group is drawn whole or not at all."""
    _, group = np.unique(groups, return_inverse=True)
    total = np.bincount(group, values)
    count = np.bincount(group)
    drawn = np.random.default_rng(seed).multinomial(
        len(count), np.full(len(count), 1 / len(count)), RESAMPLES
    )
    return (drawn @ total) / (drawn @ count)


def _grouped(values: NDArray[np.float64], groups: ArrayLike | None) -> NDArray[np.int64]:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f'scores of shape {values.shape}: expected a non-empty list of numbers')
    if groups is None:
        return np.arange(values.size)
    found = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    if found.size != values.size:
        raise ValueError(f'{found.size} groups for {values.size} scores: expected one each')
    return found


def summarise(scores: ArrayLike, groups: ArrayLike | None = None, seed: int = 0) -> Summary:
    """A row of a table.

    Args:
        scores: per-sample scores in [0, 1].
        groups: what belongs together, one entry per sample (the video it is from); the bootstrap
            draws whole groups (method.md D3). None takes every sample for itself.
        seed: of the bootstrap.

    Raises:
        ValueError: no scores, or not one group each.
    """
    values = np.asarray(scores, np.float64)
    means = _means(values, _grouped(values, groups), seed)
    low, high = np.percentile(means, [2.5, 97.5]) * 100
    area = auc(values) * 100
    return Summary(float(values.mean() * 100), area, (float(low), float(high)), values.size)


def compare(
    scores: ArrayLike, others: ArrayLike, groups: ArrayLike | None = None, seed: int = 0
) -> Difference:
    """The paired difference of two methods on the same samples, ``scores`` less ``others``.

    Raises:
        ValueError: the two differ in length, or as ``summarise``.
    """
    first, second = np.asarray(scores, np.float64), np.asarray(others, np.float64)
    if first.shape != second.shape:
        raise ValueError(f'{first.shape} and {second.shape} scores: expected the same samples')
    values = first - second
    means = _means(values, _grouped(values, groups), seed)
    low, high = np.percentile(means, [2.5, 97.5]) * 100
    return Difference(float(values.mean() * 100), float(low), float(high))


def by_size(
    areas: ArrayLike, ious: ArrayLike, groups: ArrayLike | None = None, seed: int = 0
) -> Mapping[str, Summary]:
    """Scores of annotated masks by their size.

    Args:
        areas: share of the image of each annotated mask, in [0, 1].
        ious: matched IoU of each.
        groups: as ``summarise``, one entry per mask.
        seed: of the bootstrap.

    Returns:
        Range in percent -> row, for every range that has masks.
    """
    sizes, values = np.asarray(areas, np.float64), np.asarray(ious, np.float64)
    belongs = _grouped(values, groups)
    rows = {}
    for low, high in zip(SIZE_EDGES, SIZE_EDGES[1:], strict=False):
        inside = (sizes >= low) & ((sizes < high) | (high == SIZE_EDGES[-1]))
        if inside.any():
            rows[f'{low * 100:g}-{high * 100:g} %'] = summarise(
                values[inside], belongs[inside], seed
            )
    return rows
