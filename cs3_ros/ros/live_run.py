"""What a subscriber saw of the node while a recording was played, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAY_NS = 200_000_000
"""An overlay without masks belongs to the onset that is at most this far from its frame."""


@dataclass(frozen=True, eq=False)
class LiveEvent:
    """One event as a subscriber saw it."""

    onset_ns: int
    """Stamp of ``onset``."""
    heard_s: float
    """When ``onset`` arrived, monotonic seconds."""
    answered_s: float = float('nan')
    """When the answer arrived; NaN when no object was found."""
    frame_ns: int = 0
    """Stamp of the masks."""
    labels: tuple[str, ...] = ()
    """Label of each object."""
    label_image: NDArray[np.uint8] | None = None
    """uint8 [H, W] of ``collision_masks``."""

    @property
    def latency_ms(self) -> float:
        """From the arrival of ``onset`` to that of the answer; NaN without one."""
        return (self.answered_s - self.heard_s) * 1e3


@dataclass(frozen=True, eq=False)
class LiveRun:
    """What a subscriber saw while a bag was played."""

    events: list[LiveEvent]
    """In onset order."""
    overlays: Mapping[int, bytes]
    """Frame stamp -> ``overlay`` as JPEG; the last one where several events have the same frame."""
    heat_maps: Mapping[int, bytes]
    """Frame stamp -> ``heatmap`` as JPEG; as ``overlays``."""
    timings_ms: Mapping[int, Mapping[str, float]]
    """Onset stamp -> milliseconds of each stage, of the events that the diagnostics told of."""
    counts: Mapping[str, int]
    """Counters of the last diagnostics."""

    def picture_ns(self, event: LiveEvent) -> int:
        """Stamp of an event's frame: of its masks, else of the overlay at its onset; 0 if none."""
        near = min(self.overlays, key=lambda ns: abs(ns - event.onset_ns), default=0)
        here = abs(near - event.onset_ns) <= OVERLAY_NS
        return event.frame_ns or (near if here else 0)
