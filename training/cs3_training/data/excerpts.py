"""Pieces of a long video in one pass forward: the pictures nearest to given times, and sound.

The file is sought once and then read on. Pictures before the last keyframe that precedes a wanted
time are passed over without being decoded; a gap of more than ``JUMP_NS`` is jumped over where the
container has an index. Nothing is ever read twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.files.media import VideoFile, upright
from cs3_ros.files.pcm import SoundChunk, encode
from cs3_ros.files.sound_cutter import SoundCutter, int16

RATE = 16_000
"""Samples per second of what is cut."""
JUMP_NS = 30 * NS_PER_S
"""A longer gap between wanted times is jumped over."""
DENSE_NS = NS_PER_S // 480
"""Pictures that lie closer than this are not told apart where all of a stretch are read."""
MOST_HELD = 600
"""Packets of pictures that wait for a keyframe nearer to the wanted time."""

_SEEK_BACK_NS = NS_PER_S  # files are sought by decoding times, which lie before those of pictures
_LEAD_NS = 200_000_000  # decoded before a piece of sound: a coder needs what came before
_EDGE = RATE // 20  # samples beside a piece that the filter of the resampling may look at
_INDEXED = ('mp4', 'matroska')


@dataclass(frozen=True, eq=False)
class Picture:
    """The picture nearest to a wanted time."""

    wanted_ns: int
    """Media time that was asked for."""
    stamp_ns: int
    """Media time of the picture."""
    image: Image
    """RGB uint8 [H, W, 3], upright."""


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece of sound."""

    start_ns: int
    """Media time of the first sample, also before 0."""
    samples: NDArray[np.int16]
    """[N], mono at ``RATE``; zeros where the file has no sound."""
    heard: NDArray[np.bool_]
    """[N]: where it has."""


def pictures_at(
    video: VideoFile, times_ns: Sequence[int], problems: list[str], side: int = 0
) -> Iterator[Picture]:
    """For each wanted time, in rising order, the picture nearest to it.

    Args:
        video: the file.
        times_ns: media times, rising.
        problems: gets a line where packets were broken or reading ended early.
        side: as ``upright``.

    Raises:
        ValueError: the file cannot be read, or its pictures carry no times.
    """
    wanted = deque(times_ns)
    nearest: tuple[int, Any] | None = None
    image: tuple[int, Image] | None = None
    with video.opened() as (container, track, _):
        for stamp_ns, frame in _about(video, container, track, wanted, problems):
            while wanted and (frame is None or wanted[0] <= stamp_ns):
                best = (stamp_ns, frame)
                before = nearest is not None and wanted[0] - nearest[0] <= stamp_ns - wanted[0]
                if frame is None or before:
                    if nearest is None:  # not one picture could be decoded
                        return
                    best = nearest
                if image is None or image[0] != best[0]:
                    image = (best[0], upright(best[1], side))
                yield Picture(wanted.popleft(), *image)
            nearest = (stamp_ns, frame)


def pictures_between(
    video: VideoFile, start_ns: int, stop_ns: int, problems: list[str]
) -> list[Picture]:
    """All pictures from ``start_ns`` to ``stop_ns``, both inclusive, in rising order.

    Args:
        video: the file.
        start_ns: media time; what lies before 0 is not there.
        stop_ns: media time.
        problems: as ``pictures_at``.

    Raises:
        ValueError: as ``pictures_at``.
    """
    times = [*range(max(start_ns, 0), stop_ns, DENSE_NS), stop_ns]
    found = {each.stamp_ns: each for each in pictures_at(video, times, problems)}
    return [found[stamp] for stamp in sorted(found) if start_ns <= stamp <= stop_ns]


def _about(
    video: VideoFile, container: Any, track: Any, wanted: deque[int], problems: list[str]
) -> Iterator[tuple[int, Any]]:
    """Decoded pictures with their times, at least those next to ``wanted[0]``, which the caller
    moves on; (0, None) at the end of the file."""
    track.codec_context.thread_count = 1  # the processes share the cores
    packets = _packets(video, container, track, wanted[0], problems) if wanted else iter(())
    held: list[tuple[int, Any]] = []
    broken, fresh, last_ns, at_ns = 0, False, -1, 0
    while wanted:
        packet = next(packets, None)
        if packet is not None:
            at_ns = _at_ns(video, packet, 'video')
            if packet.is_keyframe and at_ns <= wanted[0]:
                held, fresh = [], True
            held.append((at_ns, packet))
            if at_ns < wanted[0] and len(held) < MOST_HELD:
                continue
        if fresh and held:
            track.codec_context.flush_buffers()
            fresh, last_ns = False, held[0][0] - 1
        # of those before the wanted time only the last may be nearest to it: the others are decoded
        # as far as pictures refer to them
        latest_ns = max((each_ns for each_ns, _ in held if each_ns < wanted[0]), default=0)
        for each_ns, each in [*held, *([(at_ns, None)] if packet is None else [])]:
            skipped = each is not None and each_ns < latest_ns
            track.codec_context.skip_frame = 'NONREF' if skipped else 'DEFAULT'
            try:
                frames = track.decode(each)
            except av.error.FFmpegError:
                broken, frames = broken + 1, []
            for frame in frames:
                stamp_ns = video.time_ns(frame, 'video')
                # what leads a keyframe needs pictures that were passed over
                if stamp_ns is not None and stamp_ns > last_ns and stamp_ns >= 0:
                    last_ns = stamp_ns
                    yield stamp_ns, frame
        held = []
        if packet is None:
            yield 0, None
            break
        if wanted and _jumps(container, at_ns, wanted[0]):
            packets = _packets(video, container, track, wanted[0], problems)
            fresh = True
    if broken:
        problems.append(f'{broken} broken video packet(s)')


def sounds_in(
    video: VideoFile, spans_ns: Sequence[tuple[int, int]], problems: list[str]
) -> Iterator[tuple[int, Sound]]:
    """The sound of each span, with the number of the span, as soon as it is read.

    Args:
        video: the file; one without sound gives nothing.
        spans_ns: begin and end in media time, in any order; may overlap and leave the file.
        problems: gets a line where packets were broken or reading ended early.

    Raises:
        ValueError: the file cannot be read, or its sound carries no times.
    """
    order = sorted(range(len(spans_ns)), key=lambda k: spans_ns[k])
    waiting = deque((k, _Piece(*spans_ns[k])) for k in order)
    active: list[tuple[int, _Piece]] = []
    with video.opened() as (container, _, track):
        if track is None:
            return
        for chunk in _chunks(video, container, track, waiting, active, problems):
            end_ns = chunk.stamp_ns + len(chunk.samples) * NS_PER_S // chunk.rate
            while waiting and waiting[0][1].first_ns < end_ns:
                active.append(waiting.popleft())
            for each in active:
                each[1].add(chunk)
            for each in [each for each in active if each[1].last_ns <= end_ns]:
                active.remove(each)
                yield each[0], each[1].sound()
    for number, piece in (*active, *waiting):
        yield number, piece.sound()


def _chunks(
    video: VideoFile,
    container: Any,
    track: Any,
    waiting: deque[tuple[int, _Piece]],
    active: list[tuple[int, _Piece]],
    problems: list[str],
) -> Iterator[SoundChunk]:
    """Decoded sound as long as a piece is active or the next one begins soon."""
    packets = _packets(video, container, track, waiting[0][1].first_ns, problems)
    cutter: SoundCutter | None = None
    broken = 0
    while (active or waiting) and (packet := next(packets, None)) is not None:
        at_ns = _at_ns(video, packet, 'audio')
        if not active and at_ns < waiting[0][1].first_ns - _LEAD_NS:
            if cutter is not None:
                yield from cutter.flush()
                cutter = None
            if _jumps(container, at_ns, waiting[0][1].first_ns):
                track.codec_context.flush_buffers()
                packets = _packets(video, container, track, waiting[0][1].first_ns, problems)
            continue
        try:
            frames = track.decode(packet)
        except av.error.FFmpegError:
            broken, frames = broken + 1, []
        for frame in frames:
            stamp_ns = video.time_ns(frame, 'audio')
            samples = int16(frame)
            key = (frame.sample_rate, samples.shape[1])
            if cutter is None or cutter.key != key:
                if cutter is not None:
                    yield from cutter.flush()
                cutter = SoundCutter(*key, 0, max(stamp_ns or 0, 0))
            yield from cutter.push(cutter.end_ns if stamp_ns is None else stamp_ns, samples)
    if cutter is not None:
        yield from cutter.flush()
    if broken:
        problems.append(f'{broken} broken audio packet(s)')


class _Piece:
    """A span whose sound is being gathered, a buffer for each rate that the file uses in it."""

    def __init__(self, start_ns: int, stop_ns: int) -> None:
        self._start_ns, self._count = start_ns, round((stop_ns - start_ns) * RATE / NS_PER_S)
        edge_ns = _EDGE * NS_PER_S // RATE
        self.first_ns, self.last_ns = start_ns - edge_ns, stop_ns + edge_ns
        self._parts: dict[int, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}

    def add(self, chunk: SoundChunk) -> None:
        """Take what of a chunk lies in the span."""
        if chunk.rate not in self._parts:
            count = round((self.last_ns - self.first_ns) * chunk.rate / NS_PER_S)
            self._parts[chunk.rate] = (np.zeros(count, np.float32), np.zeros(count, bool))
        values, heard = self._parts[chunk.rate]
        first = round((chunk.stamp_ns - self.first_ns) * chunk.rate / NS_PER_S)
        mono = chunk.samples.mean(1)  # [M]
        mono = mono[max(-first, 0) : max(len(values) - first, 0)]
        first = max(first, 0)
        values[first : first + len(mono)] = mono
        heard[first : first + len(mono)] = True

    def sound(self) -> Sound:
        """The whole of it at ``RATE``."""
        from scipy.signal import resample_poly

        total, heard = np.zeros(self._count), np.zeros(self._count, bool)
        for rate, (values, known) in self._parts.items():
            ratio = Fraction(RATE, rate).limit_denominator(1000)
            at_rate = resample_poly(values.astype(np.float64), ratio.numerator, ratio.denominator)
            at_rate = at_rate[_EDGE : _EDGE + self._count]
            total[: len(at_rate)] += at_rate
            places = (np.arange(_EDGE, _EDGE + self._count) * rate // RATE).clip(0, len(known) - 1)
            heard |= known[places]
        samples = np.frombuffer(encode(total), '<i2').astype(np.int16)
        return Sound(self._start_ns, samples, heard)


def _jumps(container: Any, at_ns: int, wanted_ns: int) -> bool:
    indexed = any(name in container.format.name for name in _INDEXED)
    return indexed and wanted_ns - at_ns > JUMP_NS


def _packets(
    video: VideoFile, container: Any, track: Any, from_ns: int, problems: list[str]
) -> Iterator[Any]:
    """The packets of a track, from before a media time to the end of the file."""
    if _jumps(container, 0, from_ns):
        container.seek(video.ticks(from_ns - _SEEK_BACK_NS, track), stream=track)
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            problems.append(f'reading ended early ({error.strerror})')
            return
        if not packet.size:  # marks the end
            continue
        yield packet


def _at_ns(video: VideoFile, packet: Any, kind: str) -> int:
    """Media time of a packet."""
    at_ns = video.time_ns(packet, kind)
    if at_ns is None:
        raise ValueError(
            f'{video.path}: its packets carry no times: expected a file such as mp4, mov or mkv; '
            'put its tracks into one'
        )
    return at_ns
