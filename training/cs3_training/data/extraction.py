"""Cuts the segments of an annotation file from their videos into shards.

A shard holds whole videos, so each video is read once, by one process. It is written beside and
renamed, after its account ``shard-NNNNNN.json``: what is there is whole, and a run that was killed
goes on with the shards that are not.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cs3_ros.files.atomic import clear_parts
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.output_folder import claim, locked
from cs3_ros.files.progress import Bar
from cs3_training.data.estimate import estimated_bytes
from cs3_training.data.jobs import BEGINS, REPORT, SETTINGS, Job, jobs
from cs3_training.data.pools import made, made_on_ray
from cs3_training.data.records import Segment
from cs3_training.data.sampling import Cutting
from cs3_training.data.shards import as_json
from cs3_training.data.videos import find_videos

FORMAT = 'cs3-shards-2'
COMMAND = 'extract'


def extract(
    segments: Sequence[Segment],
    videos: Path,
    folder: Path,
    cutting: Cutting = Cutting(),
    samples: int = 256,
    workers: int = 1,
    force: bool = False,
    ray: str = '',
) -> dict[str, Any]:
    """Make the shards that are not there yet; the report of all.

    Args:
        segments: what to cut, in the order of the samples.
        videos: folder of the video files.
        folder: of the shards; new, empty or of an earlier run with the same segments and settings.
        cutting: what is cut.
        samples: segments after which a new shard begins.
        workers: processes, at least 1.
        force: write into a folder of other things, and where the estimate exceeds the free disk.
        ray: address of a Ray cluster that makes them instead, as ``pools.made_on_ray``.

    Raises:
        FileExistsError: the folder holds other things.
        BlockingIOError: another run is writing into it.
        ValueError: the folder holds other shards, or not one of the videos is there.
        OSError: the disk has less room than estimated.
    """
    if ray:  # its workers have working folders of their own
        videos, folder = videos.absolute(), folder.absolute()
    found = find_videos(videos, {segment.video for segment in segments})
    if not found:
        named = next(iter(segments)).video
        raise ValueError(f'{videos}: none of the videos, such as {named}.mp4, in it or below')
    work = jobs(folder, segments, found, cutting, samples)
    claim(folder, COMMAND, force=force)
    with locked(folder):
        _check_settings(folder, segments, cutting, samples)
        clear_parts(folder)
        left = [job for job in work if job.account() is None]
        _check_room(left, folder, force)
        with Bar(total=len(segments), unit='segment', disable=None) as bar:
            bar.update(len(segments) - sum(len(job.segments) for job in left))
            for job in made_on_ray(left, ray, workers) if ray else made(left, workers):
                bar.update(len(job.segments))
        report = summary([job.account() or {} for job in work])
        write_json(folder / REPORT, report)
    return report


def summary(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accounts of all shards as one."""
    total: dict[str, Any] = {'format': FORMAT, 'shards': len(accounts)}
    for account in accounts:
        for name, value in account.items():
            if name == BEGINS:  # nobody looks for a sample by the report
                continue
            if isinstance(value, dict):
                total.setdefault(name, {}).update(value)
            elif isinstance(value, (int, list)):
                total[name] = total[name] + value if name in total else value
    return total


def _check_settings(
    folder: Path, segments: Sequence[Segment], cutting: Cutting, samples: int
) -> None:
    digest = hashlib.sha256()
    for segment in segments:
        digest.update(as_json(asdict(segment)))
    about = {
        'format': FORMAT,
        'segments': len(segments),
        'annotations_sha256': digest.hexdigest(),
        'samples_per_shard': samples,
        'cutting': asdict(cutting),
    }
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, about)
    elif (before := read_json(path, f'settings {str(path)!r}')) != about:
        names = before if isinstance(before, dict) else {}
        changed = [name for name in about if names.get(name) != about[name]]
        raise ValueError(
            f'{folder}: holds shards of other annotations or settings ({", ".join(changed)}): name '
            'another folder, or remove it'
        )


def _check_room(left: Sequence[Job], folder: Path, force: bool) -> None:
    needed, free = estimated_bytes(left), shutil.disk_usage(folder).free
    count = sum(segment.video in job.videos for job in left for _, segment in job.segments)
    print(
        f'{count} segments to cut: about {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free',
        flush=True,
    )
    if needed > free and not force:
        raise OSError(
            f'{folder}: about {needed / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB free: make '
            'room, ask for fewer or smaller pictures, or add --force'
        )
