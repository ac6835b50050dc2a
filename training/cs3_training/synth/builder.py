"""What is where: vocabulary and tools of a table top, shared by its builders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.config import WorldConfig
from cs3_training.synth.hand_shape import HandPose
from cs3_training.synth.hands import Person, choose_person, draw_hand
from cs3_training.synth.picture import Camera, choose_camera
from cs3_training.synth.shading import Sprite
from cs3_training.synth.shapes import HANDLED, LEVEL
from cs3_training.synth.surface import Array, Vector
from cs3_training.synth.table import Table, choose_table
from cs3_training.synth.things import Thing, border, choose_shape, make_thing


@dataclass(frozen=True)
class Layer:
    """A sprite and what moves it."""

    sprite: Sprite
    mover: int
    """0 stands still, 1 moves with the first colliding object, 2 with the second."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An object in the picture."""

    thing: Thing
    place: Vector
    """Its middle, pixels."""
    number: int
    """Its value in the instance map, from 1."""
    colliding: bool
    side: str
    """The hand that holds it: left, right or ''."""


@dataclass(frozen=True, eq=False)
class TableTop:
    """Everything that is to be drawn, in drawing order, at the moment of the collision."""

    table: Table
    ground: Array
    """The empty table, RGB [H, W, 3]."""
    layers: tuple[Layer, ...]
    objects: tuple[Placed, ...]
    """The colliding ones first."""
    contact: Vector
    """Pixels."""
    camera: Camera
    travel: Vector
    """Unit vector in which the second colliding object (the only one) comes, right and down."""
    margin: int
    """Border round the picture proper that a moving camera may show, pixels."""


@dataclass(frozen=True)
class Plan:
    """What shall happen, before anything is placed."""

    pair: bool
    holders: tuple[str, ...]
    """Per colliding object the hand that holds it, or ''."""
    others: tuple[str, ...]
    """What the left and the right hand do otherwise: '' (busy or absent), 'holds' or 'rests'."""


def choose_plan(config: WorldConfig, rng: np.random.Generator) -> Plan:
    """Decide what happens, by the shares that the settings ask for."""
    pair, held = bool(rng.random() < config.pairs), bool(rng.random() < config.in_hand)
    right = bool(rng.random() < 0.6)
    both = bool(rng.random() < 0.42)
    if not held:
        holders: tuple[str, ...] = ('', '') if pair else ('',)
    elif not pair:
        holders = ('right',) if right else ('left',)
    elif both:
        holders = ('left', 'right')
    else:
        holders = ('', 'right') if right else ('', 'left')
    others = []
    for side in ('left', 'right'):
        choice = rng.random()
        free = side not in holders
        others.append(
            'holds' if free and choice < 0.3 else 'rests' if free and choice < 0.5 else ''
        )
    return Plan(pair, holders, (others[0], others[1]))


class Builder:
    """Makes things and hands of one table top: they share camera, person and scale."""

    def __init__(self, config: WorldConfig, rng: np.random.Generator, margin: int) -> None:
        self.config, self.rng, self.margin = config, rng, margin
        self.side = config.size + 2 * margin
        self.unit = config.size / 352
        beyond = round(0.35 * config.size) if margin else 0  # hands of clips move in from there
        self.area = (-beyond, -beyond, self.side + beyond, self.side + beyond)
        self.camera = choose_camera(rng)
        self.table = choose_table(rng)
        self.person: Person = choose_person(rng)
        self.roll = float(rng.normal(0, 0.06))
        self.palm = float(rng.uniform(43, 55)) * self.unit

    def thing(self, material: str, near: Vector, angle: float | None, shape: str = '') -> Thing:
        """A new object for a place; things further up in the picture are smaller."""
        rng = self.rng
        shape = shape or choose_shape(material, rng)
        if angle is None:
            level = shape in LEVEL
            angle = self.roll + rng.normal(0, 0.1) if level else rng.uniform(0, 2 * math.pi)
        down = (near[1] - self.margin) / self.config.size
        scale = self.config.object_scale * self.unit * (0.86 + 0.24 * min(max(down, 0), 1))
        return make_thing(material, shape, scale, float(angle), self.camera.light, rng)

    def elbow(self, side: str) -> Vector:
        """Where the forearm of a side comes from."""
        size, sign = self.config.size, 1 if side == 'right' else -1
        away = self.rng.uniform(0.2, 0.62)
        return (
            self.side / 2 + sign * away * size,
            self.margin + size * self.rng.uniform(1.3, 1.55),
        )

    def hand(
        self, side: str, elbow: Vector, thing: Thing | None, place: Vector
    ) -> tuple[tuple[Sprite, ...], tuple[Sprite, ...]]:
        """A hand that holds the thing at a place, or rests at that place."""
        rng = self.rng
        dx, dy = place[0] - elbow[0], place[1] - elbow[1]
        heading = math.atan2(dx, -dy)
        sign = 1 if side == 'right' else -1
        if thing is None:
            grasp, direction = 'open', heading + rng.normal(0, 0.25)
            wrist, curl = place, rng.uniform(0.1, 0.9)
        else:
            hidden = rng.random() < self.config.hidden_hand
            direction = heading - sign * rng.uniform(-0.1, 0.5)
            along = (math.sin(direction), -math.cos(direction))
            if thing.shape in HANDLED:
                grip, grasp, curl, reach = thing.grip, 'over', rng.uniform(0.75, 1.0), 1.05
            else:
                grip = border(thing, (-along[0], -along[1]))
                grasp = 'over' if rng.random() < 0.45 else 'wrap'
                curl, reach = rng.uniform(0.3, 0.9), 1.0 if grasp == 'over' else 0.72
            if hidden:
                grasp, reach = 'below', 0.45 if thing.shape not in HANDLED else 0.95
            back = reach * self.palm
            wrist = (place[0] + grip[0] - along[0] * back, place[1] + grip[1] - along[1] * back)
        pose = HandPose(side, wrist, direction, elbow, self.palm, grasp, float(curl))
        below, above = draw_hand(pose, self.person, self.camera.light, self.area, rng)
        lifted = 11 * self.unit
        return (
            tuple(replace(sprite, shadow=lifted) for sprite in below),
            tuple(replace(sprite, shadow=3.5 * self.unit) for sprite in above),
        )


def draw_numbers(layers: Sequence[Layer], side: int, margin: int) -> NDArray[np.uint8]:
    """The instance map of some layers alone.

    Args:
        layers: in the order in which they are laid.
        side: of the picture with its margin, pixels.
        margin: on every side, cut off in the end, pixels.

    Returns:
        The picture proper, uint8 [S, S] with S = side - 2 margin.
    """
    numbers = np.zeros((side, side), np.uint8)
    for layer in layers:
        sprite = layer.sprite
        x0, y0 = max(sprite.x, 0), max(sprite.y, 0)
        x1 = min(sprite.x + sprite.mask.shape[1], side)
        y1 = min(sprite.y + sprite.mask.shape[0], side)
        if x1 > x0 and y1 > y0:
            mask = sprite.mask[y0 - sprite.y : y1 - sprite.y, x0 - sprite.x : x1 - sprite.x]
            numbers[y0:y1, x0:x1][mask] = sprite.number
    return numbers[margin : side - margin, margin : side - margin]
