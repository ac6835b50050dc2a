"""From the heat map of a localiser to its peak, a window for a second look, and a box.

Numbers are those of method.md A8. What the second look needs (peak, window, cut) stays on the
device, so that nothing waits for it; component and box are found on the host. S is the side of a
heat map.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cs3_ros.collision import Box
from cs3_ros.config import setting, validate

BLUR = 2 / 352
"""Standard deviation of the blur before the search for the peak, fraction of the map's side."""
MIN_BOX_PX = 16.0
"""Smallest width and height of a box, pixels of the frame."""
FALLBACK_AREA = 0.1
"""Area of the square that stands in where no component holds the peak, fraction of the frame."""
FLAT = 1e-4
"""Heat that differs by less than this fraction of its maximum differs by rounding only."""


@dataclass(frozen=True)
class HeatMapConfig:
    """How a heat map is refined and turned into a box."""

    crop: bool = setting(True, 'Look twice: the second time at the surroundings of the peak only.')
    crop_size: float = setting(
        0.5,
        'Width and height of these surroundings, fraction of the frame.',
        minimum=0.1,
        maximum=1.0,
    )
    threshold: float = setting(
        0.5,
        'The region of the sound is where the heat reaches this fraction of its maximum.',
        minimum=0.05,
        maximum=1.0,
    )
    padding: float = setting(
        0.05,
        'Margin on each side of the box of the region, fraction of the box.',
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        validate(self)


def blur_matrix(size: int) -> Tensor:
    """Gaussian smoothing of ``size`` samples as float32 [size, size]; rows sum to 1."""
    position = torch.arange(size, dtype=torch.float64)
    distance = (position[:, None] - position[None]) / (BLUR * size)  # [size] -> [size, size]
    weights = torch.exp(-(distance**2) / 2)
    return (weights / weights.sum(1, keepdim=True)).float()


def find_peak(heat: Tensor, blur: Tensor) -> Tensor:
    """Row and column of the maximum after a light blur, on the device.

    Args:
        heat: [S, S] in [0, 1].
        blur: ``blur_matrix(S)`` on the same device.

    Returns:
        int64 [2]; the first of equals.
    """
    index = (blur @ heat @ blur.T).flatten().argmax()  # [S, S] -> [S*S] -> []
    return torch.stack([index // heat.shape[1], index % heat.shape[1]])  # [] -> [2]


def stands_out(low: float, high: float) -> bool:
    """Whether a heat map between these values has a peak; False where they are not numbers."""
    return bool(high - low > FLAT * high)


def window_size(frame: tuple[int, int], fraction: float) -> tuple[int, int]:
    """Height and width of the second look at a frame of this (height, width), pixels."""
    return max(round(frame[0] * fraction), 1), max(round(frame[1] * fraction), 1)


def window_start(
    peak: Tensor, size: int, frame: tuple[int, int], window: tuple[int, int]
) -> Tensor:
    """Top and left of a window centred on the peak as far as it stays inside the frame.

    Args:
        peak: int64 [2], row and column in a map of ``size`` x ``size`` that spans the frame.
        size: side of that map.
        frame: height and width of the frame.
        window: height and width of the window.

    Returns:
        int64 [2] on the device of ``peak``.
    """
    starts = []
    for index, whole, part in zip(peak, frame, window, strict=True):
        centre = (2 * index + 1) * whole // (2 * size)  # whole numbers: equal on every machine
        starts.append((centre - part // 2).clamp(0, whole - part))
    return torch.stack(starts)  # 2 x [] -> [2]


def cut(picture: Tensor, start: Tensor, window: tuple[int, int]) -> Tensor:
    """The window of a picture [H, W, 3] whose top and left are on the device: [h, w, 3]."""
    for axis in (0, 1):
        indices = torch.arange(window[axis], device=picture.device) + start[axis]
        picture = picture.index_select(axis, indices)  # [H, W, 3] -> [h, W, 3] -> [h, w, 3]
    return picture


def paste(
    heat: NDArray[np.float32],
    start: tuple[int, int],
    window: tuple[int, int],
    frame: tuple[int, int],
) -> NDArray[np.float32]:
    """A heat map of a window in the frame, float32 [H, W]; zero outside of the window.

    Args:
        heat: [S, S], squashed to a square.
        start: top and left of the window.
        window: its height and width.
        frame: height and width of the frame.
    """
    (top, left), (height, width) = start, window
    resized = cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR)
    if window == frame:
        return np.asarray(resized)
    full = np.zeros(frame, np.float32)
    full[top : top + height, left : left + width] = resized
    return full


def region_box(
    heat: NDArray[np.float32],
    peak: tuple[int, int],
    start: tuple[int, int],
    window: tuple[int, int],
    frame: tuple[int, int],
    config: HeatMapConfig = HeatMapConfig(),
) -> Box:
    """Box, in pixels of the frame, of the hot component that holds the peak (method.md A8).

    Args:
        heat: [S, S] of the window, squashed to a square.
        peak: row and column in ``heat``.
        start: top and left of the window in the frame.
        window: its height and width.
        frame: height and width of the frame.
        config: threshold and padding.

    Returns:
        A box inside the frame, at least ``MIN_BOX_PX`` wide and high where the frame is. Where the
        peak is below the threshold (a lone hot pixel elsewhere), a square of ``FALLBACK_AREA``.
    """
    scale_y, scale_x = window[0] / heat.shape[0], window[1] / heat.shape[1]
    hot = (heat >= config.threshold * heat.max()).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    label = labels[peak]
    if label == 0:
        side = min((FALLBACK_AREA * frame[0] * frame[1]) ** 0.5, *frame)
        y = start[0] + (peak[0] + 0.5) * scale_y
        x = start[1] + (peak[1] + 0.5) * scale_x
        return _box_inside(x, y, side, side, frame)
    left, top, width, height = (float(value) for value in stats[label, : cv2.CC_STAT_AREA])
    x = start[1] + (left + width / 2) * scale_x
    y = start[0] + (top + height / 2) * scale_y
    grow = 1 + 2 * config.padding
    return _box_inside(x, y, width * scale_x * grow, height * scale_y * grow, frame)


def _box_inside(x: float, y: float, width: float, height: float, frame: tuple[int, int]) -> Box:
    """Box round (x, y), cut at the border of the frame, moved inside where it is too small."""
    edges = []
    for centre, size, whole in ((x, width, frame[1]), (y, height, frame[0])):
        low, high = max(centre - size / 2, 0.0), min(centre + size / 2, float(whole))
        if high - low < MIN_BOX_PX:
            size = min(MIN_BOX_PX, float(whole))
            low = min(max((low + high - size) / 2, 0.0), whole - size)
            high = low + size
        edges.append((low, high))
    (x0, x1), (y0, y1) = edges
    return x0, y0, x1, y1
