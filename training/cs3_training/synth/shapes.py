"""The shapes of the world as surfaces: bodies of revolution, boxes, spoons and knives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.surface import (
    Array,
    Profile,
    Surface,
    Vector,
    empty,
    grid,
    put,
    revolve,
    tube,
)

SIZES = {
    'bowl': (76, 116),
    'plate': (86, 136),
    'mug': (66, 92),
    'bottle': (96, 138),
    'pan': (120, 168),
    'box': (66, 108),
    'spoon': (88, 130),
    'knife': (100, 142),
}
"""Smallest and largest length of every shape in pixels of a picture 352 wide."""

HANDLED = ('pan', 'spoon', 'knife')
"""Shapes held at a handle, which then points towards the hand."""

LEVEL = ('bowl', 'mug', 'plate')
"""Shapes that stand level unless somebody holds them."""

# outlines in units of the width (the bottle: of its length)
_BOWL = Profile(
    ((0, 0.2), (0.03, 0.22), (0.1, 0.33), (0.2, 0.42), (0.32, 0.48), (0.36, 0.5)),
    ((0.36, 0.46), (0.28, 0.42), (0.17, 0.34), (0.08, 0.2), (0.06, 0.02)),
)
_PLATE = Profile(
    ((0, 0.28), (0.02, 0.3), (0.07, 0.46), (0.085, 0.5)),
    ((0.085, 0.485), (0.055, 0.36), (0.03, 0.32), (0.028, 0.02)),
)
_MUG = Profile(
    ((0, 0.32), (0.03, 0.35), (0.3, 0.37), (0.82, 0.38), (0.85, 0.37)),
    ((0.85, 0.325), (0.4, 0.32), (0.1, 0.3), (0.08, 0.02)),
)
_BOTTLE = Profile(
    (
        *((0, 0.12), (0.02, 0.15), (0.5, 0.155), (0.6, 0.13), (0.7, 0.065), (0.83, 0.055)),
        *((0.84, 0.068), (0.93, 0.068), (0.935, 0.05)),
    )
)
_PAN = Profile(
    ((0, 0.24), (0.02, 0.26), (0.11, 0.315), (0.12, 0.32)),
    ((0.12, 0.3), (0.06, 0.27), (0.03, 0.25), (0.028, 0.02)),
)


@dataclass(frozen=True, eq=False)
class Body:
    """One object's surface and how it may be held."""

    surface: Surface
    grip: Vector
    """Where a hand takes it, pixels from the middle of the patch."""


def make_body(shape: str, size: float, angle: float, rng: np.random.Generator) -> Body:
    """Draw one object.

    Args:
        shape: one of SHAPES.
        size: length in pixels.
        angle: radians; where the top of a bottle, a mug or a bowl points (0 is up), or the tip
            of a pan, a spoon or a knife.
        rng: for proportions.

    Raises:
        ValueError: an unknown shape.
    """
    side = 2 * int(size * 0.62) + 9
    match shape:
        case 'bowl' | 'plate' | 'mug' | 'bottle':
            return _round(shape, size, angle, side, rng)
        case 'pan':
            return _pan(size, angle, side, rng)
        case 'box':
            return _box(size, angle, side, rng)
        case 'spoon':
            return _spoon(size, angle, side, rng)
        case 'knife':
            return _knife(size, angle, side, rng)
    raise ValueError(f'shape {shape!r}: expected one of {", ".join(SIZES)}')


def _round(shape: str, size: float, angle: float, side: int, rng: np.random.Generator) -> Body:
    profile = {'bowl': _BOWL, 'plate': _PLATE, 'mug': _MUG, 'bottle': _BOTTLE}[shape]
    low, high = {'bowl': (35, 60), 'plate': (40, 75), 'mug': (25, 50), 'bottle': (8, 30)}[shape]
    stretch = rng.uniform(0.85, 1.15)
    profile = Profile(
        tuple((z * stretch, r) for z, r in profile.outer),
        tuple((z * stretch, r) for z, r in profile.inner),
    )
    elevation = math.radians(rng.uniform(low, high))
    unit = size * (1.1 if shape == 'mug' else 1.0)
    surface = revolve(profile, unit, angle, elevation, side)
    up, across = (math.sin(angle), -math.cos(angle)), (math.cos(angle), math.sin(angle))
    if shape == 'bottle':
        return Body(surface, (0.0, 0.0))
    if shape == 'mug':
        left = rng.random() < 0.5
        surface = _handle(surface, unit, up, across, math.cos(elevation), left)
        sign = -1 if left else 1
        return Body(surface, (across[0] * sign * 0.4 * size, across[1] * sign * 0.4 * size))
    return Body(surface, (-up[0] * 0.3 * size, -up[1] * 0.3 * size))


def _handle(
    cup: Surface, size: float, up: Vector, across: Vector, cosine: float, left: bool
) -> Surface:
    sign = -1 if left else 1
    points = []
    for step in np.linspace(-1.45, 1.45, 9):
        s = sign * size * (0.35 + 0.19 * math.cos(step))
        h = size * 0.26 * cosine * math.sin(step)
        points.append((across[0] * s + up[0] * h, across[1] * s + up[1] * h))
    whole = empty(len(cup.mask))
    tube(whole, points, [0.055 * size] * len(points))
    put(whole, cup)
    return whole


def _pan(size: float, angle: float, side: int, rng: np.random.Generator) -> Body:
    # the middle of the dish lies towards the tip, the handle runs back from it
    tip = (math.sin(angle), -math.cos(angle))
    elevation = math.radians(rng.uniform(48, 75))
    shift = 0.19 * size
    dish = _moved(revolve(_PAN, size, 0.0, elevation, side), tip[0] * shift, tip[1] * shift)
    whole = empty(side)
    ends = [(tip[0] * k * size, tip[1] * k * size - 0.03 * size) for k in (-0.02, -0.2, -0.4, -0.5)]
    tube(whole, ends, [0.035 * size, 0.032 * size, 0.042 * size, 0.036 * size])
    put(whole, dish)
    return Body(whole, (tip[0] * -0.36 * size, tip[1] * -0.36 * size))


def _moved(surface: Surface, dx: float, dy: float) -> Surface:
    """The same surface shifted by whole pixels; what leaves the patch is lost."""
    shift = np.array([[1, 0, round(dx)], [0, 1, round(dy)]], np.float32)
    n = len(surface.mask)
    planes = (surface.nx, surface.ny, surface.u, surface.v, surface.path, surface.light)
    moved = (cv2.warpAffine(p, shift, (n, n), flags=cv2.INTER_NEAREST) for p in planes)
    mask = cv2.warpAffine(surface.mask, shift, (n, n), flags=cv2.INTER_NEAREST)
    return Surface(np.asarray(mask, np.uint8), *(np.asarray(p, np.float32) for p in moved))


def _box(size: float, angle: float, side: int, rng: np.random.Generator) -> Body:
    """A cuboid: its three visible faces are filled polygons with one normal each."""
    elevation = math.radians(rng.uniform(35, 60))
    yaw = rng.uniform(0.25, math.pi / 2 - 0.25) + angle
    half = 0.5 * size * np.array([rng.uniform(0.72, 0.85), rng.uniform(0.45, 0.72), 0.0])
    half[2] = 0.5 * size * rng.uniform(0.25, 0.6)
    sine, cosine = math.sin(elevation), math.cos(elevation)
    edge = [
        np.array([math.cos(yaw), math.sin(yaw), 0]),
        np.array([-math.sin(yaw), math.cos(yaw), 0]),
    ]
    edge.append(np.array([0.0, 0.0, 1.0]))

    def project(point: NDArray[np.float64]) -> tuple[float, float]:
        return float(point[0]), float(-point[1] * sine - point[2] * cosine)

    toward = np.array([0.0, -cosine, sine])
    whole = empty(side)
    x, y = grid(side)
    for axis in range(3):
        normal = edge[axis] * (1 if float(edge[axis] @ toward) > 0 else -1)
        first, second = (k for k in range(3) if k != axis)
        middle = normal * half[axis]
        a, b = edge[first] * half[first], edge[second] * half[second]
        corners = [project(middle + i * a + j * b) for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
        polygon = np.array(corners, np.float32) + np.float32((side - 1) / 2)
        face = np.zeros((side, side), np.uint8)
        cv2.fillPoly(face, [np.rint(polygon * 16).astype(np.int32)], (255,), cv2.LINE_8, 4)
        inside = face > 0
        basis = np.array([project(a / half[first]), project(b / half[second])]).T
        (m00, m01), (m10, m11) = np.linalg.pinv(basis).astype(np.float32)
        cx, cy = (np.float32(value) for value in project(middle))
        u, v = m00 * (x - cx) + m01 * (y - cy), m10 * (x - cx) + m11 * (y - cy)
        seen_x = float(normal[0])
        seen_y = float(-normal[1] * sine - normal[2] * cosine)
        np.copyto(whole.nx, np.float32(0.92 * seen_x), where=inside)
        np.copyto(whole.ny, np.float32(0.92 * seen_y), where=inside)
        np.copyto(whole.u, u, where=inside)
        np.copyto(whole.v, v, where=inside)
        np.copyto(whole.path, np.abs(u) / np.float32(max(half[first], 1)), where=inside)
        np.copyto(whole.mask, np.uint8(255), where=inside)
    for plane in (whole.nx, whole.ny):
        cv2.GaussianBlur(plane, (5, 5), 0, dst=plane)
    return Body(whole, (0.0, 0.22 * size))


def _frame(angle: float, side: int) -> tuple[Array, Array, Vector]:
    """Coordinates across and along the tip's direction, and that direction."""
    tip = (math.sin(angle), -math.cos(angle))
    x, y = grid(side)
    across = x * np.float32(-tip[1]) + y * np.float32(tip[0])
    along = x * np.float32(tip[0]) + y * np.float32(tip[1])
    return across, along, tip


def _spoon(size: float, angle: float, side: int, rng: np.random.Generator) -> Body:
    across, along, tip = _frame(angle, side)
    whole = empty(side)
    ends = [(tip[0] * k * size, tip[1] * k * size) for k in (-0.5, -0.3, 0.0, 0.22)]
    tube(whole, ends, [0.045 * size, 0.04 * size, 0.028 * size, 0.03 * size])
    half_long, half_wide = np.float32(0.19 * size), np.float32(rng.uniform(0.115, 0.145) * size)
    s, t = across / half_wide, (along - np.float32(0.31 * size)) / half_long
    radius = s * s + t * t
    # a hollow inside a raised rim: the slope turns over at three quarters of the radius
    slope = np.where(radius < 0.72, np.float32(-0.75), np.float32(0.9))
    ns, nt = slope * s * np.float32(1.1), slope * t * np.float32(0.8)
    inside = radius <= 1
    nx = ns * np.float32(-tip[1]) + nt * np.float32(tip[0])
    ny = ns * np.float32(tip[0]) + nt * np.float32(tip[1])
    for name, value in dict(nx=nx, ny=ny, u=across, v=along).items():
        np.copyto(getattr(whole, name), value, where=inside)
    np.copyto(whole.light, 0.8 + 0.2 * radius, where=inside)
    np.copyto(whole.path, np.float32(0.95), where=inside)
    np.copyto(whole.mask, np.uint8(255), where=inside)
    return Body(whole, (tip[0] * -0.3 * size, tip[1] * -0.3 * size))


def _knife(size: float, angle: float, side: int, rng: np.random.Generator) -> Body:
    across, along, tip = _frame(angle, side)
    wide = rng.uniform(0.06, 0.085) * size
    corners = [
        (-0.035, -0.1),
        (-0.05, 0.2),
        (-0.03, 0.42),
        (0.03, 0.5),
        (0.07, 0.42),
        (0.075, -0.1),
    ]
    points = np.array(corners, np.float32) * size
    points[:, 0] *= np.float32(wide / (0.07 * size))
    place = np.stack(
        [
            -tip[1] * points[:, 0] + tip[0] * points[:, 1],
            tip[0] * points[:, 0] + tip[1] * points[:, 1],
        ],
        1,
    ) + np.float32((side - 1) / 2)
    blade = np.zeros((side, side), np.uint8)
    cv2.fillPoly(blade, [np.rint(place * 16).astype(np.int32)], (255,), cv2.LINE_8, 4)
    inside = blade > 0
    whole = empty(side)
    # the back is flat, the ground edge tilts
    lean = np.where(across > np.float32(0.25 * wide), np.float32(0.6), np.float32(-0.12))
    for name, value in dict(
        nx=lean * np.float32(-tip[1]), ny=lean * np.float32(tip[0]), u=across, v=along
    ).items():
        np.copyto(getattr(whole, name), value, where=inside)
    np.copyto(whole.path, np.clip(along / np.float32(size) + 0.5, 0, 1), where=inside)
    np.copyto(whole.mask, np.uint8(255), where=inside)
    ends = [(tip[0] * k * size, tip[1] * k * size) for k in (-0.5, -0.35, -0.1)]
    handle = empty(side)
    tube(handle, ends, [0.05 * size, 0.055 * size, 0.045 * size])
    np.copyto(handle.light, np.float32(0.72), where=handle.mask > 0)
    put(whole, handle)
    return Body(whole, (tip[0] * -0.3 * size, tip[1] * -0.3 * size))
