"""What the extraction costs beside a plain loop, as scripts have it: for each row ffmpeg is called
for its sound, and called again for its pictures.

The loop seeks before it decodes, as well as ffmpeg can. Published scripts often do not: that of
Ego4DSounds (``extract_ego4d_clips.py``) names the times after the file, that of
google-deepmind/dmvr leaves them to a filter (its issue 9: EPIC-KITCHENS-100 at 40 rows an hour).
Either way ffmpeg decodes from the begin of the video for every row. A few rows are cut so, too.
"""

from __future__ import annotations

import math
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.progress import Bar
from cs3_training.data.excerpts import RATE
from cs3_training.data.extraction import extract
from cs3_training.data.records import CLASSES, Segment
from cs3_training.data.sampling import Cutting, picture_count, sound_span_ns

GAPS_S = (0.40, 1.02, 1.82, 2.89, 4.33, 6.33, 9.17, 13.61, 21.76, 52.99)
"""Between the segments of a video of EPIC-CS3: means of ten equal parts, the shortest first."""
LENGTHS_S = (0.25, 0.31, 0.37, 0.45, 0.55, 0.67, 0.84, 1.05, 1.54, 4.70)
"""Of its segments, likewise."""
FPS = Fraction(60000, 1001)
TAKE_S = 12.5
"""So much of a video is made; the rest repeats it, with other times."""
UNSOUGHT_ROWS = 3
"""Rows that are cut without seeking, evenly over the videos: each takes long."""
LEAST = 0.8
"""Part of our pictures that the plain loop must have, or there is nothing to compare: ffmpeg's
filter ``fps`` rounds their number."""


@dataclass(frozen=True)
class Cost:
    """Of one way."""

    wall_s: float
    """Seconds that it took."""
    cpu_s: float
    """Seconds of processors that it took, of all its processes; other work on the machine changes
    them little."""


@dataclass(frozen=True)
class Measured:
    """What was measured."""

    segments: int
    """Rows that were cut."""
    pictures: int
    """Of all of them."""
    height: int
    """Of the videos, pixels."""
    gop: int
    """Pictures from one keyframe to the next."""
    video_s: float
    """Length of all videos together."""
    plain: Cost
    """Of the plain loop; ffmpeg uses as many threads as it likes."""
    unsought: Cost
    """Of ``unsought_rows`` by a loop that does not seek."""
    unsought_rows: int
    """Rows of those."""
    ours: Cost
    """Of the extraction, its processes started and its shards written."""
    workers: int
    """Processes of the extraction."""
    ffmpeg: str
    """Version of the ffmpeg that was called."""

    @property
    def ratio(self) -> float:
        """How many times as fast the extraction is."""
        return self.plain.wall_s / self.ours.wall_s

    @property
    def unsought_ratio(self) -> float:
        """How many times as fast it is as a loop that does not seek."""
        each = self.unsought.wall_s / self.unsought_rows
        return each * self.segments / self.ours.wall_s

    @property
    def cpu_ratio(self) -> float:
        """How many times as much of the processors the plain loop takes."""
        return self.plain.cpu_s / self.ours.cpu_s


def measure(seconds: float, height: int, gop: int, workers: int, videos: int = 2) -> Measured:
    """Cut the same segments of synthetic videos both ways.

    Args:
        seconds: length of each video.
        height: of its pictures; 16 : 9.
        gop: pictures from one keyframe to the next.
        workers: processes of the extraction.
        videos: how many.

    Raises:
        FileNotFoundError: there is no ffmpeg.
        RuntimeError: the two did not cut the same.
    """
    program = find_ffmpeg()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        paths = {f'P0{k + 1}_01': folder / f'P0{k + 1}_01.MP4' for k in range(videos)}
        segments = [one for k, name in enumerate(paths) for one in draw_segments(name, seconds, k)]
        first, *others = paths.values()
        write_video(first, seconds, height, gop)
        for path in others:
            shutil.copy(first, path)
        rows = Bar(segments, 'the plain loop', unit='row', disable=None)
        loop = folder / 'plain'
        with cost() as plain:
            for one in rows:
                plain_row(program, paths[one.video], one, loop)
        count_rows = min(UNSOUGHT_ROWS, len(segments))
        few = [segments[(2 * k + 1) * len(segments) // (2 * count_rows)] for k in range(count_rows)]
        with cost() as unsought:
            for one in few:
                plain_row(program, paths[one.video], one, folder / 'unsought', seeks=False)
        with redirect_stdout(StringIO()), cost() as ours:
            report = extract(segments, folder, folder / 'shards', samples=1, workers=workers)
        count, sounds = len([*loop.glob('*/*.jpg')]), len([*loop.glob('*/*.wav')])
        pictures, every = report['pictures'], report['samples'] == sounds == len(segments)
        if not every or not LEAST * pictures <= count <= pictures:
            raise RuntimeError(
                f'{report["samples"]} and {sounds} sounds, {pictures} and {count} pictures: '
                f'expected {len(segments)} and about as many pictures'
            )
    version = subprocess.run([program, '-version'], check=True, capture_output=True, text=True)
    return Measured(
        len(segments), pictures, height, gop, seconds * videos, plain(), unsought(),
        len(few), ours(), workers,
        ' '.join(version.stdout.split()[:3]),
    )  # fmt: skip


def find_ffmpeg() -> str:
    """Path of the program: that of the system, or the one that imageio-ffmpeg brings.

    Raises:
        FileNotFoundError: there is none.
    """
    if found := shutil.which('ffmpeg'):
        return found
    try:
        return str(import_module('imageio_ffmpeg').get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise FileNotFoundError(
            'no ffmpeg for the plain loop: apt-get install ffmpeg, or pip install imageio-ffmpeg'
        ) from error


@contextmanager
def cost() -> Iterator[Callable[[], Cost]]:
    """What a block costs, with the processes that it starts and waits for; told after it."""

    def now() -> Cost:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Cost(time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used))

    before, found = now(), list[Cost]()
    yield lambda: found[0]
    after = now()
    found.append(Cost(after.wall_s - before.wall_s, after.cpu_s - before.cpu_s))


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


def write_video(path: Path, seconds: float, height: int, gop: int) -> None:
    """H.264 as x264 makes it, 59.94 fps, stereo AAC."""
    width, rng = height * 16 // 9 // 2 * 2, np.random.default_rng(0)
    scene = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    count = min(round(TAKE_S * FPS), round(seconds * FPS))
    options = {'preset': 'superfast', 'g': str(gop), 'bf': '3'}
    take = path.with_suffix('.take.mp4')
    track: Any
    with av.open(str(take), 'w') as container:
        track = container.add_stream('libx264', rate=FPS, options=options)
        track.width, track.height, track.pix_fmt = scene.shape[1], scene.shape[0], 'yuv420p'
        for k in Bar(range(count), 'making a video', disable=None):
            image = np.roll(scene, (k // 2, 3 * k), (0, 1))  # a camera that moves
            container.mux(track.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(track.encode(None))
    with av.open(str(take)) as source, av.open(str(path), 'w') as container:
        track = container.add_stream_from_template(source.streams.video[0])
        sound = container.add_stream('aac', rate=48_000, layout='stereo')
        taken: list[Any] = [packet for packet in source.demux() if packet.size]
        packets = [(bytes(one), one.pts, one.dts, one.is_keyframe) for one in taken]
        base, step_s = taken[0].time_base, float(count / FPS)
        for turn in range(math.ceil(seconds / step_s)):
            shift = round(turn * step_s / base)
            for data, pts, dts, keyframe in packets:
                packet = av.Packet(data)
                packet.stream, packet.time_base, packet.is_keyframe = track, base, keyframe
                packet.pts, packet.dts = pts + shift, dts + shift
                container.mux(packet)
        for first in range(0, round(48_000 * seconds), 1024):
            values = rng.uniform(-0.3, 0.3, (2, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(values, 'fltp', 'stereo')
            frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), first
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    take.unlink()


def plain_row(program: str, path: Path, segment: Segment, folder: Path, seeks: bool = True) -> None:
    """The two calls for one row: ``sound.wav`` and ``001.jpg`` and so on, in a folder of its own.

    Args:
        program: ffmpeg.
        path: of the video.
        segment: the row.
        folder: where the folder is made.
        seeks: to the time; False decodes all before it.
    """
    place, cutting = folder / segment.id, Cutting()
    place.mkdir(parents=True)
    length_s, count = (
        (segment.stop_ns - segment.start_ns) / NS_PER_S,
        picture_count(segment, cutting),
    )
    sound_ns, stop_ns = sound_span_ns(segment)
    short = f'scale=-2:{cutting.side // 2 * 2}'

    def call(start_ns: int, length_s: float, *words: str) -> None:
        span = ('-ss', f'{max(start_ns, 0) / NS_PER_S:.3f}', '-t', f'{length_s:.3f}')
        at = (*span, '-i', str(path)) if seeks else ('-i', str(path), *span)
        subprocess.run([program, '-nostdin', '-v', 'error', *at, *words], check=True)

    seconds = (stop_ns - sound_ns) / NS_PER_S
    call(sound_ns, seconds, '-vn', '-ac', '1', '-ar', str(RATE), str(place / 'sound.wav'))
    call(
        segment.start_ns, length_s, '-an', '-vf', f'fps={count / length_s:.6f},{short}',
        '-frames:v', str(count), '-q:v', '3', str(place / '%03d.jpg'),
    )  # fmt: skip


def as_text(measured: Measured, machine: str) -> str:
    """The table in Markdown."""
    one = measured
    rows: Sequence[tuple[str, Cost, int]] = (
        (f'two calls of {one.ffmpeg} for each row, `-ss` before `-i`', one.plain, one.segments),
        ('the same, `-ss` after `-i`, of a few rows', one.unsought, one.unsought_rows),
        (f'`extract`, {one.workers} processes', one.ours, one.segments),
    )
    lines = [
        f'{machine}, {one.video_s:g} s of video of {one.height} lines at {float(FPS):.2f} fps, '
        f'a keyframe every {one.gop} pictures, {one.segments} segments, {one.pictures} pictures',
        '',
        '| | segments | seconds | segments/s | CPU seconds | CPU ms for a segment |',
        '|---|---|---|---|---|---|',
    ]
    for name, each, count in rows:
        speed = f'{each.wall_s:.1f} | {count / each.wall_s:.2f} | {each.cpu_s:.1f}'
        lines.append(f'| {name} | {count} | {speed} | {1e3 * each.cpu_s / count:.0f} |')
    return '\n'.join(
        [
            *lines,
            '',
            f'{one.ratio:.1f} x as fast as the loop that seeks, with {one.cpu_ratio:.1f} x less '
            f'CPU time; {one.unsought_ratio:.1f} x as fast as the loop that does not.',
        ]
    )


def as_json(measured: Measured, machine: str) -> dict[str, Any]:
    """All figures."""
    names = ('ratio', 'cpu_ratio', 'unsought_ratio')
    ratios = {name: getattr(measured, name) for name in names}
    return {'machine': machine, **asdict(measured), **ratios}
