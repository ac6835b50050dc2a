"""The executor of the node: messages come through, with and without rclpy's events executor."""

from __future__ import annotations

import needs

needs.ros()

import os
import signal
import threading
import time
from contextlib import suppress

import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from std_msgs.msg import Header

from cs3_ros.ros import spin


@pytest.mark.parametrize('events', [True, False])
def test_messages_arrive_until_shutdown(domain, monkeypatch, events: bool) -> None:
    if events:
        pytest.importorskip('rclpy.experimental')
    else:
        monkeypatch.setattr(spin, '_events_executor', lambda: None)
    rclpy.init()
    node = rclpy.create_node('spun')
    heard: list[str] = []
    late: list[object] = []

    def hear(message: Header) -> None:
        heard.append(message.frame_id)
        if len(heard) == 1:  # as the node does when it follows a publisher's QoS
            late.append(node.create_subscription(Header, 'second', hear, 10))

    node.create_subscription(Header, 'first', hear, 10)
    publishers = {name: node.create_publisher(Header, name, 10) for name in ('first', 'second')}
    spinner = spin.Spinner(node)
    assert isinstance(spinner._executor, SingleThreadedExecutor) is not events

    def publish() -> None:
        for _ in range(1000):
            name = 'second' if late else 'first'
            publishers[name].publish(Header(frame_id=name))
            time.sleep(0.02)
            if heard[-1:] == ['second']:
                break
        rclpy.shutdown()

    thread = threading.Thread(target=publish)
    thread.start()
    with suppress(ExternalShutdownException):
        spinner.spin()
    thread.join()
    spinner.close()
    node.destroy_node()
    assert heard[0] == 'first' and heard[-1] == 'second'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_raises_nothing(number: int) -> None:
    before = signal.getsignal(number)
    with spin.Interrupts() as interrupts:
        assert not interrupts.noted
        os.kill(os.getpid(), number)
        assert interrupts.noted
    assert signal.getsignal(number) == before


def test_the_spinner_asks_whether_to_stop(domain) -> None:
    rclpy.init()
    node = rclpy.create_node('spun')
    spinner = spin.Spinner(node)
    answers = iter([False, False, True])
    spinner.spin(lambda: next(answers))
    assert next(answers, None) is None and rclpy.ok()
    spinner.close()
    node.destroy_node()
    rclpy.shutdown()


def test_spin_until(domain) -> None:
    rclpy.init()
    node = rclpy.create_node('spun')
    ticks: list[int] = []
    node.create_timer(0.001, lambda: ticks.append(1))
    assert spin.spin_until(node, lambda: len(ticks) >= 3, 30) and len(ticks) >= 3
    assert not spin.spin_until(node, lambda: False, 0.01)
    assert spin.spin_until(node, lambda: True, 0)
    node.destroy_node()
    rclpy.shutdown()
