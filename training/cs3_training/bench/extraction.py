"""Segments per second of the extraction beside a plain loop, as scripts with ffmpeg do it: for each
row the video is opened and sought for its sound, and opened and sought again for its pictures."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.progress import Bar
from cs3_training.data.excerpts import RATE, Sound
from cs3_training.data.extraction import extract, jpeg
from cs3_training.data.records import CLASSES, Segment
from cs3_training.data.sampling import Cutting, picture_times_ns, sound_span_ns
from cs3_training.data.shards import as_wav

GAPS_S = (0.3, 0.72, 1.37, 2.33, 3.51, 5.24, 7.55, 11.02, 16.68, 28.64)
"""Between the segments of a video: the deciles of EPIC-CS3, the shortest first."""
LENGTHS_S = (0.3, 0.4, 0.6, 1.0, 2.3)
"""Of segments; median and mean are those of EPIC-CS3."""
FPS = Fraction(60000, 1001)


@dataclass(frozen=True)
class Measured:
    """What was measured."""

    segments: int
    """Rows that were cut."""
    pictures: int
    """Of all of them."""
    height: int
    """Of the videos, pixels."""
    video_s: float
    """Length of all videos together."""
    plain_s: float
    """Seconds of the plain loop; FFmpeg decodes with as many threads as it likes."""
    extract_s: float
    """Seconds of the extraction, its processes started and its shards written."""
    workers: int
    """Processes of the extraction."""

    @property
    def ratio(self) -> float:
        """How many times as fast the extraction is."""
        return self.plain_s / self.extract_s


def measure(seconds: float, height: int, workers: int, videos: int = 2) -> Measured:
    """Cut the same segments of synthetic videos both ways.

    Args:
        seconds: length of each video.
        height: of its pictures; 16 : 9.
        workers: processes of the extraction.
        videos: how many.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = {f'P0{k + 1}_01': folder / f'P0{k + 1}_01.MP4' for k in range(videos)}
        segments = [one for k, name in enumerate(paths) for one in draw_segments(name, seconds, k)]
        first, *others = paths.values()
        write_video(first, seconds, height)
        for path in others:
            shutil.copy(first, path)
        start = time.perf_counter()
        pictures = sum(plain_row(paths[one.video], one, Cutting()) for one in segments)
        plain_s = time.perf_counter() - start
        start = time.perf_counter()
        with redirect_stdout(StringIO()):
            report = extract(segments, folder, folder / 'shards', samples=1, workers=workers)
        extract_s = time.perf_counter() - start
        if (report['samples'], report['pictures']) != (len(segments), pictures):
            raise RuntimeError(f'{report}: expected {len(segments)} samples, {pictures} pictures')
    return Measured(len(segments), pictures, height, seconds * videos, plain_s, extract_s, workers)


def draw_segments(video: str, seconds: float, seed: int) -> list[Segment]:
    """Segments with the gaps and lengths of EPIC-CS3, in a random order of these."""
    rng, segments, at = np.random.default_rng(seed), list[Segment](), 1.0
    while True:
        at += float(rng.choice(GAPS_S))
        stop = at + float(rng.choice(LENGTHS_S))
        if stop > seconds - 1:
            return segments
        times = (round(at * NS_PER_S), round(stop * NS_PER_S))
        segments.append(Segment(f'{video}_{len(segments)}', 'epic', video, *times, CLASSES[0]))
        at = stop


def write_video(path: Path, seconds: float, height: int) -> None:
    """H.264 as x264 makes it by default (a keyframe every 250 pictures), 59.94 fps, stereo AAC."""
    width, rng = height * 16 // 9 // 2 * 2, np.random.default_rng(0)
    scene = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    frames = Bar(range(int(seconds * FPS)), 'making a video', disable=None)
    with av.open(str(path), 'w') as container:
        track = container.add_stream('libx264', rate=FPS, options={'preset': 'superfast'})
        track.width, track.height, track.pix_fmt = scene.shape[1], scene.shape[0], 'yuv420p'
        sound = container.add_stream('aac', rate=48_000, layout='stereo')
        for k in frames:
            image = np.roll(scene, (k // 2, 3 * k), (0, 1))  # a camera that moves
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(track.encode(None))
        for first in range(0, round(48_000 * seconds), 1024):
            values = rng.uniform(-0.3, 0.3, (2, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(values, 'fltp', 'stereo')
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), first
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


def plain_row(path: Path, segment: Segment, cutting: Cutting) -> int:
    """What two calls of ffmpeg for one row do; the number of pictures."""
    start_ns, stop_ns = sound_span_ns(segment)
    samples = np.zeros(round((stop_ns - start_ns) * RATE / NS_PER_S), np.int16)
    resampler: Any = av.AudioResampler('s16', 'mono', RATE)
    track: Any
    container: Any
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        container.seek(max(start_ns, 0) // 1000)
        for frame in container.decode(track):
            if frame.time * NS_PER_S >= stop_ns:
                break
            for piece in resampler.resample(frame):
                if piece.time * NS_PER_S >= start_ns:
                    first = round((piece.time - start_ns / NS_PER_S) * RATE)
                    values = piece.to_ndarray()[0][: max(len(samples) - first, 0)]
                    samples[first : first + len(values)] = values
    as_wav(samples)
    left = picture_times_ns(segment, Sound(start_ns, samples, samples != 0), cutting)
    count = 0
    with av.open(str(path)) as container:
        track = container.streams.video[0]
        track.thread_type = 'AUTO'
        container.seek(segment.start_ns // 1000)
        for frame in container.decode(track):
            while left and frame.time * NS_PER_S >= left[0]:
                jpeg(frame.to_ndarray(format='rgb24'), cutting)
                left, count = left[1:], count + 1
            if not left:
                break
    return count


def as_text(measured: Measured, machine: str) -> str:
    """The table in Markdown."""
    one = measured
    rows: Sequence[tuple[str, float]] = (
        ('opened and sought for each row', one.plain_s),
        (f'`extract`, {one.workers} processes', one.extract_s),
    )
    lines = [
        f'{machine}, {one.video_s:g} s of video of {one.height} lines at {float(FPS):.2f} fps, '
        f'{one.segments} segments, {one.pictures} pictures',
        '',
        '| | seconds | segments/s | hours of video in an hour |',
        '|---|---|---|---|',
    ]
    for name, seconds in rows:
        speeds = f'{one.segments / seconds:.2f} | {one.video_s / seconds:.1f}'
        lines.append(f'| {name} | {seconds:.1f} | {speeds} |')
    return '\n'.join([*lines, '', f'{one.ratio:.1f} x as fast.'])


def as_json(measured: Measured, machine: str) -> dict[str, Any]:
    """All figures."""
    return {'machine': machine, **asdict(measured), 'ratio': measured.ratio}
