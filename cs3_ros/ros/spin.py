"""Runs the callbacks of one node, cheaply, and lets signals end it between two of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.task import Future

SPIN_S = 0.2
"""Longest time until a signal is noticed."""
STEP_S = 0.05


class Interrupts:
    """Notes SIGINT and SIGTERM while its context lasts; enter it on the main thread.

    rclpy's handlers close ROS, and Python's raises KeyboardInterrupt, in the middle of whatever
    runs. If the events executor is just taking in a node, it keeps callbacks then, and that aborts
    the process.

    Attributes:
        noted: whether one has come.
    """

    def __init__(self) -> None:
        self.noted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.noted = True


class Spinner:
    """The executor of one node, on the calling thread.

    rclpy's usual executors collect all that could happen anew for every message, which costs this
    node as much as what it does with the messages. The events executor, in rclpy since Jazzy, is
    told what happened; where it is missing the usual one serves.

    Args:
        node: its callbacks run in ``spin``.
    """

    def __init__(self, node: Node | LifecycleNode) -> None:
        self._node = node
        self._executor: Any = _events_executor() or SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Run callbacks until ROS is shut down.

        Args:
            stop: asked every ``SPIN_S``; True ends it, too.
        """
        while self._node.context.ok() and not stop():
            # Without a deadline the events executor of the ROS wheels waits at full load and
            # delivers nothing.
            try:
                self._executor.spin_until_future_complete(Future(), SPIN_S)
            except InvalidHandle:  # an event of a subscription that was destroyed meanwhile
                continue

    def close(self) -> None:
        """Let go of the node."""
        self._executor.remove_node(self._node)
        self._executor.shutdown()


def spin_until(node: Node, condition: Callable[[], object], timeout_s: float) -> bool:
    """Run the callbacks of a node that no executor runs until something is true.

    Args:
        node: hears what the condition waits for.
        condition: asked after every callback.
        timeout_s: seconds until it is given up.

    Returns:
        Whether the condition has come true.
    """
    deadline = time.monotonic() + timeout_s
    while not (met := bool(condition())) and (left := deadline - time.monotonic()) > 0:
        rclpy.spin_once(node, timeout_sec=min(left, STEP_S))
    return met


def _events_executor() -> Any:
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return None
    return EventsExecutor()
