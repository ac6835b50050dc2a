"""The subscriber of docs/topics.md finds the pictures of late masks, if it keeps enough of them."""

from __future__ import annotations

import needs

needs.ros()

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from documents import ROOT, code_blocks
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

RATE, LATE_S, EVENTS_S = 30, 1.1, (1, 2, 3)


class Subscriber:
    """Stand-in for that of message_filters: a subscription that filters can be attached to."""

    def __init__(self, node: Any, message_type: Any, topic: str, *, qos_profile: Any = 10) -> None:
        self.callbacks: list[Callable[[Any], None]] = []
        node.create_subscription(message_type, topic, self.callback, qos_profile)

    def callback(self, message: Any) -> None:
        for callback in self.callbacks:
            callback(message)


class Cache:
    """Stand-in: the newest messages of a filter, by their stamps."""

    def __init__(self, input_filter: Subscriber, cache_size: int = 1) -> None:
        self.size, self.kept = cache_size, list[tuple[Time, Any]]()
        input_filter.callbacks.append(self.add)

    def add(self, message: Any) -> None:
        self.kept = [*self.kept, (Time.from_msg(message.header.stamp), message)][-self.size :]

    def getInterval(self, first: Time, last: Time) -> list[Any]:
        return [message for time, message in self.kept if first <= time <= last]


class TimeSynchronizer:
    """Stand-in: calls with messages of one stamp; each queue drops its oldest stamps."""

    def __init__(self, inputs: list[Subscriber], queue_size: int) -> None:
        self.queues: list[dict[int, Any]] = [{} for _ in inputs]
        self.size, self.matched = queue_size, 0
        for number, source in enumerate(inputs):
            source.callbacks.append(lambda message, number=number: self.add(message, number))

    def add(self, message: Any, number: int) -> None:
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        self.queues[number][stamp] = message
        while len(self.queues[number]) > self.size:
            del self.queues[number][min(self.queues[number])]
        if all(stamp in queue for queue in self.queues):
            self.matched += 1
            for queue in self.queues:
                del queue[stamp]


def header(second: float) -> Header:
    return Header(stamp=Time(nanoseconds=round(second * 1e9)).to_msg())


def stream() -> Iterator[CompressedImage | Image]:
    """Five seconds of a camera, and masks of some of its pictures, in the order of arrival."""
    for number in range(5 * RATE):
        yield CompressedImage(header=header(number / RATE), data=b'1234567')
        for event in EVENTS_S:
            if number == round((event + LATE_S) * RATE):
                yield Image(header=header(event))


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the code of the page defines, with ROS running."""
    (block,) = [b for b in code_blocks(ROOT / 'docs' / 'topics.md') if b.title]
    filters = types.SimpleNamespace(Subscriber=Subscriber, Cache=Cache)
    monkeypatch.setitem(sys.modules, 'message_filters', filters)
    names: dict[str, Any] = {'__name__': 'masks_on_pictures'}
    exec(compile(block.text, 'docs/topics.md', 'exec'), names)
    rclpy.init(args=[])
    yield names
    rclpy.try_shutdown()


@pytest.mark.parametrize('pictures, found', [(10, 0), (100, 3)])
def test_the_cache_of_the_page(page, capfd, pictures, found) -> None:
    node = page['MasksOnPictures'](pictures)
    for message in stream():
        (node.pair if isinstance(message, Image) else node.pictures.add)(message)
    node.destroy_node()
    told = capfd.readouterr().err
    assert (told.count('7 bytes'), told.count('its picture is gone')) == (found, 3 - found)


def test_its_default_is_long_enough(page) -> None:
    node = page['MasksOnPictures']()
    assert node.pictures.size == 100
    node.destroy_node()


@pytest.mark.parametrize('queue, matched', [(10, 0), (100, 3)])
def test_a_synchroniser_needs_the_same_length(page, queue, matched) -> None:
    node = rclpy.create_node('peer')
    inputs = [Subscriber(node, CompressedImage, 'a'), Subscriber(node, Image, 'b')]
    synchroniser = TimeSynchronizer(inputs, queue)
    for message in stream():
        inputs[isinstance(message, Image)].callback(message)
    node.destroy_node()
    assert synchroniser.matched == matched
