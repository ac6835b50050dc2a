"""What Hands23 finds in an image, and which of the hands count (method.md B1, B2).

Its demo writes the rows as ``result.json``; ``hands23.py`` makes the same ones in this process.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.collision import SIDES, Box, HandObject, Side
from cs3_ros.files.fields import expect, items, mapping, number, one_of, text
from cs3_ros.files.jsonfile import read_json
from cs3_ros.hands.boxes import MIN_OBJECT_AREA, clipped

CONTACTS = (
    'no_contact',
    'other_person_contact',
    'self_contact',
    'object_contact',
    'obj_to_obj_contact',
)
"""What a hand touches, in the order of the network's classes."""

HOLDING = ('object_contact', 'obj_to_obj_contact')
"""Hands of another contact are ignored."""

MOST_BYTES = 1 << 28
"""Largest ``result.json`` that is read; an hour of frames has some 200 MB."""

_SIDES: Mapping[str, Side] = {'left_hand': 'left', 'right_hand': 'right'}
_NEEDED = ('hand_bbox', 'hand_side', 'hand_pred_score', 'contact_state')


@dataclass(frozen=True)
class Hands23Hand:
    """One hand as Hands23 reports it; boxes in pixels of the picture it looked at."""

    side: Side
    """The hand's side; another person's hands have one, too (method.md G37)."""
    score: float
    """Confidence of the hand in [0, 1]."""
    box: Box
    """Box of the hand."""
    contact: str
    """One of ``CONTACTS``."""
    object_box: Box | None = None
    """Box of the first object, what the hand touches."""
    object_score: float | None = None
    """Confidence of the first object in [0, 1]."""
    second_box: Box | None = None
    """Box of the second object, what the first one is used on; only where that is a tool."""
    second_score: float | None = None
    """Confidence of the second object in [0, 1]."""


def held(
    hands: Iterable[Hands23Hand],
    shape: tuple[int, ...],
    hand_threshold: float = 0.7,
    object_threshold: float = 0.5,
) -> tuple[HandObject, ...]:
    """One hand of each side with its first object, right first (method.md B2).

    Of the hands of one side that touch an object the highest score wins, then the larger box, then
    the lower one: the wearer's hands come from below. Both hands may hold the same object. Second
    objects are not looked at.

    Args:
        hands: all hands of one picture.
        shape: of the picture, height and width first; boxes are clipped to it.
        hand_threshold: score from which on a hand counts.
        object_threshold: score from which on its object counts.
    """
    best: dict[Side, Hands23Hand] = {}
    for hand in hands:
        if hand.contact in HOLDING and hand.score >= hand_threshold:
            if hand.side not in best or _rank(hand) > _rank(best[hand.side]):
                best[hand.side] = hand
    found = []
    for hand in (best[side] for side in SIDES if side in best):
        object_box = None
        if hand.object_box is not None and (hand.object_score or 0.0) >= object_threshold:
            object_box = clipped(hand.object_box, shape, MIN_OBJECT_AREA)
        hand_box = clipped(hand.box, shape, 0.0)
        found.append(HandObject(hand.side, hand.score, hand_box, object_box=object_box))
    return tuple(found)


def _rank(hand: Hands23Hand) -> tuple[float, float, float]:
    x0, y0, x1, y1 = hand.box
    return hand.score, (x1 - x0) * (y1 - y0), y1


def image_number(file_name: str) -> int | None:
    """The last number in a file's name; None without one (``P04_101_frame_0000013113.jpg``)."""
    stem = Path(file_name.replace('\\', '/')).stem
    numbers = re.findall('[0-9]+', stem)
    return int(numbers[-1]) if numbers else None


def read_results(path: Path) -> dict[str, tuple[Hands23Hand, ...]]:
    """File name of an image -> its hands, from the demo's ``result.json``.

    Raises:
        ValueError: it cannot be read or is not such a file; names the file, the image, the field
            and what was expected.
    """
    data = read_json(path, f'{path}', MOST_BYTES)
    try:
        return parse_results(data)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def parse_results(data: Any) -> dict[str, tuple[Hands23Hand, ...]]:
    """The content of a ``result.json``; its numbers are strings, what is absent None or 'None'.

    Raises:
        ValueError: not such content; names the image, the field and what was expected.
    """
    images: dict[str, tuple[Hands23Hand, ...]] = {}
    content = mapping(data, 'what the Hands23 demo writes', ('images',), None)
    for place, value in enumerate(items(content['images'], 'images')):
        where = f'images[{place}]'
        image = mapping(value, where, ('file_name', 'predictions'), None)
        name = text(image['file_name'], f'{where}.file_name', blank=True)
        expect(name not in images, f'{where}.file_name', name, 'every name once')
        hands = items(image['predictions'], f'{name}, predictions')
        images[name] = tuple(
            _parse_hand(hand, f'{name}, hand {index}') for index, hand in enumerate(hands)
        )
    return images


def _parse_hand(value: Any, where: str) -> Hands23Hand:
    hand = mapping(value, where, _NEEDED, None)
    found: list[Any] = []
    for name, confidence in (
        ('obj_bbox', 'obj_pred_score'),
        ('second_obj_bbox', 'sec_obj_pred_score'),
    ):
        there = hand.get(name) not in (None, 'None')
        found += [
            _box(hand[name], f'{where}: {name}') if there else None,
            _score(hand.get(confidence), f'{where}: {confidence}') if there else None,
        ]
    return Hands23Hand(
        _SIDES[one_of(hand['hand_side'], f'{where}: hand_side', _SIDES)],
        _score(hand['hand_pred_score'], f'{where}: hand_pred_score'),
        _box(hand['hand_bbox'], f'{where}: hand_bbox'),
        one_of(hand['contact_state'], f'{where}: contact_state', CONTACTS),
        *found,
    )


def _score(value: Any, where: str) -> float:
    return number(_unquoted(value), where, 0, 1)


def _box(value: Any, where: str) -> Box:
    expect(isinstance(value, list) and len(value) == 4, where, value, 'x0, y0, x1, y1 in pixels')
    x0, y0, x1, y1 = (number(_unquoted(one), where) for one in value)
    expect(x0 <= x1 and y0 <= y1, where, value, 'x0, y0, x1, y1 in pixels, x0 <= x1, y0 <= y1')
    return (x0, y0, x1, y1)


def _unquoted(value: Any) -> Any:
    """What is a number in the demo's text; anything else as it is."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            return float(value)
    return value
