"""Spheres and planes through noisy points: what tells where objects touch out of sight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cs3_ros.space.camera import Points

MANY = 50
"""Fewer points tell no shape."""
STEPS = 5
"""Of Gauss-Newton."""


@dataclass(frozen=True, eq=False)
class Sphere:
    """A sphere through points."""

    centre: Points
    """[3]."""
    radius: float
    """Metres."""
    off_m: float
    """Median distance of the points from it."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane through points."""

    middle: Points
    """[3], a point of it."""
    normal: Points
    """[3], of length 1."""
    off_m: float
    """Median distance of the points from it."""


def fit_sphere(points: Points) -> Sphere | None:
    """The sphere through visible points; None where there are few, or none that is seen so.

    Algebraic least squares first, then Gauss-Newton on the distances, the farthest tenth of the
    points left out.
    """
    if len(points) < MANY:
        return None
    origin = points.mean(axis=0)
    at = points - origin
    solved = np.linalg.lstsq(np.c_[2 * at, np.ones(len(at))], (at**2).sum(axis=1), rcond=None)[0]
    centre = solved[:3]
    radius = float(np.sqrt(max(solved[3] + centre @ centre, 0)))
    for _ in range(STEPS):
        away = np.linalg.norm(at - centre, axis=1)
        off = away - radius
        kept = (np.abs(off) <= np.quantile(np.abs(off), 0.9)) & (away > 0)
        jacobian = np.c_[-(at[kept] - centre) / away[kept, None], -np.ones(kept.sum())]
        step = np.linalg.lstsq(jacobian, -off[kept], rcond=None)[0]
        centre, radius = centre + step[:3], radius + float(step[3])
    seen = float(np.ptp(at, axis=0)[:2].max())
    if not 0 < radius <= seen:  # a larger one would show but a part of itself: rather a plane
        return None
    off_m = float(np.median(np.abs(np.linalg.norm(at - centre, axis=1) - radius)))
    return Sphere(centre + origin, radius, off_m)


def fit_plane(points: Points) -> Plane | None:
    """The plane through points, the farthest third of them left out; None where there are few."""
    if len(points) < MANY:
        return None
    kept = points
    for share in (0.8, 0.9, 1.0):
        middle = kept.mean(axis=0)
        normal = np.linalg.svd(kept - middle, full_matrices=False)[2][2]
        off = np.abs((kept - middle) @ normal)
        kept = kept[off <= np.quantile(off, share)]
    return Plane(middle, normal, float(np.median(np.abs((points - middle) @ normal))))
