"""Rotations as quaternions (x, y, z, w; REP 103) and as matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cs3_ros.space.camera import Points


def rotation_matrix(quaternion: Sequence[float]) -> Points:
    """The matrix [3, 3] of a quaternion (x, y, z, w).

    Raises:
        ValueError: it is no rotation: all zero, or not finite.
    """
    length = float(np.linalg.norm(quaternion))
    if not 0 < length < np.inf:
        raise ValueError(f'quaternion {tuple(quaternion)}: expected one of length 1')
    x, y, z, w = np.asarray(quaternion, np.float64) / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(matrix: Points) -> tuple[float, float, float, float]:
    """The quaternion (x, y, z, w), w at least 0, of a rotation matrix [3, 3].

    It is the eigenvector of the greatest eigenvalue of a matrix that holds in all cases, also where
    the trace is small (Bar-Itzhack, 2000).
    """
    m = matrix
    lower = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0, 0, 0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0, 0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    x, y, z, w = (float(v) for v in np.linalg.eigh(lower)[1][:, 3])
    sign = -1.0 if w < 0 else 1.0
    return sign * x, sign * y, sign * z, sign * w
