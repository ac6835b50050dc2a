"""Sample index <-> time: samples tell the time, stamps only steer it.

While stamps agree with the nominal rate to half a sample they are taken as exact, and times do not
depend on the chunks. Otherwise a line through the stamps of the last seconds gives the time.

A loss that exact stamps show is marked at once; where stamps jitter, when it has lasted. Both stand
only as long as no later stamp speaks against them: a stamp can be late for many reasons, but it
cannot be earlier than its sound. So a gap is never larger than the earliest stamp after it allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from cs3_ros.collision import NS_PER_S
from cs3_ros.trigger.stamp_history import FEW, MS, StampHistory

EXACT_NS = 1 * MS  # error of stamps that have been exact so far
STEADY_NS = 15 * MS  # of stamps that have been nearly exact,
STEADY_SPREAD_NS = 10 * MS  # which is, within this
NEW_NS = 130 * MS  # of the first stamps, of which nothing is known
WILD_NS = 600 * MS  # of jittered stamps, beyond the jitter seen
STEADY_AFTER = 16  # stamps
UNDO_NS = 2 * MS  # what is believed of a stamp that is earlier than those before a gap
BACK_NS = 100 * MS  # a larger step back is a clock that was set
FIT_EACH_S = 0.1
LOOK_EACH_S = 0.2


@dataclass(frozen=True)
class ClockReading:
    """How the stamps of a stream are."""

    jitter_ms: float
    """From the earliest to the latest stamp of the last seconds, drift taken out."""
    drift_ppm: float
    """How much slower the samples come than the nominal rate says, by the stamps; 0 where exact."""
    judged: str
    """What was looked at and how it is taken, in words."""


@dataclass(frozen=True)
class Revision:
    """What a stamp has changed in the opinion about earlier ones."""

    samples: int = 0
    """Found missing; below zero: marked as missing, but nothing was lost there."""
    gaps: int = 0
    """Gaps more or fewer."""
    jumped_back: bool = False
    """All stamps of late are earlier than before: the clock was set."""


class SampleClock:
    """Which sample belongs to which time.

    An index counts samples and gaps that were marked at once. Its position is the index with what
    was found out later, so positions follow each other at the pace of time.

    Args:
        rate: nominal samples per second.
        start_ns: time of sample 0.
        memory: how many of the newest samples are ever asked for.
    """

    def __init__(self, rate: int, start_ns: int, memory: int) -> None:
        self._rate = rate
        self._start_ns = start_ns
        self._memory = memory
        self._exact = True
        self._history = StampHistory()
        self._base = 0
        self._seams: dict[int, int] = {}
        self._gaps: dict[int, int] = {}
        self._spliced: list[int] = []
        self._next_fit_s = self._next_look_s = 0.0

    # ---- index, position, time ------------------------------------------------------------

    def position(self, index: int) -> int:
        """Place of a sample in time, counted in samples."""
        if not self._seams:
            return index + self._base
        return index + self._base + sum(by for at, by in self._seams.items() if at <= index)

    @property
    def seams(self) -> list[int]:
        """Indices at which positions and indices part, ascending."""
        return sorted(self._seams)

    def time_ns(self, index: int) -> int:
        """Time of a sample."""
        return self.position_ns(self.position(index))

    def position_ns(self, position: int) -> int:
        """Time of a position."""
        nominal = self._nominal_ns(position)
        return nominal if self._exact else nominal + round(self._history.at(position / self._rate))

    def position_at(self, time_ns: int) -> int:
        """The position nearest to a time; any integer, whether or not there is such a sample."""
        elapsed_ns = time_ns - self._start_ns
        if self._exact:
            return (2 * elapsed_ns * self._rate + NS_PER_S) // (2 * NS_PER_S)
        line = self._history
        offset_ns = line.level_ns - line.slope * line.middle_s
        return round((elapsed_ns - offset_ns) / (NS_PER_S + line.slope) * self._rate)

    def is_spliced(self, index: int, before_s: float, after_s: float) -> bool:
        """Whether sound was joined near a sample where a loss was found too late to mark it."""
        since = [(index - at) / self._rate for at in self._spliced]
        return any(-before_s <= seconds <= after_s for seconds in since)

    # ---- stamps ---------------------------------------------------------------------------

    @property
    def steady(self) -> bool:
        """Whether single stamps can be believed."""
        known = len(self._history) >= STEADY_AFTER
        return self._exact or (known and self._history.spread_ns <= STEADY_SPREAD_NS)

    def deviation(self, index: int, stamp_ns: int) -> int:
        """Samples by which a stamp is later than its sample, beyond what is usual; mostly 0."""
        by_ns = stamp_ns - self.time_ns(index)
        if abs(by_ns) <= self._tolerance_ns():
            return 0
        if not self.steady:  # rather too large a gap, which later stamps make right
            by_ns += round(self._history.level_ns - self._history.low_ns)
        return round(by_ns * self._rate / NS_PER_S)

    def is_impossible(self, index: int, stamp_ns: int) -> bool:
        """Whether a stamp is too early for any jitter."""
        return self.time_ns(index) - stamp_ns > WILD_NS + self._history.spread_ns

    def mark(self, index: int, count: int) -> None:
        """A gap of so many samples was marked before a sample."""
        self._gaps[index] = count
        self._forget()

    @property
    def exact(self) -> bool:
        """Whether all stamps so far agree with the rate to half a sample."""
        return self._exact

    def gap_from(self, start: int, count: int) -> int | None:
        """Where the gap that begins at a sample ends; None where none of that size begins there."""
        sizes = self._gaps.items()
        return next((at for at, gap in sizes if abs(at - gap - start) <= 1 and count <= gap), None)

    def fill(self, end: int, count: int) -> bool:
        """The first samples of a gap have come late; returns whether that was all of it."""
        self._gaps[end] -= count
        if self._gaps[end] > 0:
            return False
        del self._gaps[end]
        return True

    def observe(self, index: int, count: int, stamp_ns: int) -> Revision:
        """Learn from the stamp of a chunk.

        Args:
            index: of its first sample.
            count: its samples.
            stamp_ns: time that it claims.
        """
        position = self.position(index)
        seconds = position / self._rate
        off_ns = stamp_ns - self._nominal_ns(position)
        self._history.add(index, seconds, float(off_ns))
        if self._exact:
            if 2 * abs(off_ns) * self._rate <= NS_PER_S:
                return Revision()
            self._exact = False
        if seconds >= self._next_fit_s or len(self._history) < 64:
            self._history.fit()
            self._next_fit_s = seconds + FIT_EACH_S
        revision = self._undo(off_ns) if self._gaps else Revision()
        return self._revised(index + count) if revision == Revision() else revision

    def reading(self) -> ClockReading:
        """How the stamps are, for people; changes nothing, so that it may be asked at any time."""
        history = self._history
        if self._exact:
            return ClockReading(0.0, 0.0, f'exact: {len(history)} stamps agree with the rate')
        span_s = float(history.seconds[-1] - history.seconds[0])
        jitter_ms = history.spread_ns / MS
        taken = 'one stamp shows a loss' if self.steady else 'only what stays shows a loss'
        return ClockReading(
            jitter_ms,
            history.slope / NS_PER_S * 1e6,
            f'by a line through {len(history)} stamps of {span_s:.1f} s; {taken}',
        )

    def _tolerance_ns(self) -> float:
        if self._exact:
            return EXACT_NS if len(self._history) >= FEW else NEW_NS
        return STEADY_NS if self.steady else WILD_NS + self._history.spread_ns

    def _undo(self, off_ns: int) -> Revision:
        """Make the newest gaps as small as the newest stamp demands."""
        history, samples, gaps = self._history, 0, 0
        for at in sorted(self._gaps, reverse=True):
            if not history.knows_before(at):
                break
            early_ns = history.early_ns(at)
            if early_ns <= UNDO_NS:
                break
            cut = self._gaps[at]
            if cut * NS_PER_S > (early_ns + UNDO_NS) * self._rate:
                cut = round(early_ns * self._rate / NS_PER_S)
            samples -= cut
            self._gaps[at] -= cut
            if self._gaps[at] == 0:
                del self._gaps[at]
                gaps -= 1
            self._shift(at, -cut)
        return Revision(samples, gaps)

    def _revised(self, end: int) -> Revision:
        """Look for a step that stays."""
        history = self._history
        end_s = self.position(end) / self._rate
        step = None if self.steady else history.large_step(end_s)
        if step is None and end_s >= self._next_look_s:
            self._next_look_s = end_s + LOOK_EACH_S
            history.fit()
            step = history.small_step(end_s)
        if step is None:
            return Revision()
        if step.by_ns < -BACK_NS:
            return Revision(jumped_back=True)
        if step.by_ns < 0:  # a clock that was set a little: go on from there
            history.forget(step.at)
            history.fit()
            return Revision()
        at, count = int(history.index[step.at]), round(step.by_ns * self._rate / NS_PER_S)
        self._spliced = [*self._spliced[-7:], at]
        new = at not in self._gaps
        self._gaps[at] = self._gaps.get(at, 0) + count
        self._shift(at, count)
        return Revision(count, int(new))

    def _shift(self, at: int, count: int) -> None:
        """Move a sample and all that follow."""
        self._seams[at] = self._seams.get(at, 0) + count
        self._forget()
        self._history.shift(at, count / self._rate)
        self._history.fit()

    def _forget(self) -> None:
        """Gaps that no stamp speaks against any more stand; seams before all sound are no more."""
        stamps = self._history.index
        if stamps.size:
            self._gaps = {at: count for at, count in self._gaps.items() if at >= stamps[0]}
            for old in [at for at in self._seams if at <= stamps[-1] - self._memory]:
                self._base += self._seams.pop(old)

    def _nominal_ns(self, position: int) -> int:
        return self._start_ns + (2 * position * NS_PER_S + self._rate) // (2 * self._rate)
