"""What is fuzzed: a small good file of each kind, and the way the package reads it.

``read`` gives a digest of everything that an answer could depend on: times, samples, pixels.
"""

from __future__ import annotations

import hashlib
import struct
from binascii import crc32
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tiny_media import impulses, write_media

from cs3_ros.collision import Frame, Image
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording, typestore
from cs3_ros.files.images import load_image
from cs3_ros.files.media import Recording, VideoFile
from cs3_ros.files.output_folder import MARKER, OutputFolder
from cs3_ros.files.unpacking import zstd
from cs3_ros.offline.results import EVENTS, NAMES, ResultWriter
from cs3_ros.settings import load_parameters

FRAMES = 12


Answer = tuple[list[int], str, str]
"""What was read: the numbers of its frames and samples; digests of their times and content."""


@dataclass(frozen=True)
class Subject:
    """One kind of file."""

    name: str
    make: Callable[[Path], Path]
    """Writes a good one into a folder; returns what ``read`` takes."""
    read: Callable[[Path], Answer]
    """Reads it as the package does."""
    target: Callable[[Path], Path] = lambda path: path
    """The file in it whose bytes are changed."""
    allowed: tuple[str, ...] = ()
    """Verdicts that its format cannot prevent: ``changed`` and ``moved`` without checksums, and
    ``silent`` without a declared end or number."""


class _Digest:
    """A digest of values that are not kept."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def add(self, *values: Any) -> None:
        for value in values:
            self._state.update(value if isinstance(value, bytes) else repr(value).encode())

    def __str__(self) -> str:
        return self._state.hexdigest()


def _content(value: Any) -> Answer:
    digest = _Digest()
    digest.add(value)
    return [], '', str(digest)


def _recording(recording: Recording) -> Answer:
    times, content = _Digest(), _Digest()
    frames = samples = 0
    content.add(recording.size, recording.sound_format)
    for item in recording:
        if isinstance(item, Frame):
            frames += 1
            times.add(item.stamp_ns)
            try:
                content.add(item.image.tobytes())
            except ValueError as error:  # an event that picks it fails, and says so
                raise ValueError(f'frame: {error}') from error
        else:
            samples += len(item.samples)
            times.add((item.stamp_ns, item.rate, item.samples.shape))
            content.add(item.samples.tobytes())
    return [frames, samples], str(times), str(content)


def _textured(index: int, size: tuple[int, int]) -> Image:
    """Blocks of chance that move, so that most bytes of a file are of pictures."""
    blocks = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    image: Image = np.roll(blocks.repeat(8, 0).repeat(8, 1), 3 * index, 1)[: size[1], : size[0]]
    return np.ascontiguousarray(image)


def _video(suffix: str, codec: str, sound_codec: str, rate: int = 16_000) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return write_media(
            folder / f'clip.{suffix}',
            frames=FRAMES,
            picture=_textured,
            sound=impulses(0.4, rate, (0.2,)) if sound_codec else None,
            rate=rate,
            video_codec=codec,
            sound_codec=sound_codec,
            sound_format={'aac': 'fltp', 'libopus': 'flt'}.get(sound_codec, 's16'),
        )

    return make


def _bag(storage: str, mode: str = '', checksums: bool = True) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        video = _video('mkv', 'mpeg4', 'pcm_s16le')(folder)
        bag = make_bag(video, folder / 'bag', storage=storage)  # type: ignore[arg-type]
        video.unlink()
        if mode:
            bag = _compressed(bag, folder / 'packed', mode)
        if storage == 'mcap' and checksums:
            for file in bag.glob('*.mcap'):
                add_checksums(file)
        return bag

    return make


def _compressed(bag: Path, out: Path, mode: str) -> Path:
    """The bag once more, with its messages, its files or its chunks compressed by zstd."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

    with Reader(bag) as reader:
        writer = Writer(out, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        with writer:
            known = {
                c.id: writer.add_connection(c.topic, c.msgtype, typestore=typestore())
                for c in reader.connections
            }
            for connection, stamp, data in reader.messages():
                writer.write(known[connection.id], stamp, data)
    return out


def add_checksums(path: Path) -> None:
    """Write the checksums into an MCAP file that rosbag2 writes and rosbags leaves out."""
    data = bytearray(path.read_bytes())
    (summary,) = struct.unpack_from('<Q', data, len(data) - 28)
    place = 8
    while place < summary:
        opcode, length = struct.unpack_from('<BQ', data, place)
        body = place + 9
        if opcode == 6:
            (size,) = struct.unpack_from('<I', data, body + 28)
            content = bytes(data[body + 40 + size : body + length])
            plain = zstd().decompress(content) if size else content
            struct.pack_into('<I', data, body + 24, crc32(plain))
        elif opcode == 15:
            struct.pack_into('<I', data, body, crc32(data[:place]))
        place = body + length
    struct.pack_into('<I', data, len(data) - 12, crc32(data[summary : len(data) - 12]))
    path.write_bytes(data)


def _data_file(bag: Path) -> Path:
    return next(path for path in sorted(bag.iterdir()) if path.name != 'metadata.yaml')


def _picture(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        x, y = np.meshgrid(np.arange(64), np.arange(48))
        image = np.stack([4 * x, 5 * y, x + y], 2).astype(np.uint8)
        path = folder / f'picture.{suffix}'
        cv2.imwrite(str(path), image)
        return path

    return make


def _parameters(folder: Path) -> Path:
    path = folder / 'parameters.yaml'
    text = '/**:\n  ros__parameters:\n    bundle: lite\n    onset: {floor_s: 2.0}\n'
    path.write_text(text + '    queue_size: 8\n', 'utf-8')
    return path


def _results(folder: Path) -> Path:
    """The folder of a run, with files of the user beside its own."""
    output = OutputFolder(folder / 'out', 'run', NAMES)
    with output:
        ResultWriter(output, 0)
        for name in ('labels/1.000000000.png', 'overlays/1.000000000.jpg'):
            with output.replacing(name) as part:
                part.write_text(name)
    for name in ('mine.txt', 'labels/mine.txt', 'overlays/mine.jpg'):
        (folder / 'out' / name).write_text(name)
    return folder / 'out'


def _write_again(out: Path) -> Answer:
    """A run into the same folder: it goes on or refuses, and leaves every file of the user."""
    kept = [out / name for name in ('mine.txt', 'labels/mine.txt', 'overlays/mine.jpg')]
    try:
        with OutputFolder(out, 'run', NAMES) as output:
            ResultWriter(output, 0)
    finally:
        for path in kept:
            assert path.read_text() == str(path.relative_to(out)), f'{path} is gone or changed'
    return [len(kept)], '', ''


def _read_bag(path: Path) -> Answer:
    return _recording(BagRecording(path))


def _read_video(path: Path) -> Answer:
    return _recording(VideoFile(path))


def _metadata(bag: Path) -> Path:
    return bag / 'metadata.yaml'


def _read_picture(path: Path) -> Answer:
    return _content(load_image(path).tobytes())


NO_CHECKSUMS = ('changed', 'moved')
NO_END = ('changed', 'moved', 'silent')

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject('mcap', _bag('mcap'), _read_bag, _data_file),
        Subject('mcap, no checksums', _bag('mcap', '', False), _read_bag, _data_file, NO_CHECKSUMS),
        Subject('mcap, zstd chunks', _bag('mcap', 'STORAGE'), _read_bag, _data_file),
        Subject('mcap, zstd messages', _bag('mcap', 'MESSAGE'), _read_bag, _data_file),
        Subject('mcap, zstd file', _bag('mcap', 'FILE', False), _read_bag, _data_file, NO_END),
        Subject('db3', _bag('sqlite3'), _read_bag, _data_file, NO_CHECKSUMS),
        Subject('metadata.yaml', _bag('mcap'), _read_bag, _metadata, NO_CHECKSUMS),
        Subject('mp4', _video('mp4', 'libx264', 'aac'), _read_video, allowed=NO_CHECKSUMS),
        Subject('mkv', _video('mkv', 'libx264', 'pcm_s16le'), _read_video),
        Subject(
            'webm', _video('webm', 'libvpx', 'libopus', 48_000), _read_video, allowed=NO_CHECKSUMS
        ),
        Subject('ts', _video('ts', 'libx264', 'aac'), _read_video, allowed=NO_END),
        Subject('hevc', _video('hevc', 'libx265', ''), _read_video, allowed=NO_END),
        Subject('jpeg', _picture('jpg'), _read_picture, allowed=NO_CHECKSUMS),
        Subject('png', _picture('png'), _read_picture),
        Subject('events.json', _results, _write_again, lambda out: out / EVENTS),
        Subject('marker', _results, _write_again, lambda out: out / MARKER),
        Subject(
            'parameters.yaml',
            _parameters,
            lambda path: _content(repr(load_parameters(path))),
            allowed=NO_CHECKSUMS,
        ),
    )
}
"""Name -> subject."""
