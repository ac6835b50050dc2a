"""Topic statistics as rclcpp publishes them; rclpy has none for its subscriptions.

Age and period of the messages of each topic, in windows of fixed length, as
statistics_msgs/MetricsMessage on ``/statistics``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from cs3_ros.ros import qos
from cs3_ros.ros.messages import message_class, stamp_to_ns

METRICS = 'statistics_msgs/msg/MetricsMessage'
TOPIC = '/statistics'
_NS_PER_MS = 1e6


class Window:
    """Mean, least, largest, deviation and number of values, in constant memory (Welford)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = 0.0
        self._least, self._largest = math.inf, -math.inf

    def add(self, value: float) -> None:
        """One value more."""
        self._count += 1
        before = value - self._mean
        self._mean += before / self._count
        self._squares += before * (value - self._mean)
        self._least, self._largest = min(self._least, value), max(self._largest, value)

    def results(self) -> dict[str, float]:
        """By the names of statistics_msgs/StatisticDataType; NaN where there were no values."""
        nothing = self._count == 0
        return {
            'AVERAGE': math.nan if nothing else self._mean,
            'MAXIMUM': math.nan if nothing else self._largest,
            'MINIMUM': math.nan if nothing else self._least,
            'SAMPLE_COUNT': float(self._count),
            'STDDEV': math.nan if nothing else math.sqrt(self._squares / self._count),
        }


class _Measured:
    """Age and period of what came on one topic, milliseconds.

    The period reaches back into the window before, so that slow topics have one, too.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._last_ns: int | None = None
        self.windows: dict[str, Window] = {}
        self.clear()

    def clear(self) -> None:
        """Begin a new window."""
        self.windows = {'message_age': Window(), 'message_period': Window()}

    def observe(self, message: Any) -> None:
        """One message has come."""
        arrived_ns = time.monotonic_ns()
        if self._last_ns is not None:
            self.windows['message_period'].add((arrived_ns - self._last_ns) / _NS_PER_MS)
        self._last_ns = arrived_ns
        header = getattr(message, 'header', None)
        stamp_ns = 0 if header is None else stamp_to_ns(header.stamp)
        if stamp_ns:
            self.windows['message_age'].add((self._now_ns() - stamp_ns) / _NS_PER_MS)


class TopicStatistics:
    """Publishes the statistics of a node's topics, each window once.

    Args:
        node: the owner.
        period_s: length of a window, seconds.

    Raises:
        ImportError: statistics_msgs is not installed; names the package.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        self._metrics = message_class(METRICS)
        self._point = message_class('statistics_msgs/msg/StatisticDataPoint')
        self._types = message_class('statistics_msgs/msg/StatisticDataType')
        self._node = node
        self._topics: dict[str, _Measured] = {}
        self._publisher = qos.publisher(node, self._metrics, TOPIC)
        self._began = node.get_clock().now().to_msg()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # with sim time and no /clock, too
        self._timer = node.create_timer(period_s, self._publish, clock=steady)

    def measure(self, topic: str) -> Callable[[Any], None]:
        """What has to be called with every message of a topic, given by its full name."""
        measured = _Measured(lambda: int(self._node.get_clock().now().nanoseconds))
        return self._topics.setdefault(topic, measured).observe

    def destroy(self) -> None:
        """Stop publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        ends = self._node.get_clock().now().to_msg()
        for topic, measured in self._topics.items():
            for metric, window in measured.windows.items():
                points = [
                    self._point(
                        data_type=getattr(self._types, f'STATISTICS_DATA_TYPE_{name}'), data=value
                    )
                    for name, value in window.results().items()
                ]
                self._publisher.publish(
                    self._metrics(
                        measurement_source_name=topic,
                        metrics_source=metric,
                        unit='ms',
                        window_start=self._began,
                        window_stop=ends,
                        statistics=points,
                    )
                )
            measured.clear()
        self._began = ends
