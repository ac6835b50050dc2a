"""Surfaces as the camera sees them: silhouette, normals and texture coordinates on a small patch.

Everything in a picture is first such a surface; ``shading`` turns it into colour. The picture plane
has x to the right and y down; normals are given by their x and y parts, the rest points to the
viewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Vector = tuple[float, float]
_BITS = 4  # fraction bits of the coordinates that OpenCV draws with


@dataclass(frozen=True, eq=False)
class Surface:
    """A visible surface on a square patch of side n."""

    mask: NDArray[np.uint8]
    """[n, n], 255 inside, 0 outside."""
    nx: Array
    """[n, n], x part of the unit normal."""
    ny: Array
    """[n, n], y part of the unit normal."""
    u: Array
    """[n, n], texture coordinate round or across the body, pixels."""
    v: Array
    """[n, n], texture coordinate along the body, pixels."""
    path: Array
    """[n, n] in [0, 1], way from one end of the body to the other: bands are painted along it."""
    light: Array
    """[n, n] in [0, 1], share of the light that reaches the place (insides are darker)."""


@lru_cache(maxsize=512)
def grid(side: int) -> tuple[Array, Array]:
    """x and y counted from the middle of a patch, float32 [side, side] each; do not write."""
    line = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    x, y = (np.ascontiguousarray(part) for part in np.meshgrid(line, line))
    return x, y


def empty(side: int) -> Surface:
    """A surface without a pixel, to be drawn on."""
    planes = np.zeros((6, side, side), np.float32)
    planes[5] = 1
    return Surface(np.zeros((side, side), np.uint8), *planes)


def put(under: Surface, over: Surface) -> None:
    """Draw one surface over another of the same side, in place."""
    inside = over.mask > 0
    for name in ('mask', 'nx', 'ny', 'u', 'v', 'path', 'light'):
        np.copyto(getattr(under, name), getattr(over, name), where=inside)


@dataclass(frozen=True)
class Profile:
    """Outline of a body of revolution, in units of its size.

    ``outer`` are (height, radius) from the foot upwards; ``inner`` from the rim down to the floor
    inside, empty for a closed body.
    """

    outer: tuple[Vector, ...]
    inner: tuple[Vector, ...] = ()


def revolve(profile: Profile, size: float, angle: float, elevation: float, side: int) -> Surface:
    """A body of revolution in parallel projection.

    Discs are drawn from the foot to the rim, then from the rim down to the floor inside: what stays
    visible of each is its border, which gives height and direction, so the normal.

    Args:
        profile: the outline.
        size: pixels of one unit.
        angle: direction of the axis in the picture, radians; 0 is up, positive turns right.
        elevation: angle between the line of sight and the plane of the discs, radians; pi/2
            looks down the axis.
        side: side of the patch.
    """
    up = (math.sin(angle), -math.cos(angle))
    across = (math.cos(angle), math.sin(angle))
    sine, cosine = math.sin(elevation), math.cos(elevation)
    outer = np.array(profile.outer, np.float32) * size
    tall = float(outer[-1, 0]) * cosine
    count = int(min(max(tall, 14), 110))
    heights, radii, inside = _resample(outer, count), None, np.zeros(count, bool)
    table = heights
    if profile.inner:
        inner = _resample(np.array(profile.inner, np.float32) * size, max(10, count // 2))
        table = np.concatenate([heights, inner])
        inside = np.concatenate([inside, np.ones(len(inner), bool)])
    height, radii = table[:, 0], np.maximum(table[:, 1], 0.5)
    middle = 0.5 * float(outer[-1, 0] + outer[0, 0]) * cosine
    index = np.zeros((side, side), np.uint8)
    rim: NDArray[np.uint8] | None = None
    degrees, scale = math.degrees(angle), 1 << _BITS
    target = index
    for number in range(len(table)):
        if inside[number] and rim is None:
            rim, target = (index == number).astype(np.uint8), index.copy()
        shift = float(height[number]) * cosine - middle
        centre = ((side - 1) / 2 + up[0] * shift, (side - 1) / 2 + up[1] * shift)
        place = (round(centre[0] * scale), round(centre[1] * scale))
        axes = (round(float(radii[number]) * scale), round(float(radii[number]) * sine * scale))
        colour = (number + 1,)
        cv2.ellipse(target, place, axes, degrees, 0, 360, colour, -1, cv2.LINE_8, _BITS)
    if rim is not None:
        np.copyto(index, target, where=rim > 0)
    return _revolved(index, table, inside, (up, across), (sine, cosine), middle, size)


def _resample(corners: Array, count: int) -> Array:
    """Points at equal steps along a polyline of (height, radius), float32 [count, 2]."""
    steps = np.hypot(*np.diff(corners, axis=0).T)
    way = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, way[-1], count)
    return np.stack([np.interp(at, way, corners[:, k]) for k in (0, 1)], 1).astype(np.float32)


def _revolved(
    index: NDArray[np.uint8],
    table: Array,
    inside: NDArray[np.bool_],
    axes: tuple[Vector, Vector],
    view: Vector,
    middle: float,
    size: float,
) -> Surface:
    (up, across), (sine, cosine) = axes, view
    x, y = grid(len(index))
    height, radius = table[:, 0], np.maximum(table[:, 1], 0.5)
    step_z, step_r = np.gradient(height), np.gradient(radius)
    first = int(np.argmax(inside)) if inside.any() else len(table)
    for part in (slice(0, first), slice(first, len(table))):
        if part.stop - part.start > 1:
            step_z[part], step_r[part] = np.gradient(height[part]), np.gradient(radius[part])
    length = np.hypot(step_z, step_r) + 1e-6
    sign = np.where(inside, -1.0, 1.0)
    # the surface looks along (radial, axial); inside the way runs downwards, hence the signs
    radial, axial = np.abs(step_z) / length * sign, np.where(inside, step_r, -step_r) / length
    axial = np.where(inside, np.abs(axial), axial)
    last = [first - 1] + ([len(table) - 1] if inside.any() else [])
    radial[last], axial[last] = 0, 1  # lids and floors
    way = np.linspace(0, 1, first)
    way = np.concatenate([way, np.linspace(1, 0.3, len(table) - first)])
    depth = np.zeros(len(table))
    depth[first:] = np.linspace(0, 1, len(table) - first)
    columns = [height * cosine - middle, radius, radial, axial, height, way, 1 - 0.35 * depth]
    where = index.astype(np.intp)
    offset, r, radial_p, axial_p, z, path, light = (
        np.concatenate([column[:1], column]).astype(np.float32).take(where) for column in columns
    )
    s = x * np.float32(across[0]) + y * np.float32(across[1])
    t = x * np.float32(up[0]) + y * np.float32(up[1]) - offset
    sin_phi = np.clip(s / np.maximum(r, 0.5), -1, 1)
    cos_phi = np.sqrt(1 - sin_phi * sin_phi)
    front = np.where(t > 0, -cos_phi, cos_phi)
    n_across = radial_p * sin_phi
    n_up = axial_p * np.float32(cosine) - radial_p * front * np.float32(sine)
    nx = n_across * np.float32(across[0]) + n_up * np.float32(up[0])
    ny = n_across * np.float32(across[1]) + n_up * np.float32(up[1])
    # what looks up has the texture laid flat across it, a wall has it wrapped round
    flat = np.abs(axial_p) > np.float32(0.6)
    wrapped = np.arcsin(sin_phi) * np.float32(0.45 * size)
    u = np.where(flat, s, wrapped)
    v = np.where(flat, t / np.float32(max(sine, 0.3)), z)
    mask = (index > 0).astype(np.uint8) * np.uint8(255)
    nx, ny = cv2.GaussianBlur(nx, (3, 3), 0), cv2.GaussianBlur(ny, (3, 3), 0)
    return Surface(mask, nx, ny, u, v, path, light)


def tube(surface: Surface, points: Sequence[Vector], radii: Sequence[float]) -> None:
    """Draw a chain of tapered round pieces over a surface, in place.

    Args:
        surface: what is drawn on.
        points: joints counted from the middle of the patch, pixels.
        radii: radius at every joint, pixels.
    """
    solid = Relief(len(surface.mask))
    for k in range(len(points) - 1):
        solid.capsule(points[k], points[k + 1], radii[k], radii[k + 1])
    x, y = grid(len(surface.mask))
    (ax, ay), (bx, by) = points[0], points[-1]
    length = max(math.hypot(bx - ax, by - ay), 1.0)
    dx, dy = np.float32((bx - ax) / length), np.float32((by - ay) / length)
    along = (x - np.float32(ax)) * dx + (y - np.float32(ay)) * dy
    inside = solid.height > 0
    values: dict[str, Any] = dict(
        nx=solid.nx,
        ny=solid.ny,
        u=(x - np.float32(ax)) * -dy + (y - np.float32(ay)) * dx,
        v=along,
        path=np.clip(along / np.float32(length), 0, 1),
        light=np.float32(1),
        mask=np.uint8(255),
    )
    for name, value in values.items():
        np.copyto(getattr(surface, name), value, where=inside)


class Relief:
    """Height and normals of overlapping round limbs; the higher one is seen.

    Args:
        shape: side of a square patch, or height and width.
    """

    def __init__(self, shape: int | tuple[int, int]) -> None:
        rows, columns = (shape, shape) if isinstance(shape, int) else shape
        self.origin = ((columns - 1) / 2, (rows - 1) / 2)
        """Place of the point (0, 0) in the patch."""
        self.height, self.nx, self.ny = np.zeros((3, rows, columns), np.float32)

    def capsule(self, a: Vector, b: Vector, ra: float, rb: float, lift: float = 0.0) -> None:
        """Add a tapered piece from a to b with round ends; ``lift`` raises it, in pixels."""
        ox, oy = self.origin
        rows, columns = self.height.shape
        reach = max(ra, rb) + 1
        x0 = max(int(min(a[0], b[0]) + ox - reach), 0)
        x1 = min(int(max(a[0], b[0]) + ox + reach) + 2, columns)
        y0 = max(int(min(a[1], b[1]) + oy - reach), 0)
        y1 = min(int(max(a[1], b[1]) + oy + reach) + 2, rows)
        if x1 <= x0 or y1 <= y0:
            return
        px = np.arange(x0, x1, dtype=np.float32)[None] - np.float32(ox + a[0])
        py = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(oy + a[1])
        dx, dy = b[0] - a[0], b[1] - a[1]
        square = max(dx * dx + dy * dy, 1e-3)
        t = np.clip(px * np.float32(dx / square) + py * np.float32(dy / square), 0, 1)
        ex, ey = px - t * np.float32(dx), py - t * np.float32(dy)
        inverse = 1 / (np.float32(ra) + t * np.float32(rb - ra))
        ex *= inverse
        ey *= inverse
        rest = 1 - (ex * ex + ey * ey)
        high = np.sqrt(np.maximum(rest, 0)) / inverse + np.float32(lift)
        box = (slice(y0, y1), slice(x0, x1))
        above = (rest > 0) & (high > self.height[box])
        np.copyto(self.height[box], high, where=above)
        np.copyto(self.nx[box], ex, where=above)
        np.copyto(self.ny[box], ey, where=above)


def cropped(surface: Surface) -> tuple[Surface, int, int]:
    """The part of a surface round its silhouette, with a margin of 2 pixels, and its corner."""
    x, y, wide, high = cv2.boundingRect(surface.mask)
    x0, y0 = max(x - 2, 0), max(y - 2, 0)
    box = (slice(y0, y + high + 2), slice(x0, x + wide + 2))
    planes = (surface.nx, surface.ny, surface.u, surface.v, surface.path, surface.light)
    return Surface(surface.mask[box], *(plane[box] for plane in planes)), x0, y0
