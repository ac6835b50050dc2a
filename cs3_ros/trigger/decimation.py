"""Onsets in sound sampled faster than the detector works: low-passed, thinned out, counted back.

The sound itself is kept as it came; only the detector gets fewer samples.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cs3_ros.trigger.onset import RATES, DetectedOnset, Gate, OnsetConfig, OnsetDetector

LOBES = 16
"""Half length of the low-pass filter, samples of the lower rate."""
PASSED = 0.9
"""What passes the filter: up to this part of the highest frequency at the lower rate."""


class DecimatingDetector:
    """An ``OnsetDetector`` for rates above ``RATES``; its onsets count the samples as they came.

    Every k-th sample of the low-passed sound is used, with the smallest k for which the rate
    is within ``RATES``. Sums run in one order, so that onsets do not depend on the cut into chunks.

    Args:
        rate: samples per second, above ``RATES[1]``.
        config: thresholds.
        gate: as ``OnsetDetector``; it hears the sound at the lower rate.

    Attributes:
        factor: k.

    Raises:
        ValueError: the rate is below ``RATES[0]``.
    """

    def __init__(
        self, rate: int, config: OnsetConfig = OnsetConfig(), gate: Gate | None = None
    ) -> None:
        self.factor = math.ceil(rate / RATES[1])
        self._detector = OnsetDetector(round(rate / self.factor), config, gate)
        self._taps = _low_pass(self.factor)  # [2 * half + 1]
        self._half = len(self._taps) // 2
        self.reset()

    def push(self, samples: NDArray[np.float32]) -> list[DetectedOnset]:
        """As ``OnsetDetector.push``; ``samples`` are float32 [N] at the higher rate."""
        samples = np.where(np.isfinite(samples), samples, np.float32(0)).astype(np.float32)
        self._position += samples.size
        return self._counted(self._detector.push(self._thinned(samples)))

    def skip(self, count: int) -> None:
        """As ``OnsetDetector.skip``; ``count`` at the higher rate."""
        if count:
            self._ready += self._counted(self._detector.push(self._drained()))
            self._position += count
            before = self._next
            self._begin_anew()
            self._detector.skip(self._next - before)

    def flush(self) -> list[DetectedOnset]:
        """As ``OnsetDetector.flush``."""
        found = self._counted(self._detector.push(self._drained()))
        self._begin_anew()
        return found + self._counted(self._detector.flush())

    def turned_away(self) -> list[DetectedOnset]:
        """As ``OnsetDetector.turned_away``."""
        return [self._at_the_higher_rate(peak) for peak in self._detector.turned_away()]

    def reset(self) -> None:
        """Forget everything; the next sample has index 0."""
        self._detector.reset()
        self._ready: list[DetectedOnset] = []
        self._position = 0
        self._begin_anew()

    def reconfigure(self, config: OnsetConfig) -> None:
        """As ``OnsetDetector.reconfigure``."""
        self._detector.reconfigure(config)

    def _begin_anew(self) -> None:
        """Silence lies before the next sample, ``_position``."""
        self._next = -(-self._position // self.factor)  # the next sample of the lower rate
        self._kept = np.zeros(self._half, np.float32)  # sound before _position that is still needed

    def _drained(self) -> NDArray[np.float32]:
        """What the sound so far still gives when silence follows."""
        return self._thinned(np.zeros(self._half, np.float32), self._half)

    def _thinned(self, samples: NDArray[np.float32], beyond: int = 0) -> NDArray[np.float32]:
        """Low-passed samples [n] at the lower rate that the samples [N] complete.

        Args:
            samples: what follows; it ends ``beyond`` samples after ``_position``.
            beyond: samples that are not counted in ``_position``.
        """
        sound = np.concatenate([self._kept, samples])
        end = self._position + beyond
        first = end - sound.size  # index of sound[0]
        count = max((end - 1 - self._half) // self.factor - self._next + 1, 0)
        start = self._next * self.factor - self._half - first
        thinned = np.zeros(count, np.float32)
        for tap, offset in zip(self._taps, range(start, start + len(self._taps)), strict=True):
            thinned += tap * sound[offset : offset + count * self.factor : self.factor]
        self._next += count
        self._kept = sound[self._next * self.factor - self._half - first :]
        return thinned

    def _counted(self, onsets: list[DetectedOnset]) -> list[DetectedOnset]:
        """Onsets with their samples counted at the higher rate, after those that still wait."""
        waiting, self._ready = self._ready, []
        return waiting + [self._at_the_higher_rate(onset) for onset in onsets]

    def _at_the_higher_rate(self, onset: DetectedOnset) -> DetectedOnset:
        return replace(onset, sample=onset.sample * self.factor)


def make_detector(rate: int, config: OnsetConfig) -> OnsetDetector | DecimatingDetector:
    """The detector for sound of this rate.

    Raises:
        ValueError: the rate is below ``RATES``.
    """
    return (OnsetDetector if rate <= RATES[1] else DecimatingDetector)(rate, config)


def _low_pass(factor: int) -> NDArray[np.float32]:
    """A windowed sinc [2 * LOBES * factor + 1] that sums to 1."""
    half = LOBES * factor
    taps = np.sinc(PASSED * np.arange(-half, half + 1) / factor) * np.kaiser(2 * half + 1, 8.0)
    return (taps / taps.sum()).astype(np.float32)
