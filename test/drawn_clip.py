"""A small drawn clip with clicks: two hands knock a mug and a tin together, with sound.

For tests that need hands which MediaPipe finds. Everything is drawn and computed, so the true times
and masks are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Image, Mask
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.video_writer import VideoWriter

WIDTH, HEIGHT, FRAME_RATE = 640, 480, 30
SECONDS = 4.0
SOUND_RATE = 48_000
CLICK_FRAMES = (27, 60, 93)

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SKIN: Colour = (226, 170, 138)
_CREASE: Colour = (190, 138, 110)
_NAIL: Colour = (240, 196, 170)
_SCALE = 0.8  # of the hand; MediaPipe finds hands of this size best
_WRIST_Y = 330.0
_TRAVEL = 75.0  # how far a hand moves out between two clicks, pixels
_FRACTION_BITS = 4  # of the coordinates that OpenCV draws with

# A right hand with its back to the camera: points right of and above the wrist, then radii.
_ARM = ([(70.0, -330.0), (15.0, -80.0), (0.0, 0.0)], [50.0, 34.0, 28.0])
_PALM = [(-34, 5), (-44, 55), (-42, 95), (-15, 106), (15, 103), (40, 90), (40, 45), (30, 2)]
_FINGERS = (
    ([(-32, 92), (-40, 134), (-44, 163), (-45, 184)], [13.0, 11.5, 10.5, 9.0]),
    ([(-9, 100), (-11, 147), (-12, 180), (-12, 205)], [13.5, 12.0, 11.0, 9.0]),
    ([(13, 98), (16, 142), (18, 174), (19, 196)], [13.0, 11.5, 10.5, 9.0]),
    ([(33, 86), (40, 120), (44, 144), (46, 162)], [12.0, 10.5, 9.5, 8.0]),
    ([(-32, 25), (-62, 60), (-78, 88), (-86, 110)], [17.0, 14.0, 12.5, 10.0]),
)
_OBJECT = (-20.0, 190.0)  # middle of the held object, pixels right of and above the wrist
_OBJECT_SIZE = (170, 100)  # pixels


@dataclass(frozen=True, eq=False)
class DrawnClip:
    """The clip and the truth about it."""

    path: Path
    click_times_s: tuple[float, ...]
    """Media times of the clicks' loudest samples, seconds."""
    click_frames: tuple[int, ...]
    """Index of the frame of each click."""
    masks: tuple[tuple[Mask, Mask], ...]
    """For each click what is seen of the objects in the right and the left hand, bool [H, W]."""


def make_drawn_clip(path: str | Path) -> DrawnClip:
    """Draw the clip and write it.

    Args:
        path: the video to write (mp4, mkv, mov), replaced when it exists.

    Returns:
        Where it is and what is true of it; always the same.
    """
    path = Path(path)
    rng = np.random.default_rng(3)
    table = _table(rng)
    sound = _sound(rng)
    actors = (_Actor.drawn(1), _Actor.drawn(-1))
    frames = round(SECONDS * FRAME_RATE)
    per_frame = SOUND_RATE // FRAME_RATE
    fmt = SoundFormat(SOUND_RATE, 1)
    with VideoWriter(path, (WIDTH, HEIGHT), FRAME_RATE, fmt) as writer:
        for index in range(frames):
            stamp_ns = round(index * NS_PER_S / FRAME_RATE)
            writer.write(stamp_ns, _frame(table, actors, index, rng))
            samples = sound[index * per_frame : (index + 1) * per_frame]
            writer.write_sound(SoundChunk(stamp_ns, SOUND_RATE, samples[:, None]))
    return DrawnClip(
        path=path,
        click_times_s=tuple(index / FRAME_RATE for index in CLICK_FRAMES),
        click_frames=CLICK_FRAMES,
        masks=((actors[0].seen, actors[1].seen),) * len(CLICK_FRAMES),  # at the same pixels
    )


@dataclass(frozen=True, eq=False)
class _Actor:
    """A hand with its object where the objects touch."""

    side: int
    """1 for the right hand, -1 for the left."""
    picture: Image
    """RGB over black."""
    cover: NDArray[np.uint8]
    """How much of the background it hides, uint8 [H, W, 3], 255 is all."""
    shadow: NDArray[np.uint8]
    """How much light it takes from the table, uint8 [H, W, 3], 255 is all."""
    seen: Mask
    """What is seen of the object."""

    @classmethod
    def drawn(cls, side: int) -> _Actor:
        # the objects' inner edges meet in the middle, a pixel without overlap
        wrist = (WIDTH / 2 - 0.5 + side * (_OBJECT_SIZE[0] / 2 + 0.5 - _OBJECT[0]), _WRIST_Y)
        picture, cover = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
        _object(picture, wrist, side)
        _hand(picture, wrist, side)
        _object(cover, wrist, side, flat=True)
        seen = cover.copy()
        _hand(seen, wrist, side, flat=True, level=0)
        _hand(cover, wrist, side, flat=True)
        picture, cover = (cv2.GaussianBlur(image, (0, 0), 0.7) for image in (picture, cover))
        fallen = cv2.warpAffine(cover, np.array([[1.0, 0, 8], [0, 1, 12]]), (WIDTH, HEIGHT))
        shadow = (0.4 * cv2.GaussianBlur(fallen, (0, 0), 9)).astype(np.uint8)
        return cls(side, picture, cover, shadow, seen[:, :, 0] > 127)


def _table(rng: np.random.Generator) -> Image:
    """A slate table top: soft light from the upper left and grain."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    light = 1.1 - 0.35 * np.hypot(x / WIDTH - 0.35, y / HEIGHT - 0.3)
    grain = cv2.GaussianBlur(rng.normal(0, 26, (HEIGHT, WIDTH)), (0, 0), 3)
    table = np.array([96, 112, 112]) * light[:, :, None] + grain[:, :, None]
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def _sound(rng: np.random.Generator) -> NDArray[np.float32]:
    """Soft room noise and a ringing click at each contact, float32 [N]."""
    count = round(SECONDS * SOUND_RATE)
    rough = rng.normal(0, 0.004, count)
    room = np.convolve(rough, np.full(12, 1 / 6), 'same')
    time_s = np.arange(round(0.25 * SOUND_RATE)) / SOUND_RATE
    ring = np.zeros(time_s.size)
    for frequency, level, decay_s in ((1870, 0.45, 0.03), (3140, 0.3, 0.02), (5230, 0.2, 0.008)):
        ring += level * np.cos(2 * np.pi * frequency * time_s) * np.exp(-time_s / decay_s)
    for index in CLICK_FRAMES:
        first = index * SOUND_RATE // FRAME_RATE
        room[first : first + ring.size] += 0.8 * ring
    return room.astype(np.float32)


def _frame(table: Image, actors: Sequence[_Actor], index: int, rng: np.random.Generator) -> Image:
    since_s = min(abs(index - click) for click in CLICK_FRAMES) / FRAME_RATE
    out = _TRAVEL * (1 - np.exp(-since_s / 0.22))

    def moved(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        shift = np.array([[1, 0, side * out], [0, 1, 0.15 * out]])
        return np.asarray(cv2.warpAffine(image, shift, (WIDTH, HEIGHT)), np.uint8)

    canvas: Any = table
    for actor in actors:
        canvas = cv2.multiply(canvas, 255 - moved(actor.shadow, actor.side), scale=1 / 255)
    for actor in actors:
        canvas = cv2.multiply(canvas, 255 - moved(actor.cover, actor.side), scale=1 / 255)
        canvas = cv2.add(canvas, moved(actor.picture, actor.side))
    grain = np.rint(rng.standard_normal((HEIGHT, WIDTH), np.float32) * 3).astype(np.int16)
    return np.asarray(cv2.add(canvas, cv2.merge([grain] * 3), dtype=cv2.CV_8U), np.uint8)


def _object(canvas: NDArray[np.uint8], wrist: Point, side: int, flat: bool = False) -> None:
    """The tin in the right hand or the mug in the left; ``flat`` fills its outline with 255."""
    x, y = wrist[0] + side * _OBJECT[0], wrist[1] - _OBJECT[1]
    half_width, half_height = _OBJECT_SIZE[0] / 2, _OBJECT_SIZE[1] / 2
    tin = side == 1
    body: Colour = (196, 62, 52) if tin else (52, 92, 178)
    bands = 15  # strips from the left to the right edge, shaded as a cylinder is
    band = half_width / bands
    for number in range(bands):
        shade = 0.6 + 0.6 * np.sin(np.pi * (0.1 + 0.9 * (number + 0.5) / bands))
        colour = (255, 255, 255) if flat else _shaded(body, shade)
        _bar(canvas, x - half_width + (2 * number + 1) * band, y, band, half_height, colour)
    if flat:
        return
    if tin:
        _bar(canvas, x, y, half_width, 20, (236, 224, 196))
    for edge in (y - half_height + 4, y + half_height - 4):
        _bar(canvas, x, edge, half_width, 4, (200, 204, 208) if tin else (232, 236, 244))


def _hand(
    canvas: NDArray[np.uint8], wrist: Point, side: int, flat: bool = False, level: int = 255
) -> None:
    """A hand with its forearm; ``flat`` fills its outline with ``level``."""

    def at(point: Sequence[float]) -> Point:
        return (wrist[0] + side * _SCALE * point[0], wrist[1] - _SCALE * point[1])

    plain: Colour = (level, level, level)
    skin, crease, nail = (plain, plain, plain) if flat else (_SKIN, _CREASE, _NAIL)
    _limb(canvas, [at(point) for point in _ARM[0]], _ARM[1], skin)
    _fill(canvas, [at(point) for point in _PALM], skin)
    fingers = [([at(point) for point in points], radii) for points, radii in _FINGERS]
    for points, radii in fingers:
        _limb(canvas, points, [radius + 2 for radius in radii], crease)
    inner = np.mean(_PALM, 0) + (np.asarray(_PALM) - np.mean(_PALM, 0)) * 0.97
    _fill(canvas, [at(point) for point in inner], skin)
    for points, radii in fingers:
        _limb(canvas, points, radii, skin)
        _limb(canvas, points[-1:] * 2, [0.6 * radii[-1]] * 2, nail)
        for x, y in points[1:3]:
            _bar(canvas, x, y, 5, 0.6, crease)


def _limb(
    canvas: NDArray[np.uint8], points: Sequence[Point], radii: Sequence[float], colour: Colour
) -> None:
    """A chain of tapered rounded pieces through the points; radii are scaled, points are not."""
    scale = 1 << _FRACTION_BITS
    for joint in range(len(points) - 1):
        steps = np.linspace(0, 1, 24)[:, None]
        path = np.asarray(points[joint]) * (1 - steps) + np.asarray(points[joint + 1]) * steps
        width = radii[joint] * (1 - steps) + radii[joint + 1] * steps
        for (x, y), (radius,) in zip(path, width, strict=True):
            centre = (round(x * scale), round(y * scale))
            radius_bits = round(radius * _SCALE * scale)
            cv2.circle(canvas, centre, radius_bits, colour, -1, cv2.LINE_AA, _FRACTION_BITS)


def _fill(canvas: NDArray[np.uint8], corners: Sequence[Point], colour: Colour) -> None:
    polygon = np.rint(np.asarray(corners) * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [polygon], colour, cv2.LINE_AA, _FRACTION_BITS)


def _bar(
    canvas: NDArray[np.uint8],
    x: float,
    y: float,
    half_wide: float,
    half_high: float,
    colour: Colour,
) -> None:
    """An upright rectangle round its middle."""
    left, right, top, bottom = x - half_wide, x + half_wide, y - half_high, y + half_high
    _fill(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _shaded(colour: Colour, shade: float) -> Colour:
    red, green, blue = (min(round(value * shade), 255) for value in colour)
    return (red, green, blue)
