"""Plays a rosbag2 bag over rclpy: the stored bytes, at the stored times.

``ros2 bag play`` does the same on a robot; this one needs no rosbag2 and waits for its subscribers.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from cs3_ros.files.bags import Bag, BagTopic
from cs3_ros.ros import qos
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import message_class, ns_to_stamp

CLOCK_PERIOD_NS = 10_000_000
RECORDED_BELOW = '/cs3/'
"""Where `cs3 bag make` puts its topics."""


class Player(Node):
    """Publishes the messages of one bag.

    Topics below ``/cs3`` go to the namespace of the player, which is ``/cs3`` unless ROS arguments
    say another; the rest keep their names. All of them can be remapped.

    Args:
        bag: the bag.
        rate: speed, 1.0 is the recorded one; the parameter ``rate`` overrules it.
        clock: also publish ``/clock`` (for nodes with ``use_sim_time``); so does ``clock``.
        options: further arguments of rclpy's node.

    Raises:
        ImportError: a message type is not installed; names the package.
        ValueError: an impossible rate, or ``qos_overrides`` that make no sense.
    """

    def __init__(self, bag: Bag, rate: float = 1.0, clock: bool = False, **options: Any) -> None:
        super().__init__('cs3_player', **{'namespace': 'cs3', **options})
        try:
            qos.check(self)
            rate, clock = self.given('rate', float(rate)), self.given('clock', clock)
            if not 0 < rate < math.inf:
                raise ValueError(f'rate = {rate}: expected a positive factor such as 1.0')
            topics = [topic for topic in bag.topics if topic.name != '/clock' or not clock]
            classes = [message_class(topic.msgtype) for topic in topics]
        except (ValueError, ImportError):
            self.destroy_node()
            raise
        self._bag = bag
        self._rate = rate
        self._clock_out = qos.publisher(self, Clock, '/clock') if clock else None
        self._outputs: dict[str, Publisher] = {
            topic.name: qos.publisher(
                self, message_type, topic.name.removeprefix(RECORDED_BELOW), _qos(topic)
            )
            for topic, message_type in zip(topics, classes, strict=True)
        }
        qos.warn_without_effect(self)

    def given(self, name: str, default: Any) -> Any:
        """A read-only parameter; raises ValueError where another type was given."""
        try:
            return self.declare_parameter(name, default, ParameterDescriptor(read_only=True)).value
        except InvalidParameterTypeException as error:
            raise ValueError(f'{error}; such as {name}:={default}') from error

    def unmatched(self) -> list[str]:
        """Topics that nobody subscribes to."""
        return [
            name
            for name, publisher in self._outputs.items()
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
        if not self._outputs:
            return 0
        count, start, bag_start_ns = 0, time.monotonic(), self._bag.start_ns
        clock_ns = bag_start_ns
        for message in self._bag.messages(list(self._outputs)):
            while self._clock_out is not None and clock_ns <= message.log_ns:
                self._sleep_until(start, clock_ns - bag_start_ns)
                self._clock_out.publish(Clock(clock=ns_to_stamp(clock_ns)))
                clock_ns += round(CLOCK_PERIOD_NS * self._rate)
            self._sleep_until(start, message.log_ns - bag_start_ns)
            if not self.context.ok():
                return count
            self._outputs[message.topic.name].publish(message.data)
            count += 1
            progress(1)
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=5))
        return count

    def _sleep_until(self, start: float, offset_ns: int) -> None:
        end = start + offset_ns / 1e9 / self._rate
        while (delay := end - time.monotonic()) > 0 and self.context.ok():
            time.sleep(min(delay, 0.1))


def _qos(topic: BagTopic) -> QoSProfile:
    """The recorded policies; a deep history so that a slow subscriber loses nothing."""
    best_effort, latched = topic.reliability == 'best_effort', topic.durability == 'transient_local'
    return QoSProfile(
        depth=200,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def main(options: argparse.Namespace) -> int:
    """``cs3 bag play``."""
    from cs3_ros.files.progress import Bar

    bag = Bag(options.bag)
    total = sum(topic.count for topic in bag.topics)
    with ros(options.ros_arguments):
        player = Player(bag, options.rate, options.clock)
        try:
            wait_s, loop = player.given('wait', options.wait), player.given('loop', options.loop)
            missing = player.wait_for_subscribers(wait_s)
            if missing:
                print(
                    f'cs3 bag play: no subscriber for {", ".join(missing)} after {wait_s:g} s, '
                    'playing all the same',
                    file=sys.stderr,
                )
            while True:
                with Bar(total=total, unit='msg', desc=str(options.bag)) as bar:
                    player.play(lambda count: bar.update(count) and None)
                if not loop or not player.context.ok():
                    return 0
        except KeyboardInterrupt:
            return 130
        finally:
            player.destroy_node()
