"""What is to be done: one job for each shard, which holds whole videos in the order in which the
annotations name them first. What a shard holds follows from the job and the videos alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.files.jsonfile import read_json
from cs3_training.data.records import Segment
from cs3_training.data.sampling import Cutting

SETTINGS = 'extract.json'
"""What the shards of a folder are made of; it lies there before the first of them."""
REPORT = 'report.json'
"""What came of a run; it lies there when all shards do."""
BEGINS = 'begins'
"""Of an account: where in the shard each sample begins, bytes."""


@dataclass(frozen=True)
class Job:
    """One shard to be made."""

    folder: Path
    """Where to."""
    number: int
    """Of the shard."""
    segments: tuple[tuple[int, Segment], ...]
    """Row in the annotations, which names the sample, and segment; those of a video together."""
    videos: Mapping[str, Path]
    """Where the videos are, of those that are there."""
    cutting: Cutting
    """What is cut."""

    @property
    def shard(self) -> Path:
        """Where the shard lies."""
        return self.folder / f'shard-{self.number:06d}.tar'

    @property
    def account_path(self) -> Path:
        """Where its account lies."""
        return self.shard.with_suffix('.json')

    def by_video(self) -> dict[str, list[tuple[int, Segment]]]:
        """The segments of each video."""
        groups: dict[str, list[tuple[int, Segment]]] = {}
        for row, segment in self.segments:
            groups.setdefault(segment.video, []).append((row, segment))
        return groups

    def account(self) -> dict[str, Any] | None:
        """The account of the shard; None where it is to be made: it is not there, or a video that
        it lacks has come."""
        if not self.account_path.is_file():
            return None
        account: dict[str, Any] = read_json(
            self.account_path, f'account {str(self.account_path)!r}'
        )
        there = self.shard.is_file() and self.shard.stat().st_size == account['bytes']
        come = any(video in self.videos for video in account['missing_videos'])
        return account if there and not come else None


def jobs(
    folder: Path,
    segments: Sequence[Segment],
    videos: Mapping[str, Path],
    cutting: Cutting,
    samples: int,
) -> list[Job]:
    """The shards of some segments: whole videos, a new shard after ``samples`` or more segments."""
    groups: dict[str, list[tuple[int, Segment]]] = {}
    for row, segment in enumerate(segments):
        groups.setdefault(segment.video, []).append((row, segment))
    shards: list[list[tuple[int, Segment]]] = [[]]
    for group in groups.values():
        if len(shards[-1]) >= samples:
            shards.append([])
        shards[-1] += group
    return [
        Job(
            folder, number, tuple(shard),
            {each.video: videos[each.video] for _, each in shard if each.video in videos}, cutting,
        )
        for number, shard in enumerate(shards)
    ]  # fmt: skip
