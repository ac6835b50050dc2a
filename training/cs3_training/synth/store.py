"""Scenes on disk: made once by several processes, read as memory maps.

A folder holds one ``.npy`` file for each array of ``Scenes``, ``digests.npy`` and ``store.json``
(settings and seeds). Scenes are made in chunks; a chunk counts once it is on disk, so a run that
was killed goes on with the next one. At 352 a scene takes 0.56 MB, at 224 0.27 MB.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from cs3_ros.collision import Image
from cs3_ros.config import from_mapping
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.progress import Bar
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.hands import ARM_NUMBERS, HAND_NUMBERS
from cs3_training.synth.scene import Scene
from cs3_training.synth.vocabulary import COLOURS, MATERIALS, SHAPES
from cs3_training.synth.world import make_scene, onset_of

FORMAT = 'cs3-scenes-2'
CHUNK = 32
SLOTS = 16
"""Room for the objects of a scene."""
SIDES = ('', 'left', 'right')
"""Codes of hands in ``objects``."""
COLOUR, MATERIAL, SHAPE, COLLIDING, HAND = range(5)
"""Columns of ``objects``."""
HANDS = (HAND_NUMBERS['left'], HAND_NUMBERS['right'])
ARMS = (ARM_NUMBERS['left'], ARM_NUMBERS['right'])
"""Their numbers in the instance map, left first."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """N scenes of H x H pixels, read-only.

    ``scenes[k]`` is picture and sound alone, all that weak supervision sees
    (``cs3_training.localiser.train.Pairs``).
    """

    image: NDArray[np.uint8]
    """RGB [N, H, H, 3]."""
    numbers: NDArray[np.uint8]
    """Instance maps [N, H, H]: 0 table, k row k - 1 of ``objects``, ``ARMS`` and ``HANDS``."""
    sound: NDArray[np.int16]
    """[N, samples], in 1 / 32768."""
    objects: NDArray[np.int8]
    """[N, SLOTS, 5]: colour, material, shape, colliding, hand; -1 where there is no object."""
    heard: NDArray[np.int8]
    """Materials of the two bodies of the action, [N, 2]; where it makes no sound, ``~material``,
    which is negative."""
    config: WorldConfig
    seeds: range
    folder: Path
    digest: str
    """SHA-256 of the arrays."""

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, row: int) -> tuple[Image, NDArray[np.float32]]:
        if not 0 <= row < len(self):
            raise IndexError(f'scene {row}: expected 0 to {len(self) - 1}')
        return np.array(self.image[row]), self.waveform(row)

    def draw(self, row: int, rng: np.random.Generator) -> tuple[Image, NDArray[np.float32], int]:
        """``scenes[row]`` and its onset: of a scene there is nothing to choose."""
        return *self[row], self.onset(row)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_scenes, (self.folder,)  # other processes map the files anew

    @property
    def sounding(self) -> NDArray[np.bool_]:
        """Whether the action of a scene makes the sound, [N]."""
        return np.asarray(self.heard[:, 0] >= 0, bool)

    def waveform(self, row: int) -> NDArray[np.float32]:
        """Sound float32 [samples] in [-1, 1]."""
        return self.sound[row].astype(np.float32) / np.float32(32768)

    def centred(self, row: int) -> NDArray[np.float32]:
        """The same with the onset in its middle; silent where it has no more sound."""
        sound, count = self.waveform(row), self.sound.shape[1]
        late = self.onset(row) - count // 2
        wide = np.pad(sound, (max(-late, 0), max(late, 0)))
        return wide[max(late, 0) :][:count]

    def onset(self, row: int) -> int:
        """First sample of the action in the sound."""
        return onset_of(self.config, self.seeds[row])

    def scene(self, row: int) -> Scene:
        """All that is true of a scene, made again from its seed; picture and sound as kept.

        Raises:
            ValueError: the world has changed since, and it comes out as another one.
        """
        scene = make_scene(self.config, self.seeds[row])
        if not np.array_equal(scene.instance_map, self.numbers[row]):
            raise ValueError(
                f'{self.folder}, scene {row}: made by another version of the world; make it anew'
            )
        image, sound = self[row]  # shading and other machines may differ by a little
        return replace(scene, image=image, sound=sound)


def make_scenes(folder: Path, config: WorldConfig, seeds: range, workers: int = 1) -> Scenes:
    """Make the scenes that are not there yet, then open them all.

    Args:
        folder: where to; made if need be.
        config: settings of the world.
        seeds: which scenes, at least one, in steps of 1.
        workers: processes.

    Raises:
        ValueError: the folder holds scenes of other settings or seeds.
    """
    about = {'format': FORMAT, 'config': config.facts(), 'first': seeds.start, 'count': len(seeds)}
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / 'store.json'
    rows = range(len(seeds))
    chunks = [rows[start : start + CHUNK] for start in rows[::CHUNK]]
    if not index.exists():
        for name, (shape, kind) in _layout(config, len(seeds)).items():
            open_memmap(folder / f'{name}.npy', 'w+', kind, shape)
        np.save(folder / 'digests.npy', np.zeros((len(chunks), 32), np.uint8))
        write_json(index, about)
    elif read_json(index, str(index)) != about:
        raise ValueError(
            f'{folder}: holds scenes of other settings or seeds; name another folder, or remove it'
        )
    digests = open_memmap(folder / 'digests.npy', 'r+')
    left = [rows for rows, made in zip(chunks, digests.any(1), strict=True) if not made]
    work = partial(_make_chunk, folder, config, seeds)
    with Bar(total=len(seeds), desc=f'scenes {folder.name}', disable=None) as bar:
        bar.update(len(seeds) - sum(map(len, left)))
        for rows, digest in _each(work, left, workers):
            digests[rows.start // CHUNK] = np.frombuffer(digest, np.uint8)
            digests.flush()
            bar.update(len(rows))
    return open_scenes(folder)


def open_judges(folder: Path, learned: str) -> Scenes:
    """The scenes of ``--validation``.

    Args:
        folder: as ``open_scenes``.
        learned: begins with the digest of the scenes to learn from.

    Raises:
        ValueError: as ``open_scenes``, or they are those to learn from.
    """
    judges = open_scenes(folder)
    if learned.startswith(judges.digest):
        raise ValueError(
            f'--validation {folder}: the scenes to learn from; make others with cs3-train synth '
            'make --split validation'
        )
    return judges


def open_scenes(folder: Path) -> Scenes:
    """The scenes of a folder, as ``make_scenes`` left it.

    Raises:
        ValueError: there are none, they are of another format, or some are missing.
    """
    index = folder / 'store.json'
    if not index.exists():
        raise ValueError(f'{folder}: no scenes there; make them with cs3-train synth make')
    about = read_json(index, str(index))
    if about.get('format') != FORMAT:
        raise ValueError(f'{index}: format {about.get("format")!r}: expected {FORMAT!r}')
    config = from_mapping(WorldConfig, about['config'], str(index))
    count, digests = about['count'], np.load(folder / 'digests.npy')
    made = digests.any(1)
    if not made.all():
        raise ValueError(
            f'{folder}: {np.count_nonzero(made)} of {len(made)} chunks of scenes are made; run the '
            'command that made them again, it goes on'
        )
    arrays: dict[str, Any] = {
        name: np.load(folder / f'{name}.npy', mmap_mode='r') for name in _layout(config, count)
    }
    return Scenes(
        **arrays,
        config=config,
        seeds=range(about['first'], about['first'] + count),
        folder=folder,
        digest=hashlib.sha256(digests.tobytes()).hexdigest(),
    )


def _layout(config: WorldConfig, count: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    size, samples = config.size, round(config.seconds * config.sample_rate)
    return {
        'image': ((count, size, size, 3), np.uint8),
        'numbers': ((count, size, size), np.uint8),
        'sound': ((count, samples), np.int16),
        'objects': ((count, SLOTS, 5), np.int8),
        'heard': ((count, 2), np.int8),
    }


def _each(
    work: partial[tuple[range, bytes]], chunks: list[range], workers: int
) -> Iterator[tuple[range, bytes]]:
    """Chunks as they get ready, in any order."""
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from map(work, chunks)
        return
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        yield from pool.imap_unordered(work, chunks)


def _make_chunk(
    folder: Path, config: WorldConfig, seeds: range, rows: range
) -> tuple[range, bytes]:
    """Make the scenes of some rows and write them to disk; their digest."""
    scenes = [make_scene(config, seeds[row]) for row in rows]
    parts: dict[str, NDArray[Any]] = {
        'image': np.stack([scene.image for scene in scenes]),
        'numbers': np.stack([scene.instance_map for scene in scenes]),
        'sound': np.stack([np.rint(scene.sound * 32768).astype(np.int16) for scene in scenes]),
        'objects': np.stack([_objects(scene) for scene in scenes]),
        'heard': np.array([_heard(scene) for scene in scenes], np.int8),
    }
    digest = hashlib.sha256()
    for name, part in parts.items():
        array = open_memmap(folder / f'{name}.npy', 'r+')
        array[rows.start : rows.stop] = part
        array.flush()
        digest.update(part.tobytes())
    return rows, digest.digest()


def _heard(scene: Scene) -> list[int]:
    codes = [MATERIALS.index(name) for name in scene.materials]
    return [~code for code in codes] if scene.silent else codes


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
