"""Hands and forearms as the wearer of the camera sees them: from the wrist up into the picture.

A hand is a relief of tapered limbs, so that fingers shade like fingers. What lies under the held
object and what closes over it are separate sprites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.hand_shape import (
    Area,
    HandFrame,
    HandPose,
    Limb,
    digits,
    forearm,
    palm,
    window_of,
)
from cs3_training.synth.materials import TEXTURE, VARIANTS, Appearance, choose_appearance, texture
from cs3_training.synth.shading import Sprite, cropped, paint, spread
from cs3_training.synth.surface import Relief, Surface, Vector

ARM_NUMBERS = {'left': 252, 'right': 253}
HAND_NUMBERS = {'left': 254, 'right': 255}
"""What forearms (sleeves included) and hands write into the instance map."""

_WRIST = 0.35  # the hand ends so many palm widths behind the wrist's middle
_SKINS = (
    (236, 196, 168),
    (228, 178, 146),
    (205, 148, 112),
    (164, 110, 78),
    (118, 76, 54),
    (84, 56, 44),
)


@dataclass(frozen=True, eq=False)
class Person:
    """Whose hands they are: the same for both."""

    skin: Appearance
    sleeve: Appearance | None
    """None: bare forearms."""
    cuff: float
    """Where the sleeve ends, in palm widths behind the wrist."""


def choose_person(rng: np.random.Generator) -> Person:
    """Random skin and sleeves."""
    base = np.array(_SKINS[rng.integers(len(_SKINS))], np.float32) * rng.uniform(0.92, 1.06)
    value = np.linspace(-0.5, 0.5, 256, dtype=np.float32)[:, None]
    ramp = base * (1 + np.array([0.1, 0.2, 0.22], np.float32) * value)
    skin = Appearance(
        material='skin',
        colour='brown',
        texture=texture('plastic', int(rng.integers(VARIANTS))),
        colours=np.clip(ramp, 0, 255).astype(np.uint8),
        offset=(float(rng.uniform(0, TEXTURE)), 0.0),
        bump=0.0,
        bands=(),
    )
    sleeve = choose_appearance('cloth', rng) if rng.random() < 0.55 else None
    return Person(skin, sleeve, float(rng.uniform(0.35, 1.6)))


def draw_hand(
    pose: HandPose, person: Person, light: int, area: Area, rng: np.random.Generator
) -> tuple[tuple[Sprite, ...], tuple[Sprite, ...]]:
    """The parts of a hand below the held object and those above it, in drawing order.

    Args:
        pose: where and how.
        person: whose.
        light: number of the light's direction.
        area: what is to be drawn; limbs are cut off at its border.
        rng: for small differences between fingers.
    """
    frame = HandFrame(pose)
    fingers = digits(frame, pose, rng)
    limbs = {'palm': palm(frame), 'thumb': fingers[:1], 'fingers': fingers[1:]}
    bare, sleeve = forearm(frame, pose, None if person.sleeve is None else person.cuff)
    limbs['palm'] += [bare]
    # a hand that grips from above hides its thumb below the object
    under, over = {
        'over': (('thumb',), ('palm', 'fingers')),
        'wrap': (('palm', 'fingers'), ('thumb',)),
        'below': (('palm', 'thumb', 'fingers'), ()),
        'open': (('palm', 'thumb', 'fingers'), ()),
    }[pose.grasp]
    below = _skin(frame, under, limbs, pose, person, light, area)
    above = _skin(frame, over, limbs, pose, person, light, area)
    cloth = _sleeve(sleeve, pose, person, light, area)
    if pose.grasp == 'over':
        return tuple(below), (*above, *cloth)
    return (*below, *cloth), tuple(above)


def _relief(limbs: Sequence[Limb], window: tuple[int, int, int, int]) -> Relief:
    relief = Relief((window[3], window[2]))
    cx, cy = window[0] + relief.origin[0], window[1] + relief.origin[1]
    for points, radii in limbs:
        for k in range(len(points) - 1):
            (ax, ay), (bx, by) = points[k], points[k + 1]
            relief.capsule((ax - cx, ay - cy), (bx - cx, by - cy), radii[k], radii[k + 1])
    return relief


def _surface(
    relief: Relief, window: tuple[int, int, int, int], start: Vector, along: Vector, blur: float
) -> Surface:
    """The relief with texture coordinates along a limb."""
    x = np.arange(window[2], dtype=np.float32)[None] + np.float32(window[0] - start[0])
    y = np.arange(window[3], dtype=np.float32)[:, None] + np.float32(window[1] - start[1])
    u = x * np.float32(-along[1]) + y * np.float32(along[0])
    v = x * np.float32(along[0]) + y * np.float32(along[1])
    mask = (relief.height > 0).astype(np.uint8) * np.uint8(255)
    nx, ny = cv2.GaussianBlur(relief.nx, (0, 0), blur), cv2.GaussianBlur(relief.ny, (0, 0), blur)
    ones = np.ones_like(nx)
    return Surface(mask, nx, ny, u, v, ones * np.float32(0.5), ones)


def _skin(
    frame: HandFrame,
    names: Sequence[str],
    limbs: dict[str, list[Limb]],
    pose: HandPose,
    person: Person,
    light: int,
    area: Area,
) -> list[Sprite]:
    chosen = [limb for name in names for limb in limbs[name]]
    window = window_of(chosen, area) if chosen else None
    if window is None:
        return []
    surface = _surface(
        _relief(chosen, window), window, frame.wrist, frame.along, max(0.028 * pose.width, 0.6)
    )
    corner = np.array(window[:2], np.float64)
    for name in ('thumb', 'fingers'):
        if name in names:
            for points, radii in limbs[name]:
                _creases(surface, points, radii, corner)
    colour, opacity = paint(surface, person.skin, light, 0)
    for name in ('thumb', 'fingers'):
        if name in names:
            for points, radii in limbs[name]:
                _nail(colour, points, radii, corner)
    mask = surface.mask > 127
    if 'palm' not in names:
        return [cropped(colour, opacity, mask, *window[:2], HAND_NUMBERS[pose.side])]
    # one relief for hand and forearm, so that no seam shows; the truth parts them behind the wrist
    arm = surface.v < np.float32(-_WRIST * pose.width)
    sprites = []
    for part, number in ((arm, ARM_NUMBERS[pose.side]), (~arm, HAND_NUMBERS[pose.side])):
        tint, cover = colour * spread(part.astype(np.float32)), opacity * part
        sprites.append(cropped(tint, cover, mask & part, *window[:2], number))
    return sprites


def _creases(
    surface: Surface, points: Sequence[Vector], radii: Sequence[float], corner: NDArray[np.float64]
) -> None:
    """Darken the skin at the joints of a digit."""
    for k in (2, 3) if len(points) > 4 else (2,):
        direction = np.subtract(points[k], points[k - 1])
        length = float(np.hypot(*direction))
        if length < 2:
            continue
        across = np.array([-direction[1], direction[0]]) / length * radii[k] * 0.75
        for shift in (-0.12, 0.12):
            middle = np.array(points[k]) - corner + direction / length * radii[k] * shift * 2
            ends = [tuple(np.rint((middle + s * across) * 8).astype(int).tolist()) for s in (-1, 1)]
            cv2.line(surface.light, ends[0], ends[1], (0.82,), 1, cv2.LINE_AA, 3)


def _nail(
    colour: NDArray[np.float32],
    points: Sequence[Vector],
    radii: Sequence[float],
    corner: NDArray[np.float64],
) -> None:
    """Lighten the tip of a digit where its nail is."""
    tip, before = np.array(points[-1]) - corner, np.array(points[-2]) - corner
    direction = tip - before
    length = float(np.hypot(*direction))
    if length < 2.5:
        return
    centre = np.rint((tip + direction / length * radii[-1] * 0.15) * 8).astype(int)
    axes = (round(radii[-1] * 0.62 * 8), round(radii[-1] * 0.5 * 8))
    reach = int(radii[-1]) + 2
    x, y = centre // 8
    box = (slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1))
    patch = colour[box]
    if not patch.size:
        return
    nail = np.zeros(patch.shape[:2], np.uint8)
    place = (int(centre[0]) - 8 * box[1].start, int(centre[1]) - 8 * box[0].start)
    degrees = math.degrees(math.atan2(direction[1], direction[0]))
    cv2.ellipse(nail, place, axes, degrees, 0, 360, (255,), -1, cv2.LINE_AA, 3)
    share = nail.astype(np.float32)[:, :, None] * np.float32(0.42 / 255)
    patch += (patch * np.float32(1.12) + np.array([26, 18, 18], np.float32) - patch) * share


def _sleeve(
    limb: Limb | None, pose: HandPose, person: Person, light: int, area: Area
) -> list[Sprite]:
    window = None if limb is None else window_of([limb], area)
    if limb is None or window is None or person.sleeve is None:
        return []
    (ax, ay), (bx, by) = limb[0][0], limb[0][-1]
    length = math.hypot(bx - ax, by - ay)
    along = ((ax - bx) / length, (ay - by) / length)
    relief = _relief([limb], window)
    surface = _surface(relief, window, limb[0][0], along, 1.2)
    surface.mask[surface.v > 0.06 * pose.width] = 0  # it ends straight, not round
    colour, opacity = paint(surface, person.sleeve, light, 7)
    return [cropped(colour, opacity, surface.mask > 127, *window[:2], ARM_NUMBERS[pose.side])]
