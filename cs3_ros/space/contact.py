"""Where two objects touch, and how far each reaches, by their masks and a depth image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cs3_ros.collision import Mask
from cs3_ros.config import setting, validate
from cs3_ros.space.camera import Camera, Depth, Points
from cs3_ros.space.shapes import Plane, fit_plane, fit_sphere

MOST_SAMPLES = 128
"""Places along the meeting line that are looked at."""
MOST_POINTS = 4000
"""Points of an object that a shape is fitted to."""
TIGHT, LOOSE = (0.004, 0.03), (0.004, 0.12)
"""Most by which points may be off a shape, in the median: metres, and share of the radius. Cheap
depth cameras have 5 mm of noise at 0.7 m, a median of 3.4 mm."""

Missing = Literal['one_object', 'apart', 'no_depth', 'gap']
"""Why there is no contact point: fewer than two masks; masks too far apart in the picture; no depth
where they meet; surfaces too far from each other where they do."""


@dataclass(frozen=True)
class SpaceConfig:
    """Which depth image belongs to masks, and how contact and extent are read off it.

    Lengths in pixels are shares of its longer side.

    Raises:
        ValueError: a setting is outside its range.
    """

    rectified: bool = setting(
        False, 'The picture is rectified: P of camera_info holds, not K and D.'
    )
    max_offset_s: float = setting(
        0.04, 'Most by which the depth may be older or newer than the masks, s.', minimum=0.0
    )
    nearest_m: float = setting(0.1, 'Nearer depth is taken for missing, metres.', minimum=0.0)
    farthest_m: float = setting(10.0, 'Farther depth is taken for missing, metres.', minimum=0.1)
    reach: float = setting(
        0.04, 'Masks farther apart than this do not meet.', minimum=0.0, maximum=1.0
    )
    window: float = setting(
        0.012,
        'Half the side of the square whose median tells the depth of a place.',
        minimum=0.0,
        maximum=0.25,
    )
    least_depth: float = setting(
        0.2,
        'Share of the pixels of an object in that square that need depth.',
        minimum=0.0,
        maximum=1.0,
    )
    max_gap_m: float = setting(
        0.1, 'Objects farther from each other where they meet do not touch, metres.', minimum=0.0
    )
    same_gap_m: float = setting(
        0.01,
        'Places whose gap is wider than the least by up to this count as it, metres.',
        minimum=0.0,
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.nearest_m >= self.farthest_m:
            raise ValueError(
                f'nearest_m = {self.nearest_m}, farthest_m = {self.farthest_m}: expected the first '
                'to be smaller'
            )


@dataclass(frozen=True, eq=False)
class Contact:
    """Where two objects touch."""

    point: Points
    """[3]."""
    gap_m: float
    """How far apart the two surfaces are there."""
    by_shape: bool = False
    """Whether it is concluded from the shapes of both: of two round ones none is in sight there."""


@dataclass(frozen=True, eq=False)
class Extent:
    """A box round the visible surface of an object, along the axes of the optical frame."""

    centre: Points
    """[3]."""
    size: Points
    """[3], each at least 0."""


def find_contact(
    first: Mask, second: Mask, depth: Depth, camera: Camera, config: SpaceConfig = SpaceConfig()
) -> Contact | Missing:
    """Where two objects touch.

    Along the line on which the masks meet, the median depth of each object is taken on its own
    side. An object in front of another has a wide gap to it; what touches in sight has none. So the
    place with the least gap is it, or the middle of those that have it. A round object hides its
    contact, or turns away from the camera there: then a sphere and what it touches, a plane or
    another sphere, tell it.

    Args:
        first: bool [H, W].
        second: bool [H, W], disjoint from the first.
        depth: [H, W], registered to the masks.
        camera: of pictures of that size.
        config: the settings.

    Returns:
        The contact, or why there is none.
    """
    if not first.any() or not second.any():
        return 'one_object'
    long_side = max(depth.shape)
    at, apart = _meeting_places(first, second)
    if apart > max(config.reach * long_side, 1.5):
        return 'apart'
    half = max(2, round(config.window * long_side + apart / 2))
    inner = [_inner(mask) for mask in (first, second)]
    known = _usable(depth, config)
    sides = np.array(
        [[_median_near(depth, known, mask, place, half, config) for mask in inner] for place in at]
    )
    gaps = np.abs(sides[:, 0] - sides[:, 1])
    if not np.isfinite(gaps).any():
        return 'no_depth'
    least = float(np.nanmin(gaps))
    same = gaps <= least + config.same_gap_m  # False for NaN
    places, z = at[same], sides[same].mean(axis=1)
    line = camera.rays(places) * z[:, None]
    points = [_points(mask & known, depth, camera) for mask in inner]
    front = int(np.nanmedian(sides[:, 0] - sides[:, 1]) > 0)
    # what touches in sight needs no shape, unless that shape leaves no doubt
    allowed = LOOSE if least > config.same_gap_m else TIGHT
    for near, far in ((front, 1 - front), (1 - front, front)):
        if found := _contact_of_shapes(points[near], points[far], line, allowed):
            return found
    if least > config.max_gap_m:
        return 'gap'
    middle = int(np.argmin(np.linalg.norm(places - np.median(places, axis=0), axis=1)))
    around = np.linalg.norm(places - places[middle], axis=1) <= 2 * half
    point = camera.rays(places[middle][None])[0] * np.median(z[around])
    return Contact(point, float(gaps[same][middle]))


def find_extent(
    mask: Mask, depth: Depth, camera: Camera, config: SpaceConfig = SpaceConfig()
) -> Extent | None:
    """A box round the visible points of an object; None where fewer than ten have depth.

    Points whose depth is far from the others', as at rims where the sensor sees two surfaces at
    once, are left out, and so are two in a hundred at either end of each axis.

    Args:
        mask: bool [H, W].
        depth: [H, W], registered to the mask.
        camera: of pictures of that size.
        config: the settings.
    """
    points = _points(_inner(mask) & _usable(depth, config), depth, camera)
    if len(points) < 10:
        return None
    off = np.abs(points[:, 2] - np.median(points[:, 2]))
    points = points[off <= max(6 * float(np.median(off)), 0.02)]
    low, high = np.percentile(points, (2, 98), axis=0)
    return Extent((low + high) / 2, high - low)


def _usable(depth: Depth, config: SpaceConfig) -> Mask:
    return (depth >= config.nearest_m) & (depth <= config.farthest_m)  # False for NaN


def _inner(mask: Mask) -> Mask:
    """Without its rim, where depth is a mixture; the mask itself where little else is left."""
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    return inner if inner.sum() >= 0.3 * mask.sum() else mask


def _meeting_places(first: Mask, second: Mask) -> tuple[Points, float]:
    """Places between the masks where they are nearest to each other, and how near, in pixels.

    Returns:
        [N, 2], column and row, N at most ``MOST_SAMPLES``; the distance.
    """
    import cv2

    distance, nearest = cv2.distanceTransformWithLabels(
        (~second).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    here = np.where(first, distance, np.inf)
    apart = float(here.min())
    rows, columns = np.nonzero(here <= apart + 1.5)
    step = -(-len(rows) // MOST_SAMPLES)
    rows, columns = rows[::step], columns[::step]
    # the number of each pixel of the second mask is that of its own place
    there = np.zeros((int(nearest.max()) + 1, 2))
    second_rows, second_columns = np.nonzero(second)
    there[nearest[second_rows, second_columns]] = np.stack([second_columns, second_rows], 1)
    return (np.stack([columns, rows], 1) + there[nearest[rows, columns]]) / 2, apart


def _points(mask: Mask, depth: Depth, camera: Camera) -> Points:
    """Points of the pixels of a mask, [N, 3]; evenly chosen ones where there are very many."""
    rows, columns = np.nonzero(mask)
    step = -(-len(rows) // MOST_POINTS) or 1
    rows, columns = rows[::step], columns[::step]
    return camera.rays(np.stack([columns, rows], 1)) * depth[rows, columns, None].astype(np.float64)


def _contact_of_shapes(
    round_one: Points, other: Points, line: Points, allowed: tuple[float, float]
) -> Contact | None:
    """Where a sphere touches another sphere or a plane; None where the shapes do not tell.

    Args:
        round_one: [N, 3], visible points of the object that may be a sphere.
        other: [M, 3], of the other one.
        line: [L, 3], where their masks meet.
        allowed: most by which points may be off their shape: metres, and share of the radius.
    """

    def fits(off_m: float, radius: float) -> bool:
        return off_m <= allowed[0] + allowed[1] * radius

    ball = fit_sphere(round_one)
    if ball is None or not fits(ball.off_m, ball.radius):
        return None
    around = other[np.linalg.norm(other - ball.centre, axis=1) <= 2.5 * ball.radius]
    flat, second = fit_plane(around), fit_sphere(other)
    if second is not None and fits(second.off_m, second.radius):
        if flat is None or second.off_m < 0.8 * flat.off_m:
            between = second.centre - ball.centre
            away = float(np.linalg.norm(between))
            flat = Plane(ball.centre + between * (1 - second.radius / away), between / away, 0.0)
    if flat is None or not fits(flat.off_m, ball.radius):
        return None
    away = float(flat.normal @ (flat.middle - ball.centre))
    gap = abs(abs(away) - ball.radius)
    point = ball.centre + flat.normal * np.sign(away) * (abs(away) + ball.radius) / 2
    far_off = np.linalg.norm(line - point, axis=1).min() > 2 * ball.radius
    return None if gap > 0.3 * ball.radius or far_off else Contact(point, gap, by_shape=True)


def _median_near(
    depth: Depth, known: Mask, mask: Mask, place: Points, half: int, config: SpaceConfig
) -> float:
    """Median depth of an object round a place; NaN where too little of it is known."""
    column, row = (round(float(v)) for v in place)
    window = np.s_[max(row - half, 0) : row + half + 1, max(column - half, 0) : column + half + 1]
    there = mask[window]
    values = depth[window][there & known[window]]
    if len(values) < max(3, config.least_depth * there.sum()):
        return float('nan')
    return float(np.median(values))
