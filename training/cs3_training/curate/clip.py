"""A few seconds of a video, held so that a person can go to and fro in them."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.files.media import VideoFile, upright
from cs3_training.data.excerpts import RATE, Sound, sounds_in

MOST_BYTES = 600_000_000
"""Decoded pictures that are held; of longer or larger stretches every second one is, or fewer."""
LEAD_NS = NS_PER_S
"""Sought before the stretch: files are sought by decoding times."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A stretch of a video."""

    frames: tuple[Frame, ...]
    """Its pictures in time order, at least one; stamps are media time."""
    sound: Sound
    """Its sound, zeros where there is none."""

    def peaks(self, count: int) -> NDArray[np.float32]:
        """Largest amplitude in each of ``count`` equal parts, [count] in [0, 1]."""
        edges = np.linspace(0, len(self.sound.samples), count, endpoint=False).astype(np.int64)
        loud = np.abs(self.sound.samples.astype(np.float32)) / (1 << 15)
        return np.maximum.reduceat(loud, edges).astype(np.float32)

    @property
    def loudest_ns(self) -> int:
        """Media time of its loudest sample."""
        loudest = int(np.abs(self.sound.samples.astype(np.int32)).argmax())
        return self.sound.start_ns + loudest * NS_PER_S // RATE


def load_clip(video: VideoFile, start_ns: int, stop_ns: int) -> Clip:
    """Pictures and sound from begin to end.

    Raises:
        OSError: the file is no longer there.
        ValueError: it cannot be read, or has no pictures there.
    """
    frames = _frames(video, start_ns, stop_ns)
    if not frames:
        raise ValueError(
            f'{video.path}: no pictures from {start_ns / NS_PER_S:.2f} to '
            f'{stop_ns / NS_PER_S:.2f} s; it ends at {video.duration_s:.2f} s'
        )
    for _, sound in sounds_in(video, [(start_ns, stop_ns)], []):
        return Clip(frames, sound)
    silence = np.zeros(max(round((stop_ns - start_ns) * RATE / NS_PER_S), 1), np.int16)
    return Clip(frames, Sound(start_ns, silence, np.zeros(len(silence), bool)))


def _frames(video: VideoFile, start_ns: int, stop_ns: int) -> tuple[Frame, ...]:
    held: list[Frame] = []
    held_bytes, number, step = 0, 0, 1
    with video.opened() as (container, track, _):
        if start_ns > LEAD_NS:
            try:
                container.seek(video.ticks(start_ns - LEAD_NS, track), stream=track)
            except av.error.FFmpegError:  # no index: it is read from where it begins
                pass
        for picture in container.decode(track):
            stamp_ns = video.time_ns(picture, 'video')
            if stamp_ns is None or stamp_ns < start_ns:
                continue
            if stamp_ns > stop_ns:
                break
            if number % step == 0:
                held.append(Frame(stamp_ns, picture, upright))
                held_bytes += sum(plane.buffer_size for plane in picture.planes)
            number += 1
            if held_bytes > MOST_BYTES and len(held) > 2:
                held, step, held_bytes = held[::2], 2 * step, held_bytes // 2
    return tuple(held)
