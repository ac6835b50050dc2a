"""Masks carried forward by dense optical flow, on any CPU.

Four sources say where an object is now, each where another fails:

- the signed distance to its rim, fetched along the flow (DIS, Kroeger et al. 2016) from the frame
  before; where the flow forwards and backwards disagree it counts less;
- a colour model, two histograms from the event frame of what is within and round the mask, which
  mends the rim that flow alone wears away; it weighs as much as it tells the two apart there;
- the mask of the event frame, moved as a whole by the points of the object that were followed since
  (a similarity by RANSAC), which undoes drift of what is rigid;
- the other object: of two that claim a pixel, the surer one gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Frame, Image, Mask, Tracked
from cs3_ros.config import setting, validate

Array = NDArray[np.float32]

BINS = 16
"""Of the colour histograms, for each of red, green and blue."""
RARE = 1e-4
"""Probability that is added to every colour, so that one not seen before decides nothing."""
SMOOTH = 3.0
"""Distance from the rim, working pixels, that counts as much as a unit of the colour model."""
SURE = 3.0
"""Largest weight of distance and colour alike."""
REACH = 12.0
"""How far from where the flow puts it, working pixels, the rim can be."""
COLOUR, ANCHOR = 0.6, 0.3
"""Weights of colour and of the mask of the event frame beside that of the flow."""
DISAGREE, DOUBTED = 1.0, 0.3
"""Working pixels (more where it is fast) by which the two flows may differ, and the weight of one
that differs by more."""
POINTS, LEAST_POINTS = 400, 8
"""Points of an object that are followed, and fewest from which a movement is told."""
LOST_SHARE, LEAST_PIXELS = 0.04, 12
"""An object of less than this share of its first area, or of fewer working pixels, is lost."""
LOST_CONFIDENCE = 0.08
"""So is one of less confidence."""
INERTIA = 0.8
"""Share of the confidence of the frame before."""


@dataclass(frozen=True)
class FlowConfig:
    """Settings of ``FlowTracker``."""

    working_pixels: int = setting(
        102_400,
        'Pixels to which frames are scaled down; the time per frame goes with it.',
        minimum=4096,
        maximum=1_000_000,
    )

    def __post_init__(self) -> None:
        validate(self)


class _Object:
    """One object of a track.

    Args:
        mask: bool [h, w] in the event frame, working size.
        codes: [h, w] of its colours.
    """

    def __init__(self, mask: Mask, codes: NDArray[np.int32]) -> None:
        self.first = self.distance = _distance(mask)
        self.area = int(np.count_nonzero(mask))
        side = self.area**0.5
        self.reach = min(REACH, 3 + 9 * side)
        around = (self.distance < 0) & (self.distance > -(0.5 * side + 6))
        self.colours = _colour_table(codes, self.distance > 1, around & (self.distance < -1))
        told = cv2.blur(self.colours[codes], (3, 3))
        rim = np.abs(self.distance) < self.reach
        hit = [_share(told[rim & side] > 0) for side in (mask, ~mask)]
        self.reliable = max(hit[0] - hit[1], 0.0) ** 2
        """How well colour tells the object from what is round it, in [0, 1]."""
        self.fit = max(_share(told[mask] > 0), 0.05)
        rows, columns = np.nonzero(mask)
        chosen = np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).astype(int)
        self.origins: Array = np.stack([columns[chosen], rows[chosen]], 1).astype(np.float32)
        self.points = self.origins
        """Where the points are now, (x, y), float32 [K, 2]."""
        self.count = len(chosen)
        self.confidence = 1.0


@dataclass(eq=False)
class FlowTrack:
    """State of one event's track, changed by ``FlowTracker.follow``."""

    shape: tuple[int, int]
    """Height and width of the frames."""
    grey: NDArray[np.uint8]
    """The frame before, [h, w], working size."""
    objects: list[_Object | None]
    """The objects of the event; None where one is lost."""


class FlowTracker:
    """Tracker by optical flow and colour.

    Args:
        config: its working size.
    """

    def __init__(self, config: FlowConfig = FlowConfig()) -> None:
        self.config = config
        # The rim is fetched along the flow backwards: finer. Smoothing both gains nothing here.
        self._back, self._forth = _dis(finest=1), _dis(finest=2)
        self._grids: dict[tuple[int, int], tuple[Array, Array]] = {}

    def begin(self, frame: Frame, masks: Sequence[Mask]) -> FlowTrack:
        """Take in the objects of an event.

        Args:
            frame: the event frame.
            masks: bool [H, W] at its size, one per object; an empty one is lost from the start.

        Raises:
            ValueError: the frame cannot be decoded, or the masks are not of its size.
        """
        if not masks or any(mask.shape != masks[0].shape for mask in masks):
            raise ValueError(
                f'{len(masks)} masks of {[mask.shape for mask in masks]}: expected at least one, '
                'all of one size'
            )
        height, width = masks[0].shape
        image = self._scaled(frame, (height, width))
        codes = _codes(image)
        objects: list[_Object | None] = []
        for mask in masks:
            share = cv2.resize(
                mask.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_AREA
            )
            small = share > min(0.5, float(share.max()) / 2)
            objects.append(_Object(small, codes) if small.any() and not small.all() else None)
        return FlowTrack((height, width), _grey(image), objects)

    def follow(self, state: FlowTrack, frame: Frame) -> tuple[Tracked | None, ...]:
        """Find the objects in the next frame.

        Args:
            state: from ``begin``, changed here.
            frame: a later frame than the last one.

        Returns:
            One for each mask of ``begin``; None where it left or was lost, from then on for good.

        Raises:
            ValueError: the frame cannot be decoded or has another shape; the state is as before.
        """
        image = self._scaled(frame, state.shape)
        grey, codes = _grey(image), _codes(image)
        back, forth = self._back(grey, state.grey), self._forth(state.grey, grey)
        state.grey = grey
        columns, rows = self._grid(grey.shape)
        x, y = columns + back[..., 0], rows + back[..., 1]
        there = _fetch(forth, x, y)
        error = np.hypot(there[..., 0] + back[..., 0], there[..., 1] + back[..., 1])
        doubtful = error > DISAGREE * (1 + 0.1 * np.hypot(back[..., 0], back[..., 1]))
        doubtful |= (x < 0) | (y < 0) | (x > grey.shape[1] - 1) | (y > grey.shape[0] - 1)
        scores = {
            number: _score(each, codes, (x, y), forth, doubtful)
            for number, each in enumerate(state.objects)
            if each is not None
        }
        found: list[Tracked | None] = [None] * len(state.objects)
        for number, score in scores.items():
            mask = score > 0
            for other, rival in scores.items():
                if other != number:
                    mask &= score >= rival if other > number else score > rival
            each = state.objects[number]
            assert each is not None
            if _keep(each, mask, doubtful, codes):
                found[number] = Tracked(_enlarged(each.distance, state.shape), each.confidence)
            else:
                state.objects[number] = None
        return tuple(found)

    def _scaled(self, frame: Frame, shape: tuple[int, int]) -> Image:
        """The frame at its working size, RGB uint8 [h, w, 3]."""
        height, width = shape
        scale = min(1.0, (self.config.working_pixels / (height * width)) ** 0.5)
        size = max(round(width * scale), 8), max(round(height * scale), 8)
        image = frame.small(size[0] * size[1])
        ratio = image.shape[1] * height / (image.shape[0] * width)
        if abs(ratio - 1) > 0.05 or image.shape[0] > height:
            raise ValueError(
                f'a frame of {image.shape[1]}x{image.shape[0]} after one of {width}x{height}: '
                'expected frames of one size'
            )
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    def _grid(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Column and row of every pixel, float32 [h, w] each."""
        height, width = shape
        if (height, width) not in self._grids:
            rows, columns = np.mgrid[:height, :width].astype(np.float32)
            self._grids = {(height, width): (columns, rows)}
        return self._grids[height, width]


def _dis(finest: int) -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], Array]:
    """Flow from one grey picture to another, float32 [h, w, 2]; scale 0 is every pixel."""
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(finest)
    dis.setVariationalRefinementIterations(0)

    def flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Array:
        return np.asarray(dis.calc(first, second, None), np.float32)

    return flow


def _score(
    each: _Object,
    codes: NDArray[np.int32],
    source: tuple[Array, Array],
    forth: Array,
    doubtful: NDArray[np.bool_],
) -> Array:
    """How much speaks for the object at every pixel of the new frame, float32 [h, w]; 0 is even."""
    fetched = _fetch(each.distance, *source) > 0
    scores = np.full(fetched.shape, -9 * SURE, np.float32)
    near = _near(fetched, each.reach)
    moved = _distance(fetched[near])
    score = np.clip(moved / SMOOTH, -SURE, SURE)
    score[doubtful[near]] *= DOUBTED
    score += COLOUR * each.reliable * cv2.blur(each.colours[codes[near]], (3, 3))
    share, movement = _movement(each, forth, doubtful, fetched)
    if movement is not None:
        rows, columns = near
        movement[:, 2] -= columns.start, rows.start
        size = moved.shape[::-1]
        first = cv2.warpAffine(each.first, movement, size, borderMode=cv2.BORDER_REPLICATE)
        score += ANCHOR * share * np.clip(first / SMOOTH, -SURE, SURE)
    score[moved < -each.reach] = -9 * SURE
    scores[near] = score
    return scores


def _near(mask: Mask, reach: float) -> tuple[slice, slice]:
    """Rows and columns of a mask and of what is within reach of it."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    more = int(reach) + 2
    return slice(max(y - more, 0), y + height + more), slice(max(x - more, 0), x + width + more)


def _movement(
    each: _Object, forth: Array, doubtful: NDArray[np.bool_], fetched: Mask
) -> tuple[float, NDArray[np.float64] | None]:
    """Follow the points; the share that moved together since the event frame, and how [2, 3]."""
    if len(each.points) < LEAST_POINTS:
        return 0.0, None
    points = each.points + _fetch(forth, *each.points.T)
    x, y = points.T
    height, width = fetched.shape
    good = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    columns, rows = np.clip(np.rint(points).astype(int), 0, (width - 1, height - 1)).T
    good &= ~doubtful[rows, columns] & fetched[rows, columns]
    each.points, each.origins = points[good], each.origins[good]
    if len(each.points) < LEAST_POINTS:
        return 0.0, None
    movement, within = cv2.estimateAffinePartial2D(
        each.origins, each.points, ransacReprojThreshold=2.0, maxIters=100
    )
    if movement is None or not 0.3 < np.hypot(movement[0, 0], movement[1, 0]) < 3:
        return 0.0, None
    return float(np.count_nonzero(within)) / each.count, np.asarray(movement, np.float64)


def _keep(each: _Object, mask: Mask, doubtful: NDArray[np.bool_], codes: NDArray[np.int32]) -> bool:
    """Take over what was found; False where the object is lost."""
    area = int(np.count_nonzero(mask))
    if area < max(LOST_SHARE * each.area, LEAST_PIXELS) or mask.all():
        return False
    steady = 1 - _share(doubtful[mask])
    fit = min(_share(each.colours[codes[mask]] > 0) / each.fit, 1.0)
    size = min(area / each.area, each.area / area, 1.0) ** 0.5
    each.confidence = INERTIA * each.confidence + (1 - INERTIA) * steady * fit * size
    near = _near(mask, REACH)
    each.distance = np.full(mask.shape, -1e3, np.float32)
    each.distance[near] = _distance(mask[near])
    return each.confidence >= LOST_CONFIDENCE


def _fetch(values: Array, x: Array, y: Array) -> Array:
    """Values at places between the pixels, the nearest one beyond the edge."""
    found = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32).reshape(*x.shape, *values.shape[2:])


def _distance(mask: Mask) -> Array:
    """Signed distance to the rim, pixels, positive within; float32 [h, w]."""
    if not mask.any():
        return np.full(mask.shape, -1e3, np.float32)
    if mask.all():
        return np.full(mask.shape, 1e3, np.float32)
    within = mask.astype(np.uint8)
    outer = cv2.distanceTransform(1 - within, cv2.DIST_L2, 5)
    distance = cv2.distanceTransform(within, cv2.DIST_L2, 5) - outer
    return np.asarray(distance, np.float32)


def _codes(image: Image) -> NDArray[np.int32]:
    """The bin of each pixel's colour, int32 [h, w]."""
    bins = (image >> 4).astype(np.int32)
    codes: NDArray[np.int32] = (bins[..., 0] * BINS + bins[..., 1]) * BINS + bins[..., 2]
    return codes


def _colour_table(codes: NDArray[np.int32], within: Mask, around: Mask) -> Array:
    """For every bin, log odds that a pixel of that colour is the object's, within +-``SURE``."""
    odds = []
    for where in (within, around):
        counts = np.bincount(codes[where], minlength=BINS**3).astype(np.float32)
        cube = counts.reshape(BINS, BINS, BINS)
        for axis in range(3):  # a colour speaks for its neighbours, too
            ends = np.pad(cube, [(int(axis == k),) * 2 for k in range(3)])
            ends = np.moveaxis(ends, axis, 0)
            smoothed = 0.25 * ends[:-2] + 0.5 * ends[1:-1] + 0.25 * ends[2:]
            cube = np.moveaxis(smoothed, 0, axis)
        odds.append(np.log(cube.ravel() / max(float(cube.sum()), 1.0) + RARE))
    return np.clip(odds[0] - odds[1], -SURE, SURE).astype(np.float32)


def _grey(image: Image) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _share(where: NDArray[np.bool_]) -> float:
    """Share of True, 0 where there is nothing."""
    return float(np.count_nonzero(where)) / max(where.size, 1)


def _enlarged(distance: Array, shape: tuple[int, int]) -> Mask:
    """The mask at the size of the frames, bool [H, W]."""
    near = np.clip(distance, -20, 20)
    mask: Mask = cv2.resize(near, shape[::-1], interpolation=cv2.INTER_LINEAR) > 0
    return mask
