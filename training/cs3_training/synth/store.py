"""Scenes on disk: made once by many processes, read as memory-mapped arrays.

A folder holds ``images.npy`` (uint8 [N, S, S, 3]), ``maps.npy`` (uint8 [N, S, S], the instance
maps), ``sounds.npy`` (int16 [N, T]), ``facts.jsonl`` (one line per scene: everything else that is
true of it) and ``store.json`` (settings and seeds). At 352 a scene takes 0.56 MB.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from cs3_ros.collision import Image
from cs3_ros.config import from_mapping
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.hands import ARM_NUMBERS, HAND_NUMBERS
from cs3_training.synth.scene import Hand, Instance, Scene
from cs3_training.synth.world import make_scene

FORMAT = 'cs3-scenes-1'


def make_store(config: WorldConfig, seeds: range, folder: Path, workers: int = 1) -> Iterator[int]:
    """Make scenes and write them; what an interrupted run has written is kept.

    Args:
        config: settings of the world.
        seeds: which scenes, in steps of 1.
        folder: where to; made if need be.
        workers: processes.

    Yields:
        The number of scenes that are there, after each.

    Raises:
        ValueError: the folder holds scenes of other settings or seeds.
    """
    about = {'format': FORMAT, 'config': asdict(config), 'first': seeds.start, 'count': len(seeds)}
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / 'store.json'
    if index.exists() and json.loads(index.read_text('utf-8')) != about:
        raise ValueError(f'{folder}: holds scenes of other settings or seeds; name another folder')
    shapes = _shapes(config, len(seeds))
    fresh = not index.exists()
    arrays = [
        open_memmap(folder / f'{name}.npy', 'w+' if fresh else 'r+', kind, shape if fresh else None)
        for name, (kind, shape) in shapes.items()
    ]
    facts = folder / 'facts.jsonl'
    if fresh:
        facts.write_text('', 'utf-8')
        index.write_text(json.dumps(about, indent=1) + '\n', 'utf-8')
    lines = facts.read_text('utf-8').splitlines(keepends=True)
    if lines and not lines[-1].endswith('\n'):
        lines.pop()  # cut off in the middle
        facts.write_text(''.join(lines), 'utf-8')
    done = len(lines)
    images, maps, sounds = arrays
    with open(facts, 'a', encoding='utf-8') as file:
        with closing(_scenes(config, seeds[done:], workers)) as scenes:
            for number, scene in enumerate(scenes, done):
                images[number], maps[number] = scene.image, scene.instance_map
                sounds[number] = np.rint(scene.sound * 32768).astype(np.int16)
                file.write(json.dumps(_facts(scene)) + '\n')  # the scene counts from here on
                file.flush()
                yield number + 1


def _shapes(config: WorldConfig, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    size, samples = config.size, round(config.seconds * config.sample_rate)
    return {
        'images': ('|u1', (count, size, size, 3)),
        'maps': ('|u1', (count, size, size)),
        'sounds': ('<i2', (count, samples)),
    }


def _scenes(config: WorldConfig, seeds: range, workers: int) -> Generator[Scene, None, None]:
    if workers == 1:
        yield from (make_scene(config, seed) for seed in seeds)
        return
    with multiprocessing.get_context('spawn').Pool(workers) as pool:
        yield from pool.imap(partial(make_scene, config), seeds, chunksize=4)


def _facts(scene: Scene) -> dict[str, Any]:
    return {
        'seed': scene.seed,
        'onset': scene.onset,
        'contact': scene.contact,
        'table': scene.table,
        'sound_materials': scene.sound_materials,
        'instances': [asdict(instance) for instance in scene.instances],
        'hands': [
            {'side': h.side, 'box': h.box, 'holds': h.holds, 'object_box': h.object_box}
            for h in scene.hands
        ],
        'captions': scene.captions,
        'negatives': scene.negatives,
    }


class SceneStore:
    """Scenes of a folder; pictures and sounds are read when asked for.

    ``store[k]`` is the picture and the sound alone, as training takes them.

    Args:
        folder: as ``make_store`` left it.

    Raises:
        ValueError: no such folder of scenes, or one that is not complete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, index = folder, folder / 'store.json'
        if not index.exists():
            raise ValueError(f'{folder}: no scenes there; make them with cs3-train synth make')
        about = json.loads(index.read_text('utf-8'))
        if about['format'] != FORMAT:
            raise ValueError(f'{index}: format {about["format"]!r}: expected {FORMAT!r}')
        self.config = from_mapping(WorldConfig, about['config'], str(index))
        with open(folder / 'facts.jsonl', encoding='utf-8') as file:
            self.facts: list[dict[str, Any]] = [json.loads(line) for line in file]
        if len(self.facts) != about['count']:
            raise ValueError(
                f'{folder}: {len(self.facts)} of {about["count"]} scenes; run the command that '
                'made it again, it goes on'
            )
        self.images: NDArray[np.uint8] = np.load(folder / 'images.npy', mmap_mode='r')
        self.maps: NDArray[np.uint8] = np.load(folder / 'maps.npy', mmap_mode='r')
        self.sounds: NDArray[np.int16] = np.load(folder / 'sounds.npy', mmap_mode='r')

    def __reduce__(self) -> tuple[type[SceneStore], tuple[Path]]:
        return SceneStore, (self._folder,)  # other processes map the files anew

    def __len__(self) -> int:
        return len(self.facts)

    def __getitem__(self, index: int) -> tuple[Image, NDArray[np.float32]]:
        if not 0 <= index < len(self):
            raise IndexError(f'scene {index}: expected 0 to {len(self) - 1}')
        sound = self.sounds[index].astype(np.float32) / np.float32(32768)
        return np.array(self.images[index]), sound

    def scene(self, index: int) -> Scene:
        """Everything about a scene, as ``make_scene`` gave it."""
        image, sound = self[index]
        facts, numbers = self.facts[index], np.array(self.maps[index])
        hands = tuple(
            Hand(
                side=hand['side'],
                mask=numbers == HAND_NUMBERS[hand['side']],
                arm_mask=numbers == ARM_NUMBERS[hand['side']],
                box=_box(hand['box']),
                holds=hand['holds'],
                object_box=_box(hand['object_box']),
            )
            for hand in facts['hands']
        )
        return Scene(
            seed=facts['seed'],
            image=image,
            sound=sound,
            sample_rate=self.config.sample_rate,
            onset=facts['onset'],
            instance_map=numbers,
            instances=tuple(
                Instance(**(one | {'box': _box(one['box'])})) for one in facts['instances']
            ),
            hands=hands,
            contact=(facts['contact'][0], facts['contact'][1]),
            table=facts['table'],
            sound_materials=(facts['sound_materials'][0], facts['sound_materials'][1]),
            captions=tuple(facts['captions']),
            negatives=tuple(facts['negatives']),
        )


def _box(values: list[int]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = values
    return x0, y0, x1, y1
