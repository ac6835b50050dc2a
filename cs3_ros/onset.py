"""When did something hit something: a streaming detector of impacts in mono sound.

Frames of 10 ms every 5 ms become levels in dB of up to 24 bands above 150 Hz. A frame is a
candidate when, averaged over the bands, its level jumps above both the running noise floor and
everything heard in the last 100 ms, and does not go on rising afterwards: a struck object is
loudest at once, a syllable takes tens of milliseconds. Bands whose level fluctuates anyway count
less, so that the threshold adapts to the background. The onset is the sample of the amplitude
peak within 20 ms of the jump, or within 40 ms where it is clear of the background.

A strong onset raises the threshold for some seconds; of peaks close together the louder one counts.

Everything lives on an absolute grid of samples, so that the onsets do not depend on how the stream
is cut into chunks. Latency: an onset is returned with the chunk that brings the sample 100 ms
(``LOOKAHEAD_S``) after its peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.config import setting, validate

LOOKAHEAD_S = 0.1
"""An onset is decided at the latest this long after its peak."""

HOP_S = 0.005
BANDS = 24
BAND_RANGE_HZ = (150.0, 16000.0)
LEAST_POWER = 1e-9  # of one bin: just above the rounding of 16-bit sound, -90 dB
SPREAD_DB = 3.0  # a band that fluctuates by more than this counts less
FIRST_SPREAD_DB = 12.0  # assumed while nothing is known
STILL_RISING = 1.5  # weight of the level still to come against the jump

EARLIER_DB = 3.0  # the level may rise by this much before the jump
BEFORE = 0.6  # or by this part of the jump,
LATER_DB = 1.0  # and by this much after it,
CERTAIN = 3.5  # unless the jump has this many times the threshold and the floor is known

# in hops
PAST = 20  # how far back a jump is compared; the frame before overlaps and is left out
FUTURE = range(3, 8)  # when the level must have stopped rising
PEAK = 4  # where the amplitude peak is searched;
LATE_PEAK = 8  # where it is searched when it is clear of the background
RIVAL = 3  # the largest jump within this distance stands
HOLD = 6  # a louder peak this soon takes the place of an earlier one
WARM_UP = 6  # after the start or a gap
LEARNING = 200  # until the noise floor is known
FLOOR_BLOCK = 10  # the floor is updated in blocks of 50 ms

MASKING = 0.3  # after a strong onset the threshold is raised: this part of its jump,
MAXIMUM_MASKING = 2.2  # at most this many times the threshold,
MASKING_S = 2.5  # fading with this time constant

OFFSET_S = 0.1  # five periods of 50 Hz, six of 60 Hz
CLEAR = 3.0  # clear of the background, as a ratio of amplitudes
STEP_REST = 0.25  # a peak has at least this part of a lasting step of the offset

MAXIMUM_PIECE_S = 1.0  # bounds the memory of a long push
SILENCE_DB = -200.0
LEAD = PAST + RIVAL
TRAIL = FUTURE[-1] + RIVAL

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OnsetConfig:
    """What counts as an impact."""

    threshold_db: float = setting(
        0.9,
        'Jump of the level, averaged over frequency bands and discounted where the background '
        'fluctuates by more than 3 dB, in dB.',
        minimum=0.1,
        maximum=60.0,
        hot=True,
    )
    minimum_dbfs: float = setting(
        -70.0,
        'Quietest peak that is reported, in dB relative to full scale.',
        minimum=-120.0,
        maximum=0.0,
        hot=True,
    )
    refractory_s: float = setting(
        0.2,
        'Time after an onset in which only a louder one is reported, in seconds.',
        minimum=0.0,
        maximum=10.0,
        hot=True,
    )
    floor_s: float = setting(
        3.0,
        'Time constant of the running noise floor, in seconds.',
        minimum=0.1,
        maximum=60.0,
        hot=True,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class DetectedOnset:
    """The amplitude peak of one impact."""

    sample: int
    """Index of the peak sample, counted since construction, skipped samples included."""
    peak_dbfs: float
    """Level of the peak, without the DC offset, in dB relative to full scale."""
    prominence_db: float
    """Level of the peak above the running noise floor (RMS above 150 Hz), in dB."""


@dataclass
class _Floor:
    """Running mean and spread of the band levels; the last column is the level of all bands."""

    mean: Floats
    square: Floats
    blocks: int = 0

    def update(self, block: Floats, floor_s: float) -> None:
        """Take in one block of levels, [FLOOR_BLOCK, bands + 1]."""
        self.blocks += 1
        if self.blocks == 1:
            self.mean = np.add.reduce(block) / FLOOR_BLOCK
            return
        weight = max(FLOOR_BLOCK * HOP_S / floor_s, 1 / self.blocks)
        deviation = block - self.mean
        square = np.add.reduce(deviation * deviation) / FLOOR_BLOCK
        self.square = self.square + weight * (square - self.square)
        self.mean = self.mean + (weight / FLOOR_BLOCK) * np.add.reduce(deviation)


@dataclass
class _Stretch:
    """Sound without a gap. Frames and samples have absolute indices."""

    first: int
    """First complete frame."""
    samples: NDArray[np.float32]
    """The newest samples; the last one is the newest of all."""
    levels: Floats
    """Levels of the newest frames, [frames, bands + 1]; row LEAD is the first undecided one."""
    means: Floats
    """Noise floor that was known before each of these frames."""
    weights: Floats
    """Weight of each band in each of these frames."""
    undecided: int
    """Frame of row LEAD."""
    stop: float = float('inf')
    """First frame that is not there, known once the stretch has ended."""

    @property
    def next_frame(self) -> int:
        """First frame without levels."""
        return self.undecided - LEAD + self.levels.shape[0]


class OnsetDetector:
    """Finds impacts in a stream of samples; the way it is cut into chunks makes no difference.

    Args:
        rate: samples per second, 8000 to 96000.
        config: thresholds.

    Raises:
        ValueError: the rate is out of range.
    """

    def __init__(self, rate: int, config: OnsetConfig = OnsetConfig()) -> None:
        if not 8000 <= rate <= 96000:
            raise ValueError(
                f'onset detector: sample rate {rate} Hz: expected 8000 to 96000 Hz; '
                'resample the sound or set the rate of the audio topic'
            )
        self.rate = rate
        self.config = config
        self._hop = round(rate * HOP_S)
        self._hold_samples = HOLD * self._hop
        width = 2 * self._hop
        # Periodic Hann: a constant offset stays within the two lowest bins, which no band uses.
        self._window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
        low, high = BAND_RANGE_HZ
        bounds = np.geomspace(low, min(high, rate / 2), BANDS + 1)
        edges = np.unique(np.searchsorted(np.fft.rfftfreq(width, 1 / rate), bounds))
        self._edges = edges[:-1]
        self._stop = int(edges[-1])
        self._widths = np.diff(edges) * float(width)
        self._power_scale = 2 / float(np.sum(self._window**2)) / width
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._position = 0
        self._ready: list[DetectedOnset] = []
        self._forget()

    def reconfigure(self, config: OnsetConfig) -> None:
        """Use other thresholds from the next decision on; what was learned stays."""
        self.config = config

    def push(self, samples: NDArray[np.float32]) -> list[DetectedOnset]:
        """Take in the next samples.

        Args:
            samples: float32 [N] mono in [-1, 1]; what is not finite counts as zero.

        Returns:
            The onsets decided since the last call, in time order.

        Raises:
            ValueError: ``samples`` is not one-dimensional.
        """
        samples = np.asarray(samples, np.float32)
        if samples.ndim != 1:
            raise ValueError(
                f'onset detector: samples of shape {samples.shape}: expected mono [N]; '
                'mix the channels first'
            )
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        piece = int(MAXIMUM_PIECE_S * self.rate)
        for begin in range(0, samples.size, piece):
            self._take(samples[begin : begin + piece])
        return self._collect()

    def skip(self, count: int) -> None:
        """Count samples that never arrived.

        Pending peaks are decided as if silence followed, and returned by the next call. The noise
        floor survives; the first 30 ms after the gap cannot hold an onset.

        Raises:
            ValueError: ``count`` is negative.
        """
        if count < 0:
            raise ValueError(f'onset detector: cannot skip {count} samples: expected 0 or more')
        if count:
            self._end_stretch()
            self._position += count

    def flush(self) -> list[DetectedOnset]:
        """End the stream: decide pending peaks as if silence followed and forget the floor.

        Indices go on with the next push.
        """
        self._end_stretch()
        onsets = self._collect()
        self._forget()
        return onsets

    def _forget(self) -> None:
        columns = self._edges.size + 1
        self._floor = _Floor(np.full(columns, SILENCE_DB), np.full(columns, FIRST_SPREAD_DB**2))
        self._stretch: _Stretch | None = None
        self._held: DetectedOnset | None = None
        self._last: DetectedOnset | None = None
        self._masking, self._masked_from = 1.0, 0
        self._learning_from = -1

    def _collect(self) -> list[DetectedOnset]:
        onsets, self._ready = self._ready, []
        return onsets

    def _take(self, samples: NDArray[np.float32]) -> None:
        """Take in at most ``MAXIMUM_PIECE_S`` of sound."""
        stretch = self._stretch
        if stretch is None:
            first = -(-self._position // self._hop)
            none = np.full((LEAD, self._floor.mean.size), SILENCE_DB)
            stretch = _Stretch(first, np.zeros(0, np.float32), none, none, none, first)
            self._stretch = stretch
            if self._learning_from < 0:
                self._learning_from = first
        stretch.samples = np.concatenate((stretch.samples, samples))
        self._position += samples.size
        frames = self._position // self._hop - 1 - stretch.next_frame
        if frames > 0:
            self._learn(stretch, self._levels(stretch, frames))
            self._decide(stretch)
            oldest = stretch.undecided * self._hop - round(OFFSET_S * self.rate)
            origin = self._position - stretch.samples.size
            stretch.samples = stretch.samples[max(0, oldest - origin) :]

    def _end_stretch(self) -> None:
        """Decide what is pending; what follows has nothing to do with what was."""
        stretch = self._stretch
        if stretch is not None:
            stretch.stop = stretch.next_frame
            silence = np.full((TRAIL, stretch.levels.shape[1]), SILENCE_DB)
            stretch.levels = np.concatenate((stretch.levels, silence))
            stretch.means = np.concatenate((stretch.means, silence))
            stretch.weights = np.concatenate((stretch.weights, silence))
            self._decide(stretch)
        self._report_held()
        self._stretch = None

    def _levels(self, stretch: _Stretch, frames: int) -> Floats:
        """Levels of the next frames in dB, [frames, bands + 1]; the last column is the sum."""
        hop = self._hop
        begin = stretch.next_frame * hop - (self._position - stretch.samples.size)
        sound = stretch.samples[begin : begin + (frames + 1) * hop]
        windows = np.lib.stride_tricks.sliding_window_view(sound, 2 * hop)[::hop]
        spectrum = np.fft.rfft(windows * self._window)[:, : self._stop]
        bands = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, self._edges, axis=1)
        levels = np.empty((frames, self._edges.size + 1))
        levels[:, :-1] = bands / self._widths
        levels[:, -1] = bands.sum(1) * self._power_scale
        decibels: Floats = 10 * np.log10(np.maximum(levels, LEAST_POWER))
        return decibels

    def _learn(self, stretch: _Stretch, levels: Floats) -> None:
        """Append levels and the floor known before them; update the floor at block ends."""
        row, frame = stretch.levels.shape[0], stretch.next_frame
        stretch.levels = np.concatenate((stretch.levels, levels))
        means, squares, counts = [], [], []
        left = levels.shape[0]
        while left:
            count = min(left, FLOOR_BLOCK - frame % FLOOR_BLOCK)
            means.append(self._floor.mean)
            squares.append(self._floor.square)
            counts.append(count)
            row, frame, left = row + count, frame + count, left - count
            if frame % FLOOR_BLOCK == 0 and frame - FLOOR_BLOCK >= stretch.first:
                self._floor.update(stretch.levels[row - FLOOR_BLOCK : row], self.config.floor_s)
        weights = SPREAD_DB / np.maximum(np.sqrt(np.array(squares)), SPREAD_DB)
        stretch.means = np.concatenate((stretch.means, np.repeat(means, counts, axis=0)))
        stretch.weights = np.concatenate((stretch.weights, np.repeat(weights, counts, axis=0)))

    def _decide(self, stretch: _Stretch) -> None:
        """Find the candidates among the frames that have all they need behind and before them."""
        count = stretch.levels.shape[0] - LEAD - TRAIL
        if count <= 0:
            return
        scores = _scores(stretch.levels[:, :-1], stretch.means[:, :-1], stretch.weights[:, :-1])
        scores[: max(0, stretch.first + WARM_UP + RIVAL - stretch.undecided)] = 0
        own = scores[RIVAL:-RIVAL]
        largest = own > self.config.threshold_db
        for distance in range(1, RIVAL + 1):
            largest &= own > scores[RIVAL - distance : -RIVAL - distance]
            largest &= own >= scores[RIVAL + distance : scores.size - RIVAL + distance]
        for row in np.flatnonzero(largest):
            frame, score = stretch.undecided + int(row), float(own[row])
            demand = self._demand(stretch, frame)
            course = _course(stretch.levels[:, :-1], LEAD + int(row))
            strength = score / self.config.threshold_db
            certain = strength > CERTAIN and 2 * (frame - self._learning_from) > LEARNING
            if strength <= demand or not (certain or _sudden(course)):
                continue
            peak = self._peak(stretch, frame, float(stretch.means[LEAD + row, -1]))
            if peak is not None:
                self._masking = min(max(MASKING * strength, demand), MAXIMUM_MASKING)
                self._masked_from = frame
                self._hold(peak)
        stretch.levels = stretch.levels[count:]
        stretch.means = stretch.means[count:]
        stretch.weights = stretch.weights[count:]
        stretch.undecided += count
        if self._held and stretch.undecided * self._hop > self._held.sample + self._hold_samples:
            self._report_held()

    def _demand(self, stretch: _Stretch, frame: int) -> float:
        """How many times the threshold a jump must have in this frame."""
        seconds = (frame - self._masked_from) * HOP_S
        masking = 1 + (self._masking - 1) * float(np.exp(-seconds / MASKING_S))
        # A jump must be larger where there is little to compare it with.
        missing = max(0, stretch.first + PAST - frame) / PAST
        missing += max(0, frame + TRAIL - stretch.stop + 1) / TRAIL
        unknown = max(0.0, 1 - (frame - self._learning_from) / LEARNING)
        return masking * (1 + 1.5 * missing + 0.8 * unknown)

    def _peak(self, stretch: _Stretch, frame: int, floor_dbfs: float) -> DetectedOnset | None:
        """The amplitude peak of the jump in ``frame``; None for a mere step of the offset."""
        hop = self._hop
        origin = self._position - stretch.samples.size
        begin = frame * hop - origin
        sound = stretch.samples[begin : begin + LATE_PEAK * hop].astype(np.float64)
        before = stretch.samples[max(0, begin - round(OFFSET_S * self.rate)) : begin]
        offset = float(before.mean(dtype=np.float64)) if before.size else 0.0
        amplitude = np.abs(sound - offset)
        background = np.abs(before - offset).max(initial=0)
        if amplitude[: PEAK * hop].max() < CLEAR * background:
            amplitude = amplitude[: PEAK * hop]
        index = int(amplitude.argmax())
        # No further than what is there whenever a frame is decided.
        stop = begin + min(index + 5 * hop, (TRAIL + 2) * hop)
        after = stretch.samples[begin + index + hop : stop]
        if after.size:
            settled = float(np.median(after))
            step = settled - float(np.median(before[-4 * hop :]) if before.size else 0.0)
            edge = int(np.abs(np.diff(sound)).argmax()) + 1
            rest = np.abs(np.concatenate((sound[:edge] - settled + step, sound[edge:] - settled)))
            if rest.max() < STEP_REST * abs(step):
                return None
        peak_dbfs = 20 * float(np.log10(max(float(amplitude[index]), 1e-10)))
        if peak_dbfs < self.config.minimum_dbfs:
            return None
        floor_dbfs = max(floor_dbfs, 10 * float(np.log10(LEAST_POWER)))
        return DetectedOnset(origin + begin + index, peak_dbfs, peak_dbfs - floor_dbfs)

    def _hold(self, peak: DetectedOnset) -> None:
        """Keep a peak until no louder one can follow at once."""
        held = self._held
        if held is None or peak.sample > held.sample + self._hold_samples:
            self._report_held()
            self._held = peak
        elif peak.peak_dbfs > held.peak_dbfs:
            self._held = peak

    def _report_held(self) -> None:
        held, last = self._held, self._last
        self._held = None
        if held is None:
            return
        quiet_time = self.config.refractory_s * self.rate
        if last and held.sample - last.sample < quiet_time and held.peak_dbfs <= last.peak_dbfs:
            return
        self._last = held
        self._ready.append(held)


def _scores(levels: Floats, means: Floats, weights: Floats) -> Floats:
    """Mean jump of each frame in dB, for the rows PAST to -FUTURE[-1] of [rows, bands] arrays."""
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


def _course(levels: Floats, row: int) -> Floats:
    """Mean level of the bands that jump in ``row``, from 4 frames before to the last needed."""
    jumping = levels[row] > levels[row - PAST : row - 1].max(0) + EARLIER_DB
    near = levels[row - 4 : row + FUTURE[-1] + 1]
    course: Floats = (near[:, jumping] if jumping.any() else near).mean(1)
    return course


def _sudden(course: Floats) -> bool:
    """Whether the level jumps at once, judged on the course from 4 frames before the jump.

    A syllable has begun to rise 10 ms before its steepest frame or is louder after it.
    """
    rise = course[4] - course[2]
    before = course[2] - course[0]
    after = course[5:].mean() - course[4]
    return bool(before <= max(EARLIER_DB, BEFORE * rise) and after <= LATER_DB)


def _mean(values: Floats) -> Floats:
    """Power mean of each row with exponent 1.25: a jump in few bands counts a little more."""
    mean: Floats = (values * np.sqrt(np.sqrt(values))).mean(1) ** 0.8
    return mean
