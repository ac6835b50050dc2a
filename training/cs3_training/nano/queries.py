"""Texts that name something in a scene, and what of the scene they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_training.nano.views import View
from cs3_training.synth.store import ARMS, HANDS
from cs3_training.synth.vocabulary import (
    COLOURS,
    MATERIAL_WORDS,
    MATERIALS,
    SHAPE_WORDS,
    SHAPES,
)

Wanted = tuple[int, int, int]
"""Colour, material and shape of an object; -1 for any."""

_PLACES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ('hand', HANDS), ('left hand', HANDS[:1]), ('right hand', HANDS[1:]),
    ('arm', ARMS), ('forearm', ARMS), ('sleeve', ARMS), ('table', (0,)), ('table top', (0,)),
)  # fmt: skip
_TEMPLATES = ('a {}', 'the {}', 'one {}', 'a picture of a {}', '{}', 'there is a {} here')
CLASSES = tuple(
    [f'a photo of a {MATERIAL_WORDS[name][0]}' for name in MATERIALS]
    + [f'a photo of a {SHAPE_WORDS[name][0]}' for name in SHAPES]
    + ['a photo of a hand', 'a photo of a sleeve', 'a photo of a table']
)
"""Texts of the dense loss: materials, shapes, hand, arm, table."""


@dataclass(frozen=True)
class Query:
    """One text."""

    text: str
    wanted: tuple[Wanted, ...] = ()
    """It names what fits any of these, ..."""
    places: tuple[int, ...] = ()
    """... or these numbers of the instance map."""

    def rows(self, objects: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which of the objects [n, >= 3] it names, bool [n]."""
        return _fits(objects, self.wanted).any(0)

    def tells(self, kept: NDArray[np.int8]) -> bool:
        """Whether it is a caption of a picture of just these objects [n, >= 3]."""
        fits = _fits(kept, self.wanted)  # [wanted, n]
        return bool(fits.any(0).all() and fits.any(1).all())


def _fits(objects: NDArray[np.int8], wanted: Sequence[Wanted]) -> NDArray[np.bool_]:
    """bool [len(wanted), n]."""
    if not wanted:
        return np.zeros((1, len(objects)), bool)
    asked = np.array(wanted, np.int8)[:, None]  # [wanted, 1, 3]
    there = objects[None, :, :3]  # [1, n, 3]
    return ((asked == there) | (asked < 0)).all(2) & (there[..., 0] >= 0)


def numbers_named(query: Query, objects: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which numbers of the instance map a text names, bool [256]."""
    named = np.zeros(256, bool)
    named[1 : 1 + len(objects)] = query.rows(objects)
    named[list(query.places)] = True
    return named


def class_numbers(objects: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which numbers belong to each of ``CLASSES``, bool [CLASSES, 256]."""
    queries = [Query('', ((-1, k, -1),)) for k in range(len(MATERIALS))]
    queries += [Query('', ((-1, -1, k),)) for k in range(len(SHAPES))]
    queries += [Query('', (), HANDS), Query('', (), ARMS), Query('', (), (0,))]
    return np.stack([numbers_named(query, objects) for query in queries])


def name_objects(things: NDArray[np.int8], kind: str, rng: np.random.Generator) -> Query:
    """A text for one or two objects [1 or 2, >= 3] by the properties of a kind.

    Args:
        things: colour, material and shape of each.
        kind: material, shape, both, colour or all.
        rng: chooses words.
    """
    wanted: dict[Wanted, str] = {}
    for colour, material, shape in things[:, :3].tolist():
        metal = _pick(MATERIAL_WORDS[MATERIALS[material]], rng)
        bowl = _pick(SHAPE_WORDS[SHAPES[shape]], rng)
        found, text = {
            'material': ((-1, material, -1), metal),
            'shape': ((-1, -1, shape), bowl),
            'both': ((-1, material, shape), f'{metal} {bowl}'),
            'colour': ((colour, -1, shape), f'{COLOURS[colour]} {bowl}'),
            'all': ((colour, material, shape), f'{COLOURS[colour]} {metal} {bowl}'),
        }[kind]
        if kind == 'material' and rng.random() < 0.25:
            text = f'{text} object'
        wanted[found] = text
    text = ' and '.join(wanted.values())
    template = 'a photo of a {}' if rng.random() < 0.6 else _pick(_TEMPLATES, rng)
    return Query(template.format(text), tuple(wanted))


def ask(view: View, rng: np.random.Generator) -> Query:
    """A text about something that is in a view, or nearly."""
    seen = view.seen(30)
    chance = rng.random()
    if chance < 0.1 or not seen:
        text, places = _PLACES[rng.integers(len(_PLACES))]
        template = 'a photo of a {}' if rng.random() < 0.6 else _pick(_TEMPLATES, rng)
        return Query(template.format(text), (), places)
    count = 2 if rng.random() < 0.35 and len(seen) > 1 else 1
    things = view.objects[rng.choice(seen, count, replace=False)]
    if chance < 0.2:  # probably not there
        things = things.copy()
        column, limit = ((1, len(MATERIALS)), (2, len(SHAPES)))[rng.integers(2)]
        things[0, column] = rng.integers(limit)
    kind = rng.choice(('material', 'shape', 'both', 'colour', 'all'), p=(0.5, 0.15, 0.2, 0.05, 0.1))
    return name_objects(things, str(kind), rng)


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
