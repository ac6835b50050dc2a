"""Bounded memories of sound and frames on one clock: integer nanoseconds of the message headers.

Sound is counted in samples, frames are stamped: ``SampleClock`` says which sample belongs to which
time although stamps jitter and the sampling clock drifts. What is lost is marked, never closed, and
no sample is dropped but what came before.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS, NS_PER_S, AudioClip, Frame
from cs3_ros.config import setting, validate
from cs3_ros.trigger.sample_clock import ClockReading, Revision, SampleClock

JUMP_BACK_NS = NS_PER_S
"""Stamps further back than this are a clock that jumped (a bag that loops), not disorder."""
FULL_SCALE = 0.999
"""Samples of at least this magnitude count as clipped."""


@dataclass(frozen=True)
class AudioConfig:
    """How sound is buffered and put on the clock."""

    buffer_s: float = setting(
        20.0, 'Seconds of sound kept; a longer gap restarts the buffer.', minimum=2.0, maximum=600.0
    )
    stamp_refers_to: str = setting(
        'first_sample',
        'Sample of an audio message that its stamp belongs to.',
        choices=('first_sample', 'last_sample'),
    )
    allow_unstamped: bool = setting(
        False,
        'Take AudioData, which has no stamps, at its time of arrival: as late as what delays it.',
    )
    channels: tuple[int, ...] = setting(
        (),
        'Channels that are listened to, counted from 0 and averaged; [] takes all.',
        minimum=0,
        maximum=255,
    )

    def __post_init__(self) -> None:
        validate(self)
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(
                f'AudioConfig.channels = {list(self.channels)}: expected each channel once'
            )

    def check_channels(self, count: int) -> None:
        """Refuse sound that has not all the channels asked for.

        Args:
            count: its channels.

        Raises:
            ValueError: says which are not there.
        """
        lacking = [channel for channel in self.channels if channel >= count]
        if lacking:
            raise ValueError(
                f'audio.channels = {list(self.channels)}: the sound has {count} channel(s), 0 to '
                f'{count - 1}; expected some of these, or [] for all'
            )

    def mix(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean of the channels asked for.

        Args:
            samples: float32 [N, C] with all of them.

        Returns:
            float32 [N].
        """
        chosen = samples[:, list(self.channels)] if self.channels else samples
        with np.errstate(invalid='ignore', over='ignore'):  # what is not finite is counted later
            return chosen.mean(axis=1)


@dataclass(frozen=True)
class FrameConfig:
    """Which frames are taken in, and how many are kept: whichever bound is met first applies."""

    buffer_s: float = setting(10.0, 'Seconds of frames kept.', minimum=1.0, maximum=600.0)
    buffer_mb: float = setting(
        512.0, 'Megabytes (1e6 bytes) of frames kept, as they arrived.', minimum=1.0, maximum=1e6
    )
    max_megapixels: float = setting(
        MAX_PIXELS / 1e6,
        'Largest picture, 1e6 pixels; one that says it is larger is refused before it is decoded.',
        minimum=0.01,
        maximum=1000.0,
    )

    @property
    def max_pixels(self) -> int:
        """``max_megapixels`` in pixels."""
        return round(self.max_megapixels * 1e6)

    def __post_init__(self) -> None:
        validate(self)


AudioOutcome = Literal[
    'appended', 'gap', 'overlap', 'duplicate', 'out_of_order', 'jump_back', 'jump_forward'
]


@dataclass(frozen=True, eq=False)
class AudioPush:
    """What became of one chunk."""

    outcome: AudioOutcome
    """``gap`` and ``overlap`` are stored after a mark or in part, ``appended`` as it is, and so is
    what is ``out_of_order`` without ``dropped`` samples. All others are not stored; after a jump
    the caller clears what it keeps and pushes again."""
    samples: NDArray[np.float32]
    """What was stored, float32 [N], zeros where a sample was not finite."""
    missing: int = 0
    """Samples marked missing before it."""
    revision: Revision = Revision()
    """What its stamp has changed in the opinion about earlier sound."""
    dropped: int = 0
    """Samples of the chunk that were not stored."""
    nonfinite: int = 0
    """NaN or infinite samples, stored as missing."""
    clipped: int = 0
    """Stored samples at full scale."""


class AudioBuffer:
    """The newest seconds of one mono stream.

    Samples are numbered from 0 since the start or the last ``clear``; gaps count that were marked
    when the next chunk came. Times of the samples are those of the clock as it is now: they sharpen
    while a jittered stream goes on, and with them gaps appear, shrink and go.

    Args:
        rate: nominal samples per second.
        config: size and meaning of the stamps.

    Raises:
        ValueError: a rate below 1.
    """

    _RECENT = 64
    """Stamps remembered to recognise duplicates."""
    _BURST_S = 1.0
    """Chunks of one stamp are one read of a driver while they are not longer than this."""

    def __init__(self, rate: int, config: AudioConfig = AudioConfig()) -> None:
        if rate < 1:
            raise ValueError(f'rate = {rate}: expected samples per second, at least 1')
        self.rate = rate
        self.config = config
        self._capacity = math.ceil(config.buffer_s * rate)
        self._samples = np.zeros(self._capacity, np.float32)
        self._present = np.zeros(self._capacity, bool)
        self.clear()

    def clear(self) -> None:
        """Forget all; the next chunk starts sample 0 and a new clock."""
        self._clock: SampleClock | None = None
        self._end = 0
        self._newest: int | None = None
        self._recent: dict[int, list[tuple[int, int]]] = {}  # stamp -> first sample and size
        self._group_start = 0  # first sample of the newest stamp
        self._grouped = False  # whether a stamp has come with several chunks

    @property
    def end_ns(self) -> int | None:
        """Time that the next sample will have; None while there is none."""
        return None if self._clock is None else self._clock.time_ns(self._end)

    @property
    def newest_stamp_ns(self) -> int | None:
        """Time of the first sample of the newest chunk, by its stamp."""
        return self._newest

    @property
    def clock(self) -> ClockReading | None:
        """Jitter and drift of the stamps; None while there is no sound."""
        return None if self._clock is None else self._clock.reading()

    def is_spliced(self, index: int) -> bool:
        """Whether a jump of the sound at this sample is where lost sound was closed."""
        return self._clock is not None and self._clock.is_spliced(index, 0.03, 0.05)

    def time_ns(self, index: int) -> int:
        """Time of a sample.

        Raises:
            ValueError: nothing was pushed yet, so there is no clock.
        """
        if self._clock is None:
            raise ValueError('the audio buffer is empty: push a chunk before asking for times')
        return self._clock.time_ns(index)

    def push(self, stamp_ns: int, samples: NDArray[np.float32]) -> AudioPush:
        """Store a chunk behind the last one, after a gap where its stamp shows one.

        A chunk is dropped only where it cannot be the next one: its sound is there already, with
        the same stamp or at the place that an exact stamp tells, or it is older than any jitter.
        Chunks of one stamp are one read of a driver, whose stamp is that of the first. One that the
        next has overtaken goes into its gap.

        Args:
            stamp_ns: header stamp; of the first or the last sample, see ``AudioConfig``.
            samples: float32 [N] in [-1, 1], N >= 1.

        Raises:
            ValueError: the chunk is empty or not one-dimensional.
        """
        if samples.ndim != 1 or samples.size == 0:
            raise ValueError(f'audio chunk of shape {samples.shape}: expected [N] with N >= 1')
        finite = np.isfinite(samples)
        if nonfinite := samples.size - int(np.count_nonzero(finite)):
            samples = np.where(finite, samples, np.float32(0))
        of_first = self.config.stamp_refers_to == 'first_sample'
        if not of_first:
            stamp_ns -= round((samples.size - 1) * NS_PER_S / self.rate)
        newest_ns = self.newest_stamp_ns
        if self._clock is None or newest_ns is None:
            self._clock = SampleClock(self.rate, stamp_ns, self._capacity)
        elif stamp_ns < newest_ns - JUMP_BACK_NS:
            return self._refused('jump_back', samples)
        elif self._is_duplicate(stamp_ns, samples):
            return self._refused('duplicate', samples)
        outcome: AudioOutcome = 'appended'
        missing = dropped = 0
        revision = Revision()
        same = of_first and stamp_ns == newest_ns
        if same and self._end - self._group_start < self._BURST_S * self.rate:
            self._grouped = True
        else:
            shift = self._clock.deviation(self._end, stamp_ns)
            if shift > self._capacity:
                return self._refused('jump_forward', samples)
            if shift > 0:
                outcome, missing = 'gap', shift
                self._write(np.zeros(shift, np.float32), np.zeros(shift, bool))
                self._clock.mark(self._end, shift)
            elif (
                shift < 0
                and self._clock.exact
                and (gap := self._clock.gap_from(self._end + shift, samples.size)) is not None
            ):
                return self._filled(gap, self._end + shift, samples, finite)
            elif shift < 0 and self._clock.is_impossible(self._end, stamp_ns):
                return self._refused('out_of_order', samples)
            elif shift < 0 and self._clock.steady and self._is_there(self._end + shift, samples):
                if -shift >= samples.size:
                    return self._refused('out_of_order', samples)
                outcome, dropped = 'overlap', -shift
                samples, finite = samples[dropped:], finite[dropped:]
                stamp_ns += round(dropped * NS_PER_S / self.rate)
            revision = self._clock.observe(self._end, samples.size, stamp_ns)
            if revision.jumped_back:
                return self._refused('jump_back', samples)
            self._group_start = self._end
        self._newest = stamp_ns
        self._recent.setdefault(stamp_ns, []).append((self._end, samples.size))
        if len(self._recent) > self._RECENT:
            del self._recent[next(iter(self._recent))]
        self._write(samples, finite)
        clipped = int(np.count_nonzero(np.abs(samples) >= FULL_SCALE))
        return AudioPush(outcome, samples, missing, revision, dropped, nonfinite, clipped)

    def window(self, start_ns: int, end_ns: int) -> AudioClip:
        """The sound of a span; its length depends on the span alone, what is not kept is missing.

        Args:
            start_ns: time of the first sample, to the nearest sample.
            end_ns: end of the span, exclusive.
        """
        count = max(0, round((end_ns - start_ns) * self.rate / NS_PER_S))
        samples, present = np.zeros(count, np.float32), np.zeros(count, bool)
        if self._clock is not None:
            first = self._clock.position_at(start_ns)
            start_ns = self._clock.position_ns(first)
            oldest = max(0, self._end - self._capacity)
            seams = [at for at in self._clock.seams if oldest < at < self._end]
            for low, high in pairwise([oldest, *seams, self._end]):
                to = self._clock.position(low) - low - first
                low, high = max(low, -to), min(high, count - to)
                if low < high:
                    kept = np.arange(low, high) % self._capacity
                    there = self._present[kept]  # a gap that has shrunk lies below what follows
                    samples[low + to : high + to][there] = self._samples[kept][there]
                    present[low + to : high + to] |= there
        return AudioClip(start_ns, self.rate, samples, present)

    def _refused(self, outcome: AudioOutcome, samples: NDArray[np.float32]) -> AudioPush:
        return AudioPush(outcome, samples[:0], dropped=samples.size)

    def _filled(
        self, gap: int, start: int, samples: NDArray[np.float32], finite: NDArray[np.bool_]
    ) -> AudioPush:
        """Put a chunk that the next has overtaken into its gap; the detector has passed it."""
        assert self._clock is not None
        if start >= self._end - self._capacity:
            kept = np.arange(start, start + samples.size) % self._capacity
            self._samples[kept], self._present[kept] = samples, finite
        whole = self._clock.fill(gap, samples.size)
        return AudioPush('out_of_order', samples[:0], revision=Revision(-samples.size, -int(whole)))

    def _is_duplicate(self, stamp_ns: int, samples: NDArray[np.float32]) -> bool:
        """Whether a chunk of this stamp and these samples has come before."""
        if stamp_ns not in self._recent or (self._grouped and not samples.any()):
            return False  # silence of one read is not told apart
        return any(
            size == samples.size and self._is_there(start, samples, True)
            for start, size in self._recent.get(stamp_ns, ())
        )

    def _is_there(self, start: int, samples: NDArray[np.float32], silent: bool = False) -> bool:
        """Whether the sound from a sample on, as far as it is kept, is that of a chunk.

        Silence, which is like any other, and what is missing count only where ``silent``.
        """
        stop = min(start + samples.size, self._end)
        if start < max(0, self._end - self._capacity) or start >= stop:
            return False
        kept = np.arange(start, stop) % self._capacity
        there = self._present[kept]
        if not silent and not samples[: kept.size][there].any():
            return False
        return np.array_equal(self._samples[kept][there], samples[: kept.size][there])

    def _write(self, samples: NDArray[np.float32], present: NDArray[np.bool_]) -> None:
        self._end += samples.size
        kept = min(samples.size, self._capacity)
        indices = np.arange(self._end - kept, self._end) % self._capacity
        self._samples[indices] = samples[samples.size - kept :]
        self._present[indices] = present[samples.size - kept :]


@dataclass(frozen=True)
class FramePush:
    """What became of one frame."""

    outcome: Literal['appended', 'out_of_order', 'duplicate', 'jump_back']
    """The first two are stored; after a jump the caller clears what it keeps and pushes again."""
    expired: int = 0
    """Frames that left because they were older than the buffer is long."""
    evicted: int = 0
    """Younger frames that left because there were too many bytes."""


class FrameBuffer:
    """The newest frames, sorted by stamp and kept as they arrived.

    Before a frame is stored, the oldest ones leave until the others fit the bounds. So the newest
    frame is always there, and what it pushes out stays readable until the next one.

    Args:
        config: bounds in seconds and in bytes.
    """

    def __init__(self, config: FrameConfig = FrameConfig()) -> None:
        self.config = config
        self._max_ns = round(config.buffer_s * NS_PER_S)
        self._max_bytes = round(config.buffer_mb * 1e6)
        self.clear()

    def clear(self) -> None:
        """Forget all frames."""
        self._frames: list[Frame] = []
        self._stamps: list[int] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def nbytes(self) -> int:
        """Bytes of all frames as they arrived."""
        return self._bytes

    @property
    def latest(self) -> Frame | None:
        """The frame of the highest stamp; None while there is none."""
        return self._frames[-1] if self._frames else None

    def push(self, frame: Frame) -> FramePush:
        """Store a frame at its place in time."""
        if self._stamps and frame.stamp_ns < self._stamps[-1] - JUMP_BACK_NS:
            return FramePush('jump_back')
        index = bisect_left(self._stamps, frame.stamp_ns)
        if index < len(self._stamps) and self._stamps[index] == frame.stamp_ns:
            return FramePush('duplicate')
        in_order = index == len(self._stamps)
        expired, evicted = self._make_room()
        index = max(0, index - expired - evicted)
        self._stamps.insert(index, frame.stamp_ns)
        self._frames.insert(index, frame)
        self._bytes += frame.nbytes
        return FramePush('appended' if in_order else 'out_of_order', expired, evicted)

    def nearest(self, stamp_ns: int) -> Frame | None:
        """The frame nearest to a time, the later of two equally near; None while there is none."""
        after = bisect_left(self._stamps, stamp_ns)
        around = self._frames[max(0, after - 1) : after + 1]
        return min(reversed(around), key=lambda frame: abs(frame.stamp_ns - stamp_ns), default=None)

    def window(self, start_ns: int, end_ns: int) -> tuple[Frame, ...]:
        """The frames of a span in time order, both ends inclusive."""
        first, stop = bisect_left(self._stamps, start_ns), bisect_right(self._stamps, end_ns)
        return tuple(self._frames[first:stop])

    def _make_room(self) -> tuple[int, int]:
        """Let the oldest go; returns how many for their age and how many for their bytes."""
        if not self._frames:
            return 0, 0
        expired = bisect_left(self._stamps, self._stamps[-1] - self._max_ns)
        leaving = expired
        left = self._bytes - sum(frame.nbytes for frame in self._frames[:expired])
        while left > self._max_bytes:
            left -= self._frames[leaving].nbytes
            leaving += 1
        self._bytes = left
        del self._frames[:leaving], self._stamps[:leaving]
        return expired, leaving - expired
