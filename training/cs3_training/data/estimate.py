"""How much room shards will take, before the first one is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.media import VideoFile
from cs3_training.data.excerpts import RATE, pictures_at
from cs3_training.data.jobs import Job
from cs3_training.data.sampling import picture_count, sound_span_ns
from cs3_training.data.shards import BLOCK

PROBES = 3
"""Videos that the estimate looks into."""


def estimated_bytes(work: Sequence[Job]) -> int:
    """Bytes that shards will take, from the size of a picture of each of the first videos."""
    sizes = [*islice((size for job in work for size in _probed(job)), PROBES)]
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
                opened, time_ns = VideoFile(job.videos[video]), group[0][1].start_ns
                for picture in pictures_at(opened, [time_ns], [], job.cutting.side):
                    yield len(as_jpeg(picture.image, job.cutting.quality))
            except (ValueError, OSError):
                continue  # cut_video meets it again, and the report names it
