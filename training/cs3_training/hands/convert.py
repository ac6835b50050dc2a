"""Labels of VISOR, Hands23 and EgoHOS as the detection set of the four labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cs3_ros.collision import Box
from cs3_ros.files.fields import expect
from cs3_training.data.visor import DENSE_SIZE, SPARSE_SIZE, VisorFrame, VisorObject, read_visor
from cs3_training.hands.labels import Labelled, LabelledPicture, kept

PICTURES = ('.jpg', '.jpeg', '.png')
"""Endings of pictures."""
HANDS23_COLUMNS = 7
"""Side, contact, hand, first object, touch, second object, grasp."""
HANDS23_HELD = 'object_contact'
"""Contact of a hand that holds something."""

_VISOR_HANDS = {300: 'left', 301: 'right'}  # class ids
_EGOHOS = {'left': (1, (3, 5)), 'right': (2, (4, 5))}  # side -> hand, what it holds; 5 is in both
_EGOHOS_MOST = 8
_LINE_CHARS = 1000


@dataclass(eq=False)
class Converted:
    """A detection set in the making."""

    pictures: list[LabelledPicture] = field(default_factory=list)
    """What is in it."""
    missing: list[str] = field(default_factory=list)
    """Names of pictures that are labelled but not there."""


def from_visor(labels: Path, pictures: Path) -> Converted:
    """Hands and what they touch (``in_contact_object``) by the outlines of VISOR.

    Gloves count as hands. What a hand touches is left out where VISOR does not outline it, or where
    it is a hand.

    Args:
        labels: a JSON file of VISOR, or a folder with such files in it or below.
        pictures: folder of the frames under their official names, in it or below.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file is not as VISOR has it, or there is none.
    """
    files = [labels] if labels.is_file() else sorted(labels.rglob('*.json'))
    expect(bool(files), str(labels), 'no files', 'JSON files of VISOR such as P01_01.json')
    places, made = _pictures_below(pictures), Converted()
    for file in files:
        for frame in read_visor(file):
            if frame.name not in places:
                made.missing.append(frame.name)
                continue
            size = DENSE_SIZE if frame.interpolated else SPARSE_SIZE
            boxes = kept(_visor_boxes(frame), size)
            made.pictures.append(LabelledPicture(places[frame.name], size, boxes, frame.video))
    return made


def _visor_boxes(frame: VisorFrame) -> Iterator[Labelled]:
    for one in frame.objects:
        for side in _sides(one):
            if (box := _outline(one)) is None:
                continue
            yield f'{side}_hand', box
            held = frame.touched(one)
            if held is not None and not _sides(held) and (box := _outline(held)) is not None:
                yield f'{side}_hand_object', box


def _sides(one: VisorObject) -> list[str]:
    """Whose hand or glove it is; none for objects."""
    if one.class_id in _VISOR_HANDS:
        return [_VISOR_HANDS[one.class_id]]
    return [side for side in ('left', 'right') if f'{side} hand' in one.on_which_hand]


def _outline(one: VisorObject) -> Box | None:
    if not one.polygons:
        return None
    points = np.concatenate(one.polygons)
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    return (x0, y0, x1, y1)


def from_hands23(labels: Path, pictures: Path) -> Converted:
    """The released text files of Hands23: ``NAME.jpg.txt``, a line for each hand.

    ``side | contact | hand | first object | touch | second object | grasp``; boxes are
    ``x0,y0,x1,y1`` in pixels or ``None``. All hands are taken, those of other persons, too.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a line is not like that; names file, line and value.
    """
    from PIL import Image

    files = sorted(labels.rglob('*.txt'))
    expect(bool(files), str(labels), 'no files', 'text files such as EK_0001.jpg.txt')
    places, made = _pictures_below(pictures), Converted()
    for file in files:
        name = file.name.removesuffix('.txt')
        if name not in places:
            made.missing.append(name)
            continue
        boxes = [box for line in _lines(file) for box in line]
        with Image.open(places[name], formats=('JPEG', 'PNG')) as picture:
            size = (picture.width, picture.height)
        # the first letters are the source: EK, ND, AR, CC
        made.pictures.append(LabelledPicture(places[name], size, kept(boxes, size), name[:2]))
    return made


def _lines(file: Path) -> Iterator[list[Labelled]]:
    for number, line in enumerate(file.read_text('utf-8').splitlines(), 1):
        where = f'{file}, line {number}'
        expect(len(line) <= _LINE_CHARS, where, len(line), f'at most {_LINE_CHARS} characters')
        if not line.strip():
            continue
        words = [word.strip() for word in line.split('|')]
        expect(len(words) == HANDS23_COLUMNS, where, line, f'{HANDS23_COLUMNS} fields between |')
        side, contact, hand, held = words[:4]
        expect(side in ('left_hand', 'right_hand'), where, side, 'left_hand or right_hand')
        boxes: list[Labelled] = []
        if (box := _box(hand, where)) is not None:
            boxes.append((side, box))
        if contact == HANDS23_HELD and (box := _box(held, where)) is not None:
            boxes.append((f'{side}_object', box))
        yield boxes


def _box(words: str, where: str) -> Box | None:
    if words == 'None':
        return None
    try:
        x0, y0, x1, y1 = (float(word.strip().strip("'")) for word in words.split(','))
    except ValueError:
        raise ValueError(f'{where} = {words!r}: expected x0,y0,x1,y1 in pixels or None') from None
    return (x0, y0, x1, y1)


def from_egohos(labels: Path, pictures: Path) -> Converted:
    """The label pictures of EgoHOS: 1 and 2 the hands, 3 and 4 what the left and the right hand
    hold, 5 what both hold; second objects (6 to 8) are not taken.

    Args:
        labels: folder ``train/label`` with PNG files.
        pictures: folder ``train/image`` with the pictures of the same names.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file is no such label picture.
    """
    from PIL import Image

    files = sorted(labels.rglob('*.png'))
    expect(bool(files), str(labels), 'no files', 'label pictures, PNG')
    stems = {Path(name).stem: path for name, path in _pictures_below(pictures).items()}
    made = Converted()
    for file in files:
        if file.stem not in stems:
            made.missing.append(file.name)
            continue
        with Image.open(file, formats=('PNG',)) as picture:
            values = np.asarray(picture)
        good = values.ndim == 2 and int(values.max()) <= _EGOHOS_MOST
        expect(good, str(file), values.shape, f'one value of 0 to {_EGOHOS_MOST} for each pixel')
        boxes: list[Labelled] = []
        for side, (hand, held) in _EGOHOS.items():
            boxes += [(f'{side}_hand', box) for box in _region(values == hand)]
            boxes += [(f'{side}_hand_object', box) for k in held for box in _region(values == k)]
        size = (values.shape[1], values.shape[0])
        made.pictures.append(LabelledPicture(stems[file.stem], size, kept(boxes, size), ''))
    return made


def _region(mask: np.ndarray) -> list[Box]:
    """The box of what is True; none where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return []
    return [(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))]


def _pictures_below(folder: Path) -> dict[str, Path]:
    """Name -> file of all pictures in a folder and below.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: two have one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder of pictures')
    found: dict[str, Path] = {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(PICTURES):
                expect(name not in found, f'{folder}', name, 'every name once')
                found[name] = Path(place, name)
    return found
