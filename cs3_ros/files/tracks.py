"""When the tracks of a video file begin: on one clock, or each on its own where they never meet."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from cs3_ros.collision import NS_PER_S

APART_NS = 3 * NS_PER_S
"""A track that begins this long after the end of the other one has another clock."""
UNKNOWN_APART_NS = 60 * NS_PER_S
"""So it is where the end of the other one is not known, this long after its beginning."""
MAX_S = 1e12
"""No time in a file is later than this, seconds."""


def to_ns(ticks: int, time_base: Fraction) -> int:
    """A time in ticks of a file, in nanoseconds."""
    return round(ticks * time_base * NS_PER_S)


def span_ns(track: Any) -> tuple[int, int | None]:
    """Start and end of a track of PyAV by its own clock; the end is None where it is not told."""
    start_ns = 0 if track.start_time is None else to_ns(track.start_time, track.time_base)
    if track.duration is not None:
        return start_ns, start_ns + to_ns(track.duration, track.time_base)
    parts = track.metadata.get('DURATION', '').split(':')  # Matroska's: the time of the end
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return start_ns, None
    end_s = 3600 * hours + 60 * minutes + seconds
    return start_ns, round(end_s * NS_PER_S) if 0 < end_s < MAX_S else None


def apart_ns(*spans: tuple[int, int | None]) -> int | None:
    """How far two tracks lie apart; None where they meet, or where there is one only.

    Args:
        spans: of ``span_ns``, nanoseconds.
    """
    if len(spans) < 2:
        return None
    (early_ns, end_ns), (late_ns, _) = sorted(spans, key=lambda span: span[0])
    if end_ns is None:
        return late_ns - early_ns if late_ns - early_ns > UNKNOWN_APART_NS else None
    return late_ns - end_ns if late_ns - end_ns > APART_NS else None
