"""Clips: three seconds in which the objects of a scene approach, touch and part, with sound."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.atomic import replacing
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.video_writer import VideoWriter
from cs3_training.synth.builder import Layer, TableTop
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.picture import develop, lay
from cs3_training.synth.scene import Hand, Instance
from cs3_training.synth.shading import Sprite
from cs3_training.synth.soundtrack import Timing, sounding_bodies, soundtrack
from cs3_training.synth.surface import Array
from cs3_training.synth.table_top import lay_table_top
from cs3_training.synth.world import describe

FRAME_RATE = 30
SECONDS = 3.0
SOUND_RATE = 48_000

_MARGIN = 0.09  # border that the moving camera may show, share of the size


@dataclass(frozen=True)
class Motion:
    """How objects and camera move in a clip."""

    event_s: float
    """Time of contact, seconds from the start; on a frame."""
    approach: tuple[float, float]
    """How far from their place of contact object 1 and 2 start, pixels."""
    parting: tuple[float, float]
    """How far they part afterwards, pixels."""
    duration_s: float
    """Length of the approach, seconds."""
    waves: tuple[tuple[float, float, float], ...]
    """Camera: amplitude, frequency (Hz) and phase for x and y (pixels), turn (degrees), zoom."""

    def distance(self, mover: int, time_s: float) -> float:
        """How far object 1 or 2 is from its place of contact, pixels; 0 at ``event_s``."""
        ahead = self.event_s - time_s
        if ahead >= 0:
            rest = 1 - min(ahead / self.duration_s, 1)
            return self.approach[mover - 1] * (1 - rest * rest)
        return self.parting[mover - 1] * (1 - math.exp(ahead / 0.22))

    def camera(self, time_s: float) -> tuple[float, float, float, float]:
        """Shift right and down in pixels, turn in degrees, zoom."""
        x, y, turn, zoom = (
            amplitude * math.sin(2 * math.pi * frequency * time_s + phase)
            for amplitude, frequency, phase in self.waves
        )
        return x, y, turn, 1 + zoom


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """One picture of a clip."""

    stamp_ns: int
    image: Image
    """RGB uint8 [H, W, 3]."""
    instance_map: NDArray[np.uint8]
    """[H, W], numbers as in ``Scene.instance_map``."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip and the truth about it; pictures are drawn when they are asked for."""

    seed: int
    config: WorldConfig
    table_top: TableTop
    motion: Motion
    sound: NDArray[np.float32]
    """[N] at SOUND_RATE."""
    event_frame: int
    """Index of the frame of the contact."""

    @property
    def event_ns(self) -> int:
        """Media time of the contact and of its first sample of sound."""
        return round(self.motion.event_s * NS_PER_S)

    @property
    def count(self) -> int:
        """Number of frames."""
        return round(SECONDS * FRAME_RATE)

    def frames(self) -> Iterator[ClipFrame]:
        """All pictures in order; every call draws the same ones."""
        still = [layer for layer in self.table_top.layers if layer.mover == 0]
        moving = [layer for layer in self.table_top.layers if layer.mover]
        ground = self.table_top.ground.copy()
        numbers = np.zeros(ground.shape[:2], np.uint8)
        for layer in still:  # these are below everything that moves
            lay(ground, numbers, layer.sprite, self.table_top.camera)
        for index in range(self.count):
            yield self._frame(index, moving, ground, numbers)

    def event(self) -> ClipFrame:
        """The picture of the contact."""
        return next(frame for k, frame in enumerate(self.frames()) if k == self.event_frame)

    def truth(self, frame: ClipFrame) -> tuple[tuple[Instance, ...], tuple[Hand, ...]]:
        """Objects and hands as they are seen in a frame."""
        return describe(self.table_top, frame.instance_map)

    def _frame(
        self, index: int, moving: list[Layer], ground: Array, still: NDArray[np.uint8]
    ) -> ClipFrame:
        time_s = index / FRAME_RATE
        canvas, numbers = ground.copy(), still.copy()
        for layer in moving:
            lay(canvas, numbers, self._moved(layer, time_s), self.table_top.camera)
        side, size = len(canvas), self.config.size
        x, y, turn, zoom = self.motion.camera(time_s)
        view = cv2.getRotationMatrix2D((side / 2 + x, side / 2 + y), turn, zoom)
        border = (side - size) / 2
        view = view - np.array([[0, 0, border + x], [0, 0, border + y]])
        picture = cv2.warpAffine(canvas, view, (size, size), flags=cv2.INTER_LINEAR)
        seen = cv2.warpAffine(numbers, view, (size, size), flags=cv2.INTER_NEAREST)
        rng = np.random.default_rng([self.seed, 4, index])
        image = develop(np.asarray(picture, np.float32), self.table_top.camera, rng)
        stamp_ns = round(index * NS_PER_S / FRAME_RATE)
        return ClipFrame(stamp_ns, image, np.asarray(seen, np.uint8))

    def _moved(self, layer: Layer, time_s: float) -> Sprite:
        distance = self.motion.distance(layer.mover, time_s)
        sign = -1 if layer.mover == 2 else 1  # the second comes along ``travel``
        x, y = (sign * distance * part for part in self.table_top.travel)
        sprite = layer.sprite
        return replace(
            sprite,
            x=sprite.x + round(x),
            y=sprite.y + round(y),
            shadow=sprite.shadow + 0.12 * distance,
        )


def make_clip(config: WorldConfig, seed: int) -> Clip:
    """Choose a clip: deterministic by settings and seed.

    Args:
        config: settings of the world; its rate and length of sound are not used.
        seed: from ``split_seed``.
    """
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, 5])
    table_top = lay_table_top(config, rng, round(_MARGIN * config.size))
    table_top = replace(table_top, camera=replace(table_top.camera, shake=(0.0, 0.0)))
    event_frame = int(rng.integers(round(1.2 * FRAME_RATE), round(1.8 * FRAME_RATE)))
    motion = _choose_motion(table_top, config.size / 352, event_frame / FRAME_RATE, rng)
    timing = Timing(SOUND_RATE, round(SECONDS * SOUND_RATE), round(motion.event_s * SOUND_RATE))
    sound = soundtrack(config, sounding_bodies(config, table_top), table_top, timing, rng)
    return Clip(seed, config, table_top, motion, sound, event_frame)


def _choose_motion(
    table_top: TableTop, unit: float, event_s: float, rng: np.random.Generator
) -> Motion:
    colliding = [placed for placed in table_top.objects if placed.colliding]
    far, back = rng.uniform(45, 95) * unit, rng.uniform(18, 42) * unit
    parts = back if colliding[-1].side else 0.0  # what nobody holds stays where it came to rest
    first = len(colliding) > 1 and bool(colliding[0].side)
    return Motion(
        event_s=event_s,
        approach=(0.6 * far if first else 0.0, far),
        parting=(0.7 * back if first else 0.0, parts),
        duration_s=float(rng.uniform(0.45, 0.8)),
        waves=tuple(
            (
                float(rng.uniform(0.3, 1) * size),
                float(rng.uniform(0.15, 0.6)),
                float(rng.uniform(0, 6.28)),
            )
            for size in (7 * unit, 6 * unit, 1.2, 0.015)
        ),
    )


def write_clip(clip: Clip, path: Path, output: OutputFolder | None = None) -> None:
    """Write a clip as a video with its truth beside it.

    ``clip.mp4`` gets ``clip.json`` (time and frame of the contact, objects and hands then) and
    ``clip.npz`` (``instance_maps``, uint8 [frames, H, W]).

    Args:
        clip: the clip.
        path: the video to write; what is there is replaced.
        output: the folder that it lies in, where that keeps account of its files.
    """
    maps: list[NDArray[np.uint8]] = []
    size = clip.config.size
    facts: dict[str, object] = {}
    per_frame = SOUND_RATE // FRAME_RATE

    def to(file: Path) -> AbstractContextManager[Path]:
        return replacing(file) if output is None else output.replacing(file.name)

    fmt = SoundFormat(SOUND_RATE, 1)
    with to(path) as part, VideoWriter(part, (size, size), FRAME_RATE, fmt) as writer:
        for index, frame in enumerate(clip.frames()):
            writer.write(frame.stamp_ns, frame.image)
            samples = clip.sound[index * per_frame : (index + 1) * per_frame]
            writer.write_sound(SoundChunk(frame.stamp_ns, SOUND_RATE, samples[:, None]))
            maps.append(frame.instance_map)
            if index == clip.event_frame:
                facts = _facts(clip, frame)
    with to(path.with_suffix('.npz')) as part:
        np.savez_compressed(part, instance_maps=np.stack(maps))
    with to(path.with_suffix('.json')) as part:
        part.write_text(json.dumps(facts, indent=1) + '\n', 'utf-8')


def _facts(clip: Clip, frame: ClipFrame) -> dict[str, object]:
    instances, hands = clip.truth(frame)
    return {
        'seed': clip.seed,
        'event_ns': clip.event_ns,
        'event_frame': clip.event_frame,
        'frame_rate': FRAME_RATE,
        'sound_rate': SOUND_RATE,
        'table': clip.table_top.table.material,
        'objects': [asdict(instance) for instance in instances],
        'hands': [
            {'side': h.side, 'box': h.box, 'holds': h.holds, 'object_box': h.object_box}
            for h in hands
        ],
    }
