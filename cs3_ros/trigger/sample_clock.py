"""Sample index <-> time, although stamps jitter and the sampling clock drifts."""

from __future__ import annotations

import math

from cs3_ros.collision import NS_PER_S


class SampleClock:
    """Which sample belongs to which time.

    The clock begins at the nominal rate. While stamps agree with it to half a sample they are
    taken as exact: times do not depend on the chunks. The first stamp that does not agree starts a
    recursive line fit (least squares with forgetting) to the deviations of all stamps, which
    averages jitter out and follows the drift. Its slope is held towards zero, since a few jittered
    stamps do not show the drift.

    Args:
        rate: nominal samples per second.
        start_ns: time of sample 0.
        max_jitter_ns: largest error of a stamp.
    """

    _MEMORY = 512
    """Stamps the line remembers."""
    _PRIOR_DRIFT = 1e-3
    """Drift that is taken as believable (1000 ppm); quartz clocks stay below 200."""
    _TRUSTED_AFTER = 4
    """After this many exact stamps the next ones are expected to be exact as well."""
    _TRUSTED_TOLERANCE_NS = 1_000_000

    def __init__(self, rate: int, start_ns: int, max_jitter_ns: int) -> None:
        self._rate = rate
        self._start_ns = start_ns
        self._max_jitter_ns = max_jitter_ns
        self._exact = True
        self._weight = 0.0
        self._mean_x = self._mean_y = self._sum_xx = self._sum_xy = 0.0
        # Deviations spread by about max_jitter / sqrt(3) ns, drift by _PRIOR_DRIFT * 1e9 ns per s.
        self._ridge = (max_jitter_ns / (self._PRIOR_DRIFT * NS_PER_S)) ** 2 / 3

    @property
    def _slope(self) -> float:
        return self._sum_xy / (self._sum_xx + self._ridge)

    def time_ns(self, index: int) -> int:
        """Time of a sample."""
        nominal = self._nominal_ns(index)
        if self._exact:
            return nominal
        x = index / self._rate
        return nominal + round(self._mean_y + self._slope * (x - self._mean_x))

    def index_at(self, time_ns: int) -> int:
        """The sample nearest to a time; any integer, whether or not there is such a sample."""
        elapsed_ns = time_ns - self._start_ns
        if self._exact:
            return (2 * elapsed_ns * self._rate + NS_PER_S) // (2 * NS_PER_S)
        slope = self._slope
        x = (elapsed_ns - self._mean_y + slope * self._mean_x) / (NS_PER_S + slope)
        return round(x * self._rate)

    @property
    def tolerance_ns(self) -> float:
        """Deviation that the next stamp may have: its own error and that of the line so far."""
        if self._exact and self._weight >= self._TRUSTED_AFTER:
            return min(self._TRUSTED_TOLERANCE_NS, self._max_jitter_ns)
        return self._max_jitter_ns * (1 + 1 / math.sqrt(max(1.0, self._weight)))

    def observe(self, index: int, stamp_ns: int) -> None:
        """Learn from the stamp of a sample."""
        x, y = index / self._rate, float(stamp_ns - self._nominal_ns(index))
        if self._exact and abs(y) * self._rate > NS_PER_S / 2:
            self._exact = False
        keep = 1 - 1 / self._MEMORY
        self._weight = keep * self._weight + 1
        from_old_mean = x - self._mean_x
        self._mean_x += from_old_mean / self._weight
        self._mean_y += (y - self._mean_y) / self._weight
        self._sum_xx = keep * self._sum_xx + from_old_mean * (x - self._mean_x)
        self._sum_xy = keep * self._sum_xy + from_old_mean * (y - self._mean_y)

    def restart_at(self, index: int, stamp_ns: int) -> None:
        """Go on after a break: the phase is learned anew, the drift is remembered."""
        if not self._exact:
            self._weight = 0.0
        self.observe(index, stamp_ns)

    def _nominal_ns(self, index: int) -> int:
        return self._start_ns + (2 * index * NS_PER_S + self._rate) // (2 * self._rate)
