"""Turns a head towards what just collided: to the contact point, then after the moving objects.

``ros2 run look_at_contact look_at_contact`` beside the nodes of cs3_ros.
"""

import math

import numpy as np
import rclpy
from geometry_msgs.msg import PointStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

JOINTS = ('head_pan', 'head_tilt')


class LookAtContact(Node):
    """``contact_point`` and ``tracked_masks`` in, ``head_command`` (pan and tilt, radians) out."""

    def __init__(self, **options) -> None:
        super().__init__('look_at_contact', **{'namespace': 'cs3', **options})
        self.field_of_view = self.declare_parameter('field_of_view', 1.2).value  # of a row, radians
        self.gain = self.declare_parameter('gain', 0.5).value  # share of the way per picture
        self.command = self.create_publisher(JointState, 'head_command', 10)
        self.create_subscription(PointStamped, 'contact_point', self.on_point, 10)
        self.create_subscription(Image, 'tracked_masks', self.on_masks, 5)

    def on_point(self, message: PointStamped) -> None:
        """Optical frame: x right, y down, z forward (REP 103)."""
        point = message.point
        self.turn(message, math.atan2(point.x, point.z), math.atan2(point.y, point.z))

    def on_masks(self, message: Image) -> None:
        """Keep the middle of the objects in the middle of the picture."""
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        rows, columns = np.nonzero(labels[:, : message.width])
        if len(rows):  # all lost: the head rests where it is
            angle = self.gain * self.field_of_view / message.width  # of a pixel
            right = columns.mean() - (message.width - 1) / 2
            down = rows.mean() - (message.height - 1) / 2
            self.turn(message, angle * right, angle * down)

    def turn(self, message, right: float, down: float) -> None:
        """Pan is positive to the left, tilt positive downwards, as seen by the head."""
        command = JointState(header=message.header, name=list(JOINTS))
        command.position = [-float(right), float(down)]
        self.command.publish(command)


def main() -> None:
    """Run until interrupted."""
    rclpy.init()
    try:
        rclpy.spin(LookAtContact())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
