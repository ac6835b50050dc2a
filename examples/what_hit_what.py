"""Prints what hit what: a plain rclpy node that pairs masks and detections by their stamp.

On a robot, with the node running: ``python3 examples/what_hit_what.py``. After ``make setup``:
``AMENT_PREFIX_PATH=$PWD/.venv .venv/bin/python examples/what_hit_what.py``. Another namespace:
``... --ros-args -r /cs3/collision_masks:=/left/collision_masks -r /cs3/detections:=...``.
"""

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

WAITING = 10
"""So many messages at most wait for their partner, in case one of the two was lost."""


class WhatHitWhat(Node):
    """Both messages of one collision carry the header of the frame in which it happened."""

    def __init__(self) -> None:
        super().__init__('what_hit_what')
        self.waiting: dict[tuple[int, int], dict[str, Image | Detection2DArray]] = {}
        for message_type, name in ((Image, 'collision_masks'), (Detection2DArray, 'detections')):
            self.create_subscription(message_type, f'/cs3/{name}', self.pair, 10)

    def pair(self, message: Image | Detection2DArray) -> None:
        """Keep a message until the one of the other type with the same stamp is there."""
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        pair = self.waiting.setdefault(stamp, {})
        pair[type(message).__name__] = message
        if len(pair) == 2:
            self.tell(pair['Image'], pair['Detection2DArray'])
            del self.waiting[stamp]
        elif len(self.waiting) > WAITING:
            del self.waiting[min(self.waiting)]

    def tell(self, masks: Image, detections: Detection2DArray) -> None:
        """Print one line; ``detections[k]`` is the object with the value k + 1 in the masks."""
        labels = np.frombuffer(masks.data, np.uint8).reshape(masks.height, masks.step)
        objects = []
        for value, detection in enumerate(detections.detections, 1):
            best, box = detection.results[0].hypothesis, detection.bbox
            size = f'{box.size_x:.0f} x {box.size_y:.0f} box'
            pixels = np.count_nonzero(labels[:, : masks.width] == value)
            objects.append(f'{best.class_id} ({best.score:.2f}, {size}, {pixels} pixels)')
        print(f'{detections.detections[0].id}: {" hit ".join(objects)}', flush=True)


if __name__ == '__main__':
    rclpy.init()
    try:
        rclpy.spin(WhatHitWhat())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
