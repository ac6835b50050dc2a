"""What the node listens to: image and audio topics become frames and sound chunks."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from audio_common_msgs.msg import AudioData, AudioDataStamped, AudioInfo
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from cs3_ros.collision import Frame
from cs3_ros.files.bags import AUDIO, UNSTAMPED
from cs3_ros.files.images import compressed_size
from cs3_ros.files.message_fields import (
    UNSTAMPED_COST,
    format_from_info,
    sound_from_audio_stamped,
    sound_from_data,
    sound_from_unstamped,
    unstamped_refusal,
)
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.ros import messages
from cs3_ros.ros.pictures import frame_of, is_bridged
from cs3_ros.ros.statistics import TopicStatistics
from cs3_ros.ros.subscription import FollowingSubscription
from cs3_ros.settings import NodeConfig
from cs3_ros.trigger.buffers import AudioConfig
from cs3_ros.trigger.onset import check_rate

UNREAD_CHUNKS = 200
"""Sound messages kept until the first audio_info tells how to read them."""

_NO_INFO = 'no audio_info says how to read the sound; publish it or set audio_rate'


def check_audio(config: NodeConfig) -> tuple[type, SoundFormat | None]:
    """Message class of the sound, and its format where the parameters say it.

    Raises:
        ImportError: ``audio_message`` names a message that is not installed.
        ValueError: the format given by parameters is none.
    """
    if config.audio_message == 'AudioStamped':
        return messages.message_class('audio_common_msgs/msg/AudioStamped'), None
    if not config.audio_rate:
        return AudioDataStamped, None
    return AudioDataStamped, SoundFormat(
        config.audio_rate, config.audio_channels, config.audio_sample_format
    )


class Inputs:
    """The subscriptions of an active node; callbacks only store.

    Args:
        node: the owner.
        config: topics' transport, depths and sound format.
        counts: receives ``lost_*`` (by the middleware) and ``refused_*`` (not to be used).
        on_frame: called with every frame.
        on_sound: called with every chunk of sound.
        audio: which channels are listened to, and whether sound may come without stamps.
        max_pixels: height times width of the largest picture that is taken.

    Attributes:
        format: how the bytes of the sound are read; None until audio_info tells.
        first_image: size and encoding of the first picture, as its message tells them.
        refusals: ``image`` or ``audio`` -> why the last message was refused.

    Raises:
        ImportError, ValueError: as ``check_audio`` does.
    """

    def __init__(
        self,
        node: Node,
        config: NodeConfig,
        counts: Counter[str],
        on_frame: Callable[[Frame], None],
        on_sound: Callable[[SoundChunk], None],
        audio: AudioConfig,
        max_pixels: int,
    ) -> None:
        audio_type, self.format = check_audio(config)
        self.first_image = ''
        self.refusals: dict[str, str] = {}
        self.audio_frame_id = ''
        self.silent_since = time.monotonic()
        self._node = node
        self._counts = counts
        self._on_frame = on_frame
        self._on_sound = on_sound
        self._audio = audio
        self._max_pixels = max_pixels
        period_s = config.statistics_period_s
        self._statistics = TopicStatistics(node, period_s) if period_s else None
        self._unread: deque[tuple[AudioData | AudioDataStamped, int]] = deque()  # and arrival
        self._no_format: ValueError | None = None
        self._subscriptions: list[FollowingSubscription] = []
        self._images: list[FollowingSubscription] = []
        if config.image_transport in ('auto', 'compressed'):
            self._images.append(
                self._listen(
                    CompressedImage, 'image/compressed', self._image, config.image_depth, 'frames'
                )
            )
        if config.image_transport in ('auto', 'raw'):
            self._images.append(
                self._listen(ImageMessage, 'image', self._image, config.image_depth, 'frames')
            )
        self._sound_type: type = audio_type
        if config.audio_message == 'AudioStamped':
            on_audio = self._audio_stamped
        else:
            on_audio = self._audio_data
            if self.format is None:
                self._listen(AudioInfo, 'audio_info', self._audio_info, 10, 'audio')
        self._sound = self._listen(audio_type, 'audio', on_audio, config.audio_depth, 'audio')
        self.update()

    def publishers(self) -> dict[str, dict[str, int]]:
        """``image`` and ``audio`` -> topic -> publishers now."""
        found: dict[str, dict[str, int]] = {'image': {}, 'audio': {}}
        for subscription in self._subscriptions:
            what = 'image' if subscription.topic_name.startswith('image') else 'audio'
            found[what][subscription.topic] = subscription.publishers
        return found

    def listening(self) -> dict[str, str]:
        """Full topic name -> its publishers and the QoS of the subscription, in words."""
        return {each.topic: each.describe() for each in self._subscriptions}

    def why_unused(self) -> dict[str, str]:
        """``image`` or ``audio`` -> why what comes cannot be used, as far as that is known."""
        waiting = {'audio': _NO_INFO} if self._unread else {}
        return waiting | self.refusals

    def update(self) -> None:
        """Follow the publishers: their QoS, and one of the two transports of a camera."""
        # The raw transport costs ten times as much: only while the compressed one is not there.
        unneeded = self._images[1:] if self._images[0].publishers else []
        for subscription in self._subscriptions:
            subscription.update(listen=subscription not in unneeded)
        if self._sound_type in (AudioData, AudioDataStamped):
            self._follow_stamps(self._sound.types)

    def _follow_stamps(self, published: frozenset[str]) -> None:
        """Take sound without stamps where there is no other and it is allowed; else say why not."""
        unstamped = UNSTAMPED in published and AUDIO not in published
        topic, log = self._sound.topic, self._node.get_logger()
        if not self._audio.allow_unstamped:
            if unstamped and 'audio' not in self.refusals:
                self.refusals['audio'] = unstamped_refusal(topic)
                log.warning(self.refusals['audio'])
            return
        wanted = AudioData if unstamped else AudioDataStamped
        if published and wanted is not self._sound_type:
            self._sound_type = wanted
            self._sound.retype(wanted)
            if unstamped:
                log.warning(f'{topic}: {UNSTAMPED_COST}')

    def destroy(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            subscription.destroy()
        if self._statistics is not None:
            self._statistics.destroy()
        self._counts['refused_audio'] += len(self._unread)

    def _listen(
        self, message_type: Any, topic: str, callback: Callable[[Any], None], depth: int, what: str
    ) -> FollowingSubscription:
        def on_lost(count: int) -> None:
            self._counts[f'lost_{what}'] += count

        full_name = self._node.resolve_topic_name(topic)
        observe = None if self._statistics is None else self._statistics.measure(full_name)
        subscription = FollowingSubscription(
            self._node, message_type, topic, callback, depth, on_lost, observe
        )
        self._subscriptions.append(subscription)
        return subscription

    def _image(self, message: ImageMessage | CompressedImage) -> None:
        try:
            frame = frame_of(message, self._max_pixels)
        except ValueError as error:
            self._refuse('image', error)
        else:
            reader = 'cv_bridge' if is_bridged(message) else 'built_in'
            self._counts[f'{reader}_frames'] += 1
            self.first_image = self.first_image or _described(message, self._max_pixels)
            self._on_frame(frame)

    def _audio_info(self, info: AudioInfo) -> None:
        try:
            sound_format = format_from_info(info)
            check_rate(sound_format.rate)
        except ValueError as error:
            self.format, self._no_format = None, error
            self._refuse('audio', error)
        else:
            self.format = sound_format
        while self._unread:
            self._read(*self._unread.popleft())

    def _audio_data(self, message: AudioData | AudioDataStamped) -> None:
        self.silent_since = time.monotonic()
        self._read(message, self._node.get_clock().now().nanoseconds)

    def _read(self, message: AudioData | AudioDataStamped, arrived_ns: int) -> None:
        sound_format = self.format
        if sound_format is not None:
            if isinstance(message, AudioData):
                self._take('', lambda: sound_from_unstamped(message, sound_format, arrived_ns))
            else:
                frame_id = message.header.frame_id
                self._take(frame_id, lambda: sound_from_data(message, sound_format))
            return
        if self._no_format is not None:
            self._refuse('audio', self._no_format)
            return
        self._unread.append((message, arrived_ns))
        if len(self._unread) > UNREAD_CHUNKS:
            self._unread.popleft()
            self._refuse('audio', ValueError(_NO_INFO))

    def _audio_stamped(self, message: Any) -> None:
        self.silent_since = time.monotonic()
        self._take(message.header.frame_id, lambda: sound_from_audio_stamped(message))

    def _take(self, frame_id: str, read: Callable[[], SoundChunk]) -> None:
        try:
            chunk = read()
            check_rate(chunk.rate)
            self._audio.check_channels(chunk.samples.shape[1])
        except ValueError as error:
            self._refuse('audio', error)
            return
        self.audio_frame_id = frame_id
        self._on_sound(chunk)

    def _refuse(self, what: str, error: ValueError) -> None:
        counter = 'refused_frames' if what == 'image' else 'refused_audio'
        self._counts[counter] += 1
        self.refusals[what] = str(error)
        self._node.get_logger().warning(f'{counter}: {error}', throttle_duration_sec=5.0)


def _described(message: ImageMessage | CompressedImage, max_pixels: int) -> str:
    """Size and encoding of a picture that was accepted; nothing is decoded."""
    if isinstance(message, ImageMessage):
        return f'{message.width}x{message.height}, {message.encoding}'
    width, height = compressed_size(message.format, message.data, max_pixels)
    return f'{width}x{height}, {message.format}'
