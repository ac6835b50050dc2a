"""Video files: frames and sound with their true times in one stream.

Stamps are nanoseconds of media time (plus an origin). Media time 0 is where a player starts: the
start of the earlier track, but never a negative time, because what lies before 0 is the priming of
a sound coder or was cut away by an edit list. Frames and samples before 0 are dropped. Tracks that
do not meet, because one is stamped by the time of day, each start at their own first stamp.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import Interpolation

from cs3_ros.collision import MAX_PIXELS, NS_PER_S, Frame, Image
from cs3_ros.files.encodings import check_size
from cs3_ros.files.matroska import survey
from cs3_ros.files.movie_boxes import Movie, is_movie
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.regular import check_regular, one_line
from cs3_ros.files.sound_cutter import RESYNC_NS, SoundCutter, int16
from cs3_ros.files.tracks import apart_ns, span_ns, to_ns
from cs3_ros.files.transport import transport_problems

log = logging.getLogger(__name__)

CONTAINERS = (
    *('mov', 'mp4', 'matroska', 'webm', 'avi', 'mpegts', 'mpeg', 'flv', 'asf', 'ogg', 'mxf'),
    *('nut', 'ivf', 'obu', 'h264', 'hevc', 'mpegvideo', 'm4v', 'mjpeg', 'gif', 'wtv', 'dv'),
)
"""FFmpeg's names of the containers that are read: none that opens other files or devices."""

SLICED_PIXELS = 4096 * 2304
"""Larger pictures are decoded one at a time, by all cores together."""

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
    problems: list[str]
    """What was lost or is damaged, as far as it was read, a line each; the log has them, too."""
    refused_frames: int
    """Pictures that the last pass could not take in; ``problems`` and the log have the reasons."""

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in the order of their times."""


class VideoFile:
    """A video file as a source of frames and sound; see Recording for the attributes.

    Args:
        path: a media file in one of ``CONTAINERS``.
        origin_ns: what the stamps count from: the stamp of media time 0.
        max_pixels: height times width of the largest picture that is decoded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a regular file, not one of these, no video track, pictures of too many
            pixels, or not one frame can be decoded.
    """

    def __init__(
        self, path: str | Path, *, origin_ns: int = 0, max_pixels: int = MAX_PIXELS
    ) -> None:
        self.path = Path(path)
        self.origin_ns = origin_ns
        self.problems: list[str] = []
        self.refused_frames = 0
        self._max_pixels = max_pixels
        self._read: dict[int, int] = {}  # stream -> packets, of those read to their end
        self._end_ns = self._frames = 0
        check_regular(self.path, 'video file')
        self._movie = _movie(self.path)
        with _open(self.path, max_pixels) as container:
            self._container, self._streams = container.format.name, len(container.streams)
            video, sound = _tracks(container, self.path)
            if (coder := video.codec_context) is not None:
                check_size(f'{self.path}: video', coder.width, coder.height, max_pixels)
            self._find_starts([track for track in (video, sound) if track is not None])
            if not self._apart:
                self.duration_s = (container.duration or 0) / 1e6
            self.frame_rate = float(video.average_rate or 0)
            if sound is None and container.streams.audio:
                self._tell('its sound is of a kind that cannot be decoded')
            self.sound_format = None if sound is None else self._format_of(sound)
        first = next(self.frames(), None)
        if first is None:
            raise ValueError(
                f'{self.path}: expected video, but not one frame can be decoded; its pictures are '
                f'damaged or of more than {max_pixels / 1e6:g} megapixels (frames.max_megapixels)'
            )
        self.size: tuple[int, int] = (first.image.shape[1], first.image.shape[0])

    def _find_starts(self, tracks: Sequence[Any]) -> None:
        """Media time 0 of each track: one for both, unless they do not meet."""
        spans = {track.type: span_ns(track) for track in tracks if track.start_time is not None}
        starts = [start_ns for start_ns, _ in spans.values()]
        self._starts_ns = {track.type: max(min(starts, default=0), 0) for track in tracks}
        distance_ns = apart_ns(*spans.values())
        self._apart = distance_ns is not None
        if distance_ns is not None:
            self._starts_ns = {kind: start_ns for kind, (start_ns, _) in spans.items()}
            lengths = [end_ns - start_ns for start_ns, end_ns in spans.values() if end_ns]
            self.duration_s = max(lengths, default=0) / NS_PER_S
            self._tell(
                f'sound and pictures lie {distance_ns / NS_PER_S:.0f} s apart: each starts at its '
                'own first stamp; whether they fit cannot be known'
            )

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in the order of their times; a frame comes before sound of its time."""
        # Two passes over the file keep memory bounded however the file interleaves its tracks.
        tracks: list[Iterator[Frame | SoundChunk]] = [self.frames(), self.sound()]
        yield from heapq.merge(*tracks, key=lambda item: item.stamp_ns)
        self._check_end()

    def frames(self) -> Iterator[Frame]:
        """Frames with strictly rising times; pixels are converted when ``Frame.image`` asks.

        Raises:
            OSError: the file is no longer there.
            ValueError: it can no longer be read.
        """
        self.refused_frames = 0
        with _open(self.path, self._max_pixels) as container:
            video, _ = _tracks(container, self.path)
            # decoding several pictures at a time keeps one for each core
            large = video.width * video.height > SLICED_PIXELS
            video.thread_type = 'SLICE' if large else 'AUTO'
            step_ns = round(NS_PER_S / (video.average_rate or 30))
            last_ns, dropped, count = -1, 0, 0
            for frame in self._decoded(container, video):
                if frame.width * frame.height > self._max_pixels:  # they may change in the middle
                    self.refused_frames += 1
                    continue
                stamp_ns = self.time_ns(frame, 'video')
                if stamp_ns is None:  # raw streams carry no times
                    stamp_ns = 0 if last_ns < 0 else last_ns + step_ns
                if stamp_ns <= last_ns:
                    dropped += stamp_ns >= 0
                    continue
                last_ns = stamp_ns
                count += 1
                yield Frame(self.origin_ns + stamp_ns, _Picture(frame), _Picture.rgb, 'camera')
            self._frames = count
            self._end_ns = max(self._end_ns, last_ns + step_ns)
            if dropped:
                self._tell(f'dropped {dropped} frame(s) whose time went backwards')
            if self.refused_frames:
                self._tell(
                    f'{self.refused_frames} frame(s) left out, damaged or of more than '
                    f'{self._max_pixels / 1e6:g} megapixels (frames.max_megapixels)'
                )

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
            overlap = gaps = gaps_ns = 0
            for frame in self._decoded(container, track):
                samples = int16(frame)
                key = (frame.sample_rate, samples.shape[1])
                if cutter is None or cutter.key != key:
                    if cutter is not None:
                        yield from cutter.flush()
                    end_ns = 0 if cutter is None else cutter.end_ns
                    cutter = SoundCutter(*key, self.origin_ns, end_ns)
                stamp_ns = self.time_ns(frame, 'audio')
                if stamp_ns is None:
                    stamp_ns = cutter.end_ns
                overlap += max(cutter.end_ns - max(stamp_ns, 0) - RESYNC_NS, 0)
                if cutter.begun and stamp_ns - cutter.end_ns > RESYNC_NS:
                    gaps, gaps_ns = gaps + 1, gaps_ns + stamp_ns - cutter.end_ns
                yield from cutter.push(stamp_ns, samples)
            if cutter is not None:
                yield from cutter.flush()
                self._end_ns = max(self._end_ns, cutter.end_ns)
            if gaps:
                self._tell(f'{gaps} gap(s) in its sound, {gaps_ns / NS_PER_S:.3f} s in all')
            if overlap:
                self._tell('dropped sound whose time went backwards')

    @contextmanager
    def opened(self) -> Iterator[tuple[Any, Any, Any]]:
        """The container, its video track and its sound track or None, for who reads parts of it.

        What a library raises inside of the block becomes a ValueError that names the file.
        """
        with _open(self.path, self._max_pixels) as container:
            yield container, *_tracks(container, self.path)

    def time_ns(self, item: Any, kind: str) -> int | None:
        """Media time of a packet or of a decoded frame in nanoseconds; None where it has none.

        Args:
            item: of PyAV.
            kind: of its track, ``video`` or ``audio``.
        """
        if item.pts is None or item.time_base is None:
            return None
        return to_ns(item.pts, item.time_base) - self._starts_ns[kind]

    def ticks(self, time_ns: int, track: Any) -> int:
        """A media time by the clock of a track, as PyAV seeks it."""
        return int((time_ns + self._starts_ns[track.type]) / NS_PER_S / track.time_base)

    def _format_of(self, sound: Any) -> SoundFormat | None:
        """Rate and channels of a sound track."""
        if sound.rate and sound.codec_context.channels:
            return SoundFormat(sound.rate, sound.codec_context.channels)
        # an MPEG stream says them only in its sound, which may come late
        with _open(self.path, self._max_pixels) as container:
            _, track = _tracks(container, self.path)
            for frame in self._decoded(container, track):
                return SoundFormat(frame.sample_rate, frame.layout.nb_channels)
        self._tell('its sound cannot be decoded')
        return None

    def _decoded(self, container: Any, track: Any) -> Iterator[Any]:
        """Decoded frames of one track; what is broken is left out and told once."""
        packets, count = container.demux(track), Counter[str]()
        vp8 = track.codec_context.name in ('vp8', 'libvpx')
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError as error:
                self._tell(f'reading ended early ({error.strerror})')
                packet = None  # the decoder still holds some frames
            shown = False
            if packet is not None and packet.size:
                count['stored'] += 1
                if shown := not (packet.is_discard or (vp8 and _only_referred_to(packet))):
                    count['packets'] += 1
                    if packet.is_corrupt:
                        count['damaged'] += 1
            try:
                frames = track.decode(packet)
            except av.error.FFmpegError:
                count['broken'] += 1
                self.refused_frames += track.type == 'video'
                frames = []
            if shown and not frames and not count['frames']:
                count['leading'] += 1
            for frame in frames:
                count['frames'] += 1
                if getattr(frame, 'interlaced_frame', False):
                    count['fields'] += 1
                yield frame
            if packet is None:
                break
        self._count_packets(track, count)

    def _count_packets(self, track: Any, count: Counter[str]) -> None:
        """Tell what of a track gave no frame, was damaged or is not there."""
        if count['broken']:
            self._tell(f'{count["broken"]} broken {track.type} packet(s) left out')
        elif count['damaged']:
            self._tell(f'{count["damaged"]} damaged {track.type} packet(s)')
        # a coder of sound may begin with packets that only prime it, and each field of an
        # interlaced picture may have a packet of its own
        primed = count['leading'] if track.type == 'audio' else 0
        lost = count['packets'] - count['broken'] - count['frames'] - primed
        if lost > 0 and not count['fields']:
            self._tell(f'{lost} of {count["packets"]} {track.type} packets gave no frame')
        self._read[track.index] = count['stored']

    def _check_end(self) -> None:
        """Hold what was read against what the file says of itself."""
        declared_s = self._movie.duration_s if self._movie else 0.0
        problems = self._movie.problems if self._movie else []
        if 'matroska' in self._container:
            found = survey(self.path)
            declared_s, problems = found.duration_s, found.problems
            if self._streams < len(found.blocks):
                problems.append(f'{self._streams} of {len(found.blocks)} tracks can be read')
            for number, count in self._read.items():
                track = found.tracks[number] if number < len(found.tracks) else -1
                stored = found.blocks[track]
                if track in found.blocks and track not in found.laced and count < stored:
                    problems.append(f'{count} of {stored} packets of track {track} were found')
        for number, samples in (self._movie.frames if self._movie else {}).items():
            if number in self._read and self._frames < samples:
                self._tell(f'{self._frames} of {samples} frames')
        if self._container == 'mpegts':
            problems = transport_problems(self.path)
        tolerance_s = max(2 / (self.frame_rate or 30), 0.1)
        declared_s -= min(self._starts_ns.values()) / NS_PER_S
        if self._apart:  # the file tells the time from the first to the last of both clocks
            declared_s = self.duration_s
        if self._end_ns / NS_PER_S < declared_s - tolerance_s:
            frames = max(round(declared_s * self.frame_rate), self._frames)
            self._tell(f'ends early: {self._frames} of {frames} frames')
        for problem in problems:
            self._tell(problem)

    def _tell(self, problem: str) -> None:
        """Note a loss, and say it once in the log."""
        if problem not in self.problems:
            self.problems.append(problem)
            log.warning('%s: %s', self.path, problem)


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[Any]:
    """The opened container, whose decoders make no larger pictures. The one place that turns what a
    library raises while the file is open into a ValueError that names it."""
    check_regular(path, 'video file')
    try:
        # FFmpeg decodes a picture or two to learn what the tracks are, so it is told at once
        bound = {'max_pixels': str(max_pixels + _PADDING)}
        # the list of formats keeps out playlists, which open other files
        kinds = {'protocol_whitelist': 'file', 'format_whitelist': ','.join(CONTAINERS)}
        container = av.open(f'file:{path}', options=bound, container_options=kinds)
        for track in container.streams.video:
            if track.codec_context is not None:
                track.codec_context.options = bound
    except Exception as error:
        raise ValueError(
            f'{path}: cannot be read ({_said(error)}); expected a media file such as mp4, mkv or '
            'mov that is complete'
        ) from error
    try:
        with container:
            yield container
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(f'{path}: '):
            raise
        raise ValueError(f'{path}: cannot be read ({_said(error)})') from error


def _movie(path: Path) -> Movie | None:
    """What an MP4 file says of itself; None for other files."""
    try:
        return Movie(path) if is_movie(path) else None
    except Exception as error:
        raise ValueError(f'{path}: cannot be read ({one_line(error)})') from error


def _said(error: Exception) -> str:
    return str(getattr(error, 'strerror', None) or one_line(error))


def _tracks(container: Any, path: Path) -> tuple[Any, Any]:
    """The first video track that is not a cover picture, and the first sound track or None."""
    cover = av.stream.Disposition.attached_pic
    # tracks that no decoder exists for have no codec context
    videos = [t for t in container.streams.video if not t.disposition & cover and t.codec_context]
    if not videos:
        raise ValueError(
            f'{path}: has no video track that can be decoded; expected a video with pictures and '
            'sound'
        )
    sounds = [track for track in container.streams.audio if track.codec_context is not None]
    return videos[0], sounds[0] if sounds else None


def _only_referred_to(packet: Any) -> bool:
    """Whether a good packet of VP8 gives no frame: a picture for later ones alone."""
    return not memoryview(packet)[0] >> 4 & 1


def upright(frame: av.VideoFrame, side: int = 0) -> Image:
    """The picture of a decoded frame as it is shown, RGB uint8 [H, W, 3].

    Args:
        frame: of PyAV.
        side: shorter side in pixels to which a larger picture is shrunk, in the decoder's own
            pixel format, which has half the bytes of RGB; 0 keeps the size.
    """
    scaled: dict[str, Any] = {}
    if 0 < side < min(frame.width, frame.height):
        scale = side / min(frame.width, frame.height)
        scaled = {'width': round(frame.width * scale), 'height': round(frame.height * scale)}
        # FFmpeg widens the filter by as much as it shrinks; the flags: on every processor the same
        flags = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        scaled |= {'interpolation': flags, 'threads': 1}
    image: Image = np.asarray(frame.to_ndarray(format='rgb24', **scaled), np.uint8)
    # not frame.side_data: frame and container would hold each other until the next collection
    kind: Any = SideDataContainer
    matrix = kind(frame).get('DISPLAYMATRIX')
    if matrix is None:
        return image
    # Row vectors: (x, y) is shown at (a x + c y, b x + d y), of which only the quarter turns and
    # mirrorings are followed.
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


@dataclass(frozen=True, eq=False)
class _Picture:
    """A decoded frame in the decoder's own pixel format."""

    frame: av.VideoFrame

    @property
    def nbytes(self) -> int:
        return sum(plane.buffer_size for plane in self.frame.planes)

    def rgb(self) -> Image:
        """Upright RGB uint8 [H, W, 3]."""
        return upright(self.frame)
