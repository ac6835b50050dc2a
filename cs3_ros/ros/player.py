"""Plays a rosbag2 bag over rclpy: the stored bytes, at the stored times.

``ros2 bag play`` does the same on a robot; this one needs no rosbag2 and waits for its subscribers.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from cs3_ros.bags import BagTopic, open_bag
from cs3_ros.ros.messages import ns_to_stamp

CLOCK_PERIOD_NS = 10_000_000


def message_class(type_name: str) -> Any:
    """The Python class of a type name such as ``sensor_msgs/msg/Image``.

    Raises:
        ImportError: names the package that has to be installed.
    """
    package, _, name = type_name.partition('/msg/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), name)
    except (ImportError, AttributeError) as error:
        apt = f'ros-jazzy-{package.replace("_", "-")}'
        raise ImportError(
            f'message type {type_name!r} is not installed: `apt install {apt}`, or `make setup` '
            'for the environment without ROS'
        ) from error


class Player(Node):
    """Publishes the messages of one bag.

    Args:
        bag: folder of a rosbag2 bag.
        rate: speed, 1.0 is the recorded one.
        clock: also publish ``/clock`` (for nodes with ``use_sim_time``).
    """

    def __init__(self, bag: Path, rate: float = 1.0, clock: bool = False) -> None:
        super().__init__('cs3_player')
        if rate <= 0:
            raise ValueError(f'rate = {rate}: expected a positive factor such as 1.0')
        self._bag = bag
        self._rate = rate
        self._clock = self.create_publisher(Clock, '/clock', 10) if clock else None
        with open_bag(bag) as reader:
            self._publishers: dict[str, Publisher] = {
                topic.name: self.create_publisher(
                    message_class(topic.type), topic.name, _qos(topic)
                )
                for topic in reader.topics
            }

    def unmatched(self) -> list[str]:
        """Topics that nobody subscribes to."""
        return [
            name
            for name, publisher in self._publishers.items()
            if publisher.get_subscription_count() == 0
        ]

    def wait_for_subscribers(self, timeout_s: float) -> list[str]:
        """Wait until every topic is subscribed to; returns those that are not at the timeout."""
        deadline = time.monotonic() + timeout_s
        while (missing := self.unmatched()) and time.monotonic() < deadline:
            rclpy.spin_once(self, timeout_sec=0.02)
        return missing

    def play(self, progress: Callable[[int], None] = lambda count: None) -> int:
        """Publish every message once; returns how many.

        Args:
            progress: called with the number of messages published since the last call.
        """
        count, start_ns, start = 0, None, time.monotonic()
        next_clock_ns = 0
        with open_bag(self._bag) as reader:
            for message in reader.messages():
                if start_ns is None:
                    start_ns = next_clock_ns = message.log_ns
                while self._clock is not None and next_clock_ns <= message.log_ns:
                    self._sleep_until(start, next_clock_ns - start_ns)
                    self._clock.publish(Clock(clock=ns_to_stamp(next_clock_ns)))
                    next_clock_ns += int(CLOCK_PERIOD_NS * self._rate)
                self._sleep_until(start, message.log_ns - start_ns)
                if not rclpy.ok():
                    break
                self._publishers[message.topic].publish(message.cdr)
                count += 1
                progress(1)
        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=5))
        return count

    def _sleep_until(self, start: float, offset_ns: int) -> None:
        delay = start + offset_ns / 1e9 / self._rate - time.monotonic()
        if delay > 0:
            time.sleep(delay)


def _qos(topic: BagTopic) -> QoSProfile:
    """The recorded policies; a deep history so that a slow subscriber loses nothing."""
    return QoSProfile(
        depth=200,
        reliability=(
            ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT
        ),
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL
            if topic.transient_local
            else DurabilityPolicy.VOLATILE
        ),
    )
