"""The table top of a collision: the colliding objects, the hands that hold them, and all around."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from cs3_training.synth.builder import (
    Builder,
    Layer,
    Placed,
    Plan,
    TableTop,
    choose_plan,
    draw_numbers,
)
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.shapes import LEVEL
from cs3_training.synth.surface import Vector
from cs3_training.synth.surroundings import add_surroundings
from cs3_training.synth.table import draw_table
from cs3_training.synth.things import border, choose_material, choose_shape, touching

_SEEN = 160  # pixels at 352 of which a distractor is seen at least
_REACH = 8  # pixels at 352 from the contact within which both objects are seen
_TRIES = 16  # arrangements of the colliding objects before the best one is taken


def lay_table_top(config: WorldConfig, rng: np.random.Generator, margin: int = 0) -> TableTop:
    """Choose and place everything.

    Args:
        config: the settings.
        rng: all chance comes from it.
        margin: border round the picture, pixels.
    """
    builder = Builder(config, rng, margin)
    plan = choose_plan(config, rng)
    best: tuple[float, tuple[list[Placed], list[Layer], Vector, Vector]] | None = None
    for _ in range(_TRIES):
        trial = _colliders(builder, plan)
        seen = _least_seen(trial[0], trial[1], trial[2], builder)
        if best is None or seen > best[0]:
            best = (seen, trial)
        if seen >= 1:
            break
    assert best is not None
    objects, layers, contact, travel = best[1]
    colliding = objects
    for trial_number in range(_TRIES):
        objects, around = add_surroundings(builder, plan, colliding, layers)
        if _seen_distractors(objects, [*around, *layers], builder) >= config.distractors_min:
            break
        if trial_number >= 2:  # idle hands may be what hides them
            plan = replace(plan, others=('', ''))
    ground = draw_table(builder.table, (builder.side, builder.side), rng)
    return TableTop(
        table=builder.table,
        ground=ground,
        layers=(*around, *layers),
        objects=tuple(objects),
        contact=contact,
        camera=builder.camera,
        travel=travel,
        margin=margin,
    )


def _collision_place(builder: Builder) -> Vector:
    config, rng = builder.config, builder.rng
    while True:
        x, y = 0.5 + config.spread_x * rng.normal(), 0.5 + config.spread_y * rng.normal()
        if 0.1 <= x <= 0.9 and 0.14 <= y <= 0.86:
            return builder.margin + x * config.size, builder.margin + y * config.size


def _tip_angle(
    shape: str, away: Vector, elbow: Vector | None, place: Vector, rng: np.random.Generator
) -> float | None:
    """Direction of a held object: handles towards the hand, tips towards the contact."""
    if elbow is None:
        return None
    if shape in LEVEL:
        return float(rng.normal(0, 0.35))
    dx, dy = place[0] - elbow[0], place[1] - elbow[1]
    length = math.hypot(dx, dy)
    x, y = 0.6 * dx / length - 0.6 * away[0], 0.6 * dy / length - 0.6 * away[1]
    turn = math.pi if shape == 'bottle' and rng.random() < 0.3 else 0.0
    return math.atan2(x, -y) + turn + float(rng.normal(0, 0.25))


def _colliders(builder: Builder, plan: Plan) -> tuple[list[Placed], list[Layer], Vector, Vector]:
    """Objects, layers in drawing order, contact point and direction of the collision."""
    rng, contact = builder.rng, _collision_place(builder)
    angle = rng.uniform(0, 2 * math.pi)
    if plan.holders[-1]:  # the second comes from the side of its hand
        angle = rng.uniform(-0.75, 1.1)
        angle = math.pi - angle if plan.holders[-1] == 'left' else angle
    away = (math.cos(angle), math.sin(angle))
    sides = plan.holders
    elbows = [builder.elbow(side) if side else None for side in sides]
    things = []
    for k, elbow in enumerate(elbows):
        material = choose_material(rng)
        shape = choose_shape(material, rng)
        outward = away if k == len(sides) - 1 else (-away[0], -away[1])
        tip = _tip_angle(shape, outward, elbow, contact, rng)
        things.append(builder.thing(material, contact, tip, shape))
    if plan.pair:
        overlap = int(rng.uniform(6, 45) * builder.unit**2)
        distance, shared = touching(things[0], things[1], angle, overlap)
        first = (contact[0] - shared[0], contact[1] - shared[1])
        places = [first, (first[0] + away[0] * distance, first[1] + away[1] * distance)]
        travel = (-away[0], -away[1])
    else:
        sign = {'right': 1, 'left': -1, '': 0}[sides[0]]
        foot = border(things[0], (-0.8 * sign, 0.6) if sign else (0.0, 1.0))  # away from the hand
        places = [(contact[0] - foot[0] * 0.92, contact[1] - foot[1] * 0.92)]
        travel = (-0.35 * sign, 0.94)
    contact = (float(round(contact[0])), float(round(contact[1])))
    objects, layers = [], []
    for k, (thing, place, side, elbow) in enumerate(
        zip(things, places, sides, elbows, strict=True)
    ):
        objects.append(Placed(thing, place, k + 1, True, side))
        mover = k + 1 if plan.pair else 2
        below, above = builder.hand(side, elbow, thing, place) if elbow else ((), ())
        shadow = builder.unit * ((8.0 if plan.pair else 4.0) if side else 3.0)
        middle = thing.sprite(place, k + 1, shadow)
        layers.append([Layer(s, mover) for s in (*below, middle, *above)])
    order = [1, 0] if plan.pair and not sides[1] and rng.random() < 0.5 else range(len(layers))
    return objects, [layer for k in order for layer in layers[k]], contact, travel


def _least_seen(
    objects: list[Placed], layers: list[Layer], contact: Vector, builder: Builder
) -> float:
    """Visible part of the worst colliding object over what is asked for; 1 and more is enough.

    It counts half where none of it is seen near the contact.
    """
    numbers = draw_numbers(layers, builder.side, builder.margin)
    counts = np.bincount(numbers.ravel(), minlength=256)
    reach = round(_REACH * builder.unit)
    x, y = (round(value) - builder.margin for value in contact)
    near = numbers[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
    worst = math.inf
    for placed in objects:
        wanted = max(0.4 * placed.thing.area, 260 * builder.unit**2)
        seen = counts[placed.number] / wanted
        worst = min(worst, seen if (near == placed.number).any() else 0.5 * min(seen, 1))
    return float(worst)


def _seen_distractors(objects: list[Placed], layers: list[Layer], builder: Builder) -> int:
    """How many objects that do not collide are more than a few pixels in the picture."""
    counts = np.bincount(draw_numbers(layers, builder.side, builder.margin).ravel(), minlength=256)
    least = _SEEN * builder.unit**2
    return sum(not placed.colliding and counts[placed.number] >= least for placed in objects)
