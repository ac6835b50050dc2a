"""What the onset detector computes from a sound: band levels, their noise floor, jumps, peaks.

Frames of 10 ms every 5 ms (one hop) become levels in dB of up to 24 bands above 150 Hz. Times in
hops unless a name says otherwise; arrays of levels are [frames, bands], or [frames, bands + 1] with
the level of all bands together in the last column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HOP_S = 0.005
BANDS = 24
BAND_RANGE_HZ = (150.0, 16000.0)  # below lie hum, rumble and handling noise
LEAST_POWER = 1e-9  # of one bin: just above the rounding of 16-bit sound, -90 dB
SILENCE_DB = -200.0

PAST = 20  # how far back a jump is compared; the frame before overlaps and is left out
FUTURE = range(3, 8)  # when the level must have stopped rising
STILL_RISING = 1.5  # weight of the level still to come against the jump

FLOOR_BLOCK = 10  # the floor is updated in blocks of this many frames
STEADY_DB = 3.0  # a band that fluctuates by more than this (RMS) counts less
FIRST_SPREAD_DB = 12.0  # fluctuation assumed while nothing is known

RISE_DB = 2.0  # a sudden jump is preceded by a rise of at most this much,
RISE_SHARE = 0.55  # or this part of the jump
FADING_DB = 2.0  # the first sound of all is no impact unless it fades by this much

PEAK = 4  # the peak is searched in this many hops,
LATE_PEAK = 8  # or in this many where it is clear of the background:
CLEAR = 3.0  # this many times as loud (amplitude);
AS_LOUD = 0.9  # of peaks this much alike (amplitude) the first counts
OFFSET_S = 0.1  # the offset is the mean of five periods of 50 Hz, six of 60 Hz
STEP_REST = 0.25  # beside a lasting step of the offset, a peak has this part of the step

Floats = NDArray[np.float64]


class Bands:
    """Levels of frequency bands.

    Args:
        rate: samples per second.

    Attributes:
        hop: samples per hop.
        offset: samples in ``OFFSET_S``.
        columns: bands + 1.
    """

    def __init__(self, rate: int) -> None:
        self.hop = round(rate * HOP_S)
        self.offset = round(rate * OFFSET_S)
        width = 2 * self.hop
        # Periodic Hann: a constant offset stays within the two lowest bins, which no band uses.
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
        low, high = BAND_RANGE_HZ
        bounds = np.geomspace(low, min(high, rate / 2), BANDS + 1)
        edges = np.unique(np.searchsorted(np.fft.rfftfreq(width, 1 / rate), bounds))
        self._edges = edges[:-1]
        self._stop = int(edges[-1])
        self._widths = np.diff(edges) * float(width)
        self._power_scale = 2 / float(np.sum(self._window**2)) / width
        self.columns = self._edges.size + 1

    def levels(self, sound: NDArray[np.float32]) -> Floats:
        """Levels in dB, [frames, bands + 1], of sound [(frames + 1) * hop]."""
        frames = np.lib.stride_tricks.sliding_window_view(sound, 2 * self.hop)[:: self.hop]
        spectrum = np.fft.rfft(frames * self._window)[:, : self._stop]
        bands = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, self._edges, axis=1)
        levels = np.empty((frames.shape[0], self.columns))
        levels[:, :-1] = bands / self._widths
        levels[:, -1] = bands.sum(1) * self._power_scale
        decibels: Floats = 10 * np.log10(np.maximum(levels, LEAST_POWER))
        return decibels


@dataclass
class NoiseFloor:
    """Running mean and variance of the levels."""

    mean: Floats
    """[bands + 1], dB."""
    variance: Floats
    """[bands + 1], dB squared."""
    blocks: int = 0
    """Blocks of ``FLOOR_BLOCK`` frames taken in."""

    @classmethod
    def unknown(cls, columns: int) -> NoiseFloor:
        """The floor before anything was heard."""
        return cls(np.full(columns, SILENCE_DB), np.full(columns, FIRST_SPREAD_DB**2))

    def update(self, block: Floats, floor_s: float) -> None:
        """Take in one block of levels, [FLOOR_BLOCK, bands + 1]."""
        self.blocks += 1
        if self.blocks == 1:
            self.mean = np.add.reduce(block) / FLOOR_BLOCK
            return
        weight = max(FLOOR_BLOCK * HOP_S / floor_s, 1 / self.blocks)
        deviation = block - self.mean
        square = np.add.reduce(deviation * deviation) / FLOOR_BLOCK
        self.variance = self.variance + weight * (square - self.variance)
        self.mean = self.mean + (weight / FLOOR_BLOCK) * np.add.reduce(deviation)


class Stretch:
    """Sound without a gap. Frames and samples have absolute indices.

    Args:
        position: index of the first sample to come.
        lead: rows that are kept before the first undecided frame.
        bands: what makes the levels.
        history: samples that are kept before the first undecided frame.
    """

    def __init__(self, position: int, lead: int, bands: Bands, history: int) -> None:
        self.first = -(-position // bands.hop)
        """First complete frame."""
        self.position = position
        """Index of the next sample."""
        self.lead, self.bands, self.history = lead, bands, history
        self.undecided = self.first
        """Frame of row ``lead``."""
        self.ended = False
        self.samples = np.zeros(0, np.float32)
        """The newest samples; the last one is the newest of all."""
        self.levels = np.full((lead, bands.columns), SILENCE_DB)
        """Levels of the newest frames, [frames, bands + 1]."""
        self.means = self.levels
        """Noise floor that was known before each of these frames."""
        self.weights = self.levels
        """Weight in (0, 1] of each band in each of these frames."""

    @property
    def next_frame(self) -> int:
        """First frame without levels."""
        return self.undecided - self.lead + self.levels.shape[0]

    def take(self, samples: NDArray[np.float32], floor: NoiseFloor, floor_s: float) -> None:
        """Append samples, the levels of the frames that they complete, and the floor."""
        self.position += samples.size
        self.samples = np.concatenate((self.samples, samples))
        hop = self.bands.hop
        frames = self.position // hop - 1 - self.next_frame
        if frames > 0:
            begin = self.next_frame * hop - (self.position - self.samples.size)
            sound = self.samples[begin : begin + (frames + 1) * hop]
            self._learn(self.bands.levels(sound), floor, floor_s)

    def around(self, frame: int, hops: int) -> tuple[Floats, Floats]:
        """Samples before the beginning of a frame (``OFFSET_S``), and after it (hops)."""
        begin = frame * self.bands.hop - (self.position - self.samples.size)
        before = self.samples[max(0, begin - self.bands.offset) : begin]
        after = self.samples[begin : begin + hops * self.bands.hop]
        return before.astype(np.float64), after.astype(np.float64)

    def cut(self, begin: int, end: int) -> NDArray[np.float32]:
        """The samples from one absolute index to another; zeros where there are none."""
        origin = self.position - self.samples.size
        sound = np.zeros(end - begin, np.float32)
        first, last = max(begin, origin), min(end, self.position)
        sound[first - begin : last - begin] = self.samples[first - origin : last - origin]
        return sound

    def _learn(self, levels: Floats, floor: NoiseFloor, floor_s: float) -> None:
        """Append levels and the floor known before them; update the floor at block ends."""
        frame, stop = self.next_frame, self.next_frame + levels.shape[0]
        known = np.concatenate((self.levels[-FLOOR_BLOCK:], levels))
        means, variances, counts = [], [], []
        while frame < stop:
            count = min(stop - frame, FLOOR_BLOCK - frame % FLOOR_BLOCK)
            means.append(floor.mean)
            variances.append(floor.variance)
            counts.append(count)
            frame += count
            if frame % FLOOR_BLOCK == 0 and frame - FLOOR_BLOCK >= self.first:
                end = known.shape[0] - (stop - frame)
                floor.update(known[end - FLOOR_BLOCK : end], floor_s)
        weights = STEADY_DB / np.maximum(np.sqrt(np.array(variances)), STEADY_DB)
        self._append(levels, np.repeat(means, counts, axis=0), np.repeat(weights, counts, axis=0))

    def end(self, count: int) -> None:
        """Append ``count`` frames of silence, so that all can be decided."""
        self.ended = True
        silence = np.full((count, self.levels.shape[1]), SILENCE_DB)
        self._append(silence, silence, silence)

    def drop(self, count: int) -> None:
        """The first ``count`` undecided frames are decided."""
        self.levels, self.means = self.levels[count:], self.means[count:]
        self.weights = self.weights[count:]
        self.undecided += count
        origin = self.position - self.samples.size
        oldest = self.undecided * self.bands.hop - self.history
        self.samples = self.samples[max(0, oldest - origin) :]

    def _append(self, levels: Floats, means: Floats, weights: Floats) -> None:
        self.levels = np.concatenate((self.levels, levels))
        self.means = np.concatenate((self.means, means))
        self.weights = np.concatenate((self.weights, weights))


def jumps(levels: Floats, means: Floats, weights: Floats) -> Floats:
    """Mean jump of each frame in dB, for the rows PAST to -FUTURE[-1] of [rows, bands] arrays.

    The jump of a band is its level above both the floor and all that was heard in the last 100 ms;
    what the level rises further in the next 15 to 35 ms is held against it.
    """
    stop = levels.shape[0] - FUTURE[-1]
    past = levels
    covered = 1
    while covered < PAST - 1:
        shift = min(covered, PAST - 1 - covered)
        past = np.maximum(past[:-shift], past[shift:])
        covered += shift
    now = levels[PAST:stop]
    jump = np.maximum(now - np.maximum(past[: stop - PAST], means[PAST:stop]), 0)
    later = levels[PAST + FUTURE[0] : stop + FUTURE[0]]
    for distance in FUTURE[1:]:
        later = later + levels[PAST + distance : stop + distance]
    top = np.maximum(now, levels[PAST + 1 : stop + 1])
    rising = np.maximum(later / len(FUTURE) - top, 0) * (jump > 0)
    weight = weights[PAST:stop]
    return _mean(weight * jump) - STILL_RISING * _mean(weight * rising)


def highest(values: Floats, reach: int) -> NDArray[np.bool_]:
    """Which of ``values`` [N], ``reach`` left out at both ends, are the largest within reach."""
    own = values[reach:-reach]
    result = np.ones(own.size, bool)
    for distance in range(1, reach + 1):
        result &= own > values[reach - distance : -reach - distance]
        result &= own >= values[reach + distance : values.size - reach + distance]
    return result


def is_sudden(levels: Floats, row: int) -> bool:
    """Whether the bands that jump in ``row`` of [rows, bands] do so at once.

    A syllable has begun to rise 10 ms before its steepest frame.
    """
    jumping = levels[row] > levels[row - PAST : row - 1].max(0) + RISE_DB
    near = levels[row - 4 : row + 1 : 2]
    first, middle, last = (near[:, jumping] if jumping.any() else near).mean(1)
    return bool(middle - first <= max(RISE_DB, RISE_SHARE * (last - middle)))


def is_switched_on(levels: Floats, means: Floats, row: int) -> bool:
    """Whether the first sound of all begins in ``row`` of [rows, bands + 1], and stays.

    Before it even the floor ``means`` is digital silence. No room is that quiet: such silence comes
    from a muted microphone or a coder's first frames.
    """
    heard = max(means[row, -1], levels[row - PAST : row - 3, -1].max())
    if heard > 10 * np.log10(LEAST_POWER) + 0.1:
        return False
    top = levels[row : row + 2, :-1].mean(1).max()
    later = levels[row + FUTURE[2] : row + FUTURE[-1] + 1, :-1].mean()
    return bool(top - later < FADING_DB)


def find_peak(sound: Floats, before: Floats, hop: int) -> tuple[int, float] | None:
    """The amplitude peak of a jump.

    Args:
        sound: samples from the beginning of the frame that jumps; at most 12 hops are used.
        before: up to ``OFFSET_S`` of samples before it.
        hop: samples per hop.

    Returns:
        Index in ``sound`` and amplitude without the offset; None for a mere step of the offset,
        and where the sound ends within 10 ms: the peak may be still to come.
    """
    offset = float(before.mean()) if before.size else 0.0
    amplitude = np.abs(sound[: LATE_PEAK * hop] - offset)
    index = int(amplitude[: PEAK * hop].argmax())
    late = int(amplitude.argmax())
    background = np.abs(before - offset).max(initial=0)
    if amplitude[index] >= CLEAR * background and amplitude[index] < AS_LOUD * amplitude[late]:
        index = late
    if index >= sound.size - 2 * hop:
        return None
    after = sound[index + hop : min(index + 5 * hop, 12 * hop)]
    settled = float(np.median(after))
    step = settled - float(np.median(before[-4 * hop :]) if before.size else 0.0)
    edge = int(np.abs(np.diff(sound[: LATE_PEAK * hop])).argmax()) + 1
    rest = np.abs(sound[: LATE_PEAK * hop] - settled)
    rest[:edge] = np.abs(sound[:edge] - settled + step)
    if rest.max() < STEP_REST * abs(step):
        return None
    return index, float(amplitude[index])


def _mean(values: Floats) -> Floats:
    """Power mean of each row with exponent 1.25: a jump in few bands counts a little more."""
    mean: Floats = (values * np.sqrt(np.sqrt(values))).mean(1) ** 0.8
    return mean
