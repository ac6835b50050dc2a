"""Pairs per second that the loader of the training gives, and what a step of a given time needs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from cs3_training.bench.extraction import Cost, cost, draw_segments, write_video
from cs3_training.data.extraction import extract
from cs3_training.data.pairs import ShardPairs
from cs3_training.localiser.train import PairSamples, TrainConfig
from cs3_training.loop import batches

VIDEO_S = 150.0
"""Length of the video whose shards are read where none are named."""


@dataclass(frozen=True)
class Loaded:
    """What was measured."""

    pairs: int
    """That were given."""
    batch: int
    """In a step."""
    workers: int
    """Processes of the loader."""
    step_s: float
    """Time of the step that is to be fed, seconds."""
    cost: Cost
    """Of them all, the start of the processes among it."""

    @property
    def pairs_per_s(self) -> float:
        """That came here, with what else this machine did."""
        return self.pairs / self.cost.wall_s

    @property
    def cpu_ms(self) -> float:
        """Processor time of a pair."""
        return 1e3 * self.cost.cpu_s / self.pairs

    @property
    def cores(self) -> float:
        """Cores that a step of ``step_s`` asks for."""
        return self.batch / self.step_s * self.cpu_ms / 1e3


def measure(shards: Path | None, batch: int, workers: int, steps: int, step_s: float) -> Loaded:
    """Take batches as the training does, and do nothing with them.

    Args:
        shards: folder of shards; None for some of a synthetic video.
        batch: pairs in a step.
        workers: processes of the loader.
        steps: batches that are taken.
        step_s: time of a step of the training, seconds.
    """
    config = TrainConfig(batch=batch, workers=workers, steps=steps)
    with _shards(shards) as folder:
        samples = PairSamples(ShardPairs(folder), config)
        with cost() as found:
            pairs = sum(len(pictures) for pictures, _ in batches(samples, config, 0))
    return Loaded(pairs, batch, workers, step_s, found())


@contextmanager
def _shards(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_video(place / 'P01_01.MP4', VIDEO_S, 480, 250)
        with redirect_stdout(StringIO()):
            extract(draw_segments('P01_01', VIDEO_S, 0), place, place / 'shards')
        yield place / 'shards'


def as_text(loaded: Loaded, machine: str) -> str:
    """What was measured, in words."""
    one = loaded
    enough = 'feed' if one.cores <= one.workers else 'do not feed'
    return (
        f'{machine}: {one.pairs} pairs in {one.cost.wall_s:.1f} s by {one.workers} processes, '
        f'{one.pairs_per_s:.0f} pairs/s; {one.cpu_ms:.2f} ms of a core for a pair.\n'
        f'A step of {one.step_s:g} s at batch {one.batch} takes {one.batch / one.step_s:.0f} '
        f'pairs/s: {one.cores:.1f} cores, so {one.workers} {enough} it; workers: '
        f'{math.ceil(one.cores)} would.'
    )


def as_json(loaded: Loaded, machine: str) -> dict[str, Any]:
    """All figures."""
    more = {name: getattr(loaded, name) for name in ('pairs_per_s', 'cpu_ms', 'cores')}
    return {'machine': machine, **asdict(loaded), **more}
