"""Cuts the segments of an annotation file from their videos into shards.

A shard holds whole videos, in the order in which the annotations name them first, so each video is
read once, by one process. What a shard holds follows from the annotations, the settings and the
videos alone. It is written beside and renamed, after its account ``shard-NNNNNN.json``: what is
there is whole, and a run that was killed goes on with the shards that are not.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.atomic import replacing
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.jsonfile import read_json, write_json
from cs3_ros.files.media import VideoFile
from cs3_ros.files.output_folder import claim, locked
from cs3_ros.files.progress import Bar
from cs3_training.data.excerpts import RATE, Sound, pictures_at, sounds_in
from cs3_training.data.records import Segment
from cs3_training.data.sampling import Cutting, picture_count, picture_times_ns, sound_span_ns
from cs3_training.data.shards import BLOCK, add_file, as_json, as_wav
from cs3_training.data.videos import find_videos

FORMAT = 'cs3-shards-1'
SETTINGS = 'extract.json'
REPORT = 'report.json'
COMMAND = 'extract'
FAR_NS = NS_PER_S // 2
"""A picture further than this from the wanted time is not that picture."""
SHORT_S = 0.005
"""Sound of a segment that may be missing without a word."""
PROBES = 3
"""Videos that the estimate looks into."""


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


def extract(
    segments: Sequence[Segment],
    videos: Path,
    folder: Path,
    cutting: Cutting = Cutting(),
    samples: int = 256,
    workers: int = 1,
    force: bool = False,
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

    Raises:
        FileExistsError: the folder holds other things.
        BlockingIOError: another run is writing into it.
        ValueError: the folder holds other shards, or not one of the videos is there.
        OSError: the disk has less room than estimated.
    """
    found = find_videos(videos, {segment.video for segment in segments})
    if not found:
        named = next(iter(segments)).video
        raise ValueError(f'{videos}: none of the videos, such as {named}.mp4, in it or below')
    work = jobs(folder, segments, found, cutting, samples)
    claim(folder, COMMAND, force=force)
    with locked(folder):
        _check_settings(folder, segments, cutting, samples)
        _clear_parts(folder)
        left = [job for job in work if job.account() is None]
        _check_room(left, folder, force)
        with Bar(total=len(segments), unit='segment', disable=None) as bar:
            bar.update(len(segments) - sum(len(job.segments) for job in left))
            for job in _made(left, workers):
                bar.update(len(job.segments))
        report = summary([job.account() or {} for job in work])
        write_json(folder / REPORT, report)
    return report


def summary(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accounts of all shards as one."""
    total: dict[str, Any] = {'format': FORMAT, 'shards': len(accounts)}
    for account in accounts:
        for name, value in account.items():
            if isinstance(value, dict):
                total.setdefault(name, {}).update(value)
            elif isinstance(value, (int, list)):
                total[name] = total[name] + value if name in total else value
    return total


def _clear_parts(folder: Path) -> None:
    """Remove what a run that was killed left half-written."""
    for path in folder.glob('*.part.*'):
        if re.fullmatch(r'(shard-\d{6}|extract|report)\.[0-9a-f]{8}\.part\.\w+', path.name):
            path.unlink()


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


# ---- how much room ------------------------------------------------------------------------------


def estimated_bytes(work: Sequence[Job]) -> int:
    """Bytes that shards will take, from the size of a picture of each of the first videos."""
    sizes = [size for job in work for size in _probed(job)][:PROBES]
    picture = sum(sizes) / len(sizes) if sizes else 0
    total = 0.0
    for job in work:
        for _, segment in job.segments:
            if segment.video in job.videos:
                start, stop = sound_span_ns(segment)
                count = picture_count(segment, job.cutting)
                total += 2 * RATE * (stop - start) / NS_PER_S + count * (picture + 1.5 * BLOCK)
                total += 5 * BLOCK
    return round(total)


def _probed(job: Job) -> Iterator[int]:
    """Bytes of a picture of each video of a job that can be read."""
    for video, group in job.by_video().items():
        if video in job.videos:
            try:
                for picture in pictures_at(
                    VideoFile(job.videos[video]), [group[0][1].start_ns], []
                ):
                    yield len(jpeg(picture.image, job.cutting))
            except (ValueError, OSError):
                continue  # cut_video meets it again, and the report names it


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


# ---- cutting ------------------------------------------------------------------------------------


def _made(left: Sequence[Job], workers: int) -> Iterator[Job]:
    """Jobs as they are done, in any order."""
    workers = min(workers, len(left))
    if workers <= 1:
        for job in left:
            make_shard(job)
            yield job
        return
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), _end_with_parent)
    try:
        doing = {pool.submit(make_shard, job): job for job in left}
        for done in as_completed(doing):
            done.result()
            yield doing[done]
    except BaseException:  # a shard takes minutes: nobody waits for it who wants to end
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        _clear_parts(left[0].folder)


def _end_with_parent() -> None:
    """End this process when the one that made it is killed; nobody would take what it makes."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    logging.getLogger('cs3_ros').setLevel(logging.ERROR)  # the report has what was lost


def make_shard(job: Job) -> dict[str, Any]:
    """Cut the segments of a shard and write it with its account; returns the account."""
    account: dict[str, Any] = {
        'samples': 0, 'pictures': 0, 'bytes': 0,
        'missing_videos': {}, 'without_sound': {}, 'unreadable': {}, 'damaged': {}, 'short': [],
    }  # fmt: skip
    with replacing(job.shard) as part:
        with tarfile.open(part, 'w', format=tarfile.USTAR_FORMAT) as tar:
            for video, group in job.by_video().items():
                if video not in job.videos:
                    account['missing_videos'][video] = len(group)
                    continue
                for key, files, pictures in cut_video(
                    job.videos[video], group, job.cutting, account
                ):
                    for ending, data in files.items():
                        add_file(tar, f'{key}.{ending}', data)
                    account['samples'] += 1
                    account['pictures'] += pictures
        account['bytes'] = part.stat().st_size
        # an account without its shard is made anew, a shard without its account could not be known
        write_json(job.account_path, account)
    return account


def cut_video(
    path: Path,
    group: Sequence[tuple[int, Segment]],
    cutting: Cutting,
    account: dict[str, Any],
) -> list[tuple[str, dict[str, bytes], int]]:
    """The samples of one video.

    Args:
        path: of the video.
        group: row and segment of each.
        cutting: what is cut.
        account: takes what was missing.

    Returns:
        Key, files (ending -> bytes) and number of pictures of each, in the order of ``group``.
    """
    name, problems = group[0][1].video, list[str]()
    try:
        video = VideoFile(path)
        if video.sound_format is None:
            account['without_sound'][name] = len(group)
            return []
        spans = [sound_span_ns(segment) for _, segment in group]
        sounds = dict(sounds_in(video, spans, problems))
        times = {
            k: picture_times_ns(segment, sounds[k], cutting)
            for k, (_, segment) in enumerate(group)
        }  # fmt: skip
        pictures = _pictures(video, times, cutting, problems)
    except (ValueError, OSError) as error:
        account['unreadable'][name] = str(error)
        return []
    if problems:
        account['damaged'][name] = problems
    found = []
    for k, (row, segment) in enumerate(group):
        sound, taken = sounds[k], pictures[k]
        missing_s = _missing_s(segment, sound)
        length_s = (segment.stop_ns - segment.start_ns) / NS_PER_S
        kept = bool(taken) and missing_s < length_s - SHORT_S
        if missing_s > SHORT_S or len(taken) < len(times[k]):
            account['short'].append(
                {
                    'id': segment.id,
                    'missing_sound_s': missing_s,
                    'missing_pictures': len(times[k]) - len(taken),
                    'kept': kept,
                }
            )
        if kept:
            stamps = [stamp_ns for stamp_ns, _ in taken]
            facts = asdict(segment) | {
                'sound_ns': sound.start_ns, 'pictures_ns': stamps, 'missing_s': missing_s,
            }  # fmt: skip
            files = {'json': as_json(facts), 'wav': as_wav(sound.samples)}
            files |= {f'{n:03d}.jpg': data for n, (_, data) in enumerate(taken)}
            found.append((f'{row:08d}', files, len(taken)))
    return found


def _pictures(
    video: VideoFile, times: Mapping[int, Sequence[int]], cutting: Cutting, problems: list[str]
) -> dict[int, list[tuple[int, bytes]]]:
    """Time and JPEG of the pictures of each segment that are where they should be."""
    wanted = sorted((time_ns, k) for k, each in times.items() for time_ns in each)
    taken: dict[int, list[tuple[int, bytes]]] = {k: [] for k in times}
    last: tuple[int, bytes] = (-1, b'')
    picked = pictures_at(video, [time_ns for time_ns, _ in wanted], problems)
    for (time_ns, k), picture in zip(wanted, picked, strict=False):  # a broken video has none
        if abs(picture.stamp_ns - time_ns) > FAR_NS:
            continue
        if picture.stamp_ns != last[0]:
            last = (picture.stamp_ns, jpeg(picture.image, cutting))
        taken[k].append(last)
    return taken


def jpeg(image: Image, cutting: Cutting) -> bytes:
    """A picture as it lies in a shard."""
    import cv2

    height, width = image.shape[:2]
    if 0 < cutting.side < min(height, width):
        scale = cutting.side / min(height, width)
        size = (round(width * scale), round(height * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return as_jpeg(image, cutting.quality)


def _missing_s(segment: Segment, sound: Sound) -> float:
    """Seconds of the segment itself without sound in the file."""
    first = round((segment.start_ns - sound.start_ns) * RATE / NS_PER_S)
    last = round((segment.stop_ns - sound.start_ns) * RATE / NS_PER_S)
    return int((~sound.heard[first:last]).sum()) / RATE
