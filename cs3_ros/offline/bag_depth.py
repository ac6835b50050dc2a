"""What the depth of a bag says of the masks of a collision, as the contact node says it live."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.bags import Bag, BagTopic
from cs3_ros.files.depth_image import check_depth, depth_values
from cs3_ros.files.message_fields import stamp_of
from cs3_ros.space.camera import Camera, camera_of, metres
from cs3_ros.space.contact import SpaceConfig
from cs3_ros.space.sight import Sight, look, nearest

DEPTH, CAMERA_INFO = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CameraInfo'
KEPT_NS = NS_PER_S
"""Depth is kept this long: a collision's frame may lie before that of the last one."""
MOST_BYTES = 200_000_000
"""Of depth that is kept, at most."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known in space of a collision."""

    sight: Sight
    """Contact and extents, in the optical frame of the camera."""
    frame_id: str
    """Name of that frame; '' where there is no camera_info."""
    camera: Camera | None
    """Of pictures of camera_info's size; None where there is none."""


class BagDepth:
    """The depth of a bag, read once from front to back beside its pictures and sound.

    Args:
        bag: the bag.
        depth_topic: registered depth, 32FC1 or 16UC1.
        info_topic: its camera_info; '' takes the only topic of that type.
        config: which depth belongs to masks, and how it is read.

    Raises:
        ValueError: the bag does not have these topics, or of another type.
    """

    def __init__(
        self, bag: Bag, depth_topic: str, info_topic: str = '', config: SpaceConfig = SpaceConfig()
    ) -> None:
        self._bag, self._config = bag, config
        depth = _of_type(bag, '--depth-topic', depth_topic, DEPTH)
        info = _of_type(bag, '--camera-info-topic', info_topic, CAMERA_INFO)
        self._infos = self._read_infos(info)
        self._unread: Iterator[tuple[int, Any]] = self._read_depth(depth)
        self._kept: deque[tuple[int, Any]] = deque()
        self._newest_ns = 0

    def look(self, stamp_ns: int, labels: NDArray[np.uint8]) -> Seen:
        """What depth says of the masks of a frame.

        Args:
            stamp_ns: of the frame; rising by and large, see ``KEPT_NS``.
            labels: uint8 [H, W], 1 and 2 the objects, 0 the rest.

        Raises:
            ValueError: the bag is damaged there.
        """
        self._read_beyond(stamp_ns + round(self._config.max_offset_s * NS_PER_S))
        kept = sorted(self._kept, key=lambda each: each[0])
        best = nearest([each_ns for each_ns, _ in kept], stamp_ns, self._config)
        depth = None
        if best is not None:
            message = kept[best][1]
            depth = metres(depth_values(message), message.encoding)
        frame_id, camera = self._info_at(stamp_ns)
        return Seen(look(labels, depth, camera, self._config), frame_id, camera)

    def _read_beyond(self, stamp_ns: int) -> None:
        """Read on until no nearer depth can come."""
        while self._newest_ns <= stamp_ns:
            each_ns, message = next(self._unread, (0, None))
            if message is None:
                return
            self._newest_ns = max(self._newest_ns, each_ns)
            self._kept.append((each_ns, message))
            most = max(MOST_BYTES // len(message.data), 2)
            while len(self._kept) > most or self._kept[0][0] < self._newest_ns - KEPT_NS:
                self._kept.popleft()

    def _info_at(self, stamp_ns: int) -> tuple[str, Camera | None]:
        """The last camera_info before a stamp, however old; else the first one."""
        before = [each for each in self._infos if each[0] <= stamp_ns]
        found = before[-1] if before else next(iter(self._infos), (0, '', None))
        return found[1], found[2]

    def _read_infos(self, topic: BagTopic) -> list[tuple[int, str, Camera]]:
        """Stamp, frame and camera of each camera_info that differs from the one before."""
        found: list[tuple[int, str, Camera]] = []
        refused = Counter[str]()
        for message in self._bag.messages([topic.name]):
            try:
                info = message.content()
                each = (stamp_of(info), info.header.frame_id)
                camera = camera_of(info, self._config.rectified)
            except ValueError as error:
                refused[str(error)] += 1
                continue
            if not found or found[-1][1:] != (each[1], camera):
                found.append((*each, camera))
        self._tell(topic, refused)
        return sorted(found, key=lambda each: each[0])

    def _read_depth(self, topic: BagTopic) -> Iterator[tuple[int, Any]]:
        refused = Counter[str]()
        for message in self._bag.messages([topic.name]):
            try:
                depth = message.content()
                check_depth(depth)
                stamp_ns = stamp_of(depth)
                if stamp_ns <= 0:
                    raise ValueError('its stamp was never set')
            except ValueError as error:
                refused[str(error)] += 1
                continue
            yield stamp_ns, depth
        self._tell(topic, refused)

    def _tell(self, topic: BagTopic, refused: Counter[str]) -> None:
        for reason, count in refused.items():
            self._bag.tell(f'{count} message(s) of {topic.name} left out: {reason}')


def _of_type(bag: Bag, option: str, name: str, msgtype: str) -> BagTopic:
    """The topic of a name, or the only one of its type."""
    if name:
        topic = bag.topic(name)
        if topic.msgtype != msgtype:
            raise ValueError(
                f'{bag.path}: {option} {name} is a {topic.msgtype}: expected {msgtype}'
            )
        return topic
    found = [topic for topic in bag.topics if topic.msgtype == msgtype]
    if len(found) != 1:
        names = ', '.join(topic.name for topic in found) or 'none'
        raise ValueError(f'{bag.path}: has {names} of {msgtype}: name one with {option}')
    return found[0]
