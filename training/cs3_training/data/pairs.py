"""Shards as pairs of a picture and a sound to learn from, in any order.

The accounts beside the shards say where each sample begins, and ``webdataset`` reads it from there.
So a run draws over all samples, however many processes share them, and goes on at any of them.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.images import decode_compressed
from cs3_ros.files.jsonfile import read_json
from cs3_training.data.excerpts import RATE, Sound
from cs3_training.data.jobs import BEGINS, REPORT
from cs3_training.data.records import Segment
from cs3_training.data.sampling import HEARD_NS, draw
from cs3_training.data.shards import facts_of, pictures_of, sound_of

SIDE = 387
"""Side of the pictures, which are made square as the networks ask for; the training cuts 352 of it
(method.md A7)."""


class ShardPairs:
    """The samples of a folder of shards; ``cs3_training.localiser.train.Pairs``.

    Args:
        folder: as ``cs3-train extract`` left it.

    Attributes:
        digest: SHA-256 of what the accounts say of the shards, their SHA-256 among it.

    Raises:
        ValueError: there are no shards, some are missing, or they hold no sample.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / REPORT).is_file():
            raise ValueError(
                f'{folder}: no {REPORT} there: expected the shards of cs3-train extract; call it '
                'again where it was cut off'
            )
        report = read_json(folder / REPORT, f'report {str(folder / REPORT)!r}')
        digest = hashlib.sha256()
        self._places: list[tuple[Path, int, int]] = []
        for number in range(report['shards']):
            shard = folder / f'shard-{number:06d}.tar'
            path = shard.with_suffix('.json')
            account: Mapping[str, Any] = read_json(path, f'account {str(path)!r}')
            if not shard.is_file() or shard.stat().st_size != account['bytes']:
                raise ValueError(
                    f'{shard}: not there, or not as its account says: run cs3-train extract again'
                )
            digest.update(account['sha256'].encode())
            places = [*account[BEGINS], account['bytes']]
            self._places += [(shard, begin, end) for begin, end in pairwise(places)]
        if not self._places:
            raise ValueError(f'{folder}: its shards hold no sample')
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._places)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
        """A picture and its sound, as ``sampling.draw`` chooses them.

        Args:
            index: of the sample.
            rng: decides.

        Returns:
            RGB uint8 [387, 387, 3] and float32 [32000] in [-1, 1] at 16 kHz, zeros where the video
            has no sound.

        Raises:
            ValueError: the sample is damaged.
        """
        import cv2

        sample = self._read(index)
        facts, samples = facts_of(sample), sound_of(sample)
        segment = Segment(**{each.name: facts[each.name] for each in fields(Segment)})
        sound = Sound(facts['sound_ns'], samples, np.ones(len(samples), bool))
        picture, first = draw(segment, sound, facts['pictures_ns'], rng)
        image = decode_compressed('jpeg', sample[pictures_of(sample)[picture]])
        image = np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
        count = HEARD_NS * RATE // NS_PER_S
        heard = np.zeros(count, np.float32)
        part = samples[max(first, 0) : first + count]
        heard[max(-first, 0) :][: len(part)] = part / np.float32(1 << 15)
        return image, heard

    def _read(self, index: int) -> Mapping[str, Any]:
        """Ending -> bytes of the files of a sample."""
        from webdataset.tariterators import group_by_keys, tar_file_expander

        shard, begin, end = self._places[index]
        with shard.open('rb') as file:
            file.seek(begin)
            stream = io.BytesIO(file.read(end - begin))
        found = [*group_by_keys(tar_file_expander([{'url': str(shard), 'stream': stream}]))]
        if len(found) != 1:
            raise ValueError(f'{shard}: {len(found)} samples from byte {begin} on: expected one')
        sample: Mapping[str, Any] = found[0]
        return sample
