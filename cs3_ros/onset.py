"""When did something hit something: a streaming detector of impacts in mono sound.

A frame (see ``onset_levels``) is a candidate when, averaged over the bands, its level jumps above
both the running noise floor and everything heard in the last 100 ms, and does not go on rising
afterwards: a struck object is loudest at once, a syllable takes tens of milliseconds. Bands whose
level fluctuates anyway count less, so that the threshold adapts to the background. The onset is the
sample of the amplitude peak within 20 ms of the jump, or within 40 ms where it is clear of the
background.

A strong onset raises the threshold for some seconds, and so do jumps that were not enough: where
they come often (speech, music, rattling), more is asked. Of peaks close together the louder counts.

Everything lives on an absolute grid of samples, so that the onsets do not depend on how the stream
is cut into chunks. Latency: an onset is returned with the chunk that brings the sample 140 ms
(``LOOKAHEAD_S``) after its peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.config import setting, validate
from cs3_ros.onset_levels import (
    FLOOR_BLOCK,
    FUTURE,
    HOP_S,
    LEAST_POWER,
    OFFSET_S,
    PAST,
    SILENCE_DB,
    Bands,
    Floats,
    NoiseFloor,
    band_weights,
    find_peak,
    is_sudden,
    jumps,
)

LOOKAHEAD_S = 0.14
"""An onset is decided at the latest this long after its peak."""

BATCH_S = 0.04
"""Sound is taken in when this much has come: fewer, longer steps are cheaper."""
MAXIMUM_PIECE_S = 1.0
"""Bounds the memory of a long push."""

# Times in hops of 5 ms.
RIVAL = 3
"""The largest jump within this distance stands."""
HOLD = 6
"""A louder peak this soon takes the place of an earlier one."""
WARM_UP = 6
"""A stretch begins without onsets: coders fade in for up to 1024 samples, filters settle."""
TAIL = 3
"""Nor has it any where fewer frames follow: whether the sound goes on rising is unknown."""
LEARNING = 200
"""Until the noise floor is known."""

# How many times the threshold is asked: 1 and
TRUNCATED = 1.5
"""this much more where there is nothing to compare with, at the edges of a stretch,"""
UNLEARNT = 0.8
"""at most this much more while the floor is not known,"""
MASKING = 0.2
"""after an onset up to this part of its strength,"""
MAXIMUM_MASKING = 1.8
"""at most this many times the threshold,"""
UNREST = 0.05
"""this much more for every recent candidate that was refused,"""
CANDIDATE = 0.55
"""which are jumps of at least this part of the threshold;"""
MEMORY_S = 2.5
"""what was heard fades with this time constant."""
CERTAIN = 3.5
"""A jump of this many times the threshold needs not be sudden once half the learning is done."""

LEAD = PAST + RIVAL
TRAIL = FUTURE[-1] + RIVAL


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

    def append(self, levels: Floats, means: Floats, weights: Floats) -> None:
        """Add frames, each [frames, bands + 1]."""
        self.levels = np.concatenate((self.levels, levels))
        self.means = np.concatenate((self.means, means))
        self.weights = np.concatenate((self.weights, weights))

    def drop(self, count: int) -> None:
        """The first ``count`` undecided frames are decided."""
        self.levels, self.means = self.levels[count:], self.means[count:]
        self.weights = self.weights[count:]
        self.undecided += count


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
        self._bands = Bands(rate)
        self._hop = self._bands.hop
        self._batch = int(BATCH_S * rate)
        self._piece = int(MAXIMUM_PIECE_S * rate)
        self._history = round(OFFSET_S * rate)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._position = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_size = 0
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
        samples = np.array(samples, np.float32)
        if samples.ndim != 1:
            raise ValueError(
                f'onset detector: samples of shape {samples.shape}: expected mono [N]; '
                'mix the channels first'
            )
        self._waiting.append(samples)
        self._waiting_size += samples.size
        if self._waiting_size >= self._batch:
            self._take_waiting()
        return self._collect()

    def skip(self, count: int) -> None:
        """Count samples that never arrived.

        Pending peaks are decided as if silence followed, and returned by the next call. The noise
        floor survives; the first 50 ms after the gap cannot hold an onset.

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

        A jump in the last 25 ms is no onset: a cut looks the same. Indices go on with the next push.
        """
        self._end_stretch()
        onsets = self._collect()
        self._forget()
        return onsets

    def _forget(self) -> None:
        self._floor = NoiseFloor.unknown(self._bands.columns)
        self._stretch: _Stretch | None = None
        self._held: DetectedOnset | None = None
        self._last: DetectedOnset | None = None
        self._masking, self._masked_from = 0.0, 0
        self._unrest, self._unrest_from = 0.0, 0
        self._learning_from = -1

    def _collect(self) -> list[DetectedOnset]:
        onsets, self._ready = self._ready, []
        return onsets

    def _take_waiting(self) -> None:
        samples = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.float32)
        self._waiting, self._waiting_size = [], 0
        if not np.isfinite(samples).all():
            samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        for begin in range(0, samples.size, self._piece):
            self._take(samples[begin : begin + self._piece])

    def _take(self, samples: NDArray[np.float32]) -> None:
        """Take in at most ``MAXIMUM_PIECE_S`` of sound."""
        hop, stretch = self._hop, self._stretch
        if stretch is None:
            first = -(-self._position // hop)
            none = np.full((LEAD, self._bands.columns), SILENCE_DB)
            stretch = _Stretch(first, np.zeros(0, np.float32), none, none, none, first)
            self._stretch = stretch
            if self._learning_from < 0:
                self._learning_from = first
        stretch.samples = np.concatenate((stretch.samples, samples))
        self._position += samples.size
        origin = self._position - stretch.samples.size
        frames = self._position // hop - 1 - stretch.next_frame
        if frames > 0:
            begin = stretch.next_frame * hop - origin
            sound = stretch.samples[begin : begin + (frames + 1) * hop]
            self._learn(stretch, self._bands.levels(sound))
            self._decide(stretch)
            oldest = stretch.undecided * hop - self._history
            stretch.samples = stretch.samples[max(0, oldest - origin) :]

    def _end_stretch(self) -> None:
        """Decide what is pending; what follows has nothing to do with what was."""
        self._take_waiting()
        stretch = self._stretch
        if stretch is not None:
            stretch.stop = stretch.next_frame
            silence = np.full((TRAIL, self._bands.columns), SILENCE_DB)
            stretch.append(silence, silence, silence)
            self._decide(stretch)
        self._report_held()
        self._stretch = None

    def _learn(self, stretch: _Stretch, levels: Floats) -> None:
        """Append levels and the floor known before them; update the floor at block ends."""
        frame, stop = stretch.next_frame, stretch.next_frame + levels.shape[0]
        row = stretch.levels.shape[0]
        known = np.concatenate((stretch.levels[-FLOOR_BLOCK:], levels))
        means, variances, counts = [], [], []
        while frame < stop:
            count = min(stop - frame, FLOOR_BLOCK - frame % FLOOR_BLOCK)
            means.append(self._floor.mean)
            variances.append(self._floor.variance)
            counts.append(count)
            frame += count
            if frame % FLOOR_BLOCK == 0 and frame - FLOOR_BLOCK >= stretch.first:
                end = known.shape[0] - (stop - frame)
                self._floor.update(known[end - FLOOR_BLOCK : end], self.config.floor_s)
        weights = band_weights(np.array(variances))
        stretch.append(
            levels, np.repeat(means, counts, axis=0), np.repeat(weights, counts, axis=0)
        )

    def _decide(self, stretch: _Stretch) -> None:
        """Find the onsets among the frames that have all they need behind and before them."""
        count = stretch.levels.shape[0] - LEAD - TRAIL
        if count <= 0:
            return
        found = jumps(stretch.levels[:, :-1], stretch.means[:, :-1], stretch.weights[:, :-1])
        found[: max(0, stretch.first + WARM_UP + RIVAL - stretch.undecided)] = 0
        if stretch.stop < float('inf'):
            found[found.size - RIVAL - TRAIL + (TRAIL - TAIL) :] = 0
        own = found[RIVAL:-RIVAL]
        largest = own > CANDIDATE * self.config.threshold_db
        for distance in range(1, RIVAL + 1):
            largest &= own > found[RIVAL - distance : -RIVAL - distance]
            largest &= own >= found[RIVAL + distance : found.size - RIVAL + distance]
        for row in np.flatnonzero(largest):
            self._judge(stretch, int(row), float(own[row]) / self.config.threshold_db)
        stretch.drop(count)
        if self._held and stretch.undecided * self._hop > self._held.sample + HOLD * self._hop:
            self._report_held()

    def _judge(self, stretch: _Stretch, row: int, strength: float) -> None:
        """Decide on a candidate ``row`` frames after the first undecided one."""
        frame = stretch.undecided + row
        masking = self._masking * _faded(frame - self._masked_from)
        unrest = self._unrest * _faded(frame - self._unrest_from)
        # A jump must be larger where there is little to compare it with.
        missing = max(0, stretch.first + PAST - frame) / PAST
        missing += max(0, frame + TRAIL - stretch.stop + 1) / TRAIL
        heard = frame - self._learning_from
        demand = 1 + masking + UNREST * unrest
        demand += TRUNCATED * missing + UNLEARNT * max(0, 1 - heard / LEARNING)
        certain = strength > CERTAIN and 2 * heard > LEARNING
        sudden = certain or is_sudden(stretch.levels[:, :-1], LEAD + row)
        if sudden and strength > demand:
            peak = self._peak(stretch, frame, float(stretch.means[LEAD + row, -1]))
            if peak is not None:
                strongest = min(max(MASKING * strength, demand), MAXIMUM_MASKING)
                self._masking, self._masked_from = strongest - 1, frame
                self._hold(peak)
        elif not sudden or strength < 1:
            self._unrest, self._unrest_from = unrest + 1, frame

    def _peak(self, stretch: _Stretch, frame: int, floor_dbfs: float) -> DetectedOnset | None:
        """The amplitude peak of the jump in ``frame``, if it has one that is loud enough."""
        origin = self._position - stretch.samples.size
        begin = frame * self._hop - origin
        # No further than what is there whenever a frame is decided.
        sound = stretch.samples[begin : begin + (TRAIL + 2) * self._hop].astype(np.float64)
        before = stretch.samples[max(0, begin - self._history) : begin].astype(np.float64)
        found = find_peak(sound, before, self._hop)
        if found is None:
            return None
        index, amplitude = found
        peak_dbfs = 20 * float(np.log10(max(amplitude, 1e-10)))
        if peak_dbfs < self.config.minimum_dbfs:
            return None
        floor_dbfs = max(floor_dbfs, 10 * float(np.log10(LEAST_POWER)))
        return DetectedOnset(origin + begin + index, peak_dbfs, peak_dbfs - floor_dbfs)

    def _hold(self, peak: DetectedOnset) -> None:
        """Keep a peak until no louder one can follow at once."""
        held = self._held
        if held is None or peak.sample > held.sample + HOLD * self._hop:
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


def _faded(hops: int) -> float:
    """What is left after so many hops."""
    return float(np.exp(-hops * HOP_S / MEMORY_S))
