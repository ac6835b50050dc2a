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
BACKGROUND = 0.02
"""Heat of what does not move, relative to what moves most."""


@dataclass(frozen=True)
class MotionConfig:
    """Settings of ``MotionLocaliser``."""

    box_width: float = setting(
        0.75, 'Width of the proposed box, fraction of the image.', minimum=0.05, maximum=1.0
    )
    box_height: float = setting(
        0.7, 'Height of the proposed box, fraction of the image.', minimum=0.05, maximum=1.0
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

    def encode(self, frames: Sequence[Frame], index: int) -> tuple[NDArray[np.float32], int, int]:
        """Heat of ``action_heat``, and the height and width of ``frames[index]``.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        height, width = frames[index].image.shape[:2]
        return action_heat(frames, index), height, width

    def locate(
        self, encoded: tuple[NDArray[np.float32], int, int], audio: AudioClip
    ) -> Localisation:
        """A box of fixed size round the action; the sound is not used.

        The score is the share of the heat that lies in the box.
        """
        import cv2

        heat, height, width = encoded
        x, y = action_centre(heat)
        box = _box_round(x, y, self.config.box_width, self.config.box_height, height, width)
        full = np.asarray(cv2.resize(heat, (width, height)), np.float32)
        np.clip(full, 0, 1, out=full)
        left, top, right, bottom = (int(edge) for edge in box)
        share = full[top:bottom, left:right].sum(dtype=np.float64) / full.sum(dtype=np.float64)
        return Localisation(full, box, float(min(share, 1.0)))


def action_heat(frames: Sequence[Frame], index: int) -> NDArray[np.float32]:
    """Own motion times prior, float32 [h, w] in [0, 1], long side ``LONG_SIDE``; nowhere zero.

    Frames that are missing, damaged or of another size are left out; alone, the event frame gives
    the prior.

    Raises:
        ValueError: the event frame cannot be decoded.
    """
    image = frames[index].image
    event = _small_grey(image)
    height, width = event.shape
    speeds = []
    for other in _neighbours(frames, index):
        picture = frames[other].image_or_none
        if picture is None or picture.shape != image.shape:
            continue
        seconds = abs(frames[other].stamp_ns - frames[index].stamp_ns) / NS_PER_S
        flow = own_motion(event, _small_grey(picture))
        speeds.append(np.hypot(flow[..., 0], flow[..., 1]) / LONG_SIDE / seconds)
    rows, columns = np.mgrid[0:height, 0:width]
    x = ((columns + 0.5) / width - PRIOR_CENTRE[0]) / PRIOR_SPREAD
    y = ((rows + 0.5) / height - PRIOR_CENTRE[1]) / PRIOR_SPREAD
    prior = np.exp(-(x**2 + y**2) / 2)
    if not speeds:
        return prior.astype(np.float32)
    speed = np.mean(speeds, axis=0)
    speed = speed / max(float(speed.max()), STILL)
    return (prior * (BACKGROUND + speed) / (BACKGROUND + 1)).astype(np.float32)


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


def _box_round(
    x: float, y: float, box_width: float, box_height: float, height: int, width: int
) -> Box:
    """Box in whole pixels round a centre given in fractions, cut at the image border."""
    left, right = max(x - box_width / 2, 0.0), min(x + box_width / 2, 1.0)
    top, bottom = max(y - box_height / 2, 0.0), min(y + box_height / 2, 1.0)
    return (
        float(round(left * width)),
        float(round(top * height)),
        float(round(right * width)),
        float(round(bottom * height)),
    )
