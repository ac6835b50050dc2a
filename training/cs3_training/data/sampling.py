"""What is cut for a segment: its sound with what surrounds it, and pictures at these times.

Shards keep more than one step of the training sees, so that it can draw anew in every epoch (CS3
section 5.1): any 2 s of sound about any moment of the segment, and pictures at an even rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.config import setting, validate
from cs3_training.data.excerpts import RATE, Sound
from cs3_training.data.records import Segment

CONTEXT_NS = NS_PER_S
"""Sound before and after a segment: half of the 2 s that the networks hear."""
HEARD_NS = 2 * CONTEXT_NS
"""What the networks hear of it."""
LOUDEST_NS = 3 * NS_PER_S // 2
"""Ego4D and own videos: pictures come from this long a window about the loudest sample or the
onset; CS3 draws its length from 0.5 s (``LEAST_LOUDEST_NS``) to this."""
LEAST_LOUDEST_NS = NS_PER_S // 2


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
        start = min(max(_middle_ns(segment, sound) - length // 2, start), latest)
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


def _middle_ns(segment: Segment, sound: Sound) -> int:
    """What pictures and sound lie about."""
    return loudest_ns(segment, sound) if segment.onset_ns is None else segment.onset_ns


def draw(
    segment: Segment, sound: Sound, pictures_ns: Sequence[int], rng: np.random.Generator
) -> tuple[int, int]:
    """What a step of the training sees of a segment: which picture, and where its sound begins.

    EPIC: any picture; ``HEARD_NS`` about the middle of the segment, of a longer segment a random
    stretch of it with the picture. Ego4D and own videos: any picture in a window of random length
    about the onset, else the loudest sample, moved to stay in the segment; ``HEARD_NS`` about it,
    likewise (CS3 section 5.1).

    Args:
        segment: what was cut.
        sound: of ``sound_span_ns``.
        pictures_ns: media times of its pictures, rising, at least one.
        rng: decides.

    Returns:
        Number of the picture and first sample of the sound, at ``RATE``.
    """
    start, stop, times = segment.start_ns, segment.stop_ns, np.array(pictures_ns)
    room = stop - start - HEARD_NS
    if segment.dataset != 'epic':
        middle = _middle_ns(segment, sound)
        length = min(int(rng.integers(LEAST_LOUDEST_NS, LOUDEST_NS + 1)), stop - start)
        first = min(max(middle - length // 2, start), stop - length)
        inside = np.flatnonzero((times >= first) & (times <= first + length))
        # of few pictures none may lie in the window
        picture = int(rng.choice(inside)) if len(inside) else int(abs(times - middle).argmin())
        begin = min(max(middle - CONTEXT_NS, start), stop - HEARD_NS)
    else:
        picture = int(rng.integers(len(times)))
        last = start + max(room, 0)
        first, latest = np.clip([times[picture] - HEARD_NS, times[picture]], start, last)
        begin = int(rng.integers(first, latest + 1))
    if room <= 0:
        begin = (start + stop) // 2 - CONTEXT_NS
    return picture, round((begin - sound.start_ns) * RATE / NS_PER_S)
