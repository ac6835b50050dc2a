"""How materials look: textures, gloss and colours, drawn once per process.

Gloss is a picture of a ball (a 'matcap'): a normal looks up how bright, how shiny and how opaque
the surface is there. The light of a scene comes from one of a few directions, so the balls are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.surface import Array

BALL = 96  # side of a gloss ball, pixels
TEXTURE = 256  # period of the textures, pixels
LIGHTS = 12  # directions of light
VARIANTS = 6  # textures of one material

Colour = tuple[int, int, int]

PALETTE: dict[str, dict[str, Colour]] = {
    'metal': {
        'silver': (196, 199, 204),
        'grey': (140, 143, 148),
        'copper': (205, 122, 84),
        'gold': (212, 172, 86),
        'black': (96, 97, 104),
    },
    'glass': {
        'clear': (226, 238, 240),
        'green': (96, 168, 112),
        'blue': (92, 148, 205),
        'amber': (196, 128, 44),
    },
    'ceramic': {
        'white': (240, 238, 232),
        'cream': (236, 222, 190),
        'blue': (120, 158, 204),
        'green': (152, 190, 152),
        'pink': (230, 182, 176),
        'grey': (168, 170, 168),
    },
    'wood': {'brown': (152, 98, 54), 'tan': (206, 158, 102), 'orange': (186, 108, 52)},
    'plastic': {
        'red': (206, 34, 36),
        'orange': (240, 122, 22),
        'yellow': (244, 206, 28),
        'green': (44, 166, 62),
        'turquoise': (20, 178, 172),
        'blue': (32, 84, 206),
        'purple': (120, 50, 176),
        'pink': (240, 92, 156),
        'black': (54, 54, 60),
        'white': (236, 236, 240),
    },
    'cardboard': {'brown': (172, 128, 82), 'tan': (200, 164, 116), 'grey': (166, 158, 146)},
    'cloth': {
        'red': (170, 50, 54),
        'blue': (62, 88, 150),
        'green': (70, 124, 82),
        'grey': (132, 134, 140),
        'cream': (222, 212, 190),
        'purple': (112, 74, 128),
        'yellow': (214, 178, 88),
    },
}
"""Colours that every material comes in, RGB."""

_STRIPES: tuple[Colour, ...] = ((48, 84, 150), (150, 46, 48), (60, 104, 76), (60, 60, 66))


@dataclass(frozen=True, eq=False)
class Appearance:
    """One object's appearance."""

    material: str
    colour: str
    texture: NDArray[np.uint8]
    """[TEXTURE, TEXTURE], picks from ``colours``."""
    colours: NDArray[np.uint8]
    """RGB by texture value, [256, 3]."""
    offset: tuple[float, float]
    """Where in the texture the object begins, pixels."""
    bump: float
    """Unevenness of the surface: how far normals wander."""
    bands: tuple[tuple[float, float, Colour], ...]
    """Painted bands: from, to (share of the body's path) and colour."""


def choose_appearance(material: str, rng: np.random.Generator) -> Appearance:
    """A random appearance of a material."""
    palette = PALETTE[material]
    colour = list(palette)[rng.integers(len(palette))]
    base = np.array(palette[colour], np.float32) * rng.uniform(0.9, 1.08)
    contrast = {'metal': 0.32, 'wood': 0.62, 'plastic': 0.05, 'cardboard': 0.26, 'cloth': 0.9}
    spread = contrast.get(material, 0.08) * rng.uniform(0.8, 1.2)
    value = np.linspace(-0.5, 0.5, 256, dtype=np.float32)[:, None]
    ramp = base * (1 + spread * value)
    if material == 'cloth':  # the second colour of the weave
        other = base * 0.35 + 150 if base.mean() < 150 else base * 0.55
        blend = np.clip(value + 0.5, 0, 1)
        ramp = base * (1 - blend) + other * blend
    if material == 'wood':  # the grain is redder than the ground
        ramp[:, 2] *= 1 + 0.3 * value[:, 0]
    bands: tuple[tuple[float, float, Colour], ...] = ()
    draw = rng.random()
    start, stripe = rng.uniform(0.3, 0.75), _STRIPES[rng.integers(len(_STRIPES))]
    if material == 'ceramic' and draw < 0.6:
        bands = ((start, start + 0.06, stripe), (start + 0.11, start + 0.14, stripe))
    elif material == 'cardboard' and draw < 0.6:
        bands = ((0.0, 0.16, (222, 206, 170)),)  # packing tape
    elif material == 'plastic' and draw < 0.2:
        bands = ((start, start + 0.12, (240, 240, 240)),)
    return Appearance(
        material=material,
        colour=colour,
        texture=texture(material, int(rng.integers(VARIANTS))),
        colours=np.clip(ramp, 0, 255).astype(np.uint8),
        offset=(float(rng.uniform(0, TEXTURE)), float(rng.uniform(0, TEXTURE))),
        bump={'metal': 0.16, 'glass': 0.05, 'cloth': 0.34, 'cardboard': 0.07}.get(material, 0.03),
        bands=bands,
    )


@cache
def noise(seed: int, wide: float, high: float, side: int = TEXTURE) -> Array:
    """Periodic smooth noise of deviation 1, float32 [side, side].

    Args:
        seed: which one.
        wide: size of its spots across, pixels.
        high: size of its spots down, pixels.
        side: the period, pixels.
    """
    white = np.random.default_rng([seed, 71]).standard_normal((side, side))
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    low = np.exp(-2 * (math.pi**2) * ((fx * wide / 2.4) ** 2 + (fy * high / 2.4) ** 2))
    smooth = np.fft.irfft2(np.fft.rfft2(white) * low, (side, side))
    return ((smooth - smooth.mean()) / (smooth.std() + 1e-9)).astype(np.float32)


@cache
def texture(material: str, variant: int, side: int = TEXTURE) -> NDArray[np.uint8]:
    """A periodic texture, uint8 [side, side]; wood's grain and metal's brushing run down."""
    rng = np.random.default_rng([variant, sum(material.encode()), 5])
    seed = 100 * variant + sum(material.encode())
    line = np.arange(side, dtype=np.float32) * np.float32(2 * math.pi / side)
    x, y = line[None], line[:, None]
    match material:
        case 'wood':
            waves = rng.integers(9, 17) * side // TEXTURE
            bend = noise(seed, 60, 150, side) * 1.6
            rings = np.sin(waves * x + 2.2 * bend + 0.7 * np.sin(2 * y))
            fibre = noise(seed + 1, 1.6, 40, side)
            value = 128 + 62 * np.tanh(1.4 * rings) * rng.uniform(0.7, 1) + 24 * fibre
        case 'metal':
            value = 128 + 34 * noise(seed, 1.5, 90, side) + 26 * noise(seed + 1, 50, 90, side)
        case 'cardboard':
            waves = rng.integers(34, 44) * side // TEXTURE
            value = 128 + 26 * np.sin(waves * x) + 20 * noise(seed, 2, 2, side)
            value = (
                value
                + 14 * noise(seed + 1, 20, 30, side)
                - 60 * (noise(seed + 2, 3, 1.5, side) > 2.5)
            )
        case 'cloth':
            weave = 20 * (np.sin(side / 4 * x) * np.sin(side / 4 * y))
            big = int(rng.integers(5, 9)) * side // TEXTURE
            stripe = np.sign(np.sin(big * x)) * 58
            check = np.sign(np.sin(big * y)) * 58
            pattern = (stripe + check, stripe, -90 + 0 * (x + y))[variant % 3]
            value = 128 + pattern + weave + 12 * noise(seed, 2, 2, side)
        case 'ceramic':
            value = 128 + 50 * noise(seed, 40, 40, side)
            if variant % 3 == 2:
                value = value - 500 * (noise(seed + 1, 3, 3, side) > 2.4)
        case _:  # plastic and glass are even
            value = 128 + 40 * noise(seed, 30, 30, side) + 14 * noise(seed + 1, 1.5, 1.5, side)
    return np.clip(value, 0, 255).astype(np.uint8)


@cache
def ball(material: str, light: int) -> Array:
    """Brightness, gloss (added, 0 to 255) and opacity (0 to 1) by normal.

    Args:
        material: one of MATERIALS, or 'skin'.
        light: number of the light's direction, 0 to LIGHTS - 1.

    Returns:
        float32 [BALL, BALL, 3]: row and column are ny and nx from -1 to 1.
    """
    line = np.linspace(-1, 1, BALL, dtype=np.float32)
    nx, ny = np.meshgrid(line, line)
    square = np.minimum(nx * nx + ny * ny, 0.999)
    nz = np.sqrt(1 - square)
    azimuth = -math.pi / 2 + (light / (LIGHTS - 1) - 0.5) * 2.2  # from left over the top to right
    lx, ly, lz = 0.62 * math.cos(azimuth), 0.62 * math.sin(azimuth), 0.78
    toward = nx * lx + ny * ly + nz * lz
    hx, hy, hz = np.array([lx, ly, lz + 1]) / math.sqrt(lx * lx + ly * ly + (lz + 1) ** 2)
    half = np.clip(nx * hx + ny * hy + nz * hz, 0, 1)
    rim = (1 - nz) ** 2
    diffuse = 0.42 + 0.68 * np.clip(toward, 0, 1) - 0.12 * rim
    opaque = np.ones_like(nz)
    match material:
        case 'metal':  # a room reflected: bright above, a dark horizon, a lit table below
            up = -2 * nz * ny * math.sin(-azimuth) + 2 * nz * nx * math.cos(azimuth)
            room = (
                0.62 + 0.5 * np.tanh(6 * (up - 0.22)) - 0.42 * np.exp(-(((up + 0.12) / 0.16) ** 2))
            )
            room += 0.55 * np.exp(-(((up - 0.62) / 0.1) ** 2))
            diffuse = 0.3 * diffuse + 0.78 * np.clip(room, 0.08, 1.7)
            gloss = 150 * half**60
        case 'glass':
            gloss = 235 * half**90 + 70 * np.exp(-(((toward - 0.2) / 0.07) ** 2)) * (nz < 0.85)
            opaque = np.clip(0.32 + 0.8 * rim + 0.2 * (nz < 0.35), 0, 0.92)
            diffuse = 0.85 + 0.35 * rim * np.sign(toward - 0.3)
        case 'ceramic':
            window = np.exp(-(((half - 1) / 0.012) ** 2))
            gloss = 205 * window + 34 * half**14
        case 'plastic':
            gloss = 105 * half**22 + 64 * rim
        case 'wood':
            gloss = 14 * half**8
        case 'skin':
            diffuse = 0.48 + 0.56 * np.clip(0.25 + 0.8 * toward, 0, 1) - 0.22 * rim
            gloss = 20 * half**9
        case _:  # cardboard and cloth are dull
            diffuse = 0.46 + 0.58 * np.clip(0.15 + 0.9 * toward, 0, 1)
            gloss = np.zeros_like(nz)
    return np.stack([diffuse, gloss, opaque], 2).astype(np.float32)
