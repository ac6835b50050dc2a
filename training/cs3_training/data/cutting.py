"""Cuts the segments of a shard from their videos and writes it, whole or not at all."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.atomic import replacing
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.jsonfile import write_json
from cs3_ros.files.media import VideoFile
from cs3_training.data.excerpts import RATE, Sound, pictures_at, sounds_in
from cs3_training.data.jobs import BEGINS, Job
from cs3_training.data.records import Segment
from cs3_training.data.sampling import Cutting, picture_times_ns, sound_span_ns
from cs3_training.data.shards import add_file, as_json, as_wav

FAR_NS = NS_PER_S // 2
"""A picture further than this from the wanted time is not that picture."""
SHORT_S = 0.005
"""Sound of a segment that may be missing without a word."""


def make_shard(job: Job) -> dict[str, Any]:
    """Cut the segments of a shard and write it with its account; returns the account."""
    account: dict[str, Any] = {
        'samples': 0, 'pictures': 0, 'bytes': 0, 'sha256': '', BEGINS: [],
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
                    account[BEGINS].append(tar.offset)
                    for ending, data in files.items():
                        add_file(tar, f'{key}.{ending}', data)
                    account['samples'] += 1
                    account['pictures'] += pictures
        account['bytes'] = part.stat().st_size
        with part.open('rb') as file:
            account['sha256'] = hashlib.file_digest(file, 'sha256').hexdigest()
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
    times_ns = [time_ns for time_ns, _ in wanted]
    picked = pictures_at(video, times_ns, problems, cutting.side)
    for (time_ns, k), picture in zip(wanted, picked, strict=False):  # a broken video has none
        if abs(picture.stamp_ns - time_ns) > FAR_NS:
            continue
        if picture.stamp_ns != last[0]:
            last = (picture.stamp_ns, as_jpeg(picture.image, cutting.quality))
        taken[k].append(last)
    return taken


def _missing_s(segment: Segment, sound: Sound) -> float:
    """Seconds of the segment itself without sound in the file."""
    first = round((segment.start_ns - sound.start_ns) * RATE / NS_PER_S)
    last = round((segment.stop_ns - sound.start_ns) * RATE / NS_PER_S)
    return int((~sound.heard[first:last]).sum()) / RATE
