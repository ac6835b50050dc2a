"""The scenes of the recipe on disk: made once by several processes, read as memory maps.

A set lies in a folder with one ``.npy`` per kind of data. Rows are made in chunks; a chunk is
marked once it is on disk, so that a run that was killed goes on with the next one.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cs3_training.synth.config import Split, WorldConfig, split_seed
from cs3_training.synth.hands import ARM_NUMBERS, HAND_NUMBERS
from cs3_training.synth.scene import Scene
from cs3_training.synth.vocabulary import COLOURS, MATERIALS, SHAPES
from cs3_training.synth.world import make_scene

SLOTS = 16
"""Most objects of a scene."""
SIDES = ('', 'left', 'right')
"""Code of a hand in ``objects``."""
COLOUR, MATERIAL, SHAPE, COLLIDING, HAND = range(5)
"""Columns of ``objects``."""
HANDS = (HAND_NUMBERS['left'], HAND_NUMBERS['right'])
ARMS = (ARM_NUMBERS['left'], ARM_NUMBERS['right'])
"""Their numbers in the instance map, left first."""
CHUNK = 32


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes of H x H pixels, read-only."""

    image: NDArray[np.uint8]
    """RGB [N, H, H, 3]."""
    numbers: NDArray[np.uint8]
    """Instance maps [N, H, H]: 0 table, k row k - 1 of ``objects``, arms and hands."""
    sound: NDArray[np.int16]
    """[N, samples] at 16 kHz, in 1 / 32768."""
    objects: NDArray[np.int8]
    """[N, SLOTS, 5]: colour, material, shape, colliding, hand; -1 where there is no object."""
    heard: NDArray[np.int8]
    """Materials of the two bodies that sound, [N, 2]."""
    digest: str
    """SHA-256 of all of it."""

    def __len__(self) -> int:
        return len(self.image)

    def waveform(self, row: int) -> NDArray[np.float32]:
        """Sound float32 [samples] in [-1, 1]."""
        return self.sound[row].astype(np.float32) / 32768


class SoundPairs:
    """Pictures and sounds alone, what weak supervision sees (``cs3_training.train.Pairs``)."""

    def __init__(self, scenes: Scenes) -> None:
        self._scenes = scenes

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return np.array(self._scenes.image[index]), self._scenes.waveform(index)


def make_set(
    folder: Path,
    split: Split,
    first: int,
    count: int,
    world: WorldConfig,
    workers: int = 1,
) -> Scenes:
    """Make what is not there yet, then open it.

    Args:
        folder: of the set.
        split: whose seeds are taken.
        first: index of the first scene within the split.
        count: number of scenes.
        world: settings; its sound must be at 16 kHz.
        workers: processes.

    Raises:
        ValueError: the folder holds a set of other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_of = {'split': split, 'first': first, 'count': count, 'world': asdict(world)}
    path = folder / 'set.json'
    if path.is_file() and json.loads(path.read_text('utf-8')) != made_of:
        raise ValueError(
            f'{folder} holds scenes of other settings: give another folder, or remove this one'
        )
    starts = range(0, count, CHUNK)
    if not path.is_file():
        for name, (shape, kind) in _layout(count, world).items():
            np.lib.format.open_memmap(folder / f'{name}.npy', 'w+', kind, shape)
        np.save(folder / 'digests.npy', np.zeros((len(starts), 32), np.uint8))
        path.write_text(json.dumps(made_of), 'utf-8')
    digests = np.lib.format.open_memmap(folder / 'digests.npy', 'r+')
    left = [start for start, digest in zip(starts, digests, strict=True) if not digest.any()]
    work = partial(_make_chunk, folder, split, first, count, world)
    if not left:
        return open_set(folder)
    with multiprocessing.get_context('spawn').Pool(max(1, min(workers, len(left)))) as pool:
        finished = pool.imap_unordered(work, left)
        with tqdm(total=count, desc=f'scenes {folder.name}', disable=None) as bar:
            bar.update(count - sum(min(CHUNK, count - start) for start in left))
            for start, digest in finished:
                digests[start // CHUNK] = np.frombuffer(digest, np.uint8)
                digests.flush()
                bar.update(min(CHUNK, count - start))
    return open_set(folder)


def open_set(folder: Path) -> Scenes:
    """A finished set.

    Raises:
        OSError: there is none.
        ValueError: it is not finished.
    """
    digests = np.load(folder / 'digests.npy')
    if not digests.any(1).all():
        raise ValueError(f'{folder}: not all scenes are made: run the stage scenes again')
    names = ('image', 'numbers', 'sound', 'objects', 'heard')
    data: dict[str, Any] = {n: np.load(folder / f'{n}.npy', mmap_mode='r') for n in names}
    return Scenes(**data, digest=hashlib.sha256(digests.tobytes()).hexdigest())


def _layout(count: int, world: WorldConfig) -> dict[str, tuple[tuple[int, ...], Any]]:
    size, samples = world.size, round(world.seconds * world.sample_rate)
    return {
        'image': ((count, size, size, 3), np.uint8),
        'numbers': ((count, size, size), np.uint8),
        'sound': ((count, samples), np.int16),
        'objects': ((count, SLOTS, 5), np.int8),
        'heard': ((count, 2), np.int8),
    }


def _make_chunk(
    folder: Path, split: Split, first: int, count: int, world: WorldConfig, start: int
) -> tuple[int, bytes]:
    """Make rows from ``start`` on and write them to disk; their digest."""
    rows = range(start, min(start + CHUNK, count))
    scenes = [make_scene(world, split_seed(split, first + row)) for row in rows]
    parts = {
        'image': np.stack([scene.image for scene in scenes]),
        'numbers': np.stack([scene.instance_map for scene in scenes]),
        'sound': np.stack([np.rint(scene.sound * 32768).astype(np.int16) for scene in scenes]),
        'objects': np.stack([_objects(scene) for scene in scenes]),
        'heard': np.array(
            [[MATERIALS.index(name) for name in scene.sound_materials] for scene in scenes], np.int8
        ),
    }
    digest = hashlib.sha256()
    for name, part in parts.items():
        array = np.lib.format.open_memmap(folder / f'{name}.npy', 'r+')
        array[start : rows.stop] = part
        array.flush()
        digest.update(part.tobytes())
    return start, digest.digest()


def _objects(scene: Scene) -> NDArray[np.int8]:
    table = np.full((SLOTS, 5), -1, np.int8)
    for row, thing in enumerate(scene.instances):
        table[row] = (
            COLOURS.index(thing.colour),
            MATERIALS.index(thing.material),
            SHAPES.index(thing.shape),
            thing.colliding,
            SIDES.index(thing.hand),
        )
    return table
