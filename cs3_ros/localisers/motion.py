"""Where something moves on its own: a localiser without weights that does not use the sound.

Who wears the camera looks at what they do, and does it with hands that come from below. So the
action lies where the picture moves differently from the background, most likely a little below the
centre. Half of the answer is that prior; motion pulls it towards the action. The box covers the
*surroundings* of the action: hands propose the small things, and no other stage proposes the large
one that they hit (sink, table, bowl, door).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, AudioClip, Box, Frame, Localisation
from cs3_ros.config import setting, validate

LONG_SIDE = 180
"""Long side of the pictures on which motion is measured, pixels."""
OFFSETS_S = (1 / 30, 2 / 30, 4 / 30)
"""The event frame is compared with frames this far before and after it, seconds."""
STILL = 0.015
"""Own motion below this is mostly noise, long sides per second."""
PRIOR_CENTRE = (0.5, 0.65)
"""Where the action is expected, fractions of width and height."""
PRIOR_SPREAD = 0.3
"""Standard deviation of that expectation, fraction of each side."""
OUTSIDE = 0.1
"""Share of the squared heat that lies beyond each edge of its extent."""
MOST_AREA = 0.3
"""Largest extent of heat that is proposed, fraction of the picture: beyond that all of it moves."""
BACKGROUND = 0.02
"""Heat of what does not move, relative to what moves most."""


@dataclass(frozen=True)
class MotionConfig:
    """Settings of ``MotionLocaliser``."""

    extent: str = setting(
        'fixed',
        'Size of the proposed box: fixed, for lack of any idea of what is there; or motion, as far '
        'as most of the heat reaches, where other stages propose objects.',
        choices=('fixed', 'motion'),
    )
    box_width: float = setting(
        0.75, 'Width of the fixed box, fraction of the image.', minimum=0.05, maximum=1.0
    )
    box_height: float = setting(
        0.7, 'Height of the fixed box, fraction of the image.', minimum=0.05, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


class MotionLocaliser:
    """Localiser that looks for motion of its own round the onset; it does not use sound.

    Args:
        config: size of the proposed box.
    """

    def __init__(self, config: MotionConfig = MotionConfig()) -> None:
        self.config = config

    def encode(
        self, frames: Sequence[Frame], index: int
    ) -> tuple[NDArray[np.float32], int, int] | None:
        """Heat of ``action_heat``, and the height and width of ``frames[index]``; None where
        nothing moves on its own.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        height, width = frames[index].image.shape[:2]
        speed = own_speed(frames, index)
        return None if speed.max() < STILL else (_heat(speed), height, width)

    def locate(
        self, encoded: tuple[NDArray[np.float32], int, int] | None, audio: AudioClip
    ) -> Localisation | None:
        """A box round the action; the sound is not used.

        The score is the share of the heat that lies in the box. None where nothing moves on its
        own: then nothing supports a box.
        """
        import cv2

        if encoded is None:
            return None
        heat, height, width = encoded
        x, y = action_centre(heat)
        if self.config.extent == 'motion':
            box = _whole_pixels(*heat_extent(heat), height, width)
        else:
            half_x, half_y = self.config.box_width / 2, self.config.box_height / 2
            box = _whole_pixels(x - half_x, y - half_y, x + half_x, y + half_y, height, width)
        full = np.asarray(cv2.resize(heat, (width, height)), np.float32)
        np.clip(full, 0, 1, out=full)
        left, top, right, bottom = (int(edge) for edge in box)
        share = full[top:bottom, left:right].sum(dtype=np.float64) / full.sum(dtype=np.float64)
        return Localisation(full, box, float(min(share, 1.0)), (x * width, y * height))


def action_heat(frames: Sequence[Frame], index: int) -> NDArray[np.float32]:
    """Own motion times prior, float32 [h, w] in [0, 1], long side ``LONG_SIDE``; nowhere zero.

    Where there is no other frame, the event frame gives the prior.

    Raises:
        ValueError: the event frame cannot be decoded.
    """
    return _heat(own_speed(frames, index))


def _heat(speed: NDArray[np.float64]) -> NDArray[np.float32]:
    height, width = speed.shape
    rows, columns = np.mgrid[0:height, 0:width]
    x = ((columns + 0.5) / width - PRIOR_CENTRE[0]) / PRIOR_SPREAD
    y = ((rows + 0.5) / height - PRIOR_CENTRE[1]) / PRIOR_SPREAD
    prior = np.exp(-(x**2 + y**2) / 2)
    speed = speed / max(float(speed.max()), STILL)
    return (prior * (BACKGROUND + speed) / (BACKGROUND + 1)).astype(np.float32)


def own_speed(frames: Sequence[Frame], index: int) -> NDArray[np.float64]:
    """Speed of what moves on its own, [h, w] long sides per second; the long side ``LONG_SIDE``.

    Frames that are missing, damaged or of another size are left out; zero where none is left.

    Raises:
        ValueError: the event frame cannot be decoded.
    """
    image = frames[index].image
    event = _small_grey(image)
    speeds = [np.zeros(event.shape)]
    for other in _neighbours(frames, index):
        picture = frames[other].image_or_none
        if picture is None or picture.shape != image.shape:
            continue
        seconds = abs(frames[other].stamp_ns - frames[index].stamp_ns) / NS_PER_S
        flow = own_motion(event, _small_grey(picture))
        speeds.append(np.hypot(flow[..., 0], flow[..., 1]) / LONG_SIDE / seconds)
    return np.asarray(np.sum(speeds, axis=0) / max(len(speeds) - 1, 1))


def own_motion(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Optical flow between two grey pictures [h, w] less the background's, [h, w, 2] pixels.

    The background's flow is a polynomial of second order in x and y (a turning and walking head
    before a deep scene), fitted robustly, so that what moves on its own does not take part.
    """
    import cv2

    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # Propagation runs within stripes whose number is that of the threads: off, any machine agrees.
    search.setUseSpatialPropagation(False)
    start = np.zeros((*first.shape, 2), np.float32)
    flow = search.calc(first, second, start).astype(np.float64)
    height, width = first.shape
    rows, columns = np.mgrid[0:height, 0:width]
    x, y = columns.ravel() / LONG_SIDE, rows.ravel() / LONG_SIDE
    terms = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], 1)
    target = flow.reshape(-1, 2)
    sample = slice(0, None, 7)
    weight = np.ones(len(terms[sample]))
    for _ in range(8):
        # einsum, not BLAS: its sums do not depend on the number of threads.
        weighted = terms[sample] * weight[:, None]
        normal = np.einsum('ni,nj->ij', weighted, terms[sample])
        right = np.einsum('ni,nj->ij', weighted, target[sample])
        fit = np.linalg.solve(normal + 1e-9 * np.eye(6), right)
        rest = target[sample] - np.einsum('ni,ij->nj', terms[sample], fit)
        weight = np.maximum(np.hypot(rest[:, 0], rest[:, 1]), 0.3) ** -1.5
    return (target - np.einsum('ni,ij->nj', terms, fit)).reshape(flow.shape)


def action_centre(heat: NDArray[np.float32]) -> tuple[float, float]:
    """Centre of the action: half way from the peak of the heat to its centre of mass.

    Args:
        heat: float32 [h, w], somewhere above 0.

    Returns:
        (x, y), fractions of width and height.
    """
    import cv2

    height, width = heat.shape
    smooth = cv2.GaussianBlur(heat, (0, 0), LONG_SIDE / 30)
    top, left = np.unravel_index(int(smooth.argmax()), smooth.shape)
    total = heat.sum(dtype=np.float64)
    mean_x = (heat.sum(0, dtype=np.float64) * (np.arange(width) + 0.5)).sum() / total
    mean_y = (heat.sum(1, dtype=np.float64) * (np.arange(height) + 0.5)).sum() / total
    return float((left + 0.5 + mean_x) / 2 / width), float((top + 0.5 + mean_y) / 2 / height)


def heat_extent(heat: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """The box in which most of the squared heat lies, in both directions, at most ``MOST_AREA``.

    Args:
        heat: float32 [h, w], somewhere above 0.

    Returns:
        (x0, y0, x1, y1), fractions of width and height.
    """
    weight = np.square(heat, dtype=np.float64)

    def middle(along: NDArray[np.float64]) -> tuple[float, float]:
        reached = np.cumsum(along) / along.sum()
        first, last = np.searchsorted(reached, [OUTSIDE, 1 - OUTSIDE])
        return first / len(along), min((last + 1) / len(along), 1.0)

    (x0, x1), (y0, y1) = middle(weight.sum(0)), middle(weight.sum(1))
    shrink = min(1.0, (MOST_AREA / ((x1 - x0) * (y1 - y0))) ** 0.5)
    x, y, half_x, half_y = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    return x - shrink * half_x, y - shrink * half_y, x + shrink * half_x, y + shrink * half_y


def _neighbours(frames: Sequence[Frame], index: int) -> list[int]:
    """Positions of the frames nearest to the wanted offsets, without the event frame."""
    stamp = frames[index].stamp_ns
    wanted = []
    for offset in (sign * value for value in OFFSETS_S for sign in (-1, 1)):
        target = stamp + offset * NS_PER_S
        best = min(range(len(frames)), key=lambda k: abs(frames[k].stamp_ns - target))
        miss = abs(frames[best].stamp_ns - target) / NS_PER_S
        if frames[best].stamp_ns != stamp and miss <= abs(offset) / 2 + 1e-3:
            wanted.append(best)
    return sorted(set(wanted))


def _small_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey picture with long side ``LONG_SIDE``."""
    import cv2

    height, width = image.shape[:2]
    scale = LONG_SIDE / max(height, width)
    size = (max(round(width * scale), 16), max(round(height * scale), 16))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def _whole_pixels(x0: float, y0: float, x1: float, y1: float, height: int, width: int) -> Box:
    """A box given in fractions, in whole pixels, cut at the image border."""
    return (
        float(round(max(x0, 0.0) * width)),
        float(round(max(y0, 0.0) * height)),
        float(round(min(x1, 1.0) * width)),
        float(round(min(y1, 1.0) * height)),
    )
