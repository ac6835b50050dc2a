"""What is true of a clip: when objects collide in it, and their masks on the frames about then.

A truth file is JSON, so that people can read and write one for a clip of their own::

    {"format": "cs3-clip-truth-1", "about": "who made it, of what", "width": 4, "height": 2,
     "events": [{"time_ns": 1500000000, "objects": ["a red cup", "a steel pot"],
       "frames": [{"time_ns": 1500000000, "masks": [[1, 2, 5], [8]]}]}]}

A mask is the list of its runs, row by row: so many pixels outside of the object, so many inside,
outside, and so on; together width times height. ``[8]`` is an object that is not seen. Give every
frame within 0.2 s of the contact; an answer on another frame is not scored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import LAST_STAMP_NS, Mask
from cs3_ros.files.atomic import write_text
from cs3_ros.files.fields import expect, items, mapping, text, whole
from cs3_ros.files.jsonfile import read_json

FORMAT = 'cs3-clip-truth-1'
MOST_BYTES = 64_000_000
"""Largest truth file that is read."""
MOST_PIXELS = 16384
"""Largest width and height."""
SAME_FRAME_NS = 5_000_000
"""A frame's time in a file and in a bag may differ this much by rounding."""

Runs = tuple[int, ...]


@dataclass(frozen=True)
class TrueFrame:
    """The objects of an event as they are seen in one frame."""

    time_ns: int
    """Media time of the frame."""
    masks: tuple[Runs, ...]
    """One for each object of the event, as runs; ``ClipTruth.masks_at`` unpacks them."""


@dataclass(frozen=True)
class TrueEvent:
    """One collision."""

    time_ns: int
    """Media time of the contact, where its sound begins."""
    objects: tuple[str, ...]
    """The one or two colliding objects in words."""
    frames: tuple[TrueFrame, ...]
    """Frames about that time, in their order, at least one."""

    @property
    def nearest(self) -> TrueFrame:
        """The frame next to the contact."""
        return min(self.frames, key=lambda frame: abs(frame.time_ns - self.time_ns))


@dataclass(frozen=True)
class ClipTruth:
    """All collisions of a clip.

    Raises:
        ValueError: names what is wrong and what was expected; see the fields.
    """

    about: str
    """Who made it, of what."""
    width: int
    """Of the frames, 1 to ``MOST_PIXELS``."""
    height: int
    """Of the frames, 1 to ``MOST_PIXELS``."""
    events: tuple[TrueEvent, ...]
    """In the order of their times."""

    def __post_init__(self) -> None:
        text(self.about, 'about', blank=True)
        for name in ('width', 'height'):
            whole(getattr(self, name), name, 1, MOST_PIXELS)
        _rising([event.time_ns for event in self.events], 'events')
        for number, event in enumerate(self.events):
            self._check(event, f'events[{number}]')

    def masks_at(self, event: TrueEvent, time_ns: int) -> tuple[Mask, ...] | None:
        """The objects of an event in the frame of this time.

        Args:
            event: one of ``events``.
            time_ns: media time of a frame, to ``SAME_FRAME_NS``.

        Returns:
            bool [H, W] for each object, all False where it is not seen; None where the truth does
            not know this frame.
        """
        nearest = min(event.frames, key=lambda frame: abs(frame.time_ns - time_ns))
        if abs(nearest.time_ns - time_ns) > SAME_FRAME_NS:
            return None
        return tuple(_unpacked(runs, self.height, self.width) for runs in nearest.masks)

    def _check(self, event: TrueEvent, where: str) -> None:
        expect(1 <= len(event.objects) <= 2, f'{where}.objects', event.objects, 'one or two names')
        for name in event.objects:
            text(name, f'{where}.objects', blank=True)
        expect(bool(event.frames), f'{where}.frames', event.frames, 'at least one')
        _rising([frame.time_ns for frame in event.frames], f'{where}.frames')
        for number, frame in enumerate(event.frames):
            here = f'{where}.frames[{number}].masks'
            count = len(event.objects)
            expect(len(frame.masks) == count, here, len(frame.masks), f'{count}, as objects')
            for runs in frame.masks:
                for length in runs:
                    whole(length, here, 0, self.width * self.height)
                wanted = f'runs of {self.width * self.height} pixels together'
                expect(sum(runs) == self.width * self.height, here, sum(runs), wanted)


def runs_of(mask: Mask) -> Runs:
    """The runs of a mask: lengths outside, inside, outside, ... row by row.

    Args:
        mask: bool [H, W] of at least one pixel.
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(edges, prepend=0, append=flat.size).tolist()
    return (0, *lengths) if flat[0] else tuple(lengths)


def read_truth(path: str | Path) -> ClipTruth:
    """Read a truth file.

    Raises:
        ValueError: it cannot be read or is no truth file; names the file, the place, what was found
            and expected.
    """
    data = read_json(Path(path), f'{path}', MOST_BYTES)
    try:
        return _parsed(data)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def write_truth(path: str | Path, truth: ClipTruth) -> None:
    """Write a truth file; it appears when it is complete and replaces what is there.

    Raises:
        OSError: it cannot be written there.
    """
    events = [
        {
            'time_ns': event.time_ns,
            'objects': list(event.objects),
            'frames': [
                {'time_ns': frame.time_ns, 'masks': [list(runs) for runs in frame.masks]}
                for frame in event.frames
            ],
        }
        for event in truth.events
    ]
    data = {'format': FORMAT, 'about': truth.about, 'width': truth.width, 'height': truth.height}
    write_text(Path(path), json.dumps(data | {'events': events}) + '\n')


def _parsed(data: Any) -> ClipTruth:
    found = mapping(data, 'the file', ('format', 'about', 'width', 'height', 'events'))
    expect(found['format'] == FORMAT, 'format', found['format'], repr(FORMAT))
    events = []
    for number, item in enumerate(items(found['events'], 'events')):
        where = f'events[{number}]'
        event = mapping(item, where, ('time_ns', 'objects', 'frames'))
        frames = []
        for index, value in enumerate(items(event['frames'], f'{where}.frames')):
            here = f'{where}.frames[{index}]'
            frame = mapping(value, here, ('time_ns', 'masks'))
            masks = items(frame['masks'], f'{here}.masks')
            runs = tuple(tuple(items(mask, f'{here}.masks')) for mask in masks)
            frames.append(TrueFrame(frame['time_ns'], runs))
        names = tuple(items(event['objects'], f'{where}.objects'))
        events.append(TrueEvent(event['time_ns'], names, tuple(frames)))
    return ClipTruth(found['about'], found['width'], found['height'], tuple(events))


def _unpacked(runs: Runs, height: int, width: int) -> Mask:
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(height, width)


def _rising(times_ns: Sequence[int], where: str) -> None:
    for number, time_ns in enumerate(times_ns):
        whole(time_ns, f'{where}[{number}].time_ns', 0, LAST_STAMP_NS)
    for number in range(1, len(times_ns)):
        later = times_ns[number] > times_ns[number - 1]
        expect(later, f'{where}[{number}].time_ns', times_ns[number], 'later than the one before')
