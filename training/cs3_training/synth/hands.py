"""Hands and forearms as the wearer of the camera sees them: from the wrist up into the picture.

A hand is a relief of tapered limbs, so that fingers shade like fingers. What lies under the held object
and what closes over it are separate sprites.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.materials import TEXTURE, VARIANTS, Look, choose_look, texture
from cs3_training.synth.shading import Sprite, cropped, paint, spread
from cs3_training.synth.surface import Relief, Surface, Vector

ARM_NUMBERS = {'left': 252, 'right': 253}
HAND_NUMBERS = {'left': 254, 'right': 255}
"""What forearms (sleeves included) and hands write into the instance map."""

GRASPS = ('over', 'wrap', 'below', 'open')
"""Fingers over the object; fingers under it and the thumb over it; the whole hand under it; empty."""

Area = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; it may reach beyond the picture where a hand will move into it."""

_WRIST = 0.35  # the hand ends so many palm widths behind the wrist's middle
_SKINS = (
    (244, 205, 178),
    (228, 178, 146),
    (205, 148, 112),
    (164, 110, 78),
    (118, 76, 54),
    (84, 56, 44),
)

# per finger: place of the knuckle (along, towards the little finger), length; units of the palm's width
_FINGERS = ((0.98, -0.33, 0.84), (1.05, -0.11, 0.95), (1.0, 0.12, 0.88), (0.9, 0.32, 0.68))
_PHALANGES = ((0.47, 0.125), (0.78, 0.112), (1.0, 0.088))  # share of the length, radius there


@dataclass(frozen=True, eq=False)
class Person:
    """Whose hands they are: the same for both."""

    skin: Look
    sleeve: Look | None
    """None: bare forearms."""
    cuff: float
    """Where the sleeve ends, in palm widths behind the wrist."""


@dataclass(frozen=True, eq=False)
class HandPose:
    """A hand in the picture."""

    side: str
    """left or right."""
    wrist: Vector
    """Place of the wrist, pixels."""
    direction: float
    """Where the fingers point, radians; 0 is up, positive turns right."""
    elbow: Vector
    """Where the forearm comes from, pixels; beyond the border of the picture."""
    width: float
    """Width of the palm, pixels."""
    grasp: str
    """One of GRASPS."""
    curl: float
    """How far the fingers are bent, 0 to 1."""


def choose_person(rng: np.random.Generator) -> Person:
    """Random skin and sleeves."""
    base = np.array(_SKINS[rng.integers(len(_SKINS))], np.float32) * rng.uniform(0.92, 1.06)
    value = np.linspace(-0.5, 0.5, 256, dtype=np.float32)[:, None]
    ramp = base * (1 + np.array([0.1, 0.2, 0.22], np.float32) * value)
    skin = Look(
        material='skin',
        colour='brown',
        texture=texture('plastic', int(rng.integers(VARIANTS))),
        colours=np.clip(ramp, 0, 255).astype(np.uint8),
        offset=(float(rng.uniform(0, TEXTURE)), 0.0),
        bump=0.0,
        bands=(),
    )
    sleeve = choose_look('cloth', rng) if rng.random() < 0.55 else None
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
    frame = _Frame(pose)
    digits = _digits(frame, pose, rng)
    limbs = {'palm': _palm(frame), 'thumb': digits[:1], 'fingers': digits[1:]}
    bare, sleeve = _forearm(frame, pose, person)
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


class _Frame:
    """From hand coordinates (along the fingers, towards the little finger) to the picture."""

    def __init__(self, pose: HandPose) -> None:
        self.along = (math.sin(pose.direction), -math.cos(pose.direction))
        sign = 1 if pose.side == 'right' else -1
        self.lateral = (-self.along[1] * sign, self.along[0] * sign)
        self.wrist, self.width = pose.wrist, pose.width

    def __call__(self, along: float, lateral: float) -> Vector:
        x = self.wrist[0] + self.width * (self.along[0] * along + self.lateral[0] * lateral)
        y = self.wrist[1] + self.width * (self.along[1] * along + self.lateral[1] * lateral)
        return x, y


Limb = tuple[list[Vector], list[float]]


def _digits(frame: _Frame, pose: HandPose, rng: np.random.Generator) -> list[Limb]:
    """Joints and radii of the thumb and the four fingers."""
    spread = rng.uniform(0.05, 0.2) if pose.grasp == 'open' else rng.uniform(-0.02, 0.1)
    limbs: list[Limb] = []
    # the thumb: from the wrist's side forward, in a grip across towards the fingers
    swing = rng.uniform(0.5, 0.8) if pose.grasp == 'open' else rng.uniform(0.0, 0.4)
    thumb = [(0.1, -0.26), (0.46, -0.55 - 0.1 * swing)]
    x, y = thumb[-1]
    for length, bend in ((0.34, 0.9 * swing), (0.3, 0.5 * swing - 0.25 * pose.curl)):
        x, y = x + length * math.cos(bend), y - length * math.sin(bend)
        thumb.append((x, y))
    limbs.append(
        ([frame(*p) for p in thumb], [r * frame.width for r in (0.17, 0.155, 0.13, 0.098)])
    )
    for number, (start, lateral, length) in enumerate(_FINGERS):
        angle = spread * (number - 1.5) + rng.normal(0, 0.035)
        joints, radii = [(start - 0.12, lateral * 0.96)], [0.145]
        x, y = start, lateral
        joints.append((x, y))
        radii.append(0.138)
        done = 0.0
        for k, (share, radius) in enumerate(_PHALANGES):
            # bent phalanges look shorter from above
            seen = math.cos(pose.curl * (0.35, 0.85, 1.15)[k] * rng.uniform(0.9, 1.1))
            step = length * (share - done) * max(seen, 0.25)
            done = share
            x, y = x + step * math.cos(angle), y + step * math.sin(angle)
            angle *= 0.6
            joints.append((x, y))
            radii.append(radius)
        limbs.append(([frame(*p) for p in joints], [r * frame.width for r in radii]))
    return limbs


def _palm(frame: _Frame) -> list[Limb]:
    rays = ((-0.12, -0.33), (-0.05, -0.11), (0.05, 0.12), (0.12, 0.32))
    limbs: list[Limb] = []
    for (start, end), (reach, _, _) in zip(rays, _FINGERS, strict=True):
        points = [
            frame(-0.12, start),
            frame(0.45, (start + end) / 2 * 1.15),
            frame(reach - 0.05, end),
        ]
        limbs.append((points, [r * frame.width for r in (0.2, 0.25, 0.165)]))
    limbs.append(([frame(0.02, -0.18), frame(0.46, -0.5)], [0.2 * frame.width, 0.17 * frame.width]))
    return limbs


def _window(limbs: Sequence[Limb], area: Area) -> tuple[int, int, int, int] | None:
    """Corner x, y, width and height of the limbs in the picture; None where they are outside."""
    points = np.concatenate([np.array(points) for points, _ in limbs])
    reach = max(max(radii) for _, radii in limbs) + 4
    x0, y0 = np.maximum(points.min(0) - reach, area[:2]).astype(int)
    x1, y1 = np.minimum(points.max(0) + reach, area[2:]).astype(int)
    return None if x1 - x0 < 4 or y1 - y0 < 4 else (int(x0), int(y0), int(x1 - x0), int(y1 - y0))


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
    frame: _Frame,
    names: Sequence[str],
    limbs: dict[str, list[Limb]],
    pose: HandPose,
    person: Person,
    light: int,
    area: Area,
) -> list[Sprite]:
    chosen = [limb for name in names for limb in limbs[name]]
    window = _window(chosen, area) if chosen else None
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
            cv2.line(surface.light, ends[0], ends[1], 0.82, 1, cv2.LINE_AA, 3)


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
    cv2.ellipse(nail, place, axes, degrees, 0, 360, 255, -1, cv2.LINE_AA, 3)
    share = nail.astype(np.float32)[:, :, None] * np.float32(0.42 / 255)
    patch += (patch * np.float32(1.12) + np.array([26, 18, 18], np.float32) - patch) * share


def _forearm(frame: _Frame, pose: HandPose, person: Person) -> tuple[Limb, Limb | None]:
    """The skin from the wrist on, and the sleeve."""
    wrist, width = frame(0.02, 0.0), pose.width
    back = np.subtract(pose.elbow, wrist)
    length = float(np.hypot(*back))
    x, y = float(back[0] / length), float(back[1] / length)
    far = min(length / width, 8.0)

    def at(way: float) -> Vector:
        return wrist[0] + x * way * width, wrist[1] + y * way * width

    covered = person.sleeve is not None and far > person.cuff + 0.4
    bare = min(person.cuff + 0.6, far) if covered else far
    middle = min(1.2, 0.6 * bare)
    skin = (
        [at(-0.15), at(0.25), at(middle), at(bare)],
        [0.27 * width, 0.285 * width, 0.34 * width, (0.3 + 0.06 * bare) * width],
    )
    if not covered:
        return skin, None
    start = person.cuff
    sleeve = (
        [at(start), at(start + 0.25), at(far)],
        [0.4 * width, 0.45 * width, (0.42 + 0.07 * far) * width],
    )
    return skin, sleeve


def _sleeve(
    limb: Limb | None, pose: HandPose, person: Person, light: int, area: Area
) -> list[Sprite]:
    window = None if limb is None else _window([limb], area)
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
