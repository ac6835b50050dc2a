"""Labelled sounds of shards, at random access: where each lies in its tar file."""

from __future__ import annotations

import io
import tarfile
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.jsonfile import load_json, read_json
from cs3_training.curate.listening import HEARD
from cs3_training.data.excerpts import RATE
from cs3_training.data.jobs import SETTINGS
from cs3_training.loop import Epochs


@dataclass(frozen=True)
class _Place:
    shard: Path
    offset: int
    size: int
    label: str
    start: int
    """First sample of the segment in the sound."""
    stop: int


class LabelledSounds:
    """The sounds of a folder of shards that have a class.

    Args:
        folder: of ``cs3-train extract``, best with few pictures.

    Attributes:
        labels: the classes that occur, sorted.
        digest: of the annotations that the shards were made of.

    Raises:
        ValueError: there are no shards, or no classes in them.
    """

    def __init__(self, folder: Path) -> None:
        paths = [path for path in sorted(folder.glob('shard-*.tar')) if '.part.' not in path.name]
        self._places = [place for path in paths for place in _places(path)]
        self.labels = tuple(sorted({place.label for place in self._places}))
        if len(self.labels) < 2:
            raise ValueError(
                f'{folder}: {len(self._places)} sounds of {len(self.labels)} classes in its '
                'shards: expected those of cs3-train extract epic with the tables of EPIC-SOUNDS'
            )
        settings = read_json(folder / SETTINGS, f'settings {str(folder / SETTINGS)!r}')
        self.digest = str(settings['annotations_sha256'])

    def __len__(self) -> int:
        return len(self._places)

    def label(self, index: int) -> str:
        """Class of a sound."""
        return self._places[index].label

    def window(self, index: int, share: float = 0.5) -> NDArray[np.float32]:
        """2 s of a sound, float32 [``HEARD``], about a moment of its segment: 0 its begin, 1 its
        end."""
        place = self._places[index]
        with place.shard.open('rb') as file:
            file.seek(place.offset)
            data = file.read(place.size)
        with wave.open(io.BytesIO(data)) as wav:
            samples = np.frombuffer(wav.readframes(wav.getnframes()), '<i2')
        middle = place.start + round(share * (place.stop - place.start))
        first = max(min(middle - HEARD // 2, len(samples) - HEARD), 0)
        window = np.zeros(HEARD, np.float32)
        piece = samples[first : first + HEARD]
        window[: len(piece)] = piece.astype(np.float32) / np.float32(1 << 15)
        return window


def _places(path: Path) -> list[_Place]:
    found: list[_Place] = []
    facts, key = {}, ''
    with tarfile.open(path) as tar:
        for member in tar:
            name, _, ending = member.name.partition('.')
            if ending == 'json' and (file := tar.extractfile(member)) is not None:
                facts, key = load_json(file.read().decode()), name
            elif ending == 'wav' and name == key and facts['label']:
                start, stop = (
                    round((facts[each] - facts['sound_ns']) * RATE / NS_PER_S)
                    for each in ('start_ns', 'stop_ns')
                )
                found.append(
                    _Place(path, member.offset_data, member.size, facts['label'], start, stop)
                )
    return found


class SoundSamples(Dataset[tuple[Tensor, int]]):
    """Sample number n of a run: which sound, and which 2 s of it; depends on n and the seed.

    Args:
        sounds: the set.
        labels: names of the classes in their order.
        seed: of the order and the windows.
    """

    def __init__(self, sounds: LabelledSounds, labels: Sequence[str], seed: int) -> None:
        self._sounds, self._seed = sounds, seed
        self._number = {label: k for k, label in enumerate(labels)}
        self._epochs = Epochs(len(sounds), seed)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Sound float32 [``HEARD``] and class."""
        index = self._epochs.index(number)
        share = float(np.random.default_rng([self._seed, 1, number]).random())
        window = torch.from_numpy(self._sounds.window(index, share))
        return window, self._number[self._sounds.label(index)]
