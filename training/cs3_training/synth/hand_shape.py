"""The shape of a hand: joints and radii of its limbs, in the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cs3_training.synth.surface import Vector

Area = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; it may reach beyond the picture where a hand will move into it."""

# per finger: place of the knuckle (along, towards the little finger), length; in palm widths
_FINGERS = ((0.98, -0.33, 0.84), (1.05, -0.11, 0.95), (1.0, 0.12, 0.88), (0.9, 0.32, 0.68))
_PHALANGES = ((0.47, 0.125), (0.78, 0.112), (1.0, 0.088))  # share of the length, radius there


@dataclass(frozen=True, eq=False)
class HandPose:
    """A hand in the picture."""

    side: str
    """left or right."""
    wrist: Vector
    """Place of the wrist, pixels."""
    direction: float
    """Where the fingers point, radians; 0 is up, positive turns right."""
    elbow: Vector
    """Where the forearm comes from, pixels; beyond the border of the picture."""
    width: float
    """Width of the palm, pixels."""
    grasp: str
    """over: fingers over the object; wrap: fingers under and thumb over it; below: all of the hand
    under it; open: no object."""
    curl: float
    """How far the fingers are bent, 0 to 1."""


class HandFrame:
    """From hand coordinates (along the fingers, towards the little finger) to the picture."""

    def __init__(self, pose: HandPose) -> None:
        self.along = (math.sin(pose.direction), -math.cos(pose.direction))
        sign = 1 if pose.side == 'right' else -1
        self.lateral = (-self.along[1] * sign, self.along[0] * sign)
        self.wrist, self.width = pose.wrist, pose.width

    def __call__(self, along: float, lateral: float) -> Vector:
        x = self.wrist[0] + self.width * (self.along[0] * along + self.lateral[0] * lateral)
        y = self.wrist[1] + self.width * (self.along[1] * along + self.lateral[1] * lateral)
        return x, y


Limb = tuple[list[Vector], list[float]]


def digits(frame: HandFrame, pose: HandPose, rng: np.random.Generator) -> list[Limb]:
    """Joints and radii of the thumb and the four fingers."""
    spread = rng.uniform(0.05, 0.2) if pose.grasp == 'open' else rng.uniform(-0.02, 0.1)
    limbs: list[Limb] = []
    # the thumb: from the wrist's side forward, in a grip across towards the fingers
    swing = rng.uniform(0.5, 0.8) if pose.grasp == 'open' else rng.uniform(0.0, 0.4)
    thumb = [(0.1, -0.26), (0.46, -0.55 - 0.1 * swing)]
    x, y = thumb[-1]
    for length, bend in ((0.34, 0.9 * swing), (0.3, 0.5 * swing - 0.25 * pose.curl)):
        x, y = x + length * math.cos(bend), y - length * math.sin(bend)
        thumb.append((x, y))
    limbs.append(
        ([frame(*p) for p in thumb], [r * frame.width for r in (0.17, 0.155, 0.13, 0.098)])
    )
    for number, (start, lateral, length) in enumerate(_FINGERS):
        angle = spread * (number - 1.5) + rng.normal(0, 0.035)
        joints, radii = [(start - 0.12, lateral * 0.96)], [0.145]
        x, y = start, lateral
        joints.append((x, y))
        radii.append(0.138)
        done = 0.0
        for k, (share, radius) in enumerate(_PHALANGES):
            # bent phalanges look shorter from above
            seen = math.cos(pose.curl * (0.35, 0.85, 1.15)[k] * rng.uniform(0.9, 1.1))
            step = length * (share - done) * max(seen, 0.25)
            done = share
            x, y = x + step * math.cos(angle), y + step * math.sin(angle)
            angle *= 0.6
            joints.append((x, y))
            radii.append(radius)
        limbs.append(([frame(*p) for p in joints], [r * frame.width for r in radii]))
    return limbs


def palm(frame: HandFrame) -> list[Limb]:
    """Joints and radii of the bones of the palm and the ball of the thumb."""
    rays = ((-0.12, -0.33), (-0.05, -0.11), (0.05, 0.12), (0.12, 0.32))
    limbs: list[Limb] = []
    for (start, end), (reach, _, _) in zip(rays, _FINGERS, strict=True):
        points = [
            frame(-0.12, start),
            frame(0.45, (start + end) / 2 * 1.15),
            frame(reach - 0.05, end),
        ]
        limbs.append((points, [r * frame.width for r in (0.2, 0.25, 0.165)]))
    limbs.append(([frame(0.02, -0.18), frame(0.46, -0.5)], [0.2 * frame.width, 0.17 * frame.width]))
    return limbs


def window_of(limbs: Sequence[Limb], area: Area) -> tuple[int, int, int, int] | None:
    """Corner x, y, width and height of the limbs in the picture; None where they are outside."""
    points = np.concatenate([np.array(points) for points, _ in limbs])
    reach = max(max(radii) for _, radii in limbs) + 4
    x0, y0 = np.maximum(points.min(0) - reach, area[:2]).astype(int)
    x1, y1 = np.minimum(points.max(0) + reach, area[2:]).astype(int)
    return None if x1 - x0 < 4 or y1 - y0 < 4 else (int(x0), int(y0), int(x1 - x0), int(y1 - y0))


def forearm(frame: HandFrame, pose: HandPose, cuff: float | None) -> tuple[Limb, Limb | None]:
    """The skin from the wrist on, and the sleeve, if it is in sight.

    Args:
        frame: of the hand.
        pose: of the hand.
        cuff: where the sleeve ends, in palm widths behind the wrist; None for bare arms.
    """
    wrist, width = frame(0.02, 0.0), pose.width
    back = np.subtract(pose.elbow, wrist)
    length = float(np.hypot(*back))
    x, y = float(back[0] / length), float(back[1] / length)
    far = min(length / width, 8.0)

    def at(way: float) -> Vector:
        return wrist[0] + x * way * width, wrist[1] + y * way * width

    covered = cuff is not None and far > cuff + 0.4
    start = cuff if cuff is not None and covered else far
    bare = min(start + 0.6, far)
    middle = min(1.2, 0.6 * bare)
    skin = (
        [at(-0.15), at(0.25), at(middle), at(bare)],
        [0.27 * width, 0.285 * width, 0.34 * width, (0.3 + 0.06 * bare) * width],
    )
    if not covered:
        return skin, None
    sleeve = (
        [at(start), at(start + 0.25), at(far)],
        [0.4 * width, 0.45 * width, (0.42 + 0.07 * far) * width],
    )
    return skin, sleeve
