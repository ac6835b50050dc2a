"""Looks at the topics that the node would subscribe to: publishers, QoS, rates, formats."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import rclpy
from audio_common_msgs.msg import AudioDataStamped, AudioInfo
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image

from cs3_ros.images import ENCODINGS
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import format_from_info
from cs3_ros.ros.subscription import matching_qos

DISCOVERY_S = 1.0
"""How long publishers are looked for."""

INPUTS: tuple[tuple[str, Any, bool], ...] = (
    ('image/compressed', CompressedImage, True),
    ('image', Image, True),
    ('audio', AudioDataStamped, False),
    ('audio_info', AudioInfo, True),
)
"""Relative topic, message class, whether the node can do without it."""


@dataclass
class TopicReport:
    """What was seen of one topic."""

    name: str
    type: str
    optional: bool
    publishers: int = 0
    qos: str = 'no QoS'
    latched: bool = False
    rate_hz: float = 0.0
    format: str = ''
    problem: str = ''


def describe() -> str:
    """ROS distribution, middleware and domain in one line."""
    return (
        f'{os.environ.get("ROS_DISTRO", "jazzy (wheels)")}, {get_rmw_implementation_identifier()}, '
        f'domain {os.environ.get("ROS_DOMAIN_ID", "0")}'
    )


def observe(seconds: float, namespace: str = '/cs3') -> list[TopicReport]:
    """Listen to the inputs of the node under ``namespace`` for a while.

    The ROS environment (domain, remappings of the shell) is that of the caller.
    """
    reports = []
    with ros():
        node = rclpy.create_node('cs3_doctor', namespace=namespace)
        seen: dict[str, list[Any]] = {}
        for topic, message_class, optional in INPUTS:
            name = node.resolve_topic_name(topic)
            type_name = f'{message_class.__module__.split(".")[0]}/msg/{message_class.__name__}'
            reports.append(TopicReport(name, type_name, optional))
            seen[name] = []
        _spin(node, DISCOVERY_S)
        for report, (_, message_class, _) in zip(reports, INPUTS, strict=True):
            infos = node.get_publishers_info_by_topic(report.name)
            report.publishers = len(infos)
            if not infos:
                continue
            other = {info.topic_type for info in infos} - {report.type}
            if other:
                report.problem = f'{", ".join(sorted(other))} is published: expected {report.type}'
                continue
            qos = matching_qos([info.qos_profile for info in infos], depth=50)
            report.latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            best_effort = qos.reliability == ReliabilityPolicy.BEST_EFFORT
            report.qos = 'best effort' if best_effort else 'reliable'
            node.create_subscription(message_class, report.name, seen[report.name].append, qos)
        _spin(node, seconds)
        for report in reports:
            messages = seen[report.name]
            report.rate_hz = len(messages) / seconds
            if messages:
                _look_into(report, messages[-1])
        node.destroy_node()
    return reports


def _look_into(report: TopicReport, message: Any) -> None:
    """Fill in format and problem from one message."""
    if isinstance(message, AudioInfo):
        report.format = f'{message.sample_rate} Hz, {message.channels} ch, {message.sample_format}'
        try:
            format_from_info(message)
        except ValueError as error:
            report.problem = str(error)
    elif isinstance(message, Image):
        report.format = f'{message.encoding} {message.width}x{message.height}'
        if message.encoding not in ENCODINGS:
            report.problem = (
                f'encoding {message.encoding!r}: expected one of {", ".join(ENCODINGS)}'
            )
    elif isinstance(message, CompressedImage):
        report.format = message.format


def _spin(node: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=left)
