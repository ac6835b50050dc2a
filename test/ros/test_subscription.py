"""Messages that were overwritten before the node could read them are counted, and no others."""

from __future__ import annotations

import needs

needs.ros()

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from conftest import executor
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from cs3_ros.ros import subscription
from cs3_ros.ros.subscription import FollowingSubscription

DEPTH = 3


class Ears:
    """A node that follows one topic, and publishers of it in the same process."""

    def __init__(self, chosen: Any) -> None:
        self.node = rclpy.create_node('ears')
        self.executor = chosen
        self.executor.add_node(self.node)
        self.heard: list[str] = []
        self.lost = 0
        self.subscription = FollowingSubscription(
            self.node, Header, 'topic', self._hear, DEPTH, self._lose
        )

    def _hear(self, message: Header) -> None:
        self.heard.append(message.frame_id)

    def _lose(self, count: int) -> None:
        self.lost += count

    def publisher(self, best_effort: bool = False) -> Any:
        kind = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        made = self.node.create_publisher(Header, 'topic', QoSProfile(depth=100, reliability=kind))
        self.until(lambda: self.node.count_publishers('topic') and self._matched(made))
        return made

    def _matched(self, publisher: Any) -> bool:
        self.subscription.update()
        return bool(publisher.get_subscription_count())

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, (self.heard, self.lost)
            self.executor.spin_once(timeout_sec=0.02)

    def burst(self, publisher: Any, first: int, count: int) -> None:
        """Publish while nobody reads; it is all there before the next callback."""
        for number in range(first, first + count):
            publisher.publish(Header(frame_id=str(number)))
        time.sleep(0.3)


@pytest.fixture(params=['events', 'usual'])
def ears(request: Any, domain: None) -> Iterator[Ears]:
    rclpy.init(args=[])
    made = Ears(executor() if request.param == 'events' else SingleThreadedExecutor())
    yield made
    made.executor.remove_node(made.node)
    made.subscription.destroy()
    made.node.destroy_node()
    made.executor.shutdown()
    rclpy.shutdown()


@pytest.mark.parametrize('best_effort', [False, True])
def test_what_the_queue_could_not_hold_is_counted_once(ears, best_effort):
    publisher = ears.publisher(best_effort)
    ears.burst(publisher, 0, 1)
    ears.until(lambda: ears.heard == ['0'])
    for first in (1, 11):
        ears.burst(publisher, first, 10)
        ears.until(lambda first=first: ears.heard[-1] == str(first + 9))
    assert ears.heard == ['0', '8', '9', '10', '18', '19', '20']
    assert ears.lost == 14


@pytest.fixture
def discovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has been there for long."""
    monkeypatch.setattr(subscription, 'DISCOVERY_S', 0.0)


def test_what_a_publisher_lost_before_it_went_is_counted(discovered, ears):
    first = ears.publisher()
    ears.burst(first, 0, 1)
    ears.until(lambda: ears.heard == ['0'])
    ears.burst(first, 1, 5)
    ears.node.destroy_publisher(first)
    second = ears.publisher()
    ears.until(lambda: ears.heard == ['0', '3', '4', '5'])
    ears.burst(second, 6, 2)
    ears.until(lambda: ears.heard[-1] == '7')
    assert ears.heard[-2:] == ['6', '7'] and ears.lost == 2


def test_publishers_that_return_or_share_the_topic_are_no_loss(ears):
    first = ears.publisher()
    for number in range(5):
        ears.burst(first, number, 1)
        ears.until(lambda number=number: ears.heard[-1:] == [str(number)])
    second = ears.publisher()
    for number in range(5, 9):
        ears.burst(second if number % 2 else first, number, 1)
        ears.until(lambda number=number: ears.heard[-1] == str(number))
    ears.node.destroy_publisher(first)
    ears.until(lambda: ears.node.count_publishers('topic') == 1)
    ears.burst(second, 9, 2)
    ears.until(lambda: ears.heard[-1] == '10')
    assert ears.heard == [str(number) for number in range(11)] and ears.lost == 0


def test_what_waits_is_read_before_the_qos_changes(ears):
    first = ears.publisher()
    ears.burst(first, 0, 3)
    ears.node.destroy_publisher(first)
    ears.publisher(best_effort=True)
    ears.until(lambda: ears.heard == ['0', '1', '2'])
    assert 'best effort' in ears.subscription.describe() and ears.lost == 0


@pytest.mark.parametrize('lead', [0, 2, 40])
def test_what_the_queue_could_not_hold_of_two_publishers_is_counted(ears, lead):
    first, second = ears.publisher(), ears.publisher()
    for number in range(lead):
        ears.burst(first, number, 1)
        ears.until(lambda number=number: ears.heard[-1:] == [str(number)])
    for number, publisher in ((100, first), (200, second)):
        ears.burst(publisher, number, 1)
        ears.until(lambda number=number: ears.heard[-1:] == [str(number)])
    before = len(ears.heard)
    for turn in range(3):
        ears.burst(first, 1000 + 10 * turn, 5)
        ears.burst(second, 2000 + 10 * turn, 5)
        ears.until(lambda turn=turn: ears.heard[-1] == str(2004 + 10 * turn))
    assert len(ears.heard) - before == 9, 'three of ten are kept'
    # what is lost of a publisher is known when all of them were heard again
    for number, publisher in ((3000, first), (4000, second)):
        ears.burst(publisher, number, 1)
        ears.until(lambda number=number: ears.heard[-1:] == [str(number)])
    assert ears.lost == 21


def test_publishers_that_were_there_before_are_no_loss(ears):
    """Whatever numbers their messages have by now."""
    ears.subscription.update(listen=False)
    first, second = ears.node.create_publisher(Header, 'topic', 9), None
    for number in range(40):
        first.publish(Header(frame_id=str(number)))
    second = ears.node.create_publisher(Header, 'topic', 9)
    for number in range(80):
        second.publish(Header(frame_id=str(number)))
    ears.until(lambda: ears.node.count_publishers('topic') == 2)
    ears.subscription.update()
    ears.until(lambda: first.get_subscription_count() and second.get_subscription_count())
    for number in range(100, 106):
        ears.burst(second if number % 2 else first, number, 1)
        ears.until(lambda number=number: ears.heard[-1:] == [str(number)])
    assert ears.lost == 0
