"""The sound of a scene: its collision, rebounds, other impacts, room and background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cs3_training.synth.ambience import background, in_room
from cs3_training.synth.builder import TableTop
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.impact import Samples, SoundingBody, impact
from cs3_training.synth.shapes import SIZES
from cs3_training.synth.vocabulary import MATERIALS, SHAPES

_REBOUNDS = 0.4  # share of collisions that bounce
_QUIET_S = 0.28  # other impacts keep this far from the collision, seconds
_TABLE_SIZE = 240.0  # as if pixels


@dataclass(frozen=True)
class Timing:
    """Where the collision lies in a sound."""

    rate: int
    count: int
    """Samples in all."""
    onset: int
    """First sample of the collision."""


def make_sound(
    config: WorldConfig, table_top: TableTop, rng: np.random.Generator, silent: bool = False
) -> tuple[Samples, int, tuple[str, str]]:
    """Sound of a scene, float32 [N]; its onset in samples; the materials of both bodies.

    Args:
        config: settings of the world.
        table_top: what lies there, and what collides.
        rng: source of the random numbers.
        silent: the collision is not heard; two things out of sight collide in its place.
    """
    count, onset = round(config.seconds * config.sample_rate), draw_onset(config, rng)
    bodies = _other_bodies(table_top, rng) if silent else sounding_bodies(config, table_top)
    sound = soundtrack(config, bodies, table_top, Timing(config.sample_rate, count, onset), rng)
    return sound, onset, (bodies[0].material, bodies[1].material)


def draw_onset(config: WorldConfig, rng: np.random.Generator) -> int:
    """First sample of the collision; the first number that is drawn for a sound."""
    jitter = rng.uniform(-config.jitter_s, config.jitter_s)
    return round(round(config.seconds * config.sample_rate) / 2 + jitter * config.sample_rate)


def sounding_bodies(config: WorldConfig, table_top: TableTop) -> tuple[SoundingBody, SoundingBody]:
    """The two bodies of the collision: two objects, or one and the table."""
    scale = 352 / config.size
    bodies = [
        SoundingBody(p.thing.material, p.thing.shape, p.thing.size * scale, bool(p.side))
        for p in table_top.objects
        if p.colliding
    ]
    bodies.append(SoundingBody(table_top.table.material, 'table', _TABLE_SIZE, False))
    return bodies[0], bodies[1]


def soundtrack(
    config: WorldConfig,
    bodies: tuple[SoundingBody, SoundingBody],
    table_top: TableTop,
    timing: Timing,
    rng: np.random.Generator,
) -> Samples:
    """Everything that is heard, float32 [count] in [-1, 1] on the grid of 16 bits.

    Nothing of the collision is heard before ``timing.onset``.
    """
    rate = timing.rate
    dry = np.zeros(timing.count, np.float32)
    _add(dry, impact(*bodies, rate, rng), timing.onset, 1.0)
    if rng.random() < _REBOUNDS:
        at, level = timing.onset, rng.uniform(0.25, 0.6)
        for _ in range(rng.integers(1, 4)):
            at += round(rng.uniform(0.06, 0.2) * rate)
            _add(dry, impact(*bodies, rate, rng), at, level)
            level *= rng.uniform(0.3, 0.7)
    if rng.random() < config.other_impacts:
        for _ in range(rng.integers(1, 3)):
            when = _other_time(timing, rng)
            if when is not None:
                other = impact(*_other_bodies(table_top, rng), rate, rng)
                _add(dry, other, when, 10 ** (-rng.uniform(5, 18) / 20))
    wet = in_room(dry, rate, rng)
    wet /= np.abs(wet).max() + np.float32(1e-9)
    noise = background(timing.count, rate, rng)
    level = config.background * 10 ** (-rng.uniform(25, 55) / 20)
    loudness = rng.uniform(0.08, 0.9)
    sound = wet + noise * np.float32(level)
    sound *= np.float32(loudness / np.abs(sound).max())
    return np.rint(sound * np.float32(32767)) / np.float32(32768)


def _add(sound: Samples, part: Samples, at: int, level: float) -> None:
    room = max(min(len(part), len(sound) - at), 0)
    sound[at : at + room] += part[:room] * np.float32(level)


def _other_time(timing: Timing, rng: np.random.Generator) -> int | None:
    """A sample well before or after the collision; None where there is no room."""
    gap = round(_QUIET_S * timing.rate)
    before, after = timing.onset - gap, timing.count - timing.onset - gap
    if before <= 0 or after <= 0:
        return None
    place = int(rng.integers(before + after))
    return place if place < before else timing.onset + gap + place - before


def _other_bodies(
    table_top: TableTop, rng: np.random.Generator
) -> tuple[SoundingBody, SoundingBody]:
    """Something out of sight, often of the materials of what lies about."""
    around = [placed.thing.material for placed in table_top.objects if not placed.colliding]
    bodies = []
    for _ in range(2):
        material = MATERIALS[rng.integers(len(MATERIALS))]
        if around and rng.random() < 0.5:
            material = around[rng.integers(len(around))]
        shape = SHAPES[rng.integers(len(SHAPES))]
        bodies.append(SoundingBody(material, shape, float(rng.uniform(*SIZES[shape])), False))
    return bodies[0], bodies[1]
