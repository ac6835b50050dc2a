"""Where in space two objects touched: masks of a collision meet the depth image of their frame.

What is heard is in ``depth_inputs.py``, what is computed in ``cs3_ros.space``; this node asks the
one about the other and publishes.
"""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PointStamped
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import uninstall_signal_handlers
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray

from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.ros import messages, qos
from cs3_ros.ros.apt import from_apt
from cs3_ros.ros.depth_inputs import WHO, DepthInputs
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.ros.spin import Interrupts, Spinner
from cs3_ros.ros.statistics import TopicStatistics
from cs3_ros.settings import check_statistics_period
from cs3_ros.space.camera import camera_of, metres
from cs3_ros.space.contact import Contact, SpaceConfig
from cs3_ros.space.sight import Sight, look
from cs3_ros.space.turns import rotation_matrix

MOST_PENDING = 8
"""Events that wait for depth or a transform; the oldest is given up for a further one."""
HOUSEKEEPING_S = 0.1
DIAGNOSTICS_S = 1.0

USUAL = ('depth', 'camera_info', 'collision_masks', 'detections', 'events', 'contacts')
"""Counters that are no reason for a warning."""


@dataclass(frozen=True)
class ContactConfig:
    """Settings of the node beside those of ``SpaceConfig``; all are read at its start.

    Raises:
        ValueError: a setting is outside its range.
    """

    target_frame: str = setting(
        '', 'Frame that points are given in, through tf2; empty: optical frame of the camera.'
    )
    wait_s: float = setting(
        0.5, 'How long masks wait for depth that comes after them, and for tf, s.', minimum=0.0
    )
    depth_mb: float = setting(
        200.0,
        'Memory for depth that waits for masks, MB: as long as the slowest event takes, at least.',
        minimum=1.0,
        maximum=16_384.0,
    )
    statistics_period_s: float = setting(
        0.0,
        'Window of the topic statistics on /statistics, s; 1.0 is usual, 0 is off.',
        minimum=0.0,
        maximum=60.0,
    )
    space: SpaceConfig = field(default_factory=SpaceConfig)
    """Which depth belongs to masks, and what is read off it."""

    def __post_init__(self) -> None:
        validate(self)
        check_statistics_period(self.statistics_period_s)


@dataclass(frozen=True, eq=False)
class Waiting:
    """Masks of one collision."""

    masks: Image
    detections: Detection2DArray
    until: float
    """When it is given up, seconds of ``time.monotonic``."""


class ContactNode(Node):
    """Publishes ``contact_point`` and ``detections_3d`` for what ``collision_masks`` show.

    Listens to ``collision_masks``, ``detections``, ``depth`` (registered to the camera, 32FC1 or
    16UC1, REP 118) and ``camera_info``. Parameters are the fields of ``ContactConfig`` and
    ``SpaceConfig``.

    Args:
        options: further arguments of rclpy's node.

    Attributes:
        counts: events, contacts, and why there was none; shown on ``/diagnostics``.
        why: the last reason in words.

    Raises:
        ImportError: message_filters, cv_bridge, tf2_ros or statistics_msgs is missing; names the
            apt package.
        ValueError: a parameter is out of range or unknown.
    """

    def __init__(self, **options: Any) -> None:
        bridge = from_apt('cv_bridge', WHO)
        from_apt('message_filters', WHO)
        super().__init__('cs3_contact', **{'namespace': 'cs3', **options})
        self._bridge = bridge.CvBridge()
        try:
            qos.check(self)
            self.config = self._declared()
            self._tf = from_apt('tf2_ros', WHO) if self.config.target_frame else None
            period_s = self.config.statistics_period_s
            statistics = TopicStatistics(self, period_s) if period_s else None
        except (ValueError, ImportError):
            self.destroy_node()
            raise
        if self._tf is not None:
            self._transforms = self._tf.Buffer()
            self._tf_listener = self._tf.TransformListener(self._transforms, self)
        self.counts: Counter[str] = Counter(events=0, contacts=0)
        self._told: Counter[str] = Counter()
        self.why = ''
        self._pending: deque[Waiting] = deque()
        self._inputs = DepthInputs(
            self,
            self.config.space,
            self.config.depth_mb,
            self.counts,
            self._refuse,
            self._wait,
            self._answer,
            statistics,
        )
        self._point_out = qos.publisher(self, PointStamped, 'contact_point')
        self._detections_out = qos.publisher(self, Detection3DArray, 'detections_3d')
        self._diagnostics_out = qos.publisher(self, DiagnosticArray, '/diagnostics')
        qos.warn_without_effect(self)
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(HOUSEKEEPING_S, self._keep_house, clock=wall)
        self.create_timer(DIAGNOSTICS_S, self._publish_diagnostics, clock=wall)

    def _declared(self) -> ContactConfig:
        """The parameters, declared by the fields of the settings."""
        values: dict[type, dict[str, Any]] = {ContactConfig: {}, SpaceConfig: {}}
        for cls, found in values.items():
            for each in dataclasses.fields(cls):
                if 'doc' in each.metadata:
                    described = ParameterDescriptor(
                        description=each.metadata['doc'], read_only=True
                    )
                    parameter = self.declare_parameter(each.name, each.default, described)
                    found[each.name] = parameter.value
        space = from_mapping(SpaceConfig, values[SpaceConfig], 'parameters')
        return from_mapping(ContactConfig, {**values[ContactConfig], 'space': space}, 'parameters')

    def _wait(self, masks: Image, detections: Detection2DArray) -> None:
        self.counts['events'] += 1
        if len(self._pending) >= MOST_PENDING:
            self._pending.popleft()
            self._refuse('dropped', f'more than {MOST_PENDING} collisions wait for depth')
        self._pending.append(Waiting(masks, detections, time.monotonic() + self.config.wait_s))

    def _answer(self) -> None:
        """Whatever can be answered by now, in its order."""
        while self._pending:
            try:
                if not self._answered(self._pending[0]):
                    return
            except Exception as error:  # the node never dies of data
                self._refuse('failed', f'{type(error).__name__}: {error}')
                self.get_logger().debug(traceback.format_exc())
            self._pending.popleft()

    def _answered(self, event: Waiting) -> bool:
        """Publish what an event gives, or say why there is nothing; False: it has to wait."""
        stamp = event.masks.header.stamp
        late = time.monotonic() >= event.until
        depth, settled = self._inputs.depth_at(stamp_to_ns(stamp))
        info = self._inputs.info_at(stamp_to_ns(stamp))
        if not late and not (settled and info):
            return False
        frame_id = event.masks.header.frame_id if info is None else info.header.frame_id
        header = Header(stamp=stamp, frame_id=frame_id or event.masks.header.frame_id)
        turn, shift = np.eye(3), np.zeros(3)
        if depth is not None and info is not None:
            try:
                turn, shift = self._transform(header)
            except self._tf_error as error:
                if late:
                    self._refuse('no_transform', str(error))
                return late
        header.frame_id = self.config.target_frame or header.frame_id
        config, bridge = self.config.space, self._bridge
        sight = look(
            bridge.imgmsg_to_cv2(event.masks, desired_encoding='mono8'),
            None if depth is None else metres(bridge.imgmsg_to_cv2(depth), depth.encoding),
            None if info is None else camera_of(info, config.rectified),
            config,
        )
        self._publish(event.detections, header, sight, turn, shift)
        return True

    @property
    def _tf_error(self) -> type[Exception]:
        """What a transform that is not there raises."""
        error: type[Exception] = LookupError if self._tf is None else self._tf.TransformException
        return error

    def _transform(self, header: Header) -> tuple[np.ndarray, np.ndarray]:
        """Rotation [3, 3] and translation [3] from the optical frame to the frame asked for."""
        if self._tf is None:
            return np.eye(3), np.zeros(3)
        found = self._transforms.lookup_transform(
            self.config.target_frame, header.frame_id, Time.from_msg(header.stamp)
        ).transform
        q, t = found.rotation, found.translation
        return rotation_matrix((q.x, q.y, q.z, q.w)), np.array([t.x, t.y, t.z])

    def _publish(
        self,
        detections: Detection2DArray,
        header: Header,
        sight: Sight,
        turn: np.ndarray,
        shift: np.ndarray,
    ) -> None:
        if isinstance(sight.contact, Contact):
            self.counts['contacts'] += 1
            point = messages.point(turn @ sight.contact.point + shift)
            self._point_out.publish(PointStamped(header=header, point=point))
        else:
            self._refuse(sight.contact, sight.why)
        solid = messages.detections_3d_message(header, detections, sight.extents, turn, shift)
        self.counts['objects_without_depth'] += len(detections.detections) - len(solid.detections)
        if solid.detections:
            self._detections_out.publish(solid)

    def _refuse(self, what: str, why: str) -> None:
        self.counts[what] += 1
        self.why = why
        self.get_logger().warning(why, throttle_duration_sec=5.0)

    def _keep_house(self) -> None:
        self._inputs.update()
        self._answer()

    def _publish_diagnostics(self) -> None:
        rises = self.counts - self._told
        self._told = Counter(self.counts)
        bad = {k: v for k, v in rises.items() if k not in USUAL and v}
        text = ', '.join(f'{name} +{rise}' for name, rise in sorted(bad.items()))
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if bad else DiagnosticStatus.OK,
            name=f'{self.get_fully_qualified_name().lstrip("/")}: contact',
            message=f'{text}: {self.why}' if bad else f'{self.counts["contacts"]} contacts',
            values=[KeyValue(key=key, value=str(self.counts[key])) for key in sorted(self.counts)],
        )
        header = Header(stamp=self.get_clock().now().to_msg())
        self._diagnostics_out.publish(DiagnosticArray(header=header, status=[status]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; returns 0.

    Args:
        arguments: ROS arguments (``--ros-args ...``); None takes those of the process.

    Raises:
        ImportError, ValueError: as ``ContactNode`` does.
    """
    with Interrupts() as interrupts:
        try:
            with ros(arguments):
                uninstall_signal_handlers()  # rclpy's end ROS in the middle of a callback
                _run(interrupts)
        except KeyboardInterrupt:  # rclpy, before its handlers were removed
            get_logger('cs3_contact').info('interrupted')
    return 0


def _run(interrupts: Interrupts) -> None:
    node = ContactNode()
    spinner = Spinner(node)
    try:
        spinner.spin(lambda: interrupts.noted)
    finally:
        spinner.close()
        node.destroy_node()
