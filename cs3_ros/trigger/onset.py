"""When did something hit something: a streaming detector of impacts in mono sound.

A frame (see ``onset_levels``) is a candidate when, averaged over the bands, its level jumps above
both the running noise floor and everything heard in the last 100 ms, and does not go on rising
afterwards: a struck object is loudest at once, a syllable takes tens of milliseconds. Bands whose
level fluctuates anyway count less, so that the threshold adapts to the background. The onset is the
sample of the amplitude peak within 20 ms of the jump, or 40 ms where clear of the background.

A strong onset raises the threshold for some seconds, and so do jumps that were not enough: where
they come often (speech, music, rattling), it rises. Of peaks close together the louder counts.

The gate, where it is on, looks at the sound round each peak and turns away what was probably no
struck object, the more the more it has just turned away: one sudden sound among many of a voice is
one of the voice. What it turns away raises no other threshold, and a quieter peak that follows at
once is still heard. Jumps that were not enough then raise it less.

Everything lives on an absolute grid of samples, so that the onsets do not depend on how the stream
is cut into chunks. Latency: an onset is returned with the chunk that brings the sample 140 ms
(``LOOKAHEAD_S``) after its peak.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cs3_ros.config import setting, validate
from cs3_ros.trigger import gate_features
from cs3_ros.trigger import onset_levels as levels
from cs3_ros.trigger.gate import shipped_gate

RATES = (8_000, 96_000)
"""Lowest and highest rate that the detector works at, samples per second."""
INPUT_RATES = (RATES[0], 768_000)
"""Lowest and highest rate of sound that is taken; above ``RATES`` see ``decimation.py``."""

LOOKAHEAD_S = 0.14
"""An onset is decided at the latest this long after its peak."""

MOST_TURNED_AWAY = 1000  # that are kept for one who does not ask
BATCH_S = 0.04  # sound is taken in when this much has come: fewer, longer steps are cheaper
MAXIMUM_PIECE_S = 1.0  # bounds the memory of a long push

# in hops of 5 ms
RIVAL = 3  # the largest jump within this distance stands
HOLD = 6  # a louder peak this soon takes the place of an earlier one
WARM_UP = 6  # a stretch begins without onsets: coders and filters settle
TAIL = 3  # where fewer frames follow, none is decided: the sound may go on rising
LEARNING = 200  # until the noise floor is known

# Factor of the threshold that a jump has to exceed: 1 and
TRUNCATED = 1.5  # this much more without a past to compare with, after the start or a gap,
UNLEARNT = 0.8  # at most this much more while the noise floor is not known,
MASKING = 0.2  # after an onset up to this part of its strength,
MAXIMUM_MASKING = 0.8  # at most this much more,
CHANCE = 0.4  # this much more for a peak such as steady noise has, too:
ORDINARY_DB = 11.0  # less than this above the noise floor,
UNREST = 0.04  # this much more for every recent candidate that was not sudden or too weak,
GATED_UNREST = 0.01  # or this much, where the gate will look at it, too;
CANDIDATE = 0.55  # these being jumps of at least this part of the threshold;
MEMORY_S = 2.5  # what was heard fades with this time constant.

# Factor of the odds that the gate asks for: 1 and
CROWD = 1.0  # this much more for every recent peak that it turned away
ALONE = 2.0  # beyond so many: somebody talks;
MOST_CROWD = 4.0  # at most this much more;
CROWD_S = 10.0  # these are forgotten with this time constant.

LEAD = levels.PAST + RIVAL
TRAIL = levels.FUTURE[-1] + RIVAL

Gate = Callable[[NDArray[np.float32], int], float]
"""Tells how probable a struck object is, 0 to 1, from the sound that ``gate_features`` looks at,
float32 [N], and its samples per second."""


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
    gate: float = setting(
        0.1,
        'Probability of a struck object that an onset must have, more of it while much is turned '
        'away; 0 takes every sudden sound.',
        minimum=0.0,
        maximum=1.0,
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
    probability: float | None = None
    """How probable the gate holds a struck object, 0 to 1; None where it is off."""


@dataclass(frozen=True)
class _Candidate:
    """A peak that the gate has still to decide on."""

    peak: DetectedOnset
    """Where it is."""
    frame: int
    """The frame that jumps."""
    masking: float
    """How much more is asked of what follows, as part of the threshold."""


def check_rate(rate: int, rates: tuple[int, int] = INPUT_RATES) -> None:
    """Refuse sound that cannot be listened to.

    Args:
        rate: samples per second.
        rates: lowest and highest that can be.

    Raises:
        ValueError: the rate is out of range.
    """
    low, high = rates
    if not low <= rate <= high:
        raise ValueError(
            f'sound of {rate} Hz: expected {low} to {high} Hz; record at such a rate or resample'
        )


class OnsetDetector:
    """Finds impacts in a stream of samples; the way it is cut into chunks makes no difference.

    Args:
        rate: samples per second, within ``RATES``.
        config: thresholds.
        gate: what ``config.gate`` asks; None takes the network of the package.

    Raises:
        ValueError: the rate is out of range.
    """

    def __init__(
        self, rate: int, config: OnsetConfig = OnsetConfig(), gate: Gate | None = None
    ) -> None:
        check_rate(rate, RATES)
        self.rate = rate
        self.config = config
        self._gate = gate or shipped_gate
        self._bands = levels.Bands(rate)
        self._hop = self._bands.hop
        self._batch = int(BATCH_S * rate)
        self._piece = int(MAXIMUM_PIECE_S * rate)
        self._before, self._after = gate_features.span(rate)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._position = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_size = 0
        self._ready: list[DetectedOnset] = []
        self._turned_away: deque[DetectedOnset] = deque(maxlen=MOST_TURNED_AWAY)
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
        if self._waiting_size >= min(self._batch, self._due - self._position):
            self._take_waiting()
        return self._collect()

    def turned_away(self) -> list[DetectedOnset]:
        """The newest peaks that the gate has turned away since the last call."""
        peaks = list(self._turned_away)
        self._turned_away.clear()
        return peaks

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

        A jump in the last 25 ms is no onset: a cut cannot be told from one. Indices go on with the
        next push.
        """
        self._end_stretch()
        self._forget()
        return self._collect()

    def _forget(self) -> None:
        self._floor = levels.NoiseFloor.unknown(self._bands.columns)
        self._stretch: levels.Stretch | None = None
        self._candidates: deque[_Candidate] = deque()
        self._held: DetectedOnset | None = None
        self._last: DetectedOnset | None = None
        self._masking, self._masked_from = 0.0, 0
        self._learning_from = -1
        self._unrest, self._unrest_from = 0.0, 0
        self._crowd, self._crowd_from = 0.0, 0

    def _collect(self) -> list[DetectedOnset]:
        onsets, self._ready = self._ready, []
        return onsets

    def _take_waiting(self) -> None:
        samples = np.concatenate((np.zeros(0, np.float32), *self._waiting))
        self._waiting, self._waiting_size = [], 0
        samples = np.where(np.isfinite(samples), samples, np.float32(0))
        for begin in range(0, samples.size, self._piece):
            self._take(samples[begin : begin + self._piece])

    def _take(self, samples: NDArray[np.float32]) -> None:
        """Take in at most ``MAXIMUM_PIECE_S`` of sound."""
        if self._stretch is None:
            self._stretch = levels.Stretch(
                self._position, LEAD, self._bands, self._before + self._after
            )
            if self._learning_from < 0:
                self._learning_from = self._stretch.first
        stretch = self._stretch
        stretch.take(samples, self._floor, self.config.floor_s)
        self._position = stretch.position
        self._decide(stretch)

    def _end_stretch(self) -> None:
        """Decide what is pending; what follows has nothing to do with what was."""
        self._take_waiting()
        if self._stretch is not None:
            self._stretch.end(TRAIL)
            self._decide(self._stretch)
            self._settle(self._stretch, None)
        self._report_held()
        self._stretch = None

    def _decide(self, stretch: levels.Stretch) -> None:
        """Find the onsets among the frames that have all they need behind and before them."""
        count = stretch.levels.shape[0] - LEAD - TRAIL
        if count <= 0:
            return
        found = levels.jumps(stretch.levels[:, :-1], stretch.means[:, :-1], stretch.weights[:, :-1])
        found[: max(0, stretch.first + WARM_UP + RIVAL - stretch.undecided)] = 0
        if stretch.ended:
            found[-RIVAL - TAIL :] = 0
        own = found[RIVAL:-RIVAL]
        candidates = levels.highest(found, RIVAL) & (own > CANDIDATE * self.config.threshold_db)
        for row in np.flatnonzero(candidates):
            self._settle(stretch, (stretch.undecided + int(row) + TRAIL + 2) * self._hop)
            self._judge(stretch, int(row), float(own[row]) / self.config.threshold_db)
        self._settle(stretch, stretch.position)
        stretch.drop(count)
        heard = (
            stretch.position - self._after if self.config.gate else stretch.undecided * self._hop
        )
        if self._held and heard > self._held.sample + HOLD * self._hop:
            self._report_held()

    def _judge(self, stretch: levels.Stretch, row: int, strength: float) -> None:
        """Decide on a candidate ``row`` frames after the first undecided one."""
        frame = stretch.undecided + row
        masking = self._masking * _faded(frame - self._masked_from)
        unrest = self._unrest * _faded(frame - self._unrest_from)
        missing = max(0, stretch.first + levels.PAST - frame) / levels.PAST
        unknown = max(0.0, 1 - (frame - self._learning_from) / LEARNING)
        demand = 1 + masking + TRUNCATED * missing + UNLEARNT * unknown
        demand += (GATED_UNREST if self.config.gate else UNREST) * unrest
        sudden = levels.is_sudden(stretch.levels[:, :-1], LEAD + row)
        sudden = sudden and not levels.is_switched_on(stretch.levels, stretch.means, LEAD + row)
        if sudden and strength > demand:
            peak = self._peak(stretch, frame, float(stretch.means[LEAD + row, -1]))
            ordinary = peak is not None and peak.prominence_db < ORDINARY_DB
            if peak is not None and strength > demand + CHANCE * ordinary:
                masking = min(max(MASKING * strength, demand) - 1, MAXIMUM_MASKING)
                self._candidates.append(_Candidate(peak, frame, masking))
        elif not sudden or strength < 1:
            self._unrest, self._unrest_from = unrest + 1, frame

    def _peak(self, stretch: levels.Stretch, frame: int, floor_dbfs: float) -> DetectedOnset | None:
        """The amplitude peak of the jump in ``frame``, if it has one that is loud enough."""
        # No further than what is there whenever a frame is decided.
        before, sound = stretch.around(frame, TRAIL + 2)
        found = levels.find_peak(sound, before, self._hop)
        if found is None:
            return None
        index, amplitude = found
        peak_dbfs = 20 * float(np.log10(max(amplitude, 1e-10)))
        if peak_dbfs < self.config.minimum_dbfs:
            return None
        floor_dbfs = max(floor_dbfs, 10 * float(np.log10(levels.LEAST_POWER)))
        return DetectedOnset(frame * self._hop + index, peak_dbfs, peak_dbfs - floor_dbfs)

    def _settle(self, stretch: levels.Stretch, known: int | None) -> None:
        """Let the gate decide on the candidates whose sound is there.

        Args:
            stretch: the sound.
            known: index of the sample up to which it is known; None where no more will come.
        """
        while self._candidates:
            peak = self._candidates[0].peak
            probability = None
            if self.config.gate:
                if known is not None and peak.sample + self._after > known:
                    return
                sound = stretch.cut(peak.sample - self._before, peak.sample + self._after)
                probability = self._gate(sound, self.rate)
                peak = replace(peak, probability=probability)
            candidate = self._candidates.popleft()
            if probability is not None and not self._passes(probability, candidate.frame):
                self._turned_away.append(peak)
                continue
            self._masking, self._masked_from = candidate.masking, candidate.frame
            self._hold(peak)

    def _passes(self, probability: float, frame: int) -> bool:
        """Whether a peak is probable enough after what was turned away before it."""
        least = self.config.gate
        crowd = self._crowd * _faded(frame - self._crowd_from, CROWD_S)
        self._crowd, self._crowd_from = crowd + (probability < least), frame
        factor = 1 + min(CROWD * max(crowd - ALONE, 0.0), MOST_CROWD)
        return probability * (1 - least) >= factor * least * (1 - probability)

    @property
    def _due(self) -> float:
        """Index of the sample that something waits for."""
        dues = [candidate.peak.sample + self._after for candidate in self._candidates]
        if self._held and self.config.gate:
            dues.append(self._held.sample + HOLD * self._hop + self._after + 1)
        return min(dues, default=math.inf)

    def _hold(self, peak: DetectedOnset) -> None:
        """Keep a peak until no louder one can follow at once."""
        held = self._held
        if held is None or peak.sample > held.sample + HOLD * self._hop:
            self._report_held()
            self._held = peak
        elif peak.peak_dbfs > held.peak_dbfs:
            self._held = peak

    def _report_held(self) -> None:
        held, last, self._held = self._held, self._last, None
        quiet_time = self.config.refractory_s * self.rate
        if held and not (
            last and held.sample - last.sample < quiet_time and held.peak_dbfs <= last.peak_dbfs
        ):
            self._last = held
            self._ready.append(held)


def _faded(hops: int, constant_s: float = MEMORY_S) -> float:
    """What is left after so many hops."""
    return float(np.exp(-hops * levels.HOP_S / constant_s))
