"""Objects that can be put somewhere: a body of a material, painted, with its place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.materials import Appearance, choose_appearance
from cs3_training.synth.shading import Sprite, paint
from cs3_training.synth.shapes import SIZES, make_body
from cs3_training.synth.surface import Array, Vector, cropped
from cs3_training.synth.vocabulary import MATERIALS, SHAPES

_UNUSUAL = {
    'cloth': ('knife', 'spoon', 'bottle', 'pan', 'mug'),
    'cardboard': ('knife', 'spoon', 'pan'),
    'glass': ('knife', 'spoon', 'box'),
    'ceramic': ('knife', 'box'),
    'wood': ('bottle',),
}
"""Shapes that are rare in a material."""

_RARE = 0.3  # their weight beside 1


@dataclass(frozen=True, eq=False)
class Thing:
    """A painted object that has no place yet; coordinates count from its middle."""

    material: str
    shape: str
    look: Appearance
    size: float
    """Length, pixels."""
    colour: Array
    """RGB times opacity, [h, w, 3]."""
    opacity: Array
    """[h, w]."""
    mask: NDArray[np.bool_]
    """Silhouette, [h, w]."""
    corner: tuple[int, int]
    """Upper left corner of the patch from the middle, pixels (x, y)."""
    grip: Vector
    """Where a hand takes it, from the middle."""
    area: int
    """Pixels of the silhouette."""

    def sprite(self, place: Vector, number: int, shadow: float) -> Sprite:
        """It at a place, the middle rounded to whole pixels."""
        x, y = round(place[0]) + self.corner[0], round(place[1]) + self.corner[1]
        return Sprite(self.colour, self.opacity, self.mask, x, y, number, shadow)


def choose_material(rng: np.random.Generator, without: frozenset[str] = frozenset()) -> str:
    """A random material that is not in ``without``."""
    options = [material for material in MATERIALS if material not in without]
    return options[rng.integers(len(options))]


def choose_shape(material: str, rng: np.random.Generator) -> str:
    """A random shape; unusual ones are rarer."""
    unusual = _UNUSUAL.get(material, ())
    weight = np.array([_RARE if shape in unusual else 1.0 for shape in SHAPES])
    return SHAPES[rng.choice(len(SHAPES), p=weight / weight.sum())]


def make_thing(
    material: str, shape: str, scale: float, angle: float, light: int, rng: np.random.Generator
) -> Thing:
    """Draw an object.

    Args:
        material: one of MATERIALS.
        shape: one of SHAPES.
        scale: factor of its usual size.
        angle: as ``make_body`` takes it.
        light: number of the light's direction.
        rng: for size, proportions and appearance.
    """
    low, high = SIZES[shape]
    size = rng.uniform(low, high) * scale
    body = make_body(shape, size, angle, rng)
    look = choose_appearance(material, rng)
    surface, x, y = cropped(body.surface)
    colour, opacity = paint(surface, look, light, int(rng.integers(8000)))
    half = len(body.surface.mask) // 2
    mask = surface.mask > 127
    return Thing(
        material=material,
        shape=shape,
        look=look,
        size=size,
        colour=colour,
        opacity=opacity,
        mask=mask,
        corner=(x - half, y - half),
        grip=body.grip,
        area=int(np.count_nonzero(mask)),
    )


def touching(first: Thing, second: Thing, angle: float, overlap: int) -> tuple[float, Vector]:
    """How far apart two things stand that just touch.

    Args:
        first: stands at (0, 0).
        second: comes from the direction ``angle`` (radians; 0 is right, positive turns down).
        overlap: how many pixels they shall share.

    Returns:
        The distance of their middles in pixels and the middle of what they share.
    """
    low, high = 0.0, 0.8 * (first.size + second.size)
    direction = (math.cos(angle), math.sin(angle))
    for _ in range(9):
        middle = (low + high) / 2
        shared = _shared(first, second, direction, middle)
        if shared is not None and np.count_nonzero(shared[0]) > overlap:
            low = middle
        else:
            high = middle
    shared = _shared(first, second, direction, low)
    if shared is None or not shared[0].any():
        return low, (direction[0] * low / 2, direction[1] * low / 2)
    rows, columns = np.nonzero(shared[0])
    contact = (float(columns.mean()) + shared[1], float(rows.mean()) + shared[2])
    return low, contact


def _shared(
    first: Thing, second: Thing, direction: Vector, distance: float
) -> tuple[NDArray[np.bool_], int, int] | None:
    """What both silhouettes cover and its upper left corner."""
    ax, ay = first.corner
    bx = second.corner[0] + round(direction[0] * distance)
    by = second.corner[1] + round(direction[1] * distance)
    x0, y0 = max(ax, bx), max(ay, by)
    x1 = min(ax + first.mask.shape[1], bx + second.mask.shape[1])
    y1 = min(ay + first.mask.shape[0], by + second.mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    a = first.mask[y0 - ay : y1 - ay, x0 - ax : x1 - ax]
    b = second.mask[y0 - by : y1 - by, x0 - bx : x1 - bx]
    return a & b, x0, y0


def border(thing: Thing, direction: Vector) -> Vector:
    """The last pixel of the silhouette on the way from its middle in a direction."""
    steps = np.arange(0, thing.size, 1.0)
    columns = np.rint(steps * direction[0]).astype(int) - thing.corner[0]
    rows = np.rint(steps * direction[1]).astype(int) - thing.corner[1]
    rows_in, columns_in = thing.mask.shape
    inside = (columns >= 0) & (rows >= 0) & (columns < columns_in) & (rows < rows_in)
    hit = np.flatnonzero(inside)
    hit = hit[thing.mask[rows[hit], columns[hit]]]
    reach = float(steps[hit[-1]]) if len(hit) else 0.0
    return direction[0] * reach, direction[1] * reach


def stamp(frame: NDArray[np.uint8], thing: Thing, place: Vector, grow: int = 0) -> None:
    """Mark a silhouette in a map [H, W] with 1, widened by so many pixels, in place."""
    sprite = thing.sprite(place, 1, 0)
    patch = sprite.mask.astype(np.uint8)
    x, y = sprite.x - grow, sprite.y - grow
    if grow:
        square = np.ones((2 * grow + 1, 2 * grow + 1), np.uint8)
        patch = np.asarray(cv2.dilate(np.pad(patch, grow), square), np.uint8)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + patch.shape[1], frame.shape[1]), min(y + patch.shape[0], frame.shape[0])
    if x1 > x0 and y1 > y0:
        frame[y0:y1, x0:x1] |= patch[y0 - y : y1 - y, x0 - x : x1 - x]


def covered(frame: NDArray[np.uint8], thing: Thing, place: Vector) -> tuple[int, int]:
    """Pixels of a silhouette inside the map [H, W], and those of them that are marked there."""
    sprite = thing.sprite(place, 1, 0)
    x, y = sprite.x, sprite.y
    x0, y0 = max(x, 0), max(y, 0)
    x1 = min(x + sprite.mask.shape[1], frame.shape[1])
    y1 = min(y + sprite.mask.shape[0], frame.shape[0])
    if x1 <= x0 or y1 <= y0:
        return 0, 0
    mask = sprite.mask[y0 - y : y1 - y, x0 - x : x1 - x]
    return int(np.count_nonzero(mask)), int(np.count_nonzero(frame[y0:y1, x0:x1][mask]))
