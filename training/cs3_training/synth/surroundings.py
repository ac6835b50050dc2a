"""What does not collide: things lying about and idle hands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.builder import Builder, Layer, Placed, Plan, draw_numbers
from cs3_training.synth.surface import Vector
from cs3_training.synth.things import Thing, choose_material, covered, stamp

_GAP = 7  # pixels kept free round the colliding objects, for pictures of 352


def add_surroundings(
    builder: Builder, plan: Plan, objects: list[Placed], layers: list[Layer]
) -> tuple[list[Placed], list[Layer]]:
    """Add things that do not collide and hands that have no part in it.

    Args:
        builder: makes them.
        plan: what idle hands do.
        objects: the colliding objects.
        layers: how these and their hands are drawn.

    Returns:
        All objects, the colliding ones first, and the layers to be drawn below ``layers``.
    """
    rng, config = builder.rng, builder.config
    blocked, taken, hidden = np.zeros((3, builder.side, builder.side), np.uint8)
    for placed in objects:
        stamp(blocked, placed.thing, placed.place, round(_GAP * builder.unit))
    inner = slice(builder.margin, builder.side - builder.margin)
    hidden[inner, inner] = draw_numbers(layers, builder.side, builder.margin) > 0
    colliding = frozenset(placed.thing.material for placed in objects)
    count = int(rng.integers(config.distractors_min, config.distractors_max + 1))
    same = bool(rng.random() < config.same_material)
    around: list[Placed] = []
    for attempt in range(6 * count):
        if len(around) == count:
            break
        if same and not around:
            material = sorted(colliding)[rng.integers(len(colliding))]
        else:
            material = choose_material(rng, colliding)
        thing = builder.thing(material, _anywhere(builder), None)
        if attempt >= 2 * count:  # little room is left: something smaller
            thing = builder.thing(material, (0.0, -9.0), None, 'spoon' if attempt % 2 else 'mug')
        place = _free_place(builder, thing, blocked, taken, hidden)
        if place is not None:
            around.append(Placed(thing, place, len(objects) + len(around) + 1, False, ''))
            stamp(taken, thing, place, 1)
    below: list[Layer] = []
    for side, action in zip(('left', 'right'), plan.others, strict=True):
        held = _within_reach(around, side, builder) if action == 'holds' else None
        if held is not None:
            around[held] = replace(around[held], side=side)
        if action:
            below += _idle_hand(builder, side, None if held is None else around[held])
    ground = [
        Layer(placed.thing.sprite(placed.place, placed.number, 3.0 * builder.unit), 0)
        for placed in sorted(around, key=lambda placed: placed.place[1])
        if not placed.side
    ]
    return [*objects, *around], [*ground, *below]


def _anywhere(builder: Builder) -> Vector:
    """A random place on the table."""
    top = max(builder.table.edge + 0.06, 0.03)
    x, y = builder.rng.uniform((0.03, top), (0.97, 0.97)) * builder.config.size
    return builder.margin + float(x), builder.margin + float(y)


def _free_place(
    builder: Builder,
    thing: Thing,
    blocked: NDArray[np.uint8],
    taken: NDArray[np.uint8],
    hidden: NDArray[np.uint8],
) -> Vector | None:
    """Where a thing touches no colliding object, hardly others, and is seen; None: nowhere."""
    for _ in range(12):
        place = _anywhere(builder)
        inside, touched = covered(blocked, thing, place)
        if touched or inside < 0.6 * thing.area:
            continue
        if covered(taken, thing, place)[1] > 0.06 * thing.area:
            continue
        if covered(hidden, thing, place)[1] <= 0.4 * thing.area:
            return place
    return None


def _within_reach(around: list[Placed], side: str, builder: Builder) -> int | None:
    """Index of a thing on that side of the picture that no hand holds; None where there is none."""
    sign = 1 if side == 'right' else -1
    for index, placed in enumerate(around):
        x, y = (value / builder.side - 0.5 for value in placed.place)
        if sign * x > 0.08 and y > -0.15 and not placed.side:
            return index
    return None


def _idle_hand(builder: Builder, side: str, held: Placed | None) -> list[Layer]:
    """A hand that holds a thing or rests, below the colliding objects."""
    rng, config = builder.rng, builder.config
    sign = 1 if side == 'right' else -1
    if held is None:
        x = 0.5 + sign * rng.uniform(0.2, 0.42)
        y = rng.uniform(0.78, 1.0)
        place = (builder.margin + x * config.size, builder.margin + y * config.size)
    else:
        place = held.place
    below, above = builder.hand(
        side, builder.elbow(side), None if held is None else held.thing, place
    )
    if held is None:
        return [Layer(sprite, 0) for sprite in (*below, *above)]
    middle = held.thing.sprite(place, held.number, 5.0 * builder.unit)
    return [Layer(sprite, 0) for sprite in (*below, middle, *above)]
