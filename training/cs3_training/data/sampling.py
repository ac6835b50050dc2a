"""What is cut for a segment: its sound with what surrounds it, and pictures at these times.

Shards keep more than one step of the training sees, so that it can draw anew in every epoch (CS3
section 5.1): any 2 s of sound about any moment of the segment, and pictures at an even rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.config import setting, validate
from cs3_training.data.excerpts import RATE, Sound
from cs3_training.data.records import Segment

CONTEXT_NS = NS_PER_S
"""Sound before and after a segment: half of the 2 s that the networks hear."""
LOUDEST_NS = 3 * NS_PER_S // 2
"""Ego4D and own videos: pictures come from this long a window about the loudest sample or the
onset; CS3 draws its length from 0.5 s to this."""


@dataclass(frozen=True)
class Cutting:
    """Settings of what is cut."""

    pictures_per_s: float = setting(
        8.0, 'Pictures for a second of a segment, at least one.', minimum=0.1, maximum=240.0
    )
    most_pictures: int = setting(
        24, 'Pictures of one segment; of longer ones they lie further apart.', minimum=1,
        maximum=1000,
    )  # fmt: skip
    side: int = setting(
        387, 'Shorter side of the pictures in pixels, never enlarged; 0 keeps them as they are.',
        minimum=0, maximum=8192,
    )  # fmt: skip
    quality: int = setting(90, 'Of the JPEG files.', minimum=1, maximum=100)

    def __post_init__(self) -> None:
        validate(self)


def sound_span_ns(segment: Segment) -> tuple[int, int]:
    """Begin and end of the sound that is cut; begins before 0 at the start of a video."""
    return segment.start_ns - CONTEXT_NS, segment.stop_ns + CONTEXT_NS


def picture_times_ns(segment: Segment, sound: Sound, cutting: Cutting) -> list[int]:
    """Times of its pictures, rising.

    The chosen frame of an evaluation segment alone. Else the middles of equal parts: of the whole
    segment for EPIC, of ``LOUDEST_NS`` about the onset, else the loudest sample, moved to stay
    inside, for Ego4D and own videos.

    Args:
        segment: what is cut.
        sound: of ``sound_span_ns``.
        cutting: how many.
    """
    count = picture_count(segment, cutting)
    if segment.selected_ns is not None:
        return [segment.selected_ns]
    start, length = segment.start_ns, _window_ns(segment)
    if length < segment.stop_ns - start:
        latest = segment.stop_ns - length
        middle = segment.onset_ns
        if middle is None:
            middle = loudest_ns(segment, sound)
        start = min(max(middle - length // 2, start), latest)
    return [start + (2 * k + 1) * length // (2 * count) for k in range(count)]


def picture_count(segment: Segment, cutting: Cutting) -> int:
    """Number of pictures of a segment, at least 1."""
    if segment.selected_ns is not None:
        return 1
    # 1.5 s at 8 per second are 12, whatever the rounding of the last digit
    count = math.ceil(_window_ns(segment) / NS_PER_S * cutting.pictures_per_s - 1e-6)
    return min(max(count, 1), cutting.most_pictures)


def _window_ns(segment: Segment) -> int:
    length = segment.stop_ns - segment.start_ns
    return length if segment.dataset == 'epic' else min(length, LOUDEST_NS)


def loudest_ns(segment: Segment, sound: Sound) -> int:
    """Media time of the loudest sample of a segment."""
    first = round((segment.start_ns - sound.start_ns) * RATE / NS_PER_S)
    last = round((segment.stop_ns - sound.start_ns) * RATE / NS_PER_S)
    peak = np.abs(sound.samples[first:last].astype(np.int32)).argmax()
    return sound.start_ns + (first + int(peak)) * NS_PER_S // RATE
