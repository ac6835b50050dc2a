"""A subscription whose QoS follows the publishers', decided anew when one appears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription


def matching_qos(profiles: Sequence[QoSProfile], depth: int) -> QoSProfile:
    """The strictest subscription that matches all publishers; reliable where there is none."""
    best_effort = any(p.reliability == ReliabilityPolicy.BEST_EFFORT for p in profiles)
    latched = len(profiles) > 0 and all(
        p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles
    )
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class FollowingSubscription:
    """Subscribes reliably where every publisher is reliable, best effort otherwise.

    A silent QoS mismatch is the most frequent reason for "no data"; rosbag2 record solves it the
    same way. Durability follows too, so that a latched message reaches a late node.

    Args:
        node: the owner.
        message_type: ROS message class.
        topic: relative topic name.
        callback: called with each message.
        depth: history depth.
        on_lost: called with the number of messages that the middleware lost.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        depth: int,
        on_lost: Callable[[int], None],
    ) -> None:
        self.topic_name = topic
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._depth = depth
        self._on_lost = on_lost
        self._qos = self._wanted()
        self._subscription: Subscription | None = self._subscribe()

    @property
    def publishers(self) -> int:
        """How many publishers the topic has now."""
        return self._node.count_publishers(self.topic)

    def describe(self) -> str:
        """Publishers and QoS in words."""
        best_effort = self._qos.reliability == ReliabilityPolicy.BEST_EFFORT
        latched = self._qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        return (
            f'{self.publishers} publisher(s), {"best effort" if best_effort else "reliable"}'
            f'{", latched" if latched else ""}, depth {self._qos.depth}'
        )

    def update(self, listen: bool = True) -> None:
        """Follow the publishers of this moment; cheap when nothing changed.

        Args:
            listen: False stops receiving until an update with True.
        """
        if not listen:
            self.destroy()
            return
        wanted = self._wanted()
        if self._subscription is None or (wanted != self._qos and self.publishers):
            self.destroy()
            self._qos = wanted
            self._subscription = self._subscribe()

    def destroy(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _wanted(self) -> QoSProfile:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        return matching_qos([info.qos_profile for info in infos], self._depth)

    def _subscribe(self) -> Subscription:
        def lost(status: Any) -> None:
            self._on_lost(status.total_count_change)

        # Not rclpy's defaults: they warn of the mismatch that update() is about to resolve, and the
        # events executor raises InvalidHandle for an event of a subscription destroyed by then.
        events = SubscriptionEventCallbacks(message_lost=lost, use_default_callbacks=False)
        return self._node.create_subscription(
            self._message_type, self.topic, self._callback, self._qos, event_callbacks=events
        )
