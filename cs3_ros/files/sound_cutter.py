"""Decoded sound of a video file, quantised and cut into chunks with exact times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.pcm import SoundChunk, encode

CHUNKS_PER_S = 50
"""Sound is cut into chunks of 20 ms."""

RESYNC_NS = 5_000_000
"""A sound packet this far from where the samples before it end is a gap or an overlap."""


def int16(frame: av.AudioFrame) -> NDArray[np.int16]:
    """Samples of a decoded frame, int16 [N, C], whatever the format of the codec."""
    values: NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype == np.int16:
        return values
    if values.dtype == np.uint8:
        values = values / 128.0 - 1.0
    elif values.dtype.kind == 'i':
        values = values / 2.0 ** (8 * values.itemsize - 1)
    return np.frombuffer(encode(np.nan_to_num(values)), '<i2').reshape(-1, channels)


class SoundCutter:
    """Cuts decoded sound of one rate and channel count into chunks with exact times.

    Args:
        rate: samples per second.
        channels: of the sound.
        origin_ns: stamp of media time 0.
        start_ns: media time of the first sample, where the first packet does not say otherwise.
    """

    def __init__(self, rate: int, channels: int, origin_ns: int, start_ns: int) -> None:
        self.key = (rate, channels)
        self.rate = rate
        self.size = max(rate // CHUNKS_PER_S, 1)
        self.origin_ns = origin_ns
        self.start_ns = start_ns  # media time of the first sample of the present gapless stretch
        self.taken = 0  # samples of the stretch already given away
        self.pending = np.zeros((0, channels), np.int16)

    @property
    def begun(self) -> bool:
        """Whether the present stretch has samples."""
        return bool(self.taken or len(self.pending))

    @property
    def end_ns(self) -> int:
        """Media time where the next sample belongs."""
        return self._time(self.taken + len(self.pending))

    def push(self, stamp_ns: int, samples: NDArray[np.int16]) -> Iterator[SoundChunk]:
        """The chunks that a packet makes whole.

        Args:
            stamp_ns: media time of its first sample.
            samples: int16 [N, C].
        """
        ahead_ns = stamp_ns - self.end_ns
        # Packet times are rounded to the container's ticks, so a small step is no gap.
        tolerance_ns = RESYNC_NS if self.begun else 0
        if ahead_ns < -tolerance_ns:
            samples = samples[-(ahead_ns * self.rate // NS_PER_S) :]
        elif ahead_ns > tolerance_ns:
            yield from self.flush()
            self.start_ns, self.taken = stamp_ns, 0
        self.pending = np.concatenate([self.pending, samples])
        while len(self.pending) >= self.size:
            yield self._take(self.size)

    def flush(self) -> Iterator[SoundChunk]:
        """What is left, a shorter chunk."""
        if len(self.pending):
            yield self._take(len(self.pending))

    def _take(self, count: int) -> SoundChunk:
        stamp_ns = self.origin_ns + self._time(self.taken)
        chunk, self.pending = self.pending[:count], self.pending[count:]
        self.taken += count
        return SoundChunk(stamp_ns, self.rate, chunk / np.float32(1 << 15))

    def _time(self, index: int) -> int:
        return self.start_ns + (index * NS_PER_S + self.rate // 2) // self.rate
