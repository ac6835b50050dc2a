"""Video files: frames and sound with their true times in one stream.

Stamps are nanoseconds of media time (plus an origin). Media time 0 is where a player starts: the
start of the earlier track, but never a negative time, because what lies before 0 is the priming of
a sound coder or was cut away by an edit list. Frames and samples before 0 are dropped. Tracks that
do not meet, because one is stamped by the time of day, each start at their own first stamp.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import MAX_PIXELS, NS_PER_S, Frame, Image
from cs3_ros.files.encodings import check_size
from cs3_ros.files.pcm import SoundChunk, SoundFormat, encode

log = logging.getLogger(__name__)

CHUNKS_PER_S = 50
"""Sound is cut into chunks of 20 ms."""

MAX_S = 1e12
"""No time in a file is later than this, seconds."""
APART_NS = 3 * NS_PER_S
"""A track that begins this long after the end of the other one has another clock."""
UNKNOWN_APART_NS = 60 * NS_PER_S
"""So it is where the end of the other one is not known, this long after its beginning."""

RESYNC_NS = 5_000_000
"""A sound packet this far from where the samples before it end is a gap or an overlap."""

_PADDING = 64 * 65_536
"""Pixels of a picture at the bound by which a decoder may round its rows up."""


class Recording(Protocol):
    """What a video file and a bag have in common."""

    path: Path
    origin_ns: int
    """Stamp of media time 0."""
    duration_s: float
    """Length, 0.0 where unknown."""
    frame_rate: float
    """Mean frames per second, 0.0 where unknown."""
    size: tuple[int, int]
    """Width and height of the upright picture in pixels."""
    sound_format: SoundFormat | None
    """Rate and channels of the sound, None without sound."""
    refused_frames: int
    """Pictures that the last pass could not take in; the log has the reasons."""

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in the order of their times."""


class VideoFile:
    """A video file as a source of frames and sound; see Recording for the attributes.

    Args:
        path: any media file that FFmpeg reads.
        origin_ns: what the stamps count from: the stamp of media time 0.
        max_pixels: height times width of the largest picture that is decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a media file, no video track, pictures of too many pixels, or not one frame
            can be decoded.
    """

    def __init__(
        self, path: str | Path, *, origin_ns: int = 0, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.path = Path(path)
        self.origin_ns = origin_ns
        self.refused_frames = 0
        self._max_pixels = max_pixels
        with _open(self.path, max_pixels) as container:
            video, sound = _tracks(container, self.path)
            if (coder := video.codec_context) is not None:
                check_size(f'{self.path}: video', coder.width, coder.height, max_pixels)
            spans = {t.type: _span_ns(t) for t in (video, sound) if t is not None}
            self._starts_ns = dict.fromkeys(spans, max(min(s for s, _ in spans.values()), 0))
            self.duration_s = (container.duration or 0) / 1e6
            if (apart_ns := _apart_ns(*spans.values())) is not None:
                self._starts_ns = {kind: start_ns for kind, (start_ns, _) in spans.items()}
                ends = [end_ns - start_ns for start_ns, end_ns in spans.values() if end_ns]
                self.duration_s = max(ends, default=0) / NS_PER_S
                log.warning(
                    '%s: sound and pictures lie %.0f s apart: each starts at its own first stamp; '
                    'whether they fit cannot be known',
                    self.path,
                    apart_ns / NS_PER_S,
                )
            self.frame_rate = float(video.average_rate or 0)
            self.sound_format = (
                None if sound is None else SoundFormat(sound.rate, sound.codec_context.channels)
            )
        first = next(self.frames(), None)
        if first is None:
            raise ValueError(
                f'{self.path}: expected video, but not one frame can be decoded; its pictures are '
                f'damaged or of more than {max_pixels / 1e6:g} megapixels (frames.max_megapixels)'
            )
        self.size: tuple[int, int] = (first.image.shape[1], first.image.shape[0])

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in the order of their times; a frame comes before sound of its time."""
        # Two passes over the file keep memory bounded however the file interleaves its tracks.
        return heapq.merge(self.frames(), self.sound(), key=lambda item: item.stamp_ns)

    def frames(self) -> Iterator[Frame]:
        """Frames with strictly rising times; pixels are converted when ``Frame.image`` asks.

        Raises:
            OSError: the file is no longer there.
            ValueError: it can no longer be read.
        """
        self.refused_frames = 0
        with _open(self.path, self._max_pixels) as container:
            video, _ = _tracks(container, self.path)
            video.thread_type = 'AUTO'
            step_ns = round(NS_PER_S / (video.average_rate or 30))
            last_ns, dropped = -1, 0
            for frame in _decoded(container, video, self.path, self._refuse):
                if frame.width * frame.height > self._max_pixels:  # they may change in the middle
                    self._refuse()
                    continue
                stamp_ns = self._stamp(frame, 'video')
                if stamp_ns is None:  # raw streams carry no times
                    stamp_ns = 0 if last_ns < 0 else last_ns + step_ns
                if stamp_ns <= last_ns:
                    dropped += stamp_ns >= 0
                    continue
                last_ns = stamp_ns
                yield Frame(self.origin_ns + stamp_ns, _Picture(frame), _Picture.rgb, 'camera')
            if dropped:
                log.warning('%s: dropped %d frame(s) whose time went backwards', self.path, dropped)
            if self.refused_frames:
                text = '%s: %d frame(s) left out, damaged or of more than %g megapixels (%s)'
                most = self._max_pixels / 1e6
                log.warning(text, self.path, self.refused_frames, most, 'frames.max_megapixels')

    def sound(self) -> Iterator[SoundChunk]:
        """Sound quantised to 16 bits, in chunks of 20 ms; nothing without a sound track.

        A gap in the file is a gap between chunks; samples that overlap earlier ones are dropped.

        Raises:
            OSError: the file is no longer there.
            ValueError: it can no longer be read.
        """
        if self.sound_format is None:
            return
        with _open(self.path, self._max_pixels) as container:
            _, track = _tracks(container, self.path)
            cutter: SoundCutter | None = None
            overlap = 0
            for frame in _decoded(container, track, self.path):
                samples = _int16(frame)
                key = (frame.sample_rate, samples.shape[1])
                if cutter is None or cutter.key != key:
                    if cutter is not None:
                        yield from cutter.flush()
                    end_ns = 0 if cutter is None else cutter.end_ns
                    cutter = SoundCutter(*key, self.origin_ns, end_ns)
                stamp_ns = self._stamp(frame, 'audio')
                if stamp_ns is None:
                    stamp_ns = cutter.end_ns
                overlap += max(cutter.end_ns - max(stamp_ns, 0) - RESYNC_NS, 0)
                yield from cutter.push(stamp_ns, samples)
            if cutter is not None:
                yield from cutter.flush()
            if overlap:
                log.warning('%s: dropped sound whose time went backwards', self.path)

    def _refuse(self) -> None:
        self.refused_frames += 1

    def _stamp(self, frame: av.VideoFrame | av.AudioFrame, kind: str) -> int | None:
        """Media time of a decoded frame in nanoseconds."""
        if frame.pts is None or frame.time_base is None:
            return None
        return _ns(frame.pts, frame.time_base) - self._starts_ns[kind]


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[Any]:
    """The opened container, whose decoders make no larger pictures; errors name the file."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such video file')
    try:
        # FFmpeg decodes a picture or two to learn what the tracks are, so it is told at once
        bound = {'max_pixels': str(max_pixels + _PADDING)}
        container = av.open(f'file:{path}', options=bound)
        for track in container.streams.video:
            if track.codec_context is not None:
                track.codec_context.options = bound
    except av.error.FFmpegError as error:
        raise ValueError(
            f'{path}: cannot be read ({error.strerror}); expected a media file such as mp4, mkv '
            'or mov that is complete'
        ) from error
    with container:
        yield container


def _tracks(container: Any, path: Path) -> tuple[Any, Any]:
    """The first video track that is not a cover picture, and the first sound track or None."""
    cover = av.stream.Disposition.attached_pic
    videos = [track for track in container.streams.video if not track.disposition & cover]
    if not videos:
        raise ValueError(f'{path}: has no video track; expected a video with pictures and sound')
    # tracks that no decoder exists for have no codec context
    sounds = [track for track in container.streams.audio if track.codec_context is not None]
    return videos[0], sounds[0] if sounds else None


def _span_ns(track: Any) -> tuple[int, int | None]:
    """Start and end of a track by its own clock; the end is None where the file does not tell."""
    start_ns = 0 if track.start_time is None else _ns(track.start_time, track.time_base)
    if track.duration is not None:
        return start_ns, start_ns + _ns(track.duration, track.time_base)
    parts = track.metadata.get('DURATION', '').split(':')  # Matroska's: the time of the end
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return start_ns, None
    end_s = 3600 * hours + 60 * minutes + seconds
    return start_ns, round(end_s * NS_PER_S) if 0 < end_s < MAX_S else None


def _apart_ns(*spans: tuple[int, int | None]) -> int | None:
    """How far two tracks lie apart; None where they meet, or where there is one only."""
    if len(spans) < 2:
        return None
    (early_ns, end_ns), (late_ns, _) = sorted(spans, key=lambda span: span[0])
    if end_ns is None:
        return late_ns - early_ns if late_ns - early_ns > UNKNOWN_APART_NS else None
    return late_ns - end_ns if late_ns - end_ns > APART_NS else None


def _decoded(
    container: Any, track: Any, path: Path, on_broken: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Decoded frames of one track; broken packets are left out and reported once."""
    packets, broken = container.demux(track), 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError as error:
            log.warning('%s: reading ended early (%s)', path, error.strerror)
            break
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            broken += 1
            on_broken()
            continue
        yield from frames
    if broken:
        log.warning('%s: %d broken %s packet(s) left out', path, broken, track.type)


def _ns(ticks: int, time_base: Fraction) -> int:
    return round(ticks * time_base * NS_PER_S)


def _int16(frame: av.AudioFrame) -> NDArray[np.int16]:
    """Samples of a decoded frame, int16 [N, C], whatever the format of the codec."""
    values: NDArray[Any] = frame.to_ndarray()
    channels = frame.layout.nb_channels
    values = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if values.dtype == np.int16:
        return values
    if values.dtype == np.uint8:
        values = values / 128.0 - 1.0
    elif values.dtype.kind == 'i':
        values = values / 2.0 ** (8 * values.itemsize - 1)
    return np.frombuffer(encode(np.nan_to_num(values)), '<i2').reshape(-1, channels)


@dataclass(frozen=True, eq=False)
class _Picture:
    """A decoded frame in the decoder's own pixel format."""

    frame: av.VideoFrame

    @property
    def nbytes(self) -> int:
        return sum(plane.buffer_size for plane in self.frame.planes)

    def rgb(self) -> Image:
        """Upright RGB uint8 [H, W, 3]."""
        image: Image = np.asarray(self.frame.to_ndarray(format='rgb24'), np.uint8)
        matrix: Any = self.frame.side_data.get('DISPLAYMATRIX')
        if matrix is None:
            return image
        # Row vectors: (x, y) is shown at (a x + c y, b x + d y), of which only the quarter turns
        # and mirrorings are followed.
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


class SoundCutter:
    """Cuts decoded sound of one rate and channel count into chunks with exact times.

    Args:
        rate: samples per second.
        channels: of the sound.
        origin_ns: stamp of media time 0.
        start_ns: media time of the first sample, where the first packet does not say otherwise.
    """

    def __init__(self, rate: int, channels: int, origin_ns: int, start_ns: int) -> None:
        self.key = (rate, channels)
        self.rate = rate
        self.size = max(rate // CHUNKS_PER_S, 1)
        self.origin_ns = origin_ns
        self.start_ns = start_ns  # media time of the first sample of the present gapless stretch
        self.taken = 0  # samples of the stretch already given away
        self.pending = np.zeros((0, channels), np.int16)

    @property
    def end_ns(self) -> int:
        """Media time where the next sample belongs."""
        return self._time(self.taken + len(self.pending))

    def push(self, stamp_ns: int, samples: NDArray[np.int16]) -> Iterator[SoundChunk]:
        """The chunks that a packet makes whole.

        Args:
            stamp_ns: media time of its first sample.
            samples: int16 [N, C].
        """
        ahead_ns = stamp_ns - self.end_ns
        # Packet times are rounded to the container's ticks, so a small step is no gap.
        tolerance_ns = RESYNC_NS if self.taken or len(self.pending) else 0
        if ahead_ns < -tolerance_ns:
            samples = samples[-(ahead_ns * self.rate // NS_PER_S) :]
        elif ahead_ns > tolerance_ns:
            yield from self.flush()
            self.start_ns, self.taken = stamp_ns, 0
        self.pending = np.concatenate([self.pending, samples])
        while len(self.pending) >= self.size:
            yield self._take(self.size)

    def flush(self) -> Iterator[SoundChunk]:
        """What is left, a shorter chunk."""
        if len(self.pending):
            yield self._take(len(self.pending))

    def _take(self, count: int) -> SoundChunk:
        stamp_ns = self.origin_ns + self._time(self.taken)
        chunk, self.pending = self.pending[:count], self.pending[count:]
        self.taken += count
        return SoundChunk(stamp_ns, self.rate, chunk / np.float32(1 << 15))

    def _time(self, index: int) -> int:
        return self.start_ns + (index * NS_PER_S + self.rate // 2) // self.rate
