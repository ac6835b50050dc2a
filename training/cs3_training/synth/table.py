"""Table tops in perspective, with what is seen beyond their far edge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.materials import noise, texture
from cs3_training.synth.shading import spread
from cs3_training.synth.surface import Array
from cs3_training.synth.vocabulary import TABLES

_SIDE = 512  # period of a table's texture, pixels
_VARIANTS = 4
_COLOURS = {
    'wood': ((186, 140, 92), (140, 92, 56), (104, 68, 42), (206, 172, 128), (92, 74, 62)),
    'metal': ((168, 172, 176), (136, 140, 146)),
    'ceramic': ((216, 214, 206), (178, 192, 196), (204, 190, 170), (120, 130, 134)),
    'plastic': ((206, 204, 198), (120, 124, 128), (168, 186, 180), (64, 70, 78), (214, 196, 160)),
    'cloth': ((196, 184, 162), (120, 136, 164), (164, 96, 90), (112, 132, 108), (208, 206, 202)),
}


@dataclass(frozen=True)
class Table:
    """What the things stand on."""

    material: str
    """One of TABLES."""
    base: tuple[float, float, float]
    """RGB."""
    variant: int
    """Which texture."""
    turn: float
    """Direction of planks or tiles, radians."""
    scale: float
    """Texture pixels per picture pixel at the near edge."""
    depth: float
    """Perspective: how much smaller the far edge is, 0 to 0.5."""
    edge: float
    """Row of the far edge as a share of the height; 0 or less: not in sight."""
    slant: float
    """Slope of that edge."""


def choose_table(rng: np.random.Generator) -> Table:
    """A random table; wood is the commonest."""
    share = (0.4, 0.14, 0.16, 0.14, 0.16)
    material = TABLES[rng.choice(len(TABLES), p=share)]
    colours = _COLOURS[material]
    base = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.85, 1.1)
    return Table(
        material=material,
        base=(float(base[0]), float(base[1]), float(base[2])),
        variant=int(rng.integers(_VARIANTS)),
        turn=float(rng.choice([0, math.pi / 2]) + rng.normal(0, 0.2)),
        scale=float(rng.uniform(0.8, 1.5)),
        depth=float(rng.uniform(0.1, 0.45)),
        edge=float(rng.uniform(0.03, 0.16)) if rng.random() < 0.35 else -1.0,
        slant=float(rng.normal(0, 0.03)),
    )


@cache
def _table_texture(material: str, variant: int) -> NDArray[np.uint8]:
    """Values 0 to 255 that the table's colour is scaled by, periodic, uint8 [512, 512]."""
    rng = np.random.default_rng([variant, 17])
    fine = noise(900 + variant, 1.4, 1.4, _SIDE)
    rough = noise(910 + variant, 90, 90, _SIDE)
    match material:
        case 'wood':
            value = texture('wood', 10 + variant, _SIDE).astype(np.float32)
            value = 128 + 0.3 * (value - 128) + 8 * noise(920 + variant, 2, 60, _SIDE)
            if variant % 2 == 0:  # planks
                wide = (64, 128)[variant // 2 % 2]
                for left in range(0, _SIDE, wide):
                    plank = np.roll(value[:, left : left + wide], int(rng.integers(_SIDE)), 0)
                    value[:, left : left + wide] = plank + rng.normal(0, 13)
                    value[:, left : left + 2] -= 60
        case 'metal':
            value = 128 + 9 * noise(930 + variant, 80, 1.2, _SIDE) + 14 * rough
        case 'ceramic':
            tile = (64, 128)[variant % 2]
            value = 136 + 7 * rough + 3 * fine
            for start in range(0, _SIDE, tile):
                value[start : start + 3] -= 42
                value[:, start : start + 3] -= 42
        case 'cloth':
            line = np.arange(_SIDE, dtype=np.float32) * np.float32(2 * math.pi / _SIDE)
            weave = 9 * np.sin(line * _SIDE / 4)[None] * np.sin(line * _SIDE / 4)[:, None]
            value = 128 + weave + 9 * rough + 3 * fine
            if variant % 2:
                value = value + 16 * np.sign(np.sin(8 * line))[None]
                value = value + 16 * np.sign(np.sin(8 * line))[:, None] * (variant == 3)
        case _:
            spots = noise(940 + variant, 3, 3, _SIDE)
            speckle = np.where(spots > 1.9, 26, 0) - np.where(spots < -2.1, 26, 0)
            value = 128 + 5 * rough + 3 * fine + speckle * (variant % 2)
    return np.clip(value, 0, 255).astype(np.uint8)


def draw_table(table: Table, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """The empty table under even light, float32 RGB [height, width, 3], 0 to 255."""
    height, width = size
    cosine, sine = math.cos(table.turn) * table.scale, math.sin(table.turn) * table.scale
    # the far rows take more of the texture: x and y grow as the divisor falls
    turn = np.array([[cosine, -sine, 100], [sine, cosine, 60], [0, 0, 1]])
    centre = np.array([[1, 0, -width / 2], [0, 1, 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, 1, 0], [0, table.depth / height, 1 - table.depth]])
    picture = _table_texture(table.material, table.variant)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    value = cv2.warpPerspective(
        picture, turn @ tilt @ centre, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP
    )
    steps = np.arange(256, dtype=np.float32)[:, None] / 128
    colours = np.clip(np.array(table.base, np.float32) * steps, 0, 255).astype(np.uint8)
    canvas: Array = cv2.LUT(spread(value), colours[None]).astype(np.float32)
    if table.material in ('metal', 'plastic', 'ceramic'):  # a soft reflection of the window
        x = np.arange(width, dtype=np.float32)[None] - np.float32(rng.uniform(0, width))
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(rng.uniform(0, 0.5 * height))
        shine = np.exp((x * x * np.float32(-1) - y * y * np.float32(0.4)) / np.float32(2 * 80.0**2))
        canvas += spread(shine * np.float32(38 if table.material == 'metal' else 22))
    if table.edge > 0:
        _beyond(canvas, table, rng)
    return canvas


def _beyond(canvas: Array, table: Table, rng: np.random.Generator) -> None:
    """Draw the room behind the far edge, out of focus."""
    height, width = canvas.shape[:2]
    left, right = (height * (table.edge + s * table.slant) for s in (-0.5, 0.5))
    depth = int(max(left, right)) + 8
    coarse = rng.uniform(40, 150, (3, 5, 1)) + rng.normal(0, 6, (3, 5, 3))
    room = cv2.resize(coarse.astype(np.float32), (width, depth), interpolation=cv2.INTER_CUBIC)
    rim = np.array([[0, left], [width, right], [width, right + 4], [0, left + 4]])
    cv2.fillPoly(
        canvas, [np.rint(rim * 16).astype(np.int32)], [0.6 * c for c in table.base], cv2.LINE_AA, 4
    )
    corners = np.array([[0, -2], [width, -2], [width, right], [0, left]])
    away = np.zeros((depth, width), np.uint8)
    cv2.fillPoly(away, [np.rint(corners * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    share = spread(away.astype(np.float32) * np.float32(1 / 255))
    strip = canvas[:depth]
    strip += (np.clip(room, 10, 230) - strip) * share
