"""From surface and material to a coloured patch with opacity: a sprite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.materials import BALL, TEXTURE, Appearance, ball, noise
from cs3_training.synth.surface import Array, Surface

_CRISP = {'metal': 46.0, 'glass': 72.0, 'ceramic': 40.0, 'plastic': 40.0}
"""How much light worn edges catch, 0 to 255."""


@dataclass(frozen=True, eq=False)
class Sprite:
    """A patch that can be laid over a picture."""

    colour: Array
    """RGB times opacity, 0 to 255, [h, w, 3]."""
    opacity: Array
    """[h, w] in [0, 1]."""
    mask: NDArray[np.bool_]
    """Truth: pixels of the thing, [h, w]."""
    x: int
    """Column of its left edge in the picture."""
    y: int
    """Row of its upper edge in the picture."""
    number: int
    """What it writes into the instance map."""
    shadow: float = 0.0
    """Height over the table in pixels of the shadow it casts; 0 casts none."""


def paint(surface: Surface, look: Appearance, light: int, seed: int) -> tuple[Array, Array]:
    """Colour times opacity [h, w, 3] and opacity [h, w] of a surface of that size.

    Args:
        surface: what is to be seen.
        look: its material.
        light: number of the light's direction.
        seed: chooses the unevenness.
    """
    nx, ny = surface.nx, surface.ny
    if look.bump > 0.1:
        rows, columns = nx.shape
        wave = noise(40 + seed % 5, 34, 34, 2 * TEXTURE)
        x0, y0 = seed % 97, seed // 97 % 89
        tile = cut_out(wave, y0, x0, rows, columns) * np.float32(look.bump)
        nx, ny = nx + tile, ny + tile[::-1]
    scale = np.float32((BALL - 1) / 2)
    column, row = nx * scale + scale, ny * scale + scale
    seen = cv2.remap(
        ball(look.material, light), column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    shade, gloss, opaque = cv2.split(seen)
    u, v = surface.u + np.float32(look.offset[0]), surface.v + np.float32(look.offset[1])
    value = cv2.remap(look.texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    colour = spread(value)
    colour = cv2.LUT(colour, look.colours[None]).astype(np.float32)
    for low, high, paint_colour in look.bands:
        inside = (surface.path >= low) & (surface.path < high)
        colour[inside] = paint_colour
    colour *= spread(shade * surface.light)
    edge = _edges(surface) if look.material in _CRISP else None
    if edge is not None:  # worn edges catch light
        gloss += edge * np.float32(_CRISP[look.material])
    colour += spread(gloss)
    cover = cv2.GaussianBlur(surface.mask, (3, 3), 0).astype(np.float32)
    cover *= np.float32(1 / 255)
    if look.material == 'glass':
        opaque += gloss * np.float32(1 / 130)
        cover *= np.minimum(opaque, np.float32(0.95))
    np.minimum(colour, np.float32(255), out=colour)
    colour *= spread(cover)
    return colour, cover


def spread(plane: NDArray[Any]) -> NDArray[Any]:
    """A plane [h, w] three times as channels [h, w, 3]; numpy's own broadcasting is far slower."""
    return cv2.merge((plane, plane, plane))


def cut_out(tile: Array, y: int, x: int, rows: int, columns: int) -> Array:
    """A part [rows, columns, ...] of a tile [h, w, ...], from row y and column x on.

    Beyond its edges the tile begins again.
    """
    if y + rows <= tile.shape[0] and x + columns <= tile.shape[1]:
        return tile[y : y + rows, x : x + columns]  # far faster
    down, right = range(y, y + rows), range(x, x + columns)
    return tile.take(down, 0, mode='wrap').take(right, 1, mode='wrap')


def _edges(surface: Surface) -> Array:
    """How sharply the surface bends, [n, n] in [0, 1]."""
    bend = np.abs(cv2.Laplacian(surface.nx, cv2.CV_32F, ksize=1))
    bend += np.abs(cv2.Laplacian(surface.ny, cv2.CV_32F, ksize=1))
    edge = cv2.GaussianBlur(bend, (3, 3), 0)
    return np.clip(edge * np.float32(1.6) - np.float32(0.12), 0, 1)


def cropped(
    colour: Array, opacity: Array, mask: NDArray[np.bool_], x: int, y: int, number: int
) -> Sprite:
    """A sprite of the part of a patch that is not empty.

    Args:
        colour: RGB times opacity, 0 to 255, [h, w, 3].
        opacity: [h, w] in [0, 1]; 0 where the patch is empty.
        mask: pixels of the thing, [h, w].
        x: column of the patch's corner in the picture, pixels.
        y: row of it.
        number: what it writes into the instance map.
    """
    rows, columns = np.flatnonzero(opacity.any(1)), np.flatnonzero(opacity.any(0))
    if not len(rows):
        return Sprite(colour[:0, :0], opacity[:0, :0], mask[:0, :0], x, y, number)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x, y = x + int(columns[0]), y + int(rows[0])
    return Sprite(colour[box], opacity[box], mask[box], x, y, number)
