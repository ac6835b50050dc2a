"""Runs the callbacks of one node, cheaply."""

from __future__ import annotations

from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

SPIN_S = 1.0


class Spinner:
    """The executor of one node, on the calling thread.

    rclpy's usual executors collect all that could happen anew for every message, which costs this
    node as much as what it does with the messages. The events executor, in rclpy since Jazzy, is
    told what happened; where it is missing the usual one serves.

    Args:
        node: its callbacks run in ``spin``.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._executor: Any = _events_executor() or SingleThreadedExecutor()
        self._executor.add_node(node)

    def spin(self) -> None:
        """Run callbacks until ROS is shut down.

        Raises:
            KeyboardInterrupt: on SIGINT.
        """
        while self._node.context.ok():
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


def _events_executor() -> Any:
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return None
    return EventsExecutor()
