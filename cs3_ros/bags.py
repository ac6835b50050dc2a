"""Rosbags without ROS: a video written as rosbag2, and a bag read back as frames and sound.

Written bags play with ``ros2 bag play`` of Jazzy (metadata version 9). Message stamps and log
times are the start time plus media time; the start time is kept in the bag's custom data.
"""

from __future__ import annotations

import functools
import logging
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cs3_ros.collision import NS_PER_S, Frame, Image
from cs3_ros.images import decode_compressed, decode_image
from cs3_ros.media import Recording, VideoFile
from cs3_ros.pcm import SoundChunk, SoundFormat, decode, encode

log = logging.getLogger(__name__)

RAW_TOPIC = '/cs3/image'
COMPRESSED_TOPIC = '/cs3/image/compressed'
AUDIO_TOPIC = '/cs3/audio'
INFO_TOPIC = '/cs3/audio_info'

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
AUDIO = 'audio_common_msgs/msg/AudioDataStamped'
INFO = 'audio_common_msgs/msg/AudioInfo'

ORIGIN_KEY = 'cs3.media_time_0_ns'
"""Custom data of the bag: the stamp of media time 0."""

INFO_EVERY_NS = 5 * NS_PER_S
"""AudioInfo is repeated, as audio_capture does it, for players that start in mid-bag."""

# names, fields and types of the ros-drivers package (apt: ros-jazzy-audio-common-msgs)
_AUDIO_MESSAGES = {
    'audio_common_msgs/msg/AudioData': 'uint8[] data',
    AUDIO: 'std_msgs/Header header\naudio_common_msgs/AudioData audio',
    INFO: (
        'uint8 channels\nuint32 sample_rate\nstring sample_format\n'
        'uint32 bitrate\nstring coding_format'
    ),
}


@functools.cache
def typestore() -> Any:
    """The rosbags type store of Jazzy with audio_common_msgs."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in _AUDIO_MESSAGES.items():
        store.register(get_types_from_msg(text, name))
    return store


def make_bag(
    video: Recording | str | Path,
    out_dir: str | Path,
    *,
    start_s: float = 1000.0,
    image: Literal['compressed', 'raw'] = 'compressed',
    storage: Literal['mcap', 'sqlite3'] = 'mcap',
    jpeg_quality: int = 90,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a video as a bag with the topics ``/cs3/image[/compressed]`` and ``/cs3/audio``.

    Args:
        video: a video file or anything else that gives frames and sound.
        out_dir: folder of the bag; must not exist. It appears only when the bag is complete.
        start_s: stamp of media time 0, seconds in [0, 2^31 - 1).
        image: JPEG, or the decoded pixels as they are (rgb8).
        storage: rosbag2 storage plugin.
        jpeg_quality: 1 to 100.
        progress: called with the share done in [0, 1] after every frame.

    Raises:
        FileExistsError: ``out_dir`` exists.
        FileNotFoundError: there is no such video.
        ValueError: a wrong argument or an unreadable video.
    """
    from rosbags.rosbag2 import StoragePlugin, Writer

    out_dir = Path(out_dir)
    if out_dir.exists():
        raise FileExistsError(f'{out_dir}: exists already; remove it or name another folder')
    if image not in ('compressed', 'raw'):
        raise ValueError(f'image {image!r}: expected compressed or raw')
    if storage not in ('mcap', 'sqlite3'):
        raise ValueError(f'storage {storage!r}: expected mcap or sqlite3')
    if not 0 <= start_s < 2**31 - 1:
        raise ValueError(f'start_s {start_s!r}: expected seconds in [0, 2147483647)')
    if not 1 <= jpeg_quality <= 100:
        raise ValueError(f'jpeg_quality {jpeg_quality!r}: expected 1 to 100')
    source = VideoFile(video) if isinstance(video, (str, Path)) else video
    shift_ns = round(start_s * NS_PER_S) - source.origin_ns
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    # rosbag2 names the files inside after the folder, so only the parent is a temporary one
    with tempfile.TemporaryDirectory(prefix='.cs3_bag_', dir=out_dir.parent) as scratch:
        partial = Path(scratch) / out_dir.name
        plugin = StoragePlugin[storage.upper()]
        with Writer(partial, version=9, storage_plugin=plugin) as writer:
            writer.set_custom_data(ORIGIN_KEY, str(round(start_s * NS_PER_S)))
            bag = _BagWriter(writer, jpeg_quality if image == 'compressed' else None)
            for item in source:
                stamp_ns = item.stamp_ns + shift_ns
                if isinstance(item, SoundChunk):
                    bag.sound(stamp_ns, item)
                    continue
                bag.frame(stamp_ns, item.image)
                if progress is not None and source.duration_s:
                    done_s = (item.stamp_ns - source.origin_ns) / NS_PER_S
                    progress(min(done_s / source.duration_s, 1.0))
        partial.rename(out_dir)
    return out_dir


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
        import cv2

        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
        self._write(
            COMPRESSED_TOPIC,
            COMPRESSED,
            stamp_ns,
            header=self._header(stamp_ns, 'camera'),
            format='rgb8; jpeg compressed bgr8',
            data=data.reshape(-1),
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
    from rosbags import interfaces as ros

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


@dataclass(frozen=True)
class BagTopic:
    """A topic of a bag."""

    name: str
    msgtype: str
    """As in ``sensor_msgs/msg/Image``."""
    count: int
    """Number of messages."""
    reliability: str = 'reliable'
    """``reliable`` or ``best_effort``, as offered when it was recorded."""
    durability: str = 'volatile'
    """``volatile`` or ``transient_local``, as offered when it was recorded."""
    depth: int = 10
    """History depth."""


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A stored message."""

    topic: BagTopic
    log_ns: int
    """When it was recorded."""
    data: bytes
    """The CDR serialisation."""


class Bag:
    """The messages of a bag as they are stored.

    Attributes:
        path: folder of the bag, or a single .mcap or .db3 file.
        topics: its topics, sorted by name.
        start_ns: log time of the first message; 0 for an empty bag.
        end_ns: log time of the last message; 0 for an empty bag.
        custom_data: what was noted in the metadata.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _reader(self.path) as reader:
            empty = reader.message_count == 0
            self.start_ns: int = 0 if empty else reader.start_time
            self.end_ns: int = 0 if empty else reader.end_time - 1
            self.custom_data: dict[str, str] = dict(reader.storage.metadata.custom or {})
            topics = {connection.topic: _topic(connection) for connection in reader.connections}
        self.topics: tuple[BagTopic, ...] = tuple(topics[name] for name in sorted(topics))

    def topic(self, name: str) -> BagTopic:
        """The topic of this name.

        Raises:
            ValueError: the bag does not have it.
        """
        for topic in self.topics:
            if topic.name == name:
                return topic
        names = ', '.join(topic.name for topic in self.topics) or 'none at all'
        raise ValueError(f'{self.path}: has no topic {name!r}; it has {names}')

    def messages(self, topics: Collection[str] = ()) -> Iterator[BagMessage]:
        """Messages in log-time order.

        Args:
            topics: names of the wanted topics; empty means all.
        """
        wanted = {name: self.topic(name) for name in topics or [t.name for t in self.topics]}
        with _reader(self.path) as reader:
            connections = [c for c in reader.connections if c.topic in wanted]
            if not connections:
                return
            for connection, log_ns, data in reader.messages(connections):
                yield BagMessage(wanted[connection.topic], log_ns, bytes(data))


class BagRecording:
    """A bag as a source of frames and sound; see Recording for the attributes.

    Topics that are not named are found: the ``/cs3`` names first, otherwise the only topic of a
    fitting type. Sound that cannot be read is left out and reported in the log.

    Args:
        path: folder of the bag, or a single .mcap or .db3 file.
        image_topic: topic of Image or CompressedImage; empty finds it.
        audio_topic: topic of audio_common_msgs/AudioDataStamped; empty finds it.
        info_topic: topic of audio_common_msgs/AudioInfo; empty finds it.
        sound_format: overrules AudioInfo.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: it cannot be read, has no pictures, a topic is ambiguous or of a wrong type,
            or sound comes without a readable format.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_topic: str = '',
        audio_topic: str = '',
        info_topic: str = '',
        sound_format: SoundFormat | None = None,
    ) -> None:
        self.bag = Bag(path)
        self.path = self.bag.path
        images = self._find('image_topic', image_topic, (RAW, COMPRESSED))
        if images is None:
            types = ', '.join(f'{t.name} ({t.msgtype})' for t in self.bag.topics) or 'nothing'
            raise ValueError(f'{self.path}: expected a topic of {RAW} or {COMPRESSED}, has {types}')
        self.image_topic: BagTopic = images
        self.audio_topic = self._find('audio_topic', audio_topic, (AUDIO,))
        self._info_topic = None
        if self.audio_topic is not None and sound_format is None:
            self._info_topic = self._find('info_topic', info_topic, (INFO,))
            sound_format = self._first_format()
        self.sound_format = None if self.audio_topic is None else sound_format
        self.duration_s = (self.bag.end_ns - self.bag.start_ns) / NS_PER_S
        self.frame_rate = (images.count - 1) / self.duration_s if self.duration_s else 0.0
        self.origin_ns = self._origin_ns()
        image = next(self._frames()).image
        self.size: tuple[int, int] = (image.shape[1], image.shape[0])

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in log-time order, stamped by their headers."""
        topics = [self.image_topic, self.audio_topic, self._info_topic]
        fmt, unreadable = self.sound_format, Counter[str]()
        for message in self.bag.messages([topic.name for topic in topics if topic is not None]):
            if message.topic == self.image_topic:
                yield _frame(message)
                continue
            try:
                if message.topic == self._info_topic:
                    fmt = _format(message)
                else:
                    assert fmt is not None
                    yield _sound(message, fmt)
            except ValueError as error:
                unreadable[str(error)] += 1
        for reason, count in unreadable.items():
            log.warning('%s: %d message(s) left out: %s', self.path, count, reason)

    def _find(self, argument: str, name: str, msgtypes: tuple[str, ...]) -> BagTopic | None:
        if name:
            topic = self.bag.topic(name)
            if topic.msgtype not in msgtypes:
                expected = ' or '.join(msgtypes)
                raise ValueError(
                    f'{self.path}: {argument} {name!r} is a {topic.msgtype}: expected {expected}'
                )
            return topic
        found = [topic for topic in self.bag.topics if topic.msgtype in msgtypes and topic.count]
        own = [t for t in found if t.name in (RAW_TOPIC, COMPRESSED_TOPIC, AUDIO_TOPIC, INFO_TOPIC)]
        if len(found) > 1 and not own:
            names = ', '.join(topic.name for topic in found)
            raise ValueError(f'{self.path}: has several fitting topics ({names}); give {argument}')
        return (own or found or [None])[0]

    def _first_format(self) -> SoundFormat:
        assert self.audio_topic is not None
        if self._info_topic is None:
            raise ValueError(
                f'{self.path}: {self.audio_topic.name} comes without a topic of {INFO}; '
                'give the rate, channels and sample format of the sound'
            )
        try:
            return _format(next(self.bag.messages([self._info_topic.name])))
        except ValueError as error:
            raise ValueError(f'{self.path}: {self._info_topic.name}: {error}') from error

    def _origin_ns(self) -> int:
        if ORIGIN_KEY in self.bag.custom_data:
            return int(self.bag.custom_data[ORIGIN_KEY])
        topics = [topic for topic in (self.image_topic, self.audio_topic) if topic is not None]
        firsts = [next(self.bag.messages([topic.name])) for topic in topics]
        stamps = [_header(message.data)[0] for message in firsts]
        return min([stamp for stamp in stamps if stamp] or [self.bag.start_ns])

    def _frames(self) -> Iterator[Frame]:
        return map(_frame, self.bag.messages([self.image_topic.name]))
