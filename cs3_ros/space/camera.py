"""Depth images and the camera that took them: pixels to points.

Points are metres in the optical frame of the camera (REP 103: x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Mask

Depth = NDArray[np.float32]
"""[H, W], metres along the optical axis; NaN where there is none (REP 118 has 0 and NaN)."""
Points = NDArray[np.float64]
"""[..., 3], metres in the optical frame."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, with or without lens distortion, as sensor_msgs/CameraInfo has it.

    Raises:
        ValueError: no camera: not calibrated (fx is 0), not finite, or an unknown distortion model.
    """

    width: int
    """Of its pictures, pixels."""
    height: int
    """Of its pictures, pixels."""
    fx: float
    """Focal length, pixels."""
    fy: float
    """Focal length, pixels."""
    cx: float
    """Column of the optical axis, pixels."""
    cy: float
    """Row of the optical axis, pixels."""
    model: str = ''
    """``plumb_bob``, ``rational_polynomial``, ``equidistant``; '' where there is no distortion."""
    distortion: tuple[float, ...] = ()
    """Coefficients of the model."""

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not (self.width > 0 and self.height > 0 and self.fx > 0 and self.fy > 0):
            raise ValueError(
                f'camera of {self.width}x{self.height} pixels, fx = {self.fx}, fy = {self.fy}: '
                'expected positive numbers; calibrate it, or publish its calibration as camera_info'
            )
        if not np.isfinite(numbers).all():
            raise ValueError(f'camera with {numbers}: expected finite numbers in camera_info')
        models = ('', 'plumb_bob', 'rational_polynomial', 'equidistant')
        if self.model not in models:
            raise ValueError(
                f'camera with the distortion model {self.model!r}: expected one of '
                f'{", ".join(models[1:])}; rectify the picture and set rectified'
            )

    def rays(self, pixels: NDArray[np.floating]) -> Points:
        """Directions of pixels, with z = 1.

        Args:
            pixels: [N, 2], column and row.

        Returns:
            [N, 3].
        """
        at = np.asarray(pixels, np.float64).reshape(-1, 2)
        plain: Points = (at - (self.cx, self.cy)) / (self.fx, self.fy)
        if self.distortion and len(at):
            import cv2

            undistort = (
                cv2.fisheye.undistortPoints if self.model == 'equidistant' else cv2.undistortPoints
            )
            straight: Any = undistort(at[:, None], self._matrix, np.array(self.distortion))
            plain = straight.reshape(-1, 2)
        return np.concatenate([plain, np.ones((len(at), 1))], axis=1)

    def pixel(self, point: Points) -> tuple[float, float]:
        """Column and row at which a point is seen.

        Args:
            point: [3], before the camera.
        """
        if not self.distortion:
            x, y = (float(value) for value in point[:2] / point[2])
            return self.fx * x + self.cx, self.fy * y + self.cy
        import cv2

        project = cv2.fisheye.projectPoints if self.model == 'equidistant' else cv2.projectPoints
        still = np.zeros(3)
        where = np.asarray(point, np.float64).reshape(1, 1, 3)
        seen: Any
        seen, _ = project(where, still, still, self._matrix, np.array(self.distortion))
        column, row = (float(value) for value in seen.reshape(2))
        return column, row

    @property
    def _matrix(self) -> NDArray[np.float64]:
        """K, [3, 3]."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera with pictures of another size.

        Raises:
            ValueError: of another shape, so they show something else.
        """
        check_shape((height, width), (self.height, self.width), 'camera_info')
        return self.resized(width, height)

    def resized(self, width: int, height: int) -> Camera:
        """The same camera with its pictures stretched to another size."""
        x, y = width / self.width, height / self.height
        # a pixel's centre, not its corner, has whole numbers
        cx, cy = (self.cx + 0.5) * x - 0.5, (self.cy + 0.5) * y - 0.5
        return Camera(width, height, self.fx * x, self.fy * y, cx, cy, self.model, self.distortion)


def camera_of(info: Any, rectified: bool = False) -> Camera:
    """The camera of a sensor_msgs/CameraInfo, as rclpy or rosbags reads it.

    Args:
        info: the message; binning and region of interest are taken into account.
        rectified: the picture is free of distortion (``image_rect``): P holds, not K and D.

    Raises:
        ValueError: as ``Camera`` does, or a matrix of another length.
    """
    matrix = [float(v) for v in (info.p if rectified else info.k)]
    columns = 4 if rectified else 3
    if len(matrix) != 3 * columns:
        raise ValueError(
            f'camera_info with a matrix of {len(matrix)} numbers: expected {3 * columns}'
        )
    fx, cx, fy, cy = matrix[0], matrix[2], matrix[columns + 1], matrix[columns + 2]
    width, height, roi = int(info.width), int(info.height), info.roi
    if roi.width and roi.height:
        width, height = int(roi.width), int(roi.height)
        cx, cy = cx - roi.x_offset, cy - roi.y_offset
    bent = not rectified and any(info.d)
    distortion = tuple(float(v) for v in info.d) if bent else ()
    model = str(info.distortion_model) if bent else ''
    camera = Camera(width, height, fx, fy, cx, cy, model, distortion)
    binning = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    return (
        camera if binning == (1, 1) else camera.resized(width // binning[0], height // binning[1])
    )


def metres(depth: NDArray[np.generic], encoding: str) -> Depth:
    """A depth image as REP 118 has it, in metres with NaN for what is missing.

    Args:
        depth: [H, W].
        encoding: ``32FC1`` (metres), or ``16UC1`` or ``mono16`` (millimetres).

    Raises:
        ValueError: another encoding or shape.
    """
    if depth.ndim == 3 and depth.shape[2] == 1:
        depth = depth[:, :, 0]
    if encoding not in ('32FC1', '16UC1', 'mono16') or depth.ndim != 2:
        raise ValueError(
            f'depth image of encoding {encoding!r} and shape {depth.shape}: expected 32FC1 in '
            'metres or 16UC1 in millimetres, [H, W] (REP 118)'
        )
    values = depth.astype(np.float32)
    if encoding != '32FC1':
        values *= np.float32(1e-3)
    values[~(np.isfinite(values) & (values > 0))] = np.nan
    return values


def check_shape(size: tuple[int, int], other: tuple[int, int], what: str) -> None:
    """Refuse pictures that cannot show the same.

    Args:
        size: height and width.
        other: height and width of ``what``.

    Raises:
        ValueError: one is wider for its height than the other.
    """
    if abs(size[1] * other[0] - size[0] * other[1]) > max(*size, *other):
        raise ValueError(
            f'depth of {size[1]}x{size[0]} and {what} of {other[1]}x{other[0]} pixels: expected '
            'the same shape; take the depth and the camera_info that are registered to the picture'
        )


def masks_at(labels: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Mask, Mask]:
    """The two masks of a label image at the size of a depth image.

    Args:
        labels: [H, W], 1 and 2 the objects, 0 the rest.
        size: height and width.

    Returns:
        Two of bool [*size]; all False where an object is not there.

    Raises:
        ValueError: pictures of another shape.
    """
    import cv2

    check_shape(size, (labels.shape[0], labels.shape[1]), 'masks')
    if labels.shape != size:
        labels = np.asarray(
            cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
        )
    return labels == 1, labels == 2
