"""Looks at the topics that the node would subscribe to: publishers, QoS, rates, formats."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import rclpy
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image

from cs3_ros.files.bags import UNSTAMPED
from cs3_ros.files.message_fields import (
    format_from_info,
    sound_from_data,
    unstamped_refusal,
)
from cs3_ros.ros.environment import ros
from cs3_ros.ros.pictures import frame_of
from cs3_ros.ros.spin import spin_until
from cs3_ros.ros.subscription import matching_qos
from cs3_ros.trigger.buffers import AudioBuffer, AudioConfig
from cs3_ros.trigger.onset import check_rate

DISCOVERY_S = 1.0
"""How long publishers are looked for."""

INPUTS: tuple[tuple[str, Any, bool], ...] = (
    ('image/compressed', CompressedImage, True),
    ('image', Image, True),
    ('audio', AudioDataStamped, False),
    ('audio_info', AudioInfo, True),
)
"""Relative topic, message class, whether the node can do without it."""

AUDIO_STAMPED = 'audio_common_msgs/msg/AudioStamped'


@dataclass(frozen=True)
class TopicReport:
    """What was seen of one topic."""

    topic: str
    """Its name in ``INPUTS``."""
    name: str
    """Its full name, remappings applied."""
    type: str
    """Message type that the node expects."""
    optional: bool
    """Whether the node can do without it."""
    publishers: int
    """How many there are."""
    other_types: tuple[str, ...] = ()
    """Message types, besides the expected one, that are published."""
    qos: str = 'no QoS'
    """Reliability that the node would ask for."""
    latched: bool = False
    """Whether the last message is kept for late subscribers."""
    rate_hz: float = 0.0
    """Messages per second."""
    format: str = ''
    """What the last message says of its contents; empty without a message."""
    clock: str = ''
    """Of sound: jitter and drift of its stamps and how they were judged; empty where unknown."""
    problem: str = ''
    """Why the node would refuse it, and what to do; empty when all is well."""


def describe() -> str:
    """ROS distribution, middleware and domain in one line."""
    return (
        f'{_distribution()}, {get_rmw_implementation_identifier()}, '
        f'domain {os.environ.get("ROS_DOMAIN_ID", "0")}'
    )


def _distribution() -> str:
    """The distribution that is sourced, else that of the wheels."""
    if sourced := os.environ.get('ROS_DISTRO'):
        return sourced
    for name in ('jazzy', 'kilted'):
        with suppress(PackageNotFoundError):
            version(f'ros-{name}-rclpy')
            return f'{name} (wheels)'
    return 'unknown distribution'


def observe(seconds: float, namespace: str = '/cs3') -> list[TopicReport]:
    """Listen to the inputs of the node under ``namespace`` for a while.

    The ROS environment (domain, remappings of the shell) is that of the caller.

    Raises:
        RuntimeError: ROS does not start.
    """
    with ros():
        node = rclpy.create_node('cs3_doctor', namespace=namespace)
        spin_until(node, lambda: False, DISCOVERY_S)
        inputs = [_Input(node, *each) for each in INPUTS]
        spin_until(node, lambda: False, seconds)
        infos = [m for each in inputs for m in each.messages if isinstance(m, AudioInfo)]
        reports = [each.report(seconds, infos) for each in inputs]
        node.destroy_node()
    return reports


class _Input:
    """Listens to one topic, if it is published with the expected type and no other."""

    def __init__(self, node: Node, topic: str, message_class: Any, optional: bool) -> None:
        package = message_class.__module__.split('.')[0]
        infos = node.get_publishers_info_by_topic(topic)
        self.messages: list[Any] = []
        self._seen: dict[str, Any] = dict(
            topic=topic,
            name=node.resolve_topic_name(topic),
            type=f'{package}/msg/{message_class.__name__}',
            optional=optional,
            publishers=len(infos),
        )
        other = sorted({info.topic_type for info in infos} - {self._seen['type']})
        if other:
            advice = ''
            if other == [AUDIO_STAMPED]:
                advice = 'set the parameter audio_message: AudioStamped'
            elif other == [UNSTAMPED] and topic == 'audio':
                advice = unstamped_refusal(self._seen['name'])
            found = f'{", ".join(other)} is published: expected {self._seen["type"]}'
            self._seen['other_types'] = tuple(other)
            self._seen['problem'] = '; '.join(part for part in (found, advice) if part)
        elif infos:
            qos = matching_qos([info.qos_profile for info in infos], depth=50)
            best_effort = qos.reliability == ReliabilityPolicy.BEST_EFFORT
            self._seen['qos'] = 'best effort' if best_effort else 'reliable'
            self._seen['latched'] = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            node.create_subscription(message_class, topic, self.messages.append, qos)

    def report(self, seconds: float, infos: list[AudioInfo]) -> TopicReport:
        """What there was to see; the sound is read as the last of the infos says."""
        seen = self._seen | {'rate_hz': len(self.messages) / seconds}
        if self.messages:
            seen['format'], seen['problem'] = _look_into(self.messages[-1])
            if infos and isinstance(self.messages[-1], AudioDataStamped):
                seen['clock'], seen['problem'] = _clock_of(self.messages, infos[-1])
        return TopicReport(**seen)


def _clock_of(sound: list[AudioDataStamped], info: AudioInfo) -> tuple[str, str]:
    """Jitter and drift of the stamps of sound, and why the node would refuse it."""
    config = AudioConfig()
    try:
        sound_format = format_from_info(info)
    except ValueError:  # told of its own topic
        return '', ''
    try:
        check_rate(sound_format.rate)
        buffer = AudioBuffer(sound_format.rate, config)
        pushed = []
        for message in sound:
            chunk = sound_from_data(message, sound_format)
            if len(chunk.samples):
                pushed.append(buffer.push(chunk.stamp_ns, config.mix(chunk.samples)))
    except ValueError as error:
        return '', str(error)
    clock = buffer.clock
    if clock is None:
        return '', ''
    missing = sum(each.missing + each.revision.samples for each in pushed) / sound_format.rate
    lost = f', {missing:.3f} s missing' if missing else ''
    return (
        f'jitter {clock.jitter_ms:.1f} ms, drift {clock.drift_ppm:.0f} ppm{lost} ({clock.judged})',
        '',
    )


def _look_into(message: Any) -> tuple[str, str]:
    """Format and problem of one message."""
    if isinstance(message, AudioInfo):
        text = f'{message.sample_rate} Hz, {message.channels} ch, {message.sample_format}'
        try:
            format_from_info(message)
        except ValueError as error:
            return text, str(error)
        return text, ''
    if not isinstance(message, (Image, CompressedImage)):
        return '', ''
    raw = isinstance(message, Image)
    text = f'{message.encoding} {message.width}x{message.height}' if raw else message.format
    try:
        frame_of(message)
    except ValueError as error:
        return text, str(error)
    return text, ''
