"""Laying sprites over a table, light, camera: from a table top to a picture and its instances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.materials import LIGHTS
from cs3_training.synth.shading import Sprite, cut_out, spread
from cs3_training.synth.surface import Array

_SHRINK = 4  # shadows are computed on every fourth pixel


@dataclass(frozen=True)
class Camera:
    """Light, exposure and faults of one picture."""

    light: int
    """Number of the direction of the light, 0 to LIGHTS - 1."""
    shadow: float
    """How dark shadows are, 0 to 1."""
    glow: tuple[float, ...]
    """Light at 3 x 3 places of the picture, row by row; 1 is even."""
    gain: tuple[float, float, float]
    """Exposure and white balance, RGB."""
    contrast: float
    """1 leaves it."""
    blur: float
    """Focus: deviation in pixels; 0 is sharp."""
    shake: tuple[float, float]
    """Movement of the camera during the exposure, pixels right and down."""
    noise: float
    """Deviation of the sensor's noise, 0 to 255."""


def choose_camera(rng: np.random.Generator) -> Camera:
    """A random camera; most pictures are fairly sharp."""
    tint = rng.normal(0, 0.035)
    bright = rng.uniform(0.84, 1.08)
    shaken = rng.random() < 0.25
    angle, length = rng.uniform(0, math.pi), rng.uniform(2, 6)
    return Camera(
        light=int(rng.integers(LIGHTS)),
        shadow=float(rng.uniform(0.3, 0.6)),
        glow=tuple(float(value) for value in np.clip(rng.normal(0.98, 0.12, 9), 0.7, 1.16)),
        gain=(float(bright * (1 + tint)), float(bright), float(bright * (1 - 1.3 * tint))),
        contrast=float(rng.uniform(0.88, 1.14)),
        blur=float(rng.uniform(0.5, 1.1)) if rng.random() < 0.3 else 0.0,
        shake=(length * math.cos(angle), length * math.sin(angle)) if shaken else (0.0, 0.0),
        noise=float(rng.uniform(0.8, 4.5)),
    )


def lay(canvas: Array, numbers: NDArray[np.uint8], sprite: Sprite, camera: Camera) -> None:
    """Draw a sprite with its shadow, in place.

    Args:
        canvas: RGB, 0 to 255, [H, W, 3].
        numbers: the instance map, [H, W].
        sprite: what to draw; parts outside the picture are left out.
        camera: gives direction and darkness of shadows.
    """
    if not sprite.opacity.size:
        return
    if sprite.shadow > 0:
        _cast(canvas, sprite, camera)
    cut = _overlap(sprite.opacity.shape, sprite.x, sprite.y, numbers.shape)
    if cut is None:
        return
    there, here = cut
    region = canvas[there]
    region *= spread(1 - np.ascontiguousarray(sprite.opacity[here]))
    region += sprite.colour[here]
    numbers[there][sprite.mask[here]] = sprite.number


Cut = tuple[slice, slice]


def _overlap(
    shape: tuple[int, ...], x: int, y: int, frame: tuple[int, ...]
) -> tuple[Cut, Cut] | None:
    """Slices of the frame and of the patch where they overlap; None where they do not."""
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + shape[1], frame[1]), min(y + shape[0], frame[0])
    if x1 <= x0 or y1 <= y0:
        return None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def _cast(canvas: Array, sprite: Sprite, camera: Camera) -> None:
    height = sprite.shadow
    angle = math.pi / 2 + (camera.light / (LIGHTS - 1) - 0.5) * 2.2  # away from the light
    dx, dy = round(height * math.cos(angle)), round(height * math.sin(angle))
    soft = 1.2 + 0.55 * height
    rim = int(2.2 * soft / _SHRINK) + 1
    rows, columns = sprite.opacity.shape
    small = cv2.resize(
        sprite.opacity,
        (max(columns // _SHRINK, 1), max(rows // _SHRINK, 1)),
        interpolation=cv2.INTER_AREA,
    )
    small = cv2.GaussianBlur(np.pad(small, rim), (0, 0), soft / _SHRINK)
    wide, high = columns + 2 * rim * _SHRINK, rows + 2 * rim * _SHRINK
    shade = cv2.resize(small, (wide, high), interpolation=cv2.INTER_LINEAR)
    cut = _overlap(
        shade.shape, sprite.x + dx - rim * _SHRINK, sprite.y + dy - rim * _SHRINK, canvas.shape
    )
    if cut is not None:
        there, here = cut
        canvas[there] *= spread(1 - np.ascontiguousarray(shade[here]) * np.float32(camera.shadow))


def smear(sprite: Sprite, move: tuple[float, float]) -> Sprite:
    """The sprite moving by so many pixels right and down while the shutter is open."""
    kernel = _streak(move)
    if kernel is None or not sprite.opacity.size:
        return sprite
    rim = len(kernel) // 2
    edges = (rim, rim, rim, rim, cv2.BORDER_CONSTANT)
    colour = cv2.filter2D(cv2.copyMakeBorder(sprite.colour, *edges), -1, kernel)
    opacity = cv2.filter2D(cv2.copyMakeBorder(sprite.opacity, *edges), -1, kernel)
    solid = cv2.copyMakeBorder(sprite.mask.astype(np.float32), *edges)
    mask = cv2.filter2D(solid, -1, kernel) > 0.5
    return Sprite(
        colour=np.asarray(colour, np.float32),
        opacity=np.asarray(opacity, np.float32),
        mask=mask,
        x=sprite.x - rim,
        y=sprite.y - rim,
        number=sprite.number,
        shadow=sprite.shadow,
    )


def _streak(move: tuple[float, float]) -> Array | None:
    """A line of weight 1; None where the movement is below a pixel."""
    length = math.hypot(*move)
    if length < 1:
        return None
    side = 2 * int(length / 2 + 1) + 1
    kernel = np.zeros((side, side), np.float32)
    steps = np.linspace(-0.5, 0.5, 4 * side)[:, None] * np.array(move)
    places = np.rint(steps + side // 2).astype(int)
    np.add.at(kernel, (places[:, 1], places[:, 0]), 1)
    return kernel / kernel.sum()


def develop(canvas: Array, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture that the camera delivers, uint8 RGB [H, W, 3]; ``canvas`` is used up."""
    height, width = canvas.shape[:2]
    glow = np.array(camera.glow, np.float32).reshape(3, 3, 1) * np.array(camera.gain, np.float32)
    smooth = cv2.resize(
        glow * camera.contrast, (width // 8, height // 8), interpolation=cv2.INTER_CUBIC
    )
    canvas *= cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    kernel = _streak(camera.shake)
    if kernel is not None:
        canvas = np.asarray(cv2.filter2D(canvas, -1, kernel), np.float32)
    if camera.blur > 0:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), camera.blur), np.float32)
    grain = _grain()
    y, x = rng.integers(0, max(len(grain) - max(height, width), 1), 2)
    faint = cut_out(grain, y, x, height, width) * np.float32(camera.noise)
    faint += np.float32(128 * (1 - camera.contrast))
    canvas += faint
    return np.asarray(cv2.convertScaleAbs(np.maximum(canvas, 0, out=canvas)), np.uint8)


_GRAIN: list[Array] = []


def _grain() -> Array:
    """Noise of deviation 1, drawn once per process, [768, 768, 3]."""
    if not _GRAIN:
        white = np.random.default_rng(97).standard_normal((768, 768, 3), np.float32)
        _GRAIN.append(cv2.GaussianBlur(white, (3, 3), 0.6) * np.float32(1.6))
    return _GRAIN[0]
