"""Media time of a video that is written: long gaps and jumps of the recording become cuts."""

from __future__ import annotations

from cs3_ros.collision import NS_PER_S

LONGEST_GAP_NS = 3 * NS_PER_S
"""A longer gap is cut: nothing is written for a time in which there was nothing."""
CUT_NS = NS_PER_S // 25
"""What is left of it."""


class Timeline:
    """Puts what comes, in the order in which it comes, on one media time without long gaps.

    Each track (frames, sound) has an offset of its own, so that clocks that have nothing in common
    run side by side. After a jump a track goes on with the offset of another one, if that fits.

    Args:
        origin_ns: stamp of media time 0, as long as the first stamps are near it.
    """

    def __init__(self, origin_ns: int) -> None:
        self._origin_ns = origin_ns
        self._offsets: dict[str, int] = {}
        self._now_ns = 0

    def place(self, track: str, stamp_ns: int) -> int:
        """Media time of an item, nanoseconds.

        Args:
            track: its kind, any name.
            stamp_ns: its stamp in the recording.
        """
        own_ns = self._offsets.get(track, self._origin_ns)
        fitting = (o for o in (own_ns, *self._offsets.values()) if self._fits(stamp_ns - o))
        cut_ns = stamp_ns - self._now_ns - (CUT_NS if self._offsets else 0)
        self._offsets[track] = offset_ns = next(fitting, cut_ns)
        self._now_ns = max(self._now_ns, stamp_ns - offset_ns)
        return stamp_ns - offset_ns

    def _fits(self, time_ns: int) -> bool:
        return abs(time_ns - self._now_ns) <= LONGEST_GAP_NS
