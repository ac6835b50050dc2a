"""What the node publishes for every onset, every collision and the frames after it."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

from cs3_ros.collision import Collision, Onset
from cs3_ros.ros import messages
from cs3_ros.ros.qos import publisher_overrides
from cs3_ros.tracking import TrackedFrame


class Outputs:
    """The publishers of a configured node.

    Args:
        node: the owner; its lifecycle opens and closes the publishers.
        onset_message: ``Classification`` or ``Header``, the type of ``onset``.
    """

    def __init__(self, node: LifecycleNode, onset_message: str = 'Classification') -> None:
        self._node = node
        self._old_onset = onset_message == 'Header'
        if self._old_onset:
            node.get_logger().warning(
                'onset_message: Header is for this release only; a Classification has it as header'
            )
        self._publishers: list[Any] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._onset = self._publisher(Header if self._old_onset else Classification, 'onset')
        self._masks = self._publisher(ImageMessage, 'collision_masks')
        self._detections = self._publisher(Detection2DArray, 'detections')
        self._label_info = self._publisher(LabelInfo, 'label_info', latched)
        self._tracked_masks = self._publisher(ImageMessage, 'tracked_masks')
        self._tracked_detections = self._publisher(Detection2DArray, 'tracked_detections')
        self._overlay = self._publisher(ImageMessage, 'overlay')
        self._heat_map = self._publisher(ImageMessage, 'heatmap')

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def label_info(self, stamp: Header) -> None:
        """Say once, latched, what the values of the mask image mean."""
        self._label_info.publish(messages.label_info_message(stamp))

    def onset(self, onset: Onset, frame_id: str) -> None:
        """Say at once that something hit something; the stamp is the peak."""
        message = messages.onset_message(onset, frame_id)
        self._onset.publish(message.header if self._old_onset else message)

    def collision(self, collision: Collision) -> None:
        """Masks and detections with the source frame's header; pictures if somebody looks.

        Nothing but the pictures is published when no object was found.
        """
        stamp = messages.header(collision.frame.stamp_ns, collision.frame.frame_id)
        if collision.objects:
            self._masks.publish(messages.image_message(stamp, collision.label_image()))
            self._detections.publish(messages.detections_message(stamp, collision))
        if self._overlay.get_subscription_count():
            from cs3_ros.drawing.overlay import overlay

            image = overlay(collision.frame.image, collision)
            self._overlay.publish(messages.image_message(stamp, image))
        if collision.heat_map is not None and self._heat_map.get_subscription_count():
            from cs3_ros.drawing.overlay import heat_map_image

            image = heat_map_image(collision.heat_map)
            self._heat_map.publish(messages.image_message(stamp, image))

    def tracked(self, tracked: TrackedFrame) -> None:
        """Where the objects of the last event are in a frame; empty once all are lost."""
        stamp = messages.header(tracked.frame.stamp_ns, tracked.frame.frame_id)
        labels = tracked.label_image()
        self._tracked_masks.publish(messages.image_message(stamp, labels))
        self._tracked_detections.publish(messages.tracked_message(stamp, tracked, labels))

    def _publisher(self, message_type: Any, topic: str, qos: QoSProfile | int = 10) -> Any:
        overrides = publisher_overrides(self._node, topic)
        publisher = self._node.create_lifecycle_publisher(
            message_type, topic, qos, qos_overriding_options=overrides
        )
        self._publishers.append(publisher)
        return publisher
