"""What the gate looks at: pictures of the sound round a candidate, alike at every sample rate.

Loudness is taken out: all levels are in dB below the loudest frame of the candidate, and what lies
more than ``DEPTH_DB`` below it is as good as silent. So are the bands that a low sample rate does
not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BEFORE_S = 0.5
"""Sound before the peak that is looked at."""
AFTER_S = 0.1
"""Sound after the peak that is looked at."""

HOP_S = 0.005
BANDS = 24
BAND_RANGE_HZ = (120.0, 14000.0)
CORE = 40
"""Frames of 10 ms, a hop of 5 ms apart, round the peak, which lies in the middle."""
CONTEXT = 20
"""Steps of 20 ms before the core."""
DEPTH_DB = 60.0

VOICE_S = 0.04  # windows for the pitch: two periods of a low voice
VOICE_HZ = 4000.0
VOICE_RANGE_S = (0.0022, 0.0145)  # periods of 69 to 455 Hz
VOICE = 29
"""Windows of 40 ms, half of that apart, over the whole sound."""

STEP_S = 0.001
ENVELOPE = 100
"""Steps of 1 ms from ``ENVELOPE_BEFORE`` steps before the peak."""
ENVELOPE_BEFORE = 40

PIECE = 24  # frames that are transformed at once

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """One candidate. Levels are 0 at ``DEPTH_DB`` below the loudest frame, 1 at its level."""

    core: Floats
    """Levels of the bands round the peak, float32 [BANDS, CORE]."""
    context: Floats
    """Levels of the bands before that, float32 [BANDS, CONTEXT]."""
    voice: Floats
    """How periodic the sound is and with what period, both 0 to 1, float32 [2, VOICE]."""
    envelope: Floats
    """Peaks of the sound and of its differences in each ms, float32 [2, ENVELOPE]."""


def span(rate: int) -> tuple[int, int]:
    """Samples before the peak, and from the peak on, that ``features`` looks at."""
    return round(BEFORE_S * rate), round(AFTER_S * rate)


def features(sound: Floats, rate: int) -> Features:
    """What the gate looks at.

    Args:
        sound: float32 [before + after], see ``span``.
        rate: samples per second, 8000 to 96000.
    """
    before, _ = span(rate)
    tables = _tables(rate)
    offset = sound.mean()
    levels = _levels(_thinned(sound, tables.fine) - offset, tables)  # [CONTEXT * 4 + CORE, BANDS]
    core, earlier = levels[CONTEXT * 4 :], levels[: CONTEXT * 4]
    context = earlier.reshape(CONTEXT, 4, BANDS).mean(1)  # [CONTEXT, BANDS]
    middle = CORE // 2
    top = core[middle - 3 : middle + 4].sum(1).max()
    return Features(
        _relative(core, top / 4).T.copy(),
        _relative(context, top / 4).T.copy(),
        _voice(_thinned(sound, tables.coarse) - offset, tables),
        _envelope(sound, offset, before, rate),
    )


@dataclass(frozen=True, eq=False)
class _Tables:
    """What depends on the sample rate alone."""

    fine: int
    """Samples that are averaged to one before levels are taken,"""
    coarse: int
    """and before the pitch is."""
    hop: int
    """Of the levels, averaged samples."""
    first: int
    """Where the first frame begins; the frames lie symmetrically to the peak."""
    window: Floats
    """[2 * hop]."""
    filters: Floats
    """Triangles of the bands, [bins, BANDS]."""
    voice_window: Floats
    """[averaged samples in VOICE_S]."""
    voice_bins: int
    """Bins up to VOICE_HZ."""
    voice_starts: NDArray[np.int64]
    """First sample of each window, [VOICE]."""


@lru_cache(maxsize=8)
def _tables(rate: int) -> _Tables:
    before, after = span(rate)
    fine, coarse = max(1, rate // 48000), max(1, rate // 16000)
    hop = round(rate / fine * HOP_S)
    width = 2 * hop
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    window /= np.sqrt((window**2).sum() * width)
    frequency = np.fft.rfftfreq(width, fine / rate)
    low, high = (_mel(hertz) for hertz in BAND_RANGE_HZ)
    edges = np.linspace(low, high, BANDS + 2)
    place = _mel(frequency)[:, None]  # [bins, 1]
    rise = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rise, fall), 0, None)
    # a band that is narrower than a bin takes the nearest one
    for band in np.flatnonzero(filters.sum(0) == 0):
        centre = edges[band + 1]
        if centre <= place[-1, 0]:
            filters[np.abs(place[:, 0] - centre).argmin(), band] = 1.0
    length = round(rate / coarse * VOICE_S)
    starts = np.linspace(0, (before + after) // coarse - length, VOICE).astype(np.int64)
    return _Tables(
        fine,
        coarse,
        hop,
        before // fine - (CONTEXT * 4 + CORE // 2) * hop,
        window.astype(np.float32),
        filters.astype(np.float32),
        np.hanning(length).astype(np.float32),
        round(VOICE_HZ * VOICE_S) + 1,
        starts,
    )


def _mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return 2595.0 * np.log10(1 + np.asarray(hertz, np.float64) / 700.0)


def _thinned(sound: Floats, factor: int) -> Floats:
    """Means of so many samples each: what lies far above the bands costs only time."""
    if factor == 1:
        return sound
    return sound[: sound.size // factor * factor].reshape(-1, factor).mean(1, dtype=np.float32)


def _levels(sound: Floats, tables: _Tables) -> Floats:
    """Power of the bands, [frames, BANDS]."""
    count = CONTEXT * 4 + CORE
    padded = np.concatenate((sound, np.zeros(2 * tables.hop, np.float32)))
    frames = np.lib.stride_tricks.sliding_window_view(padded[tables.first :], 2 * tables.hop)
    frames = frames[:: tables.hop][:count]  # [frames, width]
    parts = []
    for begin in range(0, count, PIECE):  # small arrays come from memory that is there already
        spectrum = np.fft.rfft(frames[begin : begin + PIECE] * tables.window)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        parts.append(power @ tables.filters)
    return np.concatenate(parts)


def _relative(power: Floats, top: float) -> Floats:
    """0 at DEPTH_DB below ``top``, 1 at it."""
    least = max(top, 1e-12) * 10 ** (-DEPTH_DB / 10)
    decibels = 10 * np.log10(np.maximum(power, least) / least)
    return (decibels / DEPTH_DB).astype(np.float32)


def _voice(sound: Floats, tables: _Tables) -> Floats:
    """Height and place of the highest peak of the autocorrelation, [2, VOICE]."""
    length = tables.voice_window.size
    windows = np.lib.stride_tricks.sliding_window_view(sound, length)[tables.voice_starts]
    spectrum = np.fft.rfft(windows * tables.voice_window)[:, : tables.voice_bins]
    power = spectrum.real**2 + spectrum.imag**2  # [VOICE, bins]
    power[:, :3] = 0  # hum and rumble
    points = 2 * (tables.voice_bins - 1)
    likeness = np.fft.irfft(power, points)[:, : points // 2]  # [VOICE, lags]
    step_s = VOICE_S / points
    low, high = (round(seconds / step_s) for seconds in VOICE_RANGE_S)
    part = likeness[:, low:high]
    best = part.argmax(1)
    height = part[np.arange(VOICE), best] / np.maximum(likeness[:, 0], 1e-12)
    place = best / (high - low)
    return np.stack((np.clip(height, 0, 1), place)).astype(np.float32)


def _envelope(sound: Floats, offset: float, before: int, rate: int) -> Floats:
    """Peaks in steps of 1 ms in dB below the highest, [2, ENVELOPE]."""
    edges = np.round((np.arange(ENVELOPE + 1) - ENVELOPE_BEFORE) * STEP_S * rate).astype(np.int64)
    part = sound[before + edges[0] : before + edges[-1]] - offset
    rows = []
    for wave in (part, np.diff(part, prepend=part[:1])):
        peaks = np.maximum.reduceat(np.abs(wave), edges[:-1] - edges[0])
        peaks = peaks / max(float(peaks.max()), 1e-9)
        rows.append(1 + 20 * np.log10(np.maximum(peaks, 1e-2)) / 40)
    return np.stack(rows).astype(np.float32)
