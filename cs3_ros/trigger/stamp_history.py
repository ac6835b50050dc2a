"""What the stamps of the last seconds say of the samples: jitter, drift and steps that stay.

A deviation is a stamp minus the time that the count of samples gives to its sample. Jitter moves
single deviations, drift tilts all of them, a loss of samples lifts all that follow it for good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S

MEMORY_S = 12.0
"""Seconds of stamps that are remembered."""
SPACING_S = 0.0099
"""Of stamps nearer than this (in sound) the earliest counts, so that memory is bounded."""
MOST = math.ceil(MEMORY_S / SPACING_S) + 1
"""Stamps that are remembered at most."""

MS = 1e6  # nanoseconds
FEW = 4  # stamps; of fewer nothing is concluded
BEST_NS = 0.01 * MS  # stamps are never better than this
PRIOR_DRIFT = 1e-3  # drift that is taken as believable; quartz clocks stay below 2e-4
MOST_DRIFT = 5e-3  # a clock further off is none
SPREAD_NS = (40 * MS, 120 * MS, 300 * MS)  # up to the second it is jitter, then delay and bursts;
LATENESS_NS = (16 * MS, 52 * MS, 10 * MS)  # time is at most this much later than earliest stamps
EARLIEST = 0.02  # so many of the stamps may be earlier than "the earliest"

SOON_S = 0.1  # a step beyond all jitter seen is believed after so much sound: onsets come later
SOON_NS = 70 * MS  # and when it is larger than this: jitter up to 60 ms may begin at any time
KNOWN_S = 1.0  # of so much sound the jitter has to be known for that
SLOW_S = 2.0  # a step within the jitter is believed after so much sound at the earliest
SLOW_NS = 12 * MS  # and when it is larger than this
CHANCE = math.log(1e-6)  # and when jitter would do so this rarely
ADVANCE = 0.6  # in a burst the sound advances and its stamps do not


@dataclass(frozen=True)
class Step:
    """From a stamp on all stamps are later, or earlier, than before."""

    at: int
    """Number of that stamp in the history."""
    by_ns: float
    """By how much; below zero where they are earlier."""


class StampHistory:
    """The newest stamps of one stream and the line through their deviations."""

    def __init__(self) -> None:
        self._index = np.zeros(2 * MOST, np.int64)
        self._seconds = np.zeros(2 * MOST)
        self._deviation = np.zeros(2 * MOST)
        self._first = self._stop = 0
        self.slope = 0.0
        """Drift: nanoseconds of deviation per second of sound."""
        self.middle_s = 0.0
        """Where on the line ``level_ns`` is, seconds of sound."""
        self.level_ns = 0.0
        """Deviation of the line there."""
        self.low_ns = 0.0
        """Deviation of the earliest stamps there."""
        self.spread_ns = 0.0
        """From the earliest to the latest stamp, drift taken out."""

    def __len__(self) -> int:
        return self._stop - self._first

    @property
    def index(self) -> NDArray[np.int64]:
        """Sample of each stamp, int64 [N]."""
        return self._index[self._first : self._stop]

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Sound before each stamp, lost samples included, float64 [N]."""
        return self._seconds[self._first : self._stop]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Nanoseconds by which each stamp is later than the count of samples, float64 [N]."""
        return self._deviation[self._first : self._stop]

    def add(self, index: int, seconds: float, deviation_ns: float) -> None:
        """Remember a stamp; one very near the last is merged with it."""
        last = self._stop - 1
        if len(self) and seconds - self._seconds[last] < SPACING_S:
            self._deviation[last] = min(self._deviation[last], deviation_ns)
            return
        if self._stop == 2 * MOST:
            for values in (self._index, self._seconds, self._deviation):
                values[: len(self)] = values[self._first : self._stop].copy()
            self._first, self._stop = 0, len(self)
        self._index[self._stop] = index
        self._seconds[self._stop] = seconds
        self._deviation[self._stop] = deviation_ns
        self._stop += 1
        while self._seconds[self._first] < seconds - MEMORY_S:
            self._first += 1

    def shift(self, index: int, seconds: float) -> None:
        """So much sound was lost before a sample, or less than thought where below zero."""
        after = self.index >= index
        self.seconds[after] += seconds
        self.deviation[after] -= seconds * NS_PER_S

    def forget(self, count: int) -> None:
        """Drop the oldest stamps."""
        self._first += count

    def fit(self) -> None:
        """Draw the line anew: least squares with a prior that holds the slope towards zero.

        The level is the mean deviation while the spread is that of jitter. The larger it is, the
        nearer to the earliest stamps is the level: a queue, a network or a burst delays a stamp for
        long, and nothing makes it early.
        """
        self.slope, _ = self._line(len(self))
        self.middle_s, mean = float(self.seconds.mean()), float(self.deviation.mean())
        off = self._levelled(self.slope) - mean
        self.low_ns = mean + earliest(off)
        self.spread_ns = mean + float(off.max()) - self.low_ns
        lateness_ns = float(np.interp(self.spread_ns, SPREAD_NS, LATENESS_NS))
        self.level_ns = min(mean, self.low_ns + lateness_ns)

    def at(self, seconds: float) -> float:
        """Deviation of the line, nanoseconds."""
        return self.level_ns + self.slope * (seconds - self.middle_s)

    def early_ns(self, index: int) -> float:
        """Nanoseconds by which the newest stamp is earlier than the earliest before a sample."""
        count = int(np.searchsorted(self.index, index))
        levelled = self._levelled(self._line(count)[0])
        return earliest(levelled[:count]) - float(levelled[-1])

    def knows_before(self, index: int) -> bool:
        """Whether enough stamps before a sample are remembered."""
        return int(np.searchsorted(self.index, index)) >= FEW

    def large_step(self, end_s: float) -> Step | None:
        """A step to later stamps beyond all jitter seen, in the newest ``SOON_S`` of sound.

        Args:
            end_s: seconds of sound so far.
        """
        line_ns = self.low_ns + self.slope * (end_s - self.middle_s)
        if self._deviation[self._stop - 1] < line_ns + SOON_NS * 3 / 4:
            return None  # as nearly always
        begin = int(np.searchsorted(self.seconds, end_s - SOON_S + 1e-6, 'right')) - 1
        begin = min(begin, len(self) - FEW)
        if begin < FEW or not self._advances(begin):
            return None
        levelled = self._levelled(self._line(begin)[0])
        level = float(levelled[begin:].min())
        at = _begin(levelled[:begin], level - SOON_NS / 4)
        before = levelled[:at]
        if at < FEW or self.seconds[at] - self.seconds[0] < KNOWN_S:
            return None
        beyond = level >= max(before.max() + SLOW_NS, earliest(before) + SOON_NS)
        return self._step(at, 1) if beyond else None

    def small_step(self, end_s: float) -> Step | None:
        """A step within the jitter, which only many stamps together can tell.

        Args:
            end_s: seconds of sound so far.
        """
        slow_s = min(max(SLOW_S, 4 * self.spread_ns / NS_PER_S), MEMORY_S / 2)
        begin = int(np.searchsorted(self.seconds, end_s - slow_s))
        if begin < FEW or len(self) - begin < FEW:
            return None
        slope, unsure = self._line(begin)
        levelled = self._levelled(slope)
        # Drift of up to 2000 ppm that is not taken up yet lifts what is half the time apart.
        span_s = float(self.seconds[-1] - self.seconds[0])
        least_ns = max(SLOW_NS, self.spread_ns / 10, unsure * PRIOR_DRIFT * span_s * NS_PER_S)
        for sign in (1, -1):
            values = sign * levelled
            level = float(values[begin:].min()) - least_ns / 4
            at = _begin(values[:begin], level)
            before = values[:at]
            if at < FEW or level - earliest(before) < least_ns * 3 / 4:
                continue
            if _log_chance(at, int((before < level).sum()), len(self)) < CHANCE:
                step = self._step(at, sign)
                return step if sign * step.by_ns >= least_ns else None
        return None

    def _step(self, at: int, sign: int) -> Step:
        """The step behind the last stamp that does not fit those after it: its size and place."""
        levelled = sign * self._levelled(self._line(len(self), at)[0])
        before, after = levelled[:at], levelled[at:]
        by_ns = earliest(after) - earliest(before)
        # Between that stamp and the first that does not fit those before: where the mean rises.
        sums = np.cumsum(after - float(before.mean()) - by_ns / 2)
        lowest = int(sums.argmin())
        if sums[lowest] < 0:
            at = min(at + lowest + 1, len(self) - 1)
        return Step(at, sign * by_ns)

    def _line(self, count: int, step: int = 0) -> tuple[float, float]:
        """Slope of the oldest stamps, where there may be a step before one of them.

        And how much of it the prior has taken away, 0 to 1.
        """
        xx = xy = 0.0
        for part in (slice(0, step), slice(step, count)):
            x, y = self.seconds[part], self.deviation[part]
            if x.size:
                x = x - x.mean()
                xx, xy = xx + float((x * x).sum()), xy + float((x * y).sum())
        noise = float(np.square(np.diff(self.deviation[:count])).mean()) / 2 if count > 1 else 0.0
        ridge = (noise + BEST_NS**2) / (PRIOR_DRIFT * NS_PER_S) ** 2
        most = MOST_DRIFT * NS_PER_S
        return min(max(xy / (xx + ridge), -most), most), ridge / (xx + ridge)

    def _levelled(self, slope: float) -> NDArray[np.float64]:
        """Deviations with a drift taken out, float64 [N]."""
        return self.deviation - slope * (self.seconds - float(self.seconds.mean()))

    def _advances(self, begin: int) -> bool:
        """Whether the stamps since one go on as the sound does; those of a burst do not."""
        sound_s = float(self.seconds[-1] - self.seconds[begin])
        later_ns = float(self.deviation[-1] - self.deviation[begin])
        return sound_s * NS_PER_S + later_ns >= ADVANCE * sound_s * NS_PER_S


def earliest(values: NDArray[np.float64]) -> float:
    """The lowest of many values, but for a few outliers."""
    rank = int(EARLIEST * values.size)
    return float(np.partition(values, rank)[rank])


def _begin(values: NDArray[np.float64], level: float) -> int:
    """The first place behind all values below a level; 0 where there is none."""
    below = np.flatnonzero(values < level)
    return int(below[-1]) + 1 if below.size else 0


def _log_chance(before: int, early: int, count: int) -> float:
    """Logarithm of the chance that the earliest stamps all lie among the first, by jitter alone.

    Args:
        before: how many stamps are the first.
        early: how many stamps are the earliest.
        count: how many there are.
    """
    # C(before, early) / C(count, early)
    chance = math.lgamma(before + 1) - math.lgamma(before - early + 1)
    return chance - math.lgamma(count + 1) + math.lgamma(count - early + 1)
