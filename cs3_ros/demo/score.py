"""The answers of a live run beside the truth of its clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cs3_ros.collision import NS_PER_S, Mask
from cs3_ros.files.truth import ClipTruth, TrueEvent
from cs3_ros.metrics import matched_ious, sample_score
from cs3_ros.ros.live_run import LiveEvent

TOLERANCE_S = 0.1
"""An onset this far from a true collision, or nearer, is that of this collision."""


@dataclass(frozen=True, eq=False)
class EventRow:
    """One line of the table: an event that the node detected, a true collision, or both."""

    detected: LiveEvent | None
    """What the node published; None where it missed the collision."""
    true: TrueEvent | None
    """What is true; None where the truth knows no collision then, or where there is no truth."""
    origin_ns: int
    """Stamp of media time 0."""
    judged: bool = True
    """Whether there is a truth."""
    masks: tuple[Mask, ...] = ()
    """The true objects that are seen in the frame, bool [H, W]."""
    ious: tuple[float, ...] = ()
    """IoU of each of ``masks`` under the best assignment."""
    score: float | None = None
    """Of the whole event in [0, 1], ``metrics.sample_score``; None where there is nothing to score:
    no truth, or nothing of the objects is seen in the frame."""

    @property
    def time_s(self) -> float:
        """Media time of the onset, or of the collision that was missed, seconds."""
        if self.detected is not None:
            return (self.detected.onset_ns - self.origin_ns) / NS_PER_S
        return self.true.time_ns / NS_PER_S if self.true is not None else math.nan

    @property
    def error_ms(self) -> float:
        """Onset less contact; NaN where one of them is not there."""
        if self.detected is None or self.true is None:
            return math.nan
        return (self.detected.onset_ns - self.origin_ns - self.true.time_ns) / 1e6


@dataclass(frozen=True)
class ClipMeans:
    """Means over the rows; NaN where there is none."""

    error_ms: float
    """Of the distances of onset and contact."""
    score: float
    """Of the scores; a collision that was missed counts as 0."""
    latency_ms: float
    """Of the answers."""


def compare(events: Sequence[LiveEvent], origin_ns: int, truth: ClipTruth | None) -> list[EventRow]:
    """Rows in the order of their times.

    Every collision takes the onset that is nearest to it, within ``TOLERANCE_S``; no onset is taken
    twice.

    Args:
        events: of the live run.
        origin_ns: stamp of media time 0.
        truth: of the clip, or None.

    Raises:
        ValueError: the truth is of a clip of another size.
    """
    if truth is None:
        return [EventRow(event, None, origin_ns, judged=False) for event in events]
    pairs = sorted(
        (abs(event.onset_ns - origin_ns - true.time_ns), index, number)
        for index, event in enumerate(events)
        for number, true in enumerate(truth.events)
    )
    matched: dict[int, int] = {}  # number of a collision -> index of its onset
    for distance_ns, index, number in pairs:
        free = index not in matched.values() and number not in matched
        if free and distance_ns <= TOLERANCE_S * NS_PER_S:
            matched[number] = index
    others = set(range(len(events))) - set(matched.values())
    rows = [EventRow(events[index], None, origin_ns) for index in others]
    for number, true in enumerate(truth.events):
        detected = events[matched[number]] if number in matched else None
        rows.append(_scored(detected, true, origin_ns, truth))
    return sorted(rows, key=lambda row: row.time_s)


def _scored(
    detected: LiveEvent | None, true: TrueEvent, origin_ns: int, truth: ClipTruth
) -> EventRow:
    answered = detected is not None and detected.label_image is not None
    time_ns = detected.frame_ns - origin_ns if detected and answered else true.nearest.time_ns
    known = truth.masks_at(true, time_ns)
    seen = tuple(mask for mask in known or () if mask.any())
    if not seen:
        return EventRow(detected, true, origin_ns)
    predicted = [] if detected is None else masks_of(detected)
    if predicted and predicted[0].shape != seen[0].shape:
        height, width = predicted[0].shape
        raise ValueError(
            f'masks of {width}x{height}, truth of {truth.width}x{truth.height}: expected the truth '
            'file of this clip'
        )
    ious = tuple(matched_ious(seen, predicted))
    score = sample_score(seen, predicted)
    return EventRow(detected, true, origin_ns, masks=seen, ious=ious, score=score)


def masks_of(event: LiveEvent) -> list[Mask]:
    """The objects of an answer that have pixels, bool [H, W] each."""
    if event.label_image is None:
        return []
    masks = [event.label_image == number for number in range(1, len(event.labels) + 1)]
    return [mask for mask in masks if mask.any()]


def summarise(rows: Sequence[EventRow]) -> ClipMeans:
    """The means of the table's last line."""
    latencies = [row.detected.latency_ms for row in rows if row.detected is not None]
    return ClipMeans(
        error_ms=_mean([abs(row.error_ms) for row in rows]),
        score=_mean([row.score for row in rows if row.score is not None]),
        latency_ms=_mean(latencies),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
