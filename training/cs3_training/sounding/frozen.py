"""What frozen towers leave of scenes, computed once: a step then takes a tenth of the time.

A folder holds ``patches.npy``, ``heard.npy``, which chunks are done, and what all of it was made
of; a run that was ended goes on with the next chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.networks.sounding import SoundingObjects
from cs3_training.synth.store import Scenes

CHUNK = 32


@dataclass(frozen=True, eq=False)
class Frozen:
    """Read-only, of the same N scenes in the same order as the set to learn from."""

    patches: NDArray[np.float16]
    """Of the vision tower, [N, n * n, D]."""
    heard: NDArray[np.float32] | None
    """``SoundTower.pooled``, [N, width]; None where the sound tower learns."""


def freeze(
    scenes: Scenes,
    network: SoundingObjects,
    folder: Path,
    about: Mapping[str, str],
    sounds: bool,
    device: torch.device = torch.device('cpu'),
) -> Frozen:
    """Compute what is not there yet, then open it.

    Args:
        scenes: the scenes.
        network: its vision tower, its window of sound and, for ``sounds``, its sound tower.
        folder: where to; made if need be.
        about: digests of the towers.
        sounds: whether the sound tower is frozen, too.
        device: where it is computed.

    Raises:
        ValueError: the folder holds what other towers left, or of other scenes.
    """
    facts = {**about, 'scenes': scenes.digest, 'window': list(network.window), 'sounds': sounds}
    network = network.to(device)
    index, count = folder / 'frozen.json', len(scenes)
    vision, sound = network.vision, network.sound
    folder.mkdir(parents=True, exist_ok=True)
    if not index.exists():
        shape = (count, vision.grid**2, vision.width)
        open_memmap(folder / 'patches.npy', 'w+', np.float16, shape)
        width = sound.width if sounds else 0
        open_memmap(folder / 'heard.npy', 'w+', np.float32, (count, width))
        np.save(folder / 'done.npy', np.zeros(-(-count // CHUNK), bool))
        write_json(index, facts)
    elif read_json(index, str(index)) != facts:
        raise ValueError(
            f'{folder}: holds what other towers left, or of other scenes; remove it or name '
            'another folder'
        )
    done, patches, heard = (
        open_memmap(folder / f'{name}.npy', 'r+') for name in ('done', 'patches', 'heard')
    )
    with torch.inference_mode(), Bar(total=count, desc='frozen towers', disable=None) as bar:
        for number in range(len(done)):
            rows = range(number * CHUNK, min((number + 1) * CHUNK, count))
            if not done[number]:
                images = torch.from_numpy(np.array(scenes.image[rows.start : rows.stop]))
                seen = vision(vision.pictures(images.to(device)))  # [B, N, D]
                patches[rows.start : rows.stop] = seen.half().cpu().numpy()
                if sounds:
                    clips = torch.from_numpy(np.stack([scenes.centred(row) for row in rows]))
                    spectrogram = sound.spectrogram(network.cut(clips.to(device)))
                    heard[rows.start : rows.stop] = sound.pooled(spectrogram).cpu().numpy()
                for array in (patches, heard):
                    array.flush()
                done[number] = True
                done.flush()
            bar.update(len(rows))
    return Frozen(patches, heard if sounds else None)
