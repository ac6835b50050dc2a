"""What the contact node hears: depth and camera_info that wait for masks, masks and detections.

Masks come long after their frame, so depth and camera_info are kept in a Cache of message_filters
and looked up by stamp. What cannot be used is refused at the door, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from cs3_ros.collision import LAST_STAMP_NS, NS_PER_S
from cs3_ros.files.depth_image import check_depth
from cs3_ros.files.message_fields import stamp_of
from cs3_ros.ros.apt import from_apt
from cs3_ros.ros.statistics import TopicStatistics
from cs3_ros.ros.subscription import FollowingSubscription
from cs3_ros.space.camera import camera_of
from cs3_ros.space.contact import SpaceConfig
from cs3_ros.space.sight import nearest
from cs3_ros.trigger.buffers import JUMP_BACK_NS

WHO = 'the contact node'
INFOS = 100
"""camera_info messages that are kept."""
MOST_HALVES = 8
"""Masks that wait for their detections, and the other way round."""


class DepthInputs:
    """The subscriptions of the contact node, and what they have heard.

    Args:
        node: the owner.
        config: which depth belongs to masks.
        depth_mb: memory for depth, MB.
        counts: receives ``depth``, ``masks`` and what was refused or lost.
        refuse: called with a counter and a text for what cannot be used.
        on_pair: called with masks and detections of one stamp.
        on_news: called after every message that may let a collision be answered.
        statistics: measures what comes on each topic; None where nobody asked for it.

    Raises:
        ImportError: message_filters is missing; names the apt package.
    """

    def __init__(
        self,
        node: Node,
        config: SpaceConfig,
        depth_mb: float,
        counts: Counter[str],
        refuse: Callable[[str, str], None],
        on_pair: Callable[[Image, Detection2DArray], None],
        on_news: Callable[[], None],
        statistics: TopicStatistics | None,
    ) -> None:
        self._filters = from_apt('message_filters', WHO)
        self._node, self._config, self._counts, self._refuse = node, config, counts, refuse
        self._on_pair, self._on_news, self._statistics = on_pair, on_news, statistics
        self._most_bytes = int(depth_mb * 1e6)
        self._depth_bytes = 0
        self._depth = self._cache(1)
        self._infos = self._cache(INFOS)
        self._newest: dict[str, int] = {}
        self._halves: dict[str, Any] = {}
        self._last: dict[str, Any] = {}
        self._pair_anew()
        listen, half = self._listen, self._on_half
        self._subscriptions = [
            listen(Image, 'depth', self._on_depth, 5),
            listen(CameraInfo, 'camera_info', self._on_info, 10),
            listen(Image, 'collision_masks', partial(half, 'collision_masks'), 10),
            listen(Detection2DArray, 'detections', partial(half, 'detections'), 10),
        ]

    def update(self) -> None:
        """Follow the publishers of this moment."""
        for subscription in self._subscriptions:
            subscription.update()

    def depth_at(self, stamp_ns: int) -> tuple[Image | None, bool]:
        """The depth that belongs to masks, and whether a nearer one cannot come any more."""
        span_ns = round(self._config.max_offset_s * NS_PER_S)
        found = self._depth.getInterval(_time(stamp_ns - span_ns), _time(stamp_ns + span_ns))
        best = nearest([stamp_of(message) for message in found], stamp_ns, self._config)
        settled = self._depth.getElemAfterTime(_time(stamp_ns)) is not None
        return (None if best is None else found[best]), settled

    def info_at(self, stamp_ns: int) -> CameraInfo | None:
        """The last camera_info before masks, however old: it may be latched; else the first one."""
        before = self._infos.getElemBeforeTime(_time(stamp_ns))
        return before if before is not None else self._infos.getElemAfterTime(_time(stamp_ns))

    def _cache(self, size: int) -> Any:
        return self._filters.Cache(self._filters.SimpleFilter(), size)

    def _pair_anew(self) -> None:
        names = ('collision_masks', 'detections')
        self._halves = {name: self._filters.SimpleFilter() for name in names}
        self._pairs = self._filters.TimeSynchronizer([*self._halves.values()], MOST_HALVES)
        self._pairs.registerCallback(self._on_pair)

    def _listen(self, kind: type, topic: str, callback: Any, depth: int) -> FollowingSubscription:
        def lost(count: int) -> None:
            self._counts[f'lost_{topic}'] += count

        name, statistics = self._node.resolve_topic_name(topic), self._statistics
        observe = None if statistics is None else statistics.measure(name)
        return FollowingSubscription(self._node, kind, topic, callback, depth, lost, observe)

    def _jumped(self, topic: str, message: Any) -> bool:
        """Whether the clock of a topic has gone back, so that what was kept is of another time.

        Raises:
            ValueError: an impossible stamp, or one that was never set.
        """
        stamp_ns = stamp_of(message)
        if stamp_ns <= 0:
            raise ValueError(
                f'{topic} with the stamp {stamp_ns} ns: expected the time of its frame; set '
                'header.stamp in its driver'
            )
        newest = self._newest.get(topic, 0)
        jumped = stamp_ns < newest - JUMP_BACK_NS
        self._newest[topic] = stamp_ns if jumped else max(stamp_ns, newest)
        self._counts['jumps_back'] += jumped
        return jumped

    def _on_depth(self, message: Image) -> None:
        """Keep it, within the memory that depth may take."""
        size = len(message.data)
        try:
            check_depth(message)
            if size > self._most_bytes:
                raise ValueError(
                    f'depth of {size} bytes: expected at most depth_mb = {self._most_bytes / 1e6} '
                    'MB; raise it'
                )
            jumped = self._jumped('depth', message)
        except ValueError as error:
            return self._refuse('refused_depth', str(error))
        self._counts['depth'] += 1
        if size > self._depth_bytes or jumped:
            self._depth_bytes = max(size, self._depth_bytes)
            kept = [] if jumped else self._depth.getInterval(_time(0), _time(LAST_STAMP_NS))
            self._depth = self._cache(self._most_bytes // self._depth_bytes)
            for earlier in kept:
                self._depth.add(earlier)
        self._depth.add(message)
        self._on_news()

    def _on_info(self, message: CameraInfo) -> None:
        try:
            camera_of(message, self._config.rectified)
            self._jumped('camera_info', message)
        except ValueError as error:
            return self._refuse('refused_camera_info', str(error))
        self._counts['camera_info'] += 1
        self._infos.add(message)
        self._on_news()

    def _on_half(self, topic: str, message: Any) -> None:
        try:
            jumped = self._jumped(topic, message)
        except ValueError as error:
            return self._refuse(f'refused_{topic}', str(error))
        if jumped:  # what waits for its other half would push out what comes now
            self._pair_anew()
            for each, half in self._last.items():
                if each != topic and stamp_of(half) <= stamp_of(message) + JUMP_BACK_NS:
                    self._halves[each].signalMessage(half)
        self._last[topic] = message
        self._counts[topic] += 1
        self._halves[topic].signalMessage(message)
        self._on_news()  # not by the synchroniser, which is locked while it calls


def _time(stamp_ns: int) -> Time:
    """A time that can be compared with those of headers; one before 0 becomes 0."""
    return Time(nanoseconds=max(stamp_ns, 0), clock_type=ClockType.ROS_TIME)
