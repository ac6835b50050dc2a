"""Hands that were found beforehand on the frames of a manifest: JSON lines, one for each frame.

The first line says which detector found them. So an evaluation needs no detector, and Touch of the
paper's Table 3 has the second objects that only Hands23 knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import SIDES, Box, HandObject, Points
from cs3_ros.files.atomic import replacing
from cs3_ros.files.fields import expect, items, mapping, number, one_of, text
from cs3_ros.files.jsonfile import load_json
from cs3_ros.files.regular import check_regular

FORMAT = 'cs3-hands-1'
"""Value of ``format`` in the first line."""
LINE_BYTES = 1 << 20
"""Longest line that is read."""


@dataclass(frozen=True, eq=False)
class Found:
    """What was found on one frame."""

    hands: tuple[HandObject, ...]
    """At most one of each side, right first."""
    second_box: Box | None = None
    """What the object in the right hand is used on; only where the detector knows such objects."""


@dataclass(frozen=True, eq=False)
class Detections:
    """A file of them."""

    path: Path
    """Of the file."""
    detector: str
    """What found them, in words."""
    second_objects: bool
    """Whether the detector looks for second objects."""
    found: Mapping[str, Found]
    """Id of the frame -> its hands."""

    def of(self, identifier: str) -> Found:
        """The hands of a frame.

        Raises:
            ValueError: the file lacks it.
        """
        expect(identifier in self.found, f'{self.path}: id', identifier, 'a frame of this file')
        return self.found[identifier]


def write_detections(
    path: Path, detector: str, second_objects: bool, found: Iterable[tuple[str, Found]]
) -> int:
    """Write them, whole or not at all; returns how many frames."""
    first = {'format': FORMAT, 'detector': detector, 'second_objects': second_objects}
    count = 0
    with replacing(path) as part, part.open('w', encoding='utf-8') as file:
        file.write(json.dumps(first) + '\n')
        for identifier, each in found:
            count += 1
            line: dict[str, Any] = {'id': identifier, 'hands': [*map(_as_json, each.hands)]}
            if each.second_box is not None:
                line['second_box'] = each.second_box
            file.write(json.dumps(line) + '\n')
    return count


def read_detections(path: Path) -> Detections:
    """Read them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file; names line, place and value.
    """
    check_regular(path, 'file of hands')
    found: dict[str, Found] = {}
    with path.open('rb') as file:
        first = _line(file.readline(LINE_BYTES + 1), f'{path}, line 1')
        head = mapping(first, f'{path}, line 1', ('format', 'detector', 'second_objects'))
        expect(head['format'] == FORMAT, f'{path}, line 1: format', head['format'], FORMAT)
        seconds = head['second_objects']
        expect(type(seconds) is bool, f'{path}, line 1: second_objects', seconds, 'true or false')
        for number_, data in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b''), 2):
            where = f'{path}, line {number_}'
            line = mapping(_line(data, where), where, ('id', 'hands'), ('second_box',))
            name = text(line['id'], f'{where}: id')
            expect(name not in found, f'{where}: id', name, 'every id once')
            rows = enumerate(items(line['hands'], f'{where}: hands'))
            hands = tuple(_hand(row, f'{where}: hands[{k}]') for k, row in rows)
            sides = [hand.side for hand in hands]
            expect(len(set(sides)) == len(sides), f'{where}: hands', sides, 'each side once')
            second = line.get('second_box')
            expect(second is None or seconds, f'{where}: second_box', second, 'none (line 1)')
            found[name] = Found(hands, None if second is None else _box(second, f'{where}: box'))
    return Detections(path, text(head['detector'], f'{path}: detector'), seconds, found)


def _line(data: bytes, where: str) -> Any:
    expect(len(data) <= LINE_BYTES, where, len(data), f'at most {LINE_BYTES} bytes')
    try:
        return load_json(data.decode())
    except ValueError as error:
        raise ValueError(f'{where}: {error}; expected a file of cs3-train hands detect') from error


def _as_json(hand: HandObject) -> dict[str, Any]:
    """All that is known of a hand; what is absent, empty or False is left out."""
    values = {field.name: getattr(hand, field.name) for field in fields(hand)}
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}
    return {k: v for k, v in lists.items() if v is not None and v is not False and v != []}


def _hand(value: Any, where: str) -> HandObject:
    kinds = {field.name: str(field.type) for field in fields(HandObject)}
    data = mapping(value, where, ('side', 'score'), tuple(kinds))
    given: dict[str, Any] = {'hand_box': None}
    for name, kind in kinds.items():
        place = f'{where}.{name}'
        if name not in data:
            continue
        if kind == 'Side':
            given[name] = one_of(data[name], place, SIDES)
        elif kind == 'float':
            given[name] = number(data[name], place, 0, 1)
        elif kind == 'bool':
            expect(data[name] is True, place, data[name], 'true')
            given[name] = True
        else:
            given[name] = (_points if kind == 'Points' else _box)(data[name], place)
    return HandObject(**given)


def _box(value: Any, where: str) -> Box:
    expect(len(items(value, where)) == 4, where, value, 'x0, y0, x1, y1 in pixels')
    x0, y0, x1, y1 = (number(each, where, 0, 100_000) for each in value)
    expect(x0 <= x1 and y0 <= y1, where, value, 'x0 <= x1 and y0 <= y1')
    return (x0, y0, x1, y1)


def _points(value: Any, where: str) -> Points:
    for k, point in enumerate(items(value, where)):
        expect(len(items(point, f'{where}[{k}]')) == 2, f'{where}[{k}]', point, 'x and y')
        for each in point:
            number(each, f'{where}[{k}]', -100_000, 100_000)
    return np.array(value, np.float32).reshape(-1, 2)
