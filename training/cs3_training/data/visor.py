"""VISOR: outlines of hands and objects on frames of EPIC-KITCHENS, sparse and interpolated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Mask, Points
from cs3_ros.files.fields import expect, items, mapping, number, text, whole
from cs3_ros.files.jsonfile import read_json
from cs3_training.data.json_stream import entries
from cs3_training.data.tables import LATEST_S

SPARSE_SIZE = (1920, 1080)
"""Width and height of the frames that people outlined."""
DENSE_SIZE = (854, 480)
"""Width and height of the frames that were interpolated."""
NO_OBJECT = ('hand-not-in-contact', 'glove-not-in-contact', 'none-of-the-above', 'inconclusive')
"""What ``in_contact_object`` says where it names no object."""
MOST_POINTS = 1_000_000
"""Corners of the outlines of a frame."""


@dataclass(frozen=True, eq=False)
class VisorObject:
    """A hand, a glove or an object on a frame."""

    id: str
    """Unique in its frame."""
    name: str
    """In words: ``left hand``, ``pan``."""
    class_id: int
    """Of the nouns of EPIC-KITCHENS-100; 300 left hand, 301 right hand."""
    polygons: tuple[Points, ...]
    """Outlines float32 [K, 2], x and y in pixels; the object is what lies in any of them. May be
    empty."""
    in_contact_object: str | None
    """Of hands and gloves: ``id`` of the object that it touches, or one of ``NO_OBJECT``; None for
    the others."""
    on_which_hand: tuple[str, ...]
    """Of gloves: ``left hand``, ``right hand``, ``inconclusive``; empty for the others."""

    def mask(self, width: int, height: int) -> Mask:
        """Its pixels, bool [H, W], on a frame of that size."""
        import cv2

        canvas = np.zeros((height, width), np.uint8)
        for polygon in self.polygons:  # one at a time: together, overlaps would be holes
            corners = np.rint(polygon).astype(np.int32)  # [K, 2]
            cv2.fillPoly(canvas, [corners], (1,))
        return canvas.astype(bool)


@dataclass(frozen=True, eq=False)
class VisorFrame:
    """A frame with its outlines."""

    video: str
    """Name of the video, ``P01_01``."""
    name: str
    """Of its picture: ``P01_01_frame_0000000140.jpg``; ``read_frame_times`` knows its time, the
    number in it does not tell it."""
    subsequence: str
    """Of the video, ``P01_01_seq_00001``; '' where none is told."""
    interpolated: bool
    """False where people drew the outlines, in frames of ``SPARSE_SIZE``."""
    objects: tuple[VisorObject, ...]
    """What is outlined."""

    def touched(self, hand: VisorObject) -> VisorObject | None:
        """The object that a hand or glove touches; None where it touches none, or none that is
        outlined."""
        return next((one for one in self.objects if one.id == hand.in_contact_object), None)


def read_visor(path: Path) -> Iterator[VisorFrame]:
    """The frames of a JSON file of VISOR, one after the other.

    Args:
        path: ``P01_01.json`` (sparse) or ``P01_01_interpolations.json``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a frame is not as described above; names file, place and value.
    """
    for index, value in entries(path, 'video_annotations'):
        yield _frame(value, f'{path}: video_annotations[{index}]')


def _frame(value: Any, where: str) -> VisorFrame:
    data = mapping(value, where, ('image', 'annotations'), None)
    image = mapping(data['image'], f'{where}.image', ('name', 'video'), None)
    video = text(image['video'], f'{where}.image.video')
    name = text(image['name'], f'{where}.image.name')
    good = re.fullmatch(r'P\d\d_\d{2,3}', video, re.ASCII) is not None
    expect(good, f'{where}.image.video', video, 'a video such as P01_01')
    good = re.fullmatch(rf'{video}_\w{{1,60}}\.(jpg|png)', name, re.ASCII) is not None
    expect(good, f'{where}.image.name', name, f'a picture such as {video}_frame_0000000140.jpg')
    kind = data.get('type')
    interpolated = 'interpolation' in data and kind != 1
    rows = items(data['annotations'], f'{where}.annotations')
    objects = tuple(_object(row, f'{where}.annotations[{k}]') for k, row in enumerate(rows))
    for k, one in enumerate(objects):
        first = next(j for j, other in enumerate(objects) if other.id == one.id)
        expect(first == k, f'{where}.annotations[{k}].id', one.id, 'another one than before')
    points = sum(len(polygon) for one in objects for polygon in one.polygons)
    expect(points <= MOST_POINTS, where, points, f'at most {MOST_POINTS} points')
    subsequence = text(image.get('subsequence') or '', f'{where}.image.subsequence', blank=True)
    return VisorFrame(video, name, subsequence, interpolated, objects)


def _object(value: Any, where: str) -> VisorObject:
    data = mapping(value, where, ('id', 'name', 'class_id', 'segments'), None)
    contact, hands = data.get('in_contact_object'), data.get('on_which_hand') or []
    hands = [hands] if isinstance(hands, str) else hands
    segments = items(data['segments'], f'{where}.segments')
    polygons = (_polygon(one, f'{where}.segments[{k}]') for k, one in enumerate(segments))
    return VisorObject(
        text(data['id'], f'{where}.id'),
        text(data['name'], f'{where}.name'),
        whole(data['class_id'], f'{where}.class_id', 0),
        tuple(polygon for polygon in polygons if len(polygon)),
        None if contact is None else text(contact, f'{where}.in_contact_object'),
        tuple(
            text(hand, f'{where}.on_which_hand') for hand in items(hands, f'{where}.on_which_hand')
        ),
    )


def _polygon(value: Any, where: str) -> Points:
    corners = items(value, where)
    for k, corner in enumerate(corners):
        place = f'{where}[{k}]'
        expect(len(items(corner, place)) == 2, place, corner, 'x and y')
        for each in corner:
            number(each, place, -10_000, 20_000)
    return np.array(corners, np.float32).reshape(-1, 2)


def read_frame_times(path: Path) -> dict[str, int]:
    """Name of each frame -> its media time in nanoseconds, from ``frames_to_timestamps.json``.

    However deep they are nested, names of pictures with a number of seconds are taken.

    Raises:
        ValueError: it cannot be read, holds no such names, or a time is no time.
    """
    times: dict[str, int] = {}
    left: list[Any] = [read_json(path, f'frame times {str(path)!r}')]
    while left:
        value = left.pop()
        for name, below in value.items() if isinstance(value, dict) else ():
            if name.endswith(('.jpg', '.png')):
                seconds = number(below, f'{path}: {name}', 0, LATEST_S)
                times[name] = round(seconds * NS_PER_S)
            else:
                left.append(below)
    expect(bool(times), f'{path}', '', 'names of pictures with their times')
    return times
