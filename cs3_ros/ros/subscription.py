"""A subscription whose QoS follows the publishers', decided anew when one appears."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from inspect import signature
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription

from cs3_ros.ros.qos import subscription_overrides

UNNUMBERED = 2**63
"""Middlewares that do not number messages give the highest number of 64 bits."""
DISCOVERY_S = 3.0
"""A publisher that shows up later is new, so its first message has the number 1."""


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
    same way. Durability follows too, so that a latched message reaches a late node. What
    ``qos_overrides`` give is fixed.

    Args:
        node: the owner.
        message_type: ROS message class.
        topic: relative topic name.
        callback: called with each message.
        depth: history depth.
        on_lost: called with the number of messages that were lost on the way or left the queue
            unread. The middleware tells the first kind alone; the numbers that each publisher
            gives its messages tell both.
        observe: called with each message before that; for statistics.

    Attributes:
        types: message types that are published on the topic.
    """

    def __init__(
        self,
        node: Node,
        message_type: Any,
        topic: str,
        callback: Callable[[Any], None],
        depth: int,
        on_lost: Callable[[int], None],
        observe: Callable[[Any], None] | None = None,
    ) -> None:
        self.topic_name = topic
        self.topic = node.resolve_topic_name(topic)
        self._node = node
        self._message_type = message_type
        self._callback = callback
        self._depth = depth
        self._on_lost = on_lost
        self._observe = observe
        self.types: frozenset[str] = frozenset()
        self._offered: list[QoSProfile] = []
        self._mismatches: set[str] = set()
        self._publisher_ids: frozenset[bytes] = frozenset()
        self._next: list[int] = []  # one number for each publisher, the last used at the end
        self._discovered = time.monotonic() + DISCOVERY_S
        self._unheard = 0  # publishers that were there before us: they begin with any number
        self._lost = {'told': 0, 'missing': 0}
        self._matched = self._wanted()
        self._subscription: Subscription | None = self._subscribe()

    @property
    def publishers(self) -> int:
        """How many publishers the topic has now."""
        return self._node.count_publishers(self.topic)

    def describe(self) -> str:
        """Publishers and QoS in words."""
        best_effort = self._qos.reliability == ReliabilityPolicy.BEST_EFFORT
        latched = self._qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
        keeps_all = self._qos.history == HistoryPolicy.KEEP_ALL
        return (
            f'{self.publishers} publisher(s), {"best effort" if best_effort else "reliable"}'
            f'{", latched" if latched else ""}, '
            f'{"all kept" if keeps_all else f"depth {self._qos.depth}"}'
        )

    def update(self, listen: bool = True) -> None:
        """Follow the publishers of this moment; cheap when nothing changed.

        Args:
            listen: False stops receiving until an update with True.
        """
        if not listen:
            self.destroy()
            self._next, self._unheard = [], len(self._publisher_ids)
            return
        wanted = self._wanted()
        if self._subscription is None or (wanted != self._matched and self.publishers):
            self._read_all()
            self.destroy()
            self._matched = wanted
            self._subscription = self._subscribe()
        self._tell_mismatches()

    def retype(self, message_type: Any) -> None:
        """Receive another type of message, from the next update on.

        Not at once: a topic has one type in a process, and the executor has to let go of the old
        subscription.
        """
        self.destroy()
        self._message_type = message_type

    def destroy(self) -> None:
        """Stop receiving."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _read_all(self) -> None:
        """What waits in the queue would go with the subscription."""
        if self._subscription is not None:
            handle: Any = self._subscription.handle
            with handle:
                while (taken := handle.take_message(self._message_type, False)) is not None:
                    self._receive(*taken)

    def _wanted(self) -> QoSProfile:
        infos = self._node.get_publishers_info_by_topic(self.topic)
        self.types = frozenset(info.topic_type for info in infos)
        self._know(infos)
        self._offered = [info.qos_profile for info in infos]
        return matching_qos(self._offered, self._depth)

    def _tell_mismatches(self) -> None:
        """Publishers that overrides keep from being heard; what follows them always fits."""
        checked = [qos_check_compatible(offered, self._qos) for offered in self._offered]
        found = {reason for fits, reason in checked if fits == QoSCompatibility.ERROR}
        for reason in sorted(found - self._mismatches):
            self._node.get_logger().warning(
                f'{self.topic}: a publisher is not heard because of qos_overrides: {reason}'
            )
        self._mismatches = found

    def _know(self, infos: Sequence[Any]) -> None:
        """Which publishers number the messages now."""
        ids = frozenset(bytes(info.endpoint_gid) for info in infos)
        if ids != self._publisher_ids:
            if time.monotonic() < self._discovered:
                self._unheard += len(ids - self._publisher_ids)
            self._publisher_ids = ids
            self._lost = {'told': 0, 'missing': 0}

    def _lose(self, how: str, count: int) -> None:
        """The same loss may be told by the middleware and be missing in the numbers."""
        before = max(self._lost.values())
        self._lost[how] += count
        if rise := max(self._lost.values()) - before:
            self._on_lost(rise)

    def _receive(self, message: Any, info: Mapping[str, int]) -> None:
        number = info['publication_sequence_number']
        if number < UNNUMBERED:
            self._number(number)
        if self._observe is not None:
            self._observe(message)
        self._callback(message)

    def _number(self, number: int) -> None:
        """Count what is missing before a message; its publisher is not told, its number is."""
        if number in self._next:
            self._next.remove(number)
        else:
            self._know(self._node.get_publishers_info_by_topic(self.topic))
            before = max((n for n in self._next if n < number), default=None)
            if before is not None and not self._unheard:
                self._lose('missing', number - before)
                self._next.remove(before)
            else:  # the first of a publisher
                self._unheard = max(self._unheard - 1, 0)
                if len(self._next) >= max(len(self._publisher_ids), 1):
                    self._next.pop(0)
        self._next.append(number + 1)

    def _subscribe(self) -> Subscription:
        def lost(status: Any) -> None:
            self._lose('told', status.total_count_change)

        # Not rclpy's defaults: they warn of the mismatch that update() is about to resolve, and the
        # events executor raises InvalidHandle for an event of a subscription destroyed by then.
        events = SubscriptionEventCallbacks(message_lost=lost, use_default_callbacks=False)

        def receive(*arguments: Any) -> None:
            # The events executor of Jazzy hands on message and info as one tuple.
            message, info = arguments if len(arguments) == 2 else arguments[0]
            self._receive(message, info)

        # By its signature rclpy decides whether a callback wants the info.
        receive.__signature__ = signature(self._receive)  # type: ignore[attr-defined]
        self._qos = copy(self._matched)  # rclpy writes the overrides into it
        return self._node.create_subscription(
            self._message_type,
            self.topic,
            receive,
            self._qos,
            event_callbacks=events,
            qos_overriding_options=subscription_overrides(self._node, self.topic),
        )
