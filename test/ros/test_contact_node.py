"""Masks, depth and camera_info over DDS to points; apt's packages are stood in for where absent."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import array
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PointStamped, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2D, Detection2DArray, Detection3DArray

from cs3_ros.ros.contact_node import ContactNode
from cs3_ros.ros.depth_inputs import from_apt
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import header, image_message

APT = ('message_filters', 'cv_bridge', 'tf2_ros')
STAND_INS = str(Path(__file__).resolve().parents[1] / 'apt_stand_ins')
REAL = all(find_spec(name) for name in APT)

LABELS = np.zeros((60, 80), np.uint8)
LABELS[20:40, 20:40], LABELS[20:40, 40:60] = 1, 2
FRAME_NS = 5_000_000_000


@pytest.fixture
def apt(monkeypatch):
    """The packages from apt, or their stand-ins."""
    if not REAL:
        for name in APT:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(STAND_INS)
        yield
        for name in APT:
            sys.modules.pop(name, None)
    else:
        yield


class Robot:
    """Camera and cs3 node in one: publishes, and keeps what the contact node answers."""

    def __init__(self, **parameters) -> None:
        self.node = rclpy.create_node('robot', namespace='cs3')
        overrides = [rclpy.Parameter(name, value=value) for name, value in parameters.items()]
        self.contact = ContactNode(parameter_overrides=overrides)
        sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._depth = self.node.create_publisher(Image, 'depth', sensor)
        self._info = self.node.create_publisher(CameraInfo, 'camera_info', latched)
        self._masks = self.node.create_publisher(Image, 'collision_masks', 10)
        self._detections = self.node.create_publisher(Detection2DArray, 'detections', 10)
        self.points: list[PointStamped] = []
        self.solids: list[Detection3DArray] = []
        self.node.create_subscription(PointStamped, 'contact_point', self.points.append, 10)
        self.node.create_subscription(Detection3DArray, 'detections_3d', self.solids.append, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._executor.add_node(self.contact)
        ends = (self._depth, self._info, self._masks, self._detections)
        assert self.until(lambda: all(p.get_subscription_count() for p in ends))

    def until(self, condition, timeout_s: float = 10.0) -> bool:
        clock = self.node.get_clock()
        end = clock.now().nanoseconds + timeout_s * 1e9
        while not condition() and clock.now().nanoseconds < end:
            self._executor.spin_once(timeout_sec=0.02)
        return bool(condition())

    def camera(self, width: int = 80) -> None:
        k = [70.0, 0.0, 39.5, 0.0, 70.0, 29.5, 0.0, 0.0, 1.0]
        info = CameraInfo(header=header(1, 'optical'), width=width, height=60, k=k)
        self._info.publish(info)
        self.until(lambda: False, 0.3)

    def depth(self, stamp_ns: int, metres: float = 0.7, encoding: str = '16UC1') -> None:
        values = np.full((60, 80), metres, np.float32)
        if encoding == '16UC1':
            values = np.round(values * 1000).astype('<u2')
        message = Image(header=header(stamp_ns, 'optical'), height=60, width=80, encoding=encoding)
        message.step = 80 * values.itemsize
        message.data = array.array('B', values.tobytes())
        before = sum(self.contact.counts[name] for name in ('depth', 'refused_depth'))
        self._depth.publish(message)
        assert self.until(
            lambda: sum(self.contact.counts[n] for n in ('depth', 'refused_depth')) > before
        )

    def collision(self, stamp_ns: int = FRAME_NS, labels: np.ndarray = LABELS) -> None:
        stamp, before = header(stamp_ns, 'camera'), self.contact.counts['events']
        self._masks.publish(image_message(stamp, labels))
        objects = [Detection2D(header=stamp, id=f'{k}') for k in (1, 2)]
        self._detections.publish(Detection2DArray(header=stamp, detections=objects))
        assert self.until(lambda: self.contact.counts['events'] > before)

    def close(self) -> None:
        self._executor.shutdown()
        self.contact.destroy_node()
        self.node.destroy_node()


@pytest.fixture
def robot(domain, apt):
    made = []
    with ros():

        def make(**parameters) -> Robot:
            made.append(Robot(**parameters))
            return made[-1]

        yield make
        for each in made:
            each.close()


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_point_and_boxes_long_after_their_frame(robot, encoding):
    cs3 = robot()
    cs3.camera()
    for k in range(-20, 21):  # the camera goes on while the networks think
        cs3.depth(FRAME_NS + k * 33_000_000, 0.7 if k == 0 else 2.0, encoding)
    cs3.collision()
    assert cs3.until(lambda: cs3.points and cs3.solids)
    point = cs3.points[0]
    assert point.header == header(FRAME_NS, 'optical')
    assert (point.point.x, point.point.y, point.point.z) == pytest.approx((0, 0, 0.7), abs=0.01)
    boxes = cs3.solids[0].detections
    assert [box.id for box in boxes] == ['1', '2']
    centre = boxes[0].bbox.center.position
    assert (centre.x, centre.z) == pytest.approx((-0.1, 0.7), abs=0.01)
    assert boxes[0].bbox.size.x == pytest.approx(0.18, abs=0.03)
    assert boxes[0].bbox.center.orientation.w == 1
    assert cs3.contact.counts['contacts'] == 1


def test_depth_that_comes_later_is_waited_for(robot):
    cs3 = robot(wait_s=5.0)
    cs3.camera()
    cs3.collision()
    assert not cs3.points
    cs3.depth(FRAME_NS + 10_000_000)
    assert cs3.until(lambda: cs3.points)


def test_nothing_for_stale_missing_or_unreadable_depth(robot):
    cs3 = robot(wait_s=0.0, depth_mb=1.0)
    counts = cs3.contact.counts
    cs3.camera()
    cs3.depth(FRAME_NS - 500_000_000)
    cs3.collision()
    assert cs3.until(lambda: counts['no_depth_image'] == 1)
    cs3.depth(FRAME_NS + 1, 0.0)
    cs3.collision(FRAME_NS + 1)
    assert cs3.until(lambda: counts['no_depth'] == 1 and counts['objects_without_depth'] == 4)
    cs3.depth(FRAME_NS + 100_000_000, 0.7, '64FC1')
    cs3.collision(FRAME_NS + 100_000_000)
    assert cs3.until(lambda: counts['no_depth_image'] == 2) and counts['refused_depth'] == 1
    cs3.depth(FRAME_NS + 300_000_000)
    cs3.collision(FRAME_NS + 300_000_000, (LABELS == 1).astype(np.uint8))
    assert cs3.until(lambda: counts['one_object'] == 1)
    assert not cs3.points


def test_depth_is_kept_within_its_memory(robot):
    cs3 = robot(depth_mb=1.0, wait_s=0.0)  # 104 pictures of 9600 bytes
    cs3.camera()
    for k in range(120):
        cs3.depth(FRAME_NS + k * 100_000_000)
    cs3.collision(FRAME_NS)
    assert cs3.until(lambda: cs3.contact.counts['no_depth_image'] == 1)
    cs3.collision(FRAME_NS + 119 * 100_000_000)
    assert cs3.until(lambda: cs3.points)


def test_no_camera_info_and_one_of_another_shape(robot):
    cs3 = robot(wait_s=0.0)
    cs3.depth(FRAME_NS)
    cs3.collision()
    assert cs3.until(lambda: cs3.contact.counts['no_camera_info'] == 1)
    cs3.camera(width=40)
    cs3.depth(FRAME_NS + 1)
    cs3.collision(FRAME_NS + 1)
    assert cs3.until(lambda: cs3.contact.counts['other_shape'] == 1)
    assert not cs3.points


@pytest.mark.skipif(REAL, reason='the stand-in of tf2_ros is filled by hand')
def test_points_in_another_frame(robot):
    import tf2_ros

    found = TransformStamped()
    found.transform.translation.x = 1.0
    found.transform.rotation.x, found.transform.rotation.w = -np.sqrt(0.5), np.sqrt(0.5)
    cs3 = robot(target_frame='base', wait_s=0.0)
    cs3.camera()
    cs3.depth(FRAME_NS)
    cs3.collision()
    assert cs3.until(lambda: cs3.contact.counts['no_transform'] == 1)
    tf2_ros.TRANSFORMS['base', 'optical'] = found
    cs3.depth(FRAME_NS + 1)
    cs3.collision(FRAME_NS + 1)
    assert cs3.until(lambda: cs3.points and cs3.solids)
    assert cs3.points[0].header.frame_id == 'base'
    place = cs3.points[0].point  # z forward becomes y
    assert (place.x, place.y, place.z) == pytest.approx((1, 0.7, 0), abs=0.01)
    turned = cs3.solids[0].detections[0].bbox.center.orientation
    assert (turned.x, turned.w) == pytest.approx((-np.sqrt(0.5), np.sqrt(0.5)))


def test_bad_parameters_and_missing_packages_name_the_fix(domain, apt):
    with ros():
        with pytest.raises(ValueError, match='max_offset_s'):
            ContactNode(parameter_overrides=[rclpy.Parameter('max_offset_s', value=-1.0)])
    with pytest.raises(ImportError, match='apt install ros-jazzy-no-such-filters'):
        from_apt('no_such_filters')
