"""What is fuzzed: a small good file of each kind, and the way the package reads it.

``read`` gives a digest of everything that an answer could depend on: times, samples, pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tiny_media import impulses, write_media

from cs3_ros.collision import Frame
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.files.images import load_image
from cs3_ros.files.media import Recording, VideoFile
from cs3_ros.settings import load_parameters

FRAMES, SOUND = 12, impulses(0.4, 16_000, (0.2,))


@dataclass(frozen=True)
class Subject:
    """One kind of file."""

    name: str
    make: Callable[[Path], Path]
    """Writes a good one into a folder; returns what ``read`` takes."""
    read: Callable[[Path], str]
    """Reads it as the package does; a digest of what it gave."""
    target: Callable[[Path], Path] = lambda path: path
    """The file in it whose bytes are changed."""
    strict: bool = True
    """Whether it has checksums or a declared end, so that no loss may pass in silence."""


def _digest(values: Any) -> str:
    state = hashlib.sha256()
    for value in values:
        state.update(value if isinstance(value, bytes) else repr(value).encode())
    return state.hexdigest()


def _recording(recording: Recording) -> str:
    def parts() -> Any:
        yield recording.size
        yield recording.sound_format
        for item in recording:
            yield item.stamp_ns
            if isinstance(item, Frame):
                try:
                    yield item.image.tobytes()
                except ValueError as error:  # an event that picks it fails, and says so
                    raise ValueError(f'frame: {error}') from error
            else:
                yield item.samples.tobytes()

    return _digest(parts())


def _video(suffix: str, codec: str, sound_codec: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return write_media(
            folder / f'clip.{suffix}',
            frames=FRAMES,
            sound=SOUND,
            rate=16_000,
            video_codec=codec,
            sound_codec=sound_codec,
            sound_format='fltp' if sound_codec in ('aac', 'libopus') else 's16',
        )

    return make


def _bag(storage: str, compression: str = '') -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        video = _video('mkv', 'mpeg4', 'pcm_s16le')(folder)
        bag = make_bag(video, folder / 'bag', storage=storage)  # type: ignore[arg-type]
        return bag if not compression else _compressed(bag, folder / 'packed', compression)

    return make


def _compressed(bag: Path, out: Path, mode: str) -> Path:
    """The bag once more, with its messages, its files or its chunks compressed by zstd."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

    from cs3_ros.files.bags import typestore

    with Reader(bag) as reader, _writer(Writer, StoragePlugin, out) as writer:
        writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
        with writer:
            known = {
                c.id: writer.add_connection(c.topic, c.msgtype, typestore=typestore())
                for c in reader.connections
            }
            for connection, stamp, data in reader.messages():
                writer.write(known[connection.id], stamp, data)
    return out


def _writer(writer: Any, plugin: Any, out: Path) -> Any:
    import contextlib

    return contextlib.nullcontext(writer(out, version=9, storage_plugin=plugin.MCAP))


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


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            'mcap', _bag('mcap'), lambda path: _recording(BagRecording(path)), _data_file
        ),
        Subject(
            'mcap, zstd messages',
            _bag('mcap', 'MESSAGE'),
            lambda path: _recording(BagRecording(path)),
            _data_file,
        ),
        Subject(
            'mcap, zstd file',
            _bag('mcap', 'FILE'),
            lambda path: _recording(BagRecording(path)),
            _data_file,
        ),
        Subject(
            'mcap, zstd chunks',
            _bag('mcap', 'STORAGE'),
            lambda path: _recording(BagRecording(path)),
            _data_file,
        ),
        Subject(
            'db3',
            _bag('sqlite3'),
            lambda path: _recording(BagRecording(path)),
            _data_file,
            strict=False,
        ),
        Subject(
            'metadata.yaml',
            _bag('mcap'),
            lambda path: _recording(BagRecording(path)),
            lambda bag: bag / 'metadata.yaml',
            strict=False,
        ),
        Subject(
            'mp4',
            _video('mp4', 'libx264', 'aac'),
            lambda path: _recording(VideoFile(path)),
            strict=False,
        ),
        Subject(
            'mkv',
            _video('mkv', 'libx264', 'pcm_s16le'),
            lambda path: _recording(VideoFile(path)),
            strict=False,
        ),
        Subject(
            'webm',
            _video('webm', 'libvpx', 'libopus'),
            lambda path: _recording(VideoFile(path)),
            strict=False,
        ),
        Subject('jpeg', _picture('jpg'), lambda path: _digest([load_image(path).tobytes()]), strict=False),
        Subject('png', _picture('png'), lambda path: _digest([load_image(path).tobytes()])),
        Subject(
            'parameters.yaml',
            _parameters,
            lambda path: _digest([json.dumps(repr(load_parameters(path)))]),
            strict=False,
        ),
    )
}
"""Name -> subject."""
