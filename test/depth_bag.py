"""Bags with the depth of a camera: what ``cs3 replay --depth-topic`` and the contact node read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from cs3_ros.files.bags import Bag, typestore
from cs3_ros.space.camera import Camera

T = typestore().types
SIZE = (48, 64)
CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
DEPTH, INFO = '/camera/depth', '/camera/camera_info'


def header(stamp_ns: int):
    stamp = T['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    return T['std_msgs/msg/Header'](stamp, 'optical')


def depth_image(stamp_ns: int, values: np.ndarray, big: bool = False, pad: int = 0):
    """16UC1 or 32FC1, with so many bytes after each row."""
    stored = values.astype(values.dtype.newbyteorder('>' if big else '<'))
    rows = stored.view(np.uint8).reshape(len(values), -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    encoding = {'u': '16UC1', 'f': '32FC1'}[values.dtype.kind]
    height, width = values.shape
    return T['sensor_msgs/msg/Image'](
        header(stamp_ns), height, width, encoding, int(big), rows.shape[1], rows.ravel()
    )


def camera_info(stamp_ns: int):
    c, none = CAMERA, np.zeros(12)
    k = np.array([c.fx, 0, c.cx, 0, c.fy, c.cy, 0, 0, 1.0])
    roi = T['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    return T['sensor_msgs/msg/CameraInfo'](
        header(stamp_ns), c.height, c.width, '', none[:0], k, np.eye(3).ravel(), none, 0, 0, roi
    )  # fmt: skip


def with_depth(
    bag: Bag, path: Path, depths: Sequence[tuple[int, Any]], infos: Sequence[int]
) -> Path:
    """A copy of a bag with depth and camera_info.

    Args:
        bag: the other topics.
        path: folder of the copy.
        depths: log time in ns and depth image of each.
        infos: log times of camera_info, whose stamp is 1 ns.
    """
    store = typestore()
    messages = [(m.log_ns, m.topic.name, m.topic.msgtype, m.data) for m in bag.messages()]
    own = [(at, DEPTH, 'sensor_msgs/msg/Image', one) for at, one in depths]
    own += [(at, INFO, 'sensor_msgs/msg/CameraInfo', camera_info(1)) for at in infos]
    for at, topic, msgtype, one in own:
        messages.append((at, topic, msgtype, bytes(store.serialize_cdr(one, msgtype))))
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        kinds = {topic: msgtype for _, topic, msgtype, _ in messages}
        connections = {
            topic: writer.add_connection(topic, msgtype, typestore=store)
            for topic, msgtype in kinds.items()
        }
        for at, topic, _, data in sorted(messages, key=lambda each: each[0]):
            writer.write(connections[topic], at, data)
    return path


def steps() -> np.ndarray:
    """Half a metre on the left, a little more on the right, in metres."""
    return np.where(np.arange(SIZE[1])[None] < 32, 0.5, 0.52).repeat(SIZE[0], 0).astype(np.float32)
