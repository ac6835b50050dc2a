"""Rosbags read without ROS: stored messages, and the frames and sound they hold."""

from __future__ import annotations

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.collision import MAX_PIXELS, NS_PER_S, Frame
from cs3_ros.files.fields import mapping
from cs3_ros.files.message_fields import (
    UNSTAMPED_COST,
    format_from_info,
    frame_from_message,
    sound_from_data,
    sound_from_unstamped,
    stamp_of,
    unstamped_refusal,
)
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.regular import one_line

log = logging.getLogger(__name__)

RAW_TOPIC = '/cs3/image'
COMPRESSED_TOPIC = '/cs3/image/compressed'
AUDIO_TOPIC = '/cs3/audio'
INFO_TOPIC = '/cs3/audio_info'
OWN_TOPICS = (COMPRESSED_TOPIC, RAW_TOPIC, AUDIO_TOPIC, INFO_TOPIC)
"""What is looked for first, in this order."""

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
AUDIO = 'audio_common_msgs/msg/AudioDataStamped'
UNSTAMPED = 'audio_common_msgs/msg/AudioData'
INFO = 'audio_common_msgs/msg/AudioInfo'

ORIGIN_KEY = 'cs3.media_time_0_ns'
"""Custom data of the bag: the stamp of media time 0."""

USUAL_RATES = (8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000)
"""Of microphones and files, in Hz: proposed where a bag does not say its rate."""

# names, fields and types of the ros-drivers package (apt: ros-jazzy-audio-common-msgs)
_AUDIO_MESSAGES = {
    UNSTAMPED: 'uint8[] data',
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


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A stored message."""

    topic: BagTopic
    log_ns: int
    """When it was recorded."""
    data: bytes
    """The CDR serialisation."""

    def content(self) -> Any:
        """The message, with the fields of its type as attributes.

        Raises:
            ValueError: the bytes are not one of its type.
        """
        try:
            return typestore().deserialize_cdr(self.data, self.topic.msgtype)
        except Exception as error:  # rosbags checks no lengths and stumbles over what was cut off
            raise ValueError(
                f'{self.topic.msgtype} of {len(self.data)} bytes cannot be read: {one_line(error)}'
            ) from error


class Bag:
    """The messages of a bag as they are stored.

    Attributes:
        path: folder of the bag, or a single .mcap or .db3 file. A folder without metadata.yaml, as
            an interrupted recording leaves it, is read where it has one such file.
        topics: its topics, sorted by name.
        start_ns: log time of the first message; 0 for an empty bag.
        end_ns: log time of the last message; 0 for an empty bag.
        custom_data: what was noted in the metadata.
        problems: what was lost on reading, a line each.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        from cs3_ros.files.bag_source import METADATA, BagSource  # rosbags takes long to import

        self.path = Path(path)
        self.problems: list[str] = []
        self._source = BagSource(self.path)
        with self._source.reader() as reader:
            empty = reader.message_count == 0
            self.start_ns: int = 0 if empty else reader.start_time
            self.end_ns: int = 0 if empty else reader.end_time - 1
            custom = mapping(
                reader.storage.metadata.custom or {}, f'{path}: custom_data', others=None
            )
            self.custom_data: dict[str, str] = {str(k): str(v) for k, v in custom.items()}
            self.topics: tuple[BagTopic, ...] = tuple(
                _topic(name, info) for name, info in sorted(reader.topics.items())
            )
            stored, known = self._source.stored(reader), {t.name: t for t in self.topics}
        for (name, msgtype), count in stored.items():
            topic = known.get(name)
            if topic is None or topic.msgtype != msgtype or topic.count != count:
                said = f'{topic.count} of {topic.msgtype}' if topic else 'none'
                self.tell(f'has {count} messages of {msgtype} on {name}; its {METADATA}: {said}')

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

        Raises:
            ValueError: the bag does not have one of them, or is damaged there.
        """
        wanted = {name: self.topic(name) for name in topics or [t.name for t in self.topics]}
        found = Counter[str]()
        with self._source.reader() as reader:
            connections = [c for c in reader.connections if c.topic in wanted]
            if not connections:
                return
            for connection, log_ns, data in reader.messages(connections):
                found[connection.topic] += 1
                yield BagMessage(wanted[connection.topic], log_ns, self._source.message(data))
        for name, topic in wanted.items():
            if found[name] < topic.count:
                self.tell(f'ends early: {found[name]} of {topic.count} messages of {name}')
            elif found[name] > topic.count:
                self.tell(f'has {found[name]} messages of {name}, but counts {topic.count}')

    def tell(self, problem: str) -> None:
        """Note a loss, and say it once in the log."""
        if problem not in self.problems:
            self.problems.append(problem)
            log.warning('%s: %s', self.path, problem)


class BagRecording:
    """A bag as a source of frames and sound; see Recording for the attributes.

    Topics that are not named are found: the ``/cs3`` names first, otherwise the only topic of a
    fitting type; of ``/cs3/image/compressed`` and ``/cs3/image`` the compressed one, as the node
    takes it. Pictures and sound that the node would refuse are left out and reported in the log.

    Args:
        path: folder of the bag, or a single .mcap or .db3 file.
        image_topic: topic of Image or CompressedImage; empty finds it.
        audio_topic: topic of audio_common_msgs/AudioDataStamped, or AudioData where allowed; empty
            finds it.
        info_topic: topic of audio_common_msgs/AudioInfo; empty finds it.
        sound_format: overrules AudioInfo.
        max_pixels: height times width of the largest picture that is taken.
        allow_unstamped: take AudioData, which has no stamps, at the time of its record.

    Attributes:
        refused_sound: why the sound that there is is not taken; '' where it is, or is none.

    Raises:
        FileNotFoundError: there is no such bag.
        ValueError: it cannot be read, has no pictures, a topic is ambiguous or of a wrong type,
            sound comes without a readable format, or the noted origin is no number.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        image_topic: str = '',
        audio_topic: str = '',
        info_topic: str = '',
        sound_format: SoundFormat | None = None,
        max_pixels: int = MAX_PIXELS,
        allow_unstamped: bool = False,
    ) -> None:
        self.bag = Bag(path)
        self.refused_frames = 0
        self._max_pixels = max_pixels
        self.path = self.bag.path
        self.problems = self.bag.problems
        images = self._find('image_topic', image_topic, (RAW, COMPRESSED))
        if images is None:
            types = ', '.join(f'{t.name} ({t.msgtype})' for t in self.bag.topics) or 'nothing'
            raise ValueError(f'{self.path}: expected a topic of {RAW} or {COMPRESSED}, has {types}')
        self.image_topic: BagTopic = images
        self.refused_sound = ''
        unstamped = [t.name for t in self.bag.topics if t.msgtype == UNSTAMPED and t.count]
        stamped = [t.name for t in self.bag.topics if t.msgtype == AUDIO and t.count]
        if audio_topic in unstamped or (unstamped and not audio_topic and not stamped):
            name = audio_topic or unstamped[0]
            if allow_unstamped:
                log.warning('%s: %s: %s', self.path, name, UNSTAMPED_COST)
            else:
                self.refused_sound, audio_topic = f'{self.path}: {unstamped_refusal(name)}', ''
        kinds = (AUDIO,) if stamped or not allow_unstamped else (UNSTAMPED,)
        if allow_unstamped and audio_topic in unstamped:
            kinds = (UNSTAMPED,)
        self.audio_topic = self._find('audio_topic', audio_topic, kinds)
        self._info_topic = None
        if self.audio_topic is not None and sound_format is None:
            self._info_topic = self._find('info_topic', info_topic, (INFO,))
            sound_format = self._first_format()
        self.sound_format = None if self.audio_topic is None else sound_format
        self.duration_s = (self.bag.end_ns - self.bag.start_ns) / NS_PER_S
        self.frame_rate = (images.count - 1) / self.duration_s if self.duration_s else 0.0
        self.origin_ns = self._origin_ns()
        self.size: tuple[int, int] = self._size()

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        """Frames and sound in log-time order, stamped by their headers."""
        topics = [self.image_topic, self.audio_topic, self._info_topic]
        fmt, unreadable, self.refused_frames = self.sound_format, Counter[str](), 0
        for message in self.bag.messages([topic.name for topic in topics if topic is not None]):
            try:
                if message.topic == self.image_topic:
                    yield frame_from_message(message.content(), self._max_pixels)
                elif message.topic == self._info_topic:
                    fmt = None
                    fmt = format_from_info(message.content())
                elif fmt is not None:
                    yield _sound_of(message, fmt)
                else:
                    raise ValueError('the last AudioInfo cannot be used')
            except ValueError as error:
                unreadable[str(error)] += 1
                self.refused_frames += message.topic == self.image_topic
        for reason, count in unreadable.items():
            self.bag.tell(f'{count} message(s) left out: {reason}')

    def _find(self, argument: str, name: str, msgtypes: tuple[str, ...]) -> BagTopic | None:
        if name:
            topic = self.bag.topic(name)
            if topic.msgtype not in msgtypes:
                expected = ' or '.join(msgtypes)
                raise ValueError(
                    f'{self.path}: {argument} {name!r} is a {topic.msgtype}: expected {expected}'
                )
            if topic.count == 0:
                raise ValueError(f'{self.path}: {argument} {name!r} has no messages')
            return topic
        found = [topic for topic in self.bag.topics if topic.msgtype in msgtypes and topic.count]
        own = [topic for name in OWN_TOPICS for topic in found if topic.name == name]
        if len(found) > 1 and not own:
            names = ', '.join(topic.name for topic in found)
            raise ValueError(f'{self.path}: has several fitting topics ({names}); give {argument}')
        return next(iter(own or found), None)

    def _first_format(self) -> SoundFormat:
        assert self.audio_topic is not None
        if self._info_topic is None:
            raise ValueError(
                f'{self.path}: {self.audio_topic.name} comes without a topic of {INFO}, so the '
                'rate, channels and sample format of its sound are not known: expected them from '
                f'you, {self._format_to_try()}'
            )
        try:
            for message in self.bag.messages([self._info_topic.name]):
                return format_from_info(message.content())
            raise ValueError('has no message, although the bag counts some')
        except ValueError as error:
            if str(error).startswith(f'{self.path}: '):
                raise
            raise ValueError(f'{self.path}: {self._info_topic.name}: {error}') from error

    def _format_to_try(self) -> str:
        """Settings for a usual 16-bit format that fits the bytes and stamps of the sound."""
        assert self.audio_topic is not None
        rate, channels, why = 48_000, 1, 'for 48 kHz mono of 16 bits, for example,'
        messages = itertools.islice(self.bag.messages([self.audio_topic.name]), 100)
        try:
            sounds = [_stamp_and_size(message) for message in messages]
            seconds = (sounds[-1][0] - sounds[0][0]) / NS_PER_S
        except (ValueError, IndexError):  # told when the messages are read
            seconds = 0.0
        if seconds > 0:
            frames = sum(size for _, size in sounds[:-1]) / 2 / seconds
            for count, usual in itertools.product((1, 2), USUAL_RATES):
                if abs(frames / (count * usual) - 1) < 0.03:
                    rate, channels, why = usual, count, 'with what fits its bytes per second:'
                    break
        return (
            f'{why} --set audio_rate={rate} --set audio_channels={channels} '
            '--set audio_sample_format=S16LE'
        )

    def _origin_ns(self) -> int:
        noted = self.bag.custom_data.get(ORIGIN_KEY)
        if noted is not None:
            try:
                return int(noted)
            except ValueError:
                raise ValueError(
                    f'{self.path}: {ORIGIN_KEY} in its metadata is {noted!r}: expected nanoseconds '
                    'as a whole number; mend or remove it'
                ) from None
        topics = [topic for topic in (self.image_topic, self.audio_topic) if topic is not None]
        stamps = [stamp for topic in topics for stamp in self._first_stamp(topic)]
        return min(stamps, default=self.bag.start_ns)

    def _first_stamp(self, topic: BagTopic) -> list[int]:
        """The first stamp of a topic that can be used; empty where there is none."""
        for message in self.bag.messages([topic.name]):
            try:
                if topic.msgtype == UNSTAMPED and self.sound_format is not None:
                    stamp_ns = _sound_of(message, self.sound_format).stamp_ns
                else:
                    stamp_ns = stamp_of(message.content())
            except ValueError:  # reported when the messages are read
                continue
            if stamp_ns > 0:
                return [stamp_ns]
        return []

    def _size(self) -> tuple[int, int]:
        reason = ''
        for message in self.bag.messages([self.image_topic.name]):
            try:
                frame = frame_from_message(message.content(), self._max_pixels)
                height, width = frame.image.shape[:2]
            except ValueError as error:
                reason = reason or str(error)
            else:
                return (width, height)
        raise ValueError(
            f'{self.path}: not one of {self.image_topic.count} pictures can be decoded: {reason}'
        )


def _sound_of(message: BagMessage, fmt: SoundFormat) -> SoundChunk:
    """The sound of a message, at its stamp or, where it has none, at the time of its record."""
    if message.topic.msgtype == UNSTAMPED:
        return sound_from_unstamped(message.content(), fmt, message.log_ns)
    return sound_from_data(message.content(), fmt)


def _stamp_and_size(message: BagMessage) -> tuple[int, int]:
    """Nanoseconds and bytes of a message of sound."""
    content = message.content()
    if message.topic.msgtype == UNSTAMPED:
        return message.log_ns, len(content.data)
    return stamp_of(content), len(content.audio.data)


def _topic(name: str, info: Any) -> BagTopic:
    if info.msgtype is None:
        raise ValueError(f'topic {name!r} has messages of several types; expected one')
    profiles = info.connections[0].ext.offered_qos_profiles
    if not profiles:
        return BagTopic(name, info.msgtype, info.msgcount)
    qos = profiles[0]
    best_effort = qos.reliability.name == 'BEST_EFFORT'
    latched = qos.durability.name == 'TRANSIENT_LOCAL'
    return BagTopic(
        name,
        info.msgtype,
        info.msgcount,
        'best_effort' if best_effort else 'reliable',
        'transient_local' if latched else 'volatile',
    )
