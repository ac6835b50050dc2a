"""What the onset detector sees of a sound: band levels, their noise floor, jumps, peaks.

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
BAND_RANGE_HZ = (150.0, 16000.0)
"""Below lie hum, rumble and handling noise."""
LEAST_POWER = 1e-9
"""Of one bin: just above the rounding of 16-bit sound, -90 dB."""
SILENCE_DB = -200.0

PAST = 20
"""How far back a jump is compared; the frame before overlaps and is left out."""
FUTURE = range(3, 8)
"""When the level must have stopped rising."""
STILL_RISING = 1.5
"""Weight of the level still to come against the jump."""

FLOOR_BLOCK = 10
"""The floor is updated in blocks of this many frames."""
STEADY_DB = 3.0
"""A band that fluctuates by more than this (RMS) counts less."""
FIRST_SPREAD_DB = 12.0
"""Fluctuation assumed while nothing is known."""

RISE_DB = 3.0
"""A sudden jump is preceded by a rise of at most this much,"""
RISE_SHARE = 0.6
"""or this part of the jump,"""
LATER_DB = 1.0
"""and followed by a rise of at most this much."""

PEAK = 4
"""The peak is searched in this many hops,"""
LATE_PEAK = 8
"""or in this many where it is clear of the background:"""
CLEAR = 3.0
"""this many times as loud (amplitude)."""
AS_LOUD = 0.9
"""Of peaks this much alike (amplitude) the first counts."""
OFFSET_S = 0.1
"""The offset is the mean of five periods of 50 Hz, six of 60 Hz."""
STEP_REST = 0.25
"""Beside a lasting step of the offset, a peak has at least this part of the step."""

Floats = NDArray[np.float64]


class Bands:
    """Levels of frequency bands.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: int) -> None:
        self.hop = round(rate * HOP_S)
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
    """Running mean and variance of the levels; both [bands + 1]."""

    mean: Floats
    variance: Floats
    blocks: int = 0

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


def band_weights(variances: Floats) -> Floats:
    """Weights in (0, 1] of bands whose levels have these variances in dB^2."""
    weights: Floats = STEADY_DB / np.maximum(np.sqrt(variances), STEADY_DB)
    return weights


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


def is_sudden(levels: Floats, row: int) -> bool:
    """Whether the level jumps at once in ``row`` of [rows, bands]; judged on the bands that jump.

    A syllable has begun to rise 10 ms before its steepest frame or is louder after it.
    """
    jumping = levels[row] > levels[row - PAST : row - 1].max(0) + RISE_DB
    near = levels[row - 4 : row + FUTURE[-1] + 1]
    course = (near[:, jumping] if jumping.any() else near).mean(1)
    jump = course[4] - course[2]
    before = course[2] - course[0]
    after = course[5:].mean() - course[4]
    return bool(before <= max(RISE_DB, RISE_SHARE * jump) and after <= LATER_DB)


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
