"""Spheres and planes through noisy points: what tells where objects touch out of sight."""

from __future__ import annotations

import numpy as np

from cs3_ros.space.camera import Points

MANY = 50
"""Fewer points tell no shape."""
MOST_UNEVEN_M = 0.012
"""Root mean square deviation, noise of the depth camera included, above which there is no plane."""


def fit_sphere(points: Points) -> tuple[Points, float] | None:
    """Centre and radius of the sphere that fits visible points; None where none does.

    Algebraic least squares first, then five steps of Gauss-Newton on the distances, the farthest
    tenth of the points left out.
    """
    if len(points) < MANY:
        return None
    origin = points.mean(axis=0)
    at = points - origin
    solved = np.linalg.lstsq(np.c_[2 * at, np.ones(len(at))], (at**2).sum(axis=1), rcond=None)[0]
    centre = solved[:3]
    radius = float(np.sqrt(max(solved[3] + centre @ centre, 0)))
    off = np.zeros(len(at))
    for _ in range(5):
        away = np.linalg.norm(at - centre, axis=1)
        off = away - radius
        kept = (np.abs(off) <= np.quantile(np.abs(off), 0.9)) & (away > 0)
        jacobian = np.c_[-(at[kept] - centre) / away[kept, None], -np.ones(kept.sum())]
        step = np.linalg.lstsq(jacobian, -off[kept], rcond=None)[0]
        centre, radius = centre + step[:3], radius + float(step[3])
    if not radius > 0 or np.median(np.abs(off)) > 0.15 * radius:
        return None
    seen = float(np.ptp(at, axis=0)[:2].max())
    return (centre + origin, radius) if radius <= seen else None


def fit_plane(points: Points) -> tuple[Points, Points] | None:
    """A point and the unit normal of the plane that fits points; None where none does."""
    if len(points) < MANY:
        return None
    middle = np.median(points, axis=0)
    for kept in (0.8, 0.9):
        normal = np.linalg.svd(points - middle, full_matrices=False)[2][2]
        off = np.abs((points - middle) @ normal)
        points = points[off <= np.quantile(off, kept)]
        middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][2]
    off = (points - middle) @ normal
    return (middle, normal) if np.sqrt((off**2).mean()) <= MOST_UNEVEN_M else None
