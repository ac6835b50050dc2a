"""A video written as a rosbag2 that ``ros2 bag play`` of Jazzy plays (metadata version 9).

Message stamps and log times are the start time plus media time; the start time is kept in the
custom data of the bag.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags import interfaces as ros
from rosbags.rosbag2 import StoragePlugin, Writer

from cs3_ros.collision import LAST_STAMP_NS, NS_PER_S, Image
from cs3_ros.files.bags import (
    AUDIO,
    AUDIO_TOPIC,
    COMPRESSED,
    COMPRESSED_TOPIC,
    INFO,
    INFO_TOPIC,
    ORIGIN_KEY,
    RAW,
    RAW_TOPIC,
    typestore,
)
from cs3_ros.files.images import as_jpeg
from cs3_ros.files.media import Recording, VideoFile
from cs3_ros.files.pcm import SoundChunk, SoundFormat, encode
from cs3_ros.files.progress import Bar

INFO_EVERY_NS = 5 * NS_PER_S
"""AudioInfo is repeated, as audio_capture does it, for players that start in mid-bag."""


def make_bag(
    video: Recording | str | Path,
    out_dir: str | Path,
    *,
    start_s: float = 1000.0,
    image: Literal['compressed', 'raw'] = 'compressed',
    storage: Literal['mcap', 'sqlite3'] = 'mcap',
    jpeg_quality: int = 95,
    progress: bool = False,
) -> Path:
    """Write a video as a bag with the topics ``/cs3/image[/compressed]`` and ``/cs3/audio``.

    Args:
        video: a video file or anything else that gives frames and sound.
        out_dir: folder of the bag; must not exist. It appears only when the bag is complete.
        start_s: stamp of media time 0, seconds above 0 (which means "not set") and at most
            ``LAST_STAMP_NS``.
        image: JPEG, or the decoded pixels as they are (rgb8).
        storage: rosbag2 storage plugin.
        jpeg_quality: 1 to 100.
        progress: show a bar on a terminal.

    Raises:
        FileExistsError: ``out_dir`` exists.
        BlockingIOError: another process is making it.
        OSError: it cannot be written there.
        FileNotFoundError: there is no such video.
        ValueError: a wrong argument or an unreadable video.
    """
    out_dir = Path(out_dir)
    if os.path.lexists(out_dir):
        raise FileExistsError(f'{out_dir}: exists already; remove it or name another folder')
    if image not in ('compressed', 'raw'):
        raise ValueError(f'image {image!r}: expected compressed or raw')
    if storage not in ('mcap', 'sqlite3'):
        raise ValueError(f'storage {storage!r}: expected mcap or sqlite3')
    if not 0 < start_s * NS_PER_S <= LAST_STAMP_NS:
        last_s = LAST_STAMP_NS // NS_PER_S
        raise ValueError(
            f'start_s {start_s!r}: expected seconds above 0 and at most {last_s}; '
            'a stamp of 0 means "not set"'
        )
    if not 1 <= jpeg_quality <= 100:
        raise ValueError(f'jpeg_quality {jpeg_quality!r}: expected 1 to 100')
    source = VideoFile(video) if isinstance(video, (str, Path)) else video
    shift_ns = round(start_s * NS_PER_S) - source.origin_ns
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    # rosbag2 names the files inside after the folder, so only the parent is a temporary one
    with _scratch(out_dir) as scratch:
        partial = scratch / out_dir.name
        plugin = StoragePlugin[storage.upper()]
        frames = round(source.duration_s * source.frame_rate) or None
        with (
            Writer(partial, version=9, storage_plugin=plugin) as writer,
            Bar(total=frames, unit='frame', disable=None if progress else True) as bar,
        ):
            writer.set_custom_data(ORIGIN_KEY, str(round(start_s * NS_PER_S)))
            bag = _BagWriter(writer, jpeg_quality if image == 'compressed' else None)
            for item in source:
                if isinstance(item, SoundChunk):
                    bag.sound(item.stamp_ns + shift_ns, item)
                else:
                    bag.frame(item.stamp_ns + shift_ns, item.image)
                    bar.update()
        partial.rename(out_dir)
    return out_dir


@contextmanager
def _scratch(out_dir: Path) -> Iterator[Path]:
    """A folder beside ``out_dir``, for this process alone; those of killed ones are removed."""
    prefix = f'.cs3_bag_{out_dir.name}.'
    for path in out_dir.parent.iterdir():
        if re.fullmatch(re.escape(prefix) + '[a-z0-9_]{8}', path.name) and _is_folder(path):
            with _locked(path, out_dir), suppress(OSError):  # what is not ours stays
                inside = path / out_dir.name
                if _is_folder(inside):
                    for name in (f'{inside.name}.mcap', f'{inside.name}.db3', 'metadata.yaml'):
                        (inside / name).unlink(missing_ok=True)
                    inside.rmdir()
                path.rmdir()
    with tempfile.TemporaryDirectory(prefix=prefix, dir=out_dir.parent) as name:
        with _locked(Path(name), out_dir):
            try:
                yield Path(name)
            except sqlite3.Error as error:  # the disk is full, most likely
                raise OSError(f'{out_dir}: cannot be written: {error}') from error


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextmanager
def _locked(folder: Path, out_dir: Path) -> Iterator[None]:
    """A scratch folder for this process alone, as long as it lives."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                f'{out_dir}: another process is making this bag: wait for its end'
            ) from error
        yield
    finally:
        os.close(descriptor)


class _BagWriter:
    """Turns frames and sound into messages of an open rosbags writer."""

    def __init__(self, writer: Any, jpeg_quality: int | None) -> None:
        self.writer = writer
        self.jpeg_quality = jpeg_quality
        self.types = typestore().types
        self.connections: dict[str, Any] = {}
        self.announced: SoundFormat | None = None
        self.announced_ns = 0

    def frame(self, stamp_ns: int, image: Image) -> None:
        if self.jpeg_quality is None:
            height, width = image.shape[:2]
            pixels = np.ascontiguousarray(image).reshape(-1)
            self._write(
                RAW_TOPIC,
                RAW,
                stamp_ns,
                header=self._header(stamp_ns, 'camera'),
                height=height,
                width=width,
                encoding='rgb8',
                is_bigendian=0,
                step=3 * width,
                data=pixels,
            )
            return
        self._write(
            COMPRESSED_TOPIC,
            COMPRESSED,
            stamp_ns,
            header=self._header(stamp_ns, 'camera'),
            format='rgb8; jpeg compressed bgr8',
            data=np.frombuffer(as_jpeg(image, self.jpeg_quality), np.uint8),
        )

    def sound(self, stamp_ns: int, chunk: SoundChunk) -> None:
        fmt = SoundFormat(chunk.rate, chunk.samples.shape[1])
        if fmt != self.announced or stamp_ns - self.announced_ns >= INFO_EVERY_NS:
            self.announced, self.announced_ns = fmt, stamp_ns
            self._write(
                INFO_TOPIC,
                INFO,
                stamp_ns,
                channels=fmt.channels,
                sample_rate=fmt.rate,
                sample_format=fmt.sample_format,
                bitrate=fmt.bitrate,
                coding_format=fmt.coding_format,
            )
        data = np.frombuffer(encode(chunk.samples), np.uint8)
        audio = self.types['audio_common_msgs/msg/AudioData'](data=data)
        header = self._header(stamp_ns, 'microphone')
        self._write(AUDIO_TOPIC, AUDIO, stamp_ns, header=header, audio=audio)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        sec, nanosec = divmod(stamp_ns, NS_PER_S)
        stamp = self.types['builtin_interfaces/msg/Time'](sec=sec, nanosec=nanosec)
        return self.types['std_msgs/msg/Header'](stamp=stamp, frame_id=frame_id)

    def _write(self, topic: str, msgtype: str, log_ns: int, **fields: Any) -> None:
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_qos(topic)]
            )
        data = typestore().serialize_cdr(self.types[msgtype](**fields), msgtype)
        self.writer.write(self.connections[topic], log_ns, data)


def _qos(topic: str) -> Any:
    """The offered QoS profile of a written topic: reliable, so that a replay loses nothing."""
    latched = topic == INFO_TOPIC
    unset = ros.QosTime(0, 0)
    return ros.Qos(
        ros.QosHistory.KEEP_LAST,
        {INFO_TOPIC: 1, AUDIO_TOPIC: 50}.get(topic, 10),
        ros.QosReliability.RELIABLE,
        ros.QosDurability.TRANSIENT_LOCAL if latched else ros.QosDurability.VOLATILE,
        unset,
        unset,
        ros.QosLiveliness.AUTOMATIC,
        unset,
        False,
    )
