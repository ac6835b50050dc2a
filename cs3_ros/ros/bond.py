"""The bond that nav2's lifecycle manager asks of an active node, where bondpy is installed."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

TOPIC = 'bond'
"""Relative, as in nav2: the manager has to be in the namespace of the node."""


class NavBond:
    """Heartbeats until it is closed; the manager takes down its nodes when they stay away.

    Args:
        node: the owner; its name is the id of the bond.

    Raises:
        ImportError: bondpy is not installed.
    """

    def __init__(self, node: Node) -> None:
        from bondpy.bondpy import Bond

        self._node = node
        self._bond: Any = Bond(node, TOPIC, node.get_name())
        self._bond.start()

    def close(self) -> None:
        """Tell the manager that this end is meant."""
        self._bond.shutdown()
        # bondpy destroys them behind the back of the node, whose executor would still ask them
        self._node.destroy_subscription(self._bond.sub)
        self._node.destroy_publisher(self._bond.pub)
