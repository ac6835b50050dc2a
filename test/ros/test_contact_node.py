"""Masks, depth and camera_info over DDS to points; apt's packages are stood in for where absent."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import array
import os
import signal
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

from cs3_ros.ros.apt import from_apt
from cs3_ros.ros.contact_node import ContactNode
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


def depth_message(
    stamp_ns: int, metres=0.7, encoding: str = '16UC1', shape=(60, 80), big=False, padding=0
) -> Image:
    """A depth image; ``metres`` is one number or [H, W] of them."""
    values = np.full(shape, metres, np.float32)
    if encoding != '32FC1':
        values = np.round(values * 1000).astype('u2')
    height, width = shape
    values = values.astype(values.dtype.newbyteorder('>' if big else '<'))
    rows = np.pad(values.view(np.uint8).reshape(height, -1), ((0, 0), (0, padding)))
    message = Image(header=header(stamp_ns, 'optical'), encoding=encoding, is_bigendian=int(big))
    message.height, message.width, message.step = height, width, rows.shape[1]
    message.data = array.array('B', rows.tobytes())
    return message


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

    def camera(self, width: int = 80, **changes) -> None:
        k = [70.0, 0.0, 39.5, 0.0, 70.0, 29.5, 0.0, 0.0, 1.0]
        fields = {'header': header(1, 'optical'), 'width': width, 'height': 60, 'k': k}
        self._heard(self._info, CameraInfo(**(fields | changes)), 'camera_info')

    def depth(self, stamp_ns: int, metres: float = 0.7, encoding: str = '16UC1') -> None:
        self.send_depth(depth_message(stamp_ns, metres, encoding))

    def send_depth(self, message: Image) -> None:
        self._heard(self._depth, message, 'depth')

    def _heard(self, publisher, message, name: str) -> None:
        """Publish it, and wait until the node has counted it."""
        names = (name, f'refused_{name}')
        before = sum(self.contact.counts[each] for each in names)
        publisher.publish(message)
        assert self.until(lambda: sum(self.contact.counts[each] for each in names) > before)

    def collision(self, stamp_ns: int = FRAME_NS, labels: np.ndarray = LABELS) -> None:
        before = self.contact.counts['events']
        self.halves(stamp_ns, labels)
        assert self.until(lambda: self.contact.counts['events'] > before)

    def halves(self, stamp_ns, labels=LABELS, masks=True, detections=True) -> None:
        """Masks and their detections, or one of both."""
        stamp = header(stamp_ns, 'camera')
        if masks:
            self._heard(self._masks, image_message(stamp, labels), 'collision_masks')
        if detections:
            objects = [Detection2D(header=stamp, id=f'{k}') for k in (1, 2)]
            self._detections.publish(Detection2DArray(header=stamp, detections=objects))

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


def test_qos_overrides(robot):
    reliability = 'qos_overrides./cs3/{}.reliability'.format
    cs3 = robot(
        **{
            reliability('contact_point.publisher'): 'best_effort',
            reliability('collision_masks.subscription'): 'best_effort',
        }
    )
    for look, topic, reliable in (
        (cs3.node.get_publishers_info_by_topic, '/cs3/contact_point', False),
        (cs3.node.get_publishers_info_by_topic, '/cs3/detections_3d', True),
        (cs3.node.get_subscriptions_info_by_topic, '/cs3/collision_masks', False),
        (cs3.node.get_subscriptions_info_by_topic, '/cs3/detections', True),
    ):
        assert cs3.until(lambda look=look, topic=topic: look(topic))
        (found,) = [e for e in look(topic) if e.node_name == 'cs3_contact']
        assert (found.qos_profile.reliability == ReliabilityPolicy.RELIABLE) is reliable, topic


def test_bad_parameters_and_missing_packages_name_the_fix(domain, apt):
    with ros():
        with pytest.raises(ValueError, match='max_offset_s'):
            ContactNode(parameter_overrides=[rclpy.Parameter('max_offset_s', value=-1.0)])
        senseless = rclpy.Parameter('qos_overrides./cs3/depth.subscription.depth', value=0)
        with pytest.raises(ValueError, match='/cs3/depth.subscription.depth = 0: expected'):
            ContactNode(parameter_overrides=[senseless])
        with pytest.raises(ValueError, match='statistics_period_s = 0.01: expected 0 or at least'):
            ContactNode(parameter_overrides=[rclpy.Parameter('statistics_period_s', value=0.01)])
    with pytest.raises(ImportError, match='apt install ros-jazzy-no-such-filters'):
        from_apt('no_such_filters', 'the contact node')


# ---- faults: refused or answered with a reason, counted, and the next collision has its point ----

MS = 1_000_000


def changed(**changes):
    def make(stamp_ns: int) -> Image:
        message = depth_message(stamp_ns)
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    return make


def stamped(sec: int, nanosec: int):
    def make(stamp_ns: int) -> Image:
        message = depth_message(stamp_ns)
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
        return message

    return make


REFUSED_DEPTH = {
    'a picture': (changed(encoding='rgb8'), "encoding 'rgb8'"),
    'compressed depth': (changed(encoding='16UC1; compressedDepth png'), 'not compressed'),
    'no encoding': (changed(encoding=''), 'REP 118'),
    'zero size': (changed(height=0, width=0), '0x0'),
    'too few bytes': (changed(data=array.array('B', bytes(9599))), '9599 bytes'),
    'too many bytes': (changed(data=array.array('B', bytes(9601))), '9601 bytes'),
    'no bytes': (changed(data=array.array('B')), 'and 0 bytes'),
    'too short a step': (changed(step=159), 'step 159'),
    'a width that is not its own': (changed(width=81), 'step of at least 162'),
    'too large': (changed(height=2**31, width=2**31), 'at most 50 megapixels'),
    'a step and height whose product is huge': (changed(step=2**32 - 1), 'bytes'),
    'a stamp that was never set': (stamped(0, 0), 'stamp 0 ns'),
    'a stamp before time': (stamped(-5, 0), 'stamp -5000000000 ns'),
    'a stamp at the end of time': (stamped(2**31 - 1, 0), 'check the clock'),
    'an impossible stamp': (stamped(5, 2**32 - 1), 'check the clock'),
}

NO_POINT = {
    'zeros': (lambda ns: depth_message(ns, 0.0), 'no_depth'),
    'NaN': (lambda ns: depth_message(ns, np.nan, '32FC1'), 'no_depth'),
    'infinite': (lambda ns: depth_message(ns, np.inf, '32FC1'), 'no_depth'),
    'negative': (lambda ns: depth_message(ns, -0.7, '32FC1'), 'no_depth'),
    'too near': (lambda ns: depth_message(ns, 0.05), 'no_depth'),
    'another shape': (lambda ns: depth_message(ns, shape=(80, 60)), 'other_shape'),
    'stale': (lambda ns: depth_message(ns - 100 * MS), 'no_depth_image'),
    'too late': (lambda ns: depth_message(ns + 100 * MS), 'no_depth_image'),
}

SAME_POINT = {
    'big-endian': lambda ns: depth_message(ns, big=True),
    'big-endian metres': lambda ns: depth_message(ns, 0.7, '32FC1', big=True),
    'padded': lambda ns: depth_message(ns, padding=6),
    'mono16': lambda ns: depth_message(ns, 0.7, 'mono16'),
    'smaller': lambda ns: depth_message(ns, shape=(30, 40)),
    'a little older': lambda ns: depth_message(ns - 30 * MS),
}


def test_every_bad_depth_is_refused_counted_and_shown(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    for number, (name, (make, words)) in enumerate(REFUSED_DEPTH.items(), 1):
        at = FRAME_NS + number * 200 * MS
        cs3.send_depth(make(at))
        assert cs3.contact.counts['refused_depth'] == number, name
        assert words in cs3.contact.why, (name, cs3.contact.why)
        cs3.collision(at)
        assert cs3.until(lambda n=number: cs3.contact.counts['no_depth_image'] == n), name
        cs3.depth(at + 50 * MS)
        cs3.collision(at + 50 * MS)
        assert cs3.until(lambda n=number: len(cs3.points) == n), f'after {name} it lives'
    assert cs3.contact.counts['jumps_back'] == 0


def test_depth_that_says_nothing_gives_no_point_and_the_reason(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    told: dict[str, int] = {}
    for number, (name, (make, reason)) in enumerate(NO_POINT.items(), 1):
        at = FRAME_NS + number * 1000 * MS
        cs3.send_depth(make(at))
        cs3.collision(at)
        told[reason] = told.get(reason, 0) + 1
        assert cs3.until(lambda r=reason: cs3.contact.counts[r] == told[r]), name
        cs3.depth(at + 300 * MS)
        cs3.collision(at + 300 * MS)
        assert cs3.until(lambda n=number: len(cs3.points) == n), f'after {name} it lives'
    counts = cs3.contact.counts
    assert counts['events'] == counts['contacts'] + sum(told.values()) == 2 * len(NO_POINT)


def test_depth_in_other_words_gives_the_same_point(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    for number, (name, make) in enumerate(SAME_POINT.items(), 1):
        at = FRAME_NS + number * 1000 * MS
        cs3.send_depth(make(at))
        cs3.collision(at)
        assert cs3.until(lambda n=number: len(cs3.points) == n), name
        point = cs3.points[-1].point
        assert (point.x, point.y, point.z) == pytest.approx((0, 0, 0.7), abs=0.012), name


def test_a_bad_camera_info_is_refused_and_the_last_good_one_holds(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    bad = (
        {'k': [0.0] * 9},
        {'k': [float('nan')] * 9},
        {'width': 0},
        {'d': [float('inf')]},
        {'distortion_model': 'spline', 'd': [0.1]},
        {'header': header(0, 'optical')},
    )
    for number, changes in enumerate(bad, 1):
        cs3.camera(**changes)
        assert cs3.contact.counts['refused_camera_info'] == number, changes
        cs3.depth(FRAME_NS + number * 1000 * MS)
        cs3.collision(FRAME_NS + number * 1000 * MS)
        assert cs3.until(lambda n=number: len(cs3.points) == n), changes


def test_camera_info_that_comes_after_the_masks_is_waited_for(robot):
    cs3 = robot(wait_s=5.0)
    cs3.depth(FRAME_NS)
    cs3.collision()
    assert not cs3.points
    cs3.camera()
    assert cs3.until(lambda: cs3.points)


def test_nearer_depth_that_is_still_to_come_is_waited_for(robot):
    cs3 = robot(wait_s=5.0)
    cs3.camera()
    cs3.depth(FRAME_NS - 30 * MS, 2.0)
    cs3.collision()
    assert not cs3.until(lambda: cs3.points, 0.3)
    cs3.depth(FRAME_NS + 3 * MS, 0.7)
    assert cs3.until(lambda: cs3.points) and cs3.points[0].point.z == pytest.approx(0.7, abs=0.01)


def test_depth_out_of_order_is_found(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    for offset_ms, metres in ((-33, 2.0), (33, 2.0), (1, 0.7), (-20, 2.0)):
        cs3.depth(FRAME_NS + offset_ms * MS, metres)
    cs3.collision()
    assert cs3.until(lambda: cs3.points) and cs3.points[0].point.z == pytest.approx(0.7, abs=0.01)


def test_a_clock_that_goes_back_leaves_nothing_of_the_time_before(robot):
    """A bag that loops, in which the second turn is another one."""
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    turns = 3
    for turn in range(turns):
        for k in range(5):
            cs3.depth(FRAME_NS + k * 500 * MS, 0.7 + 0.1 * turn)
        for k in range(5):
            cs3.collision(FRAME_NS + k * 500 * MS)
        assert cs3.until(lambda n=5 * (turn + 1): len(cs3.points) == n), turn
        near = [point.point.z for point in cs3.points[-5:]]
        assert near == pytest.approx([0.7 + 0.1 * turn] * 5, abs=0.01)
    cs3.depth(FRAME_NS + 10**15)  # and forward
    cs3.collision(FRAME_NS + 10**15)
    assert cs3.until(lambda: len(cs3.points) == 5 * turns + 1)


def test_masks_without_detections_do_not_stop_those_after_a_jump(robot):
    cs3 = robot(wait_s=0.0)
    cs3.camera()
    for k in range(12):
        cs3.halves(FRAME_NS + (100 + k) * 1000 * MS, masks=True, detections=False)
    cs3.depth(FRAME_NS)
    cs3.collision(FRAME_NS)
    assert cs3.until(lambda: cs3.points)


def test_depth_of_another_size_leaves_what_was_kept(robot):
    cs3 = robot(wait_s=0.0, depth_mb=1.0)
    cs3.camera()
    cs3.depth(FRAME_NS)
    cs3.send_depth(depth_message(FRAME_NS + 500 * MS, 0.9, shape=(120, 160)))
    for at, metres in ((FRAME_NS, 0.7), (FRAME_NS + 500 * MS, 0.9)):
        cs3.collision(at)
        assert cs3.until(lambda z=metres: cs3.points and abs(cs3.points[-1].point.z - z) < 0.01)
    cs3.send_depth(depth_message(FRAME_NS + 900 * MS, shape=(600, 900)))
    assert cs3.contact.counts['refused_depth'] == 1 and 'depth_mb' in cs3.contact.why


def test_more_collisions_than_may_wait_are_counted(robot):
    cs3 = robot(wait_s=60.0)
    for k in range(10):
        cs3.collision(FRAME_NS + k * 500 * MS)
    assert cs3.until(lambda: cs3.contact.counts['dropped'] == 2)
    cs3.camera()
    for k in range(10):
        cs3.depth(FRAME_NS + k * 500 * MS)
    assert cs3.until(lambda: len(cs3.points) == 8)
    assert cs3.contact.counts['events'] == 10


def test_the_process_ends_on_a_signal_with_status_0(start, domain, apt, monkeypatch):
    if not REAL:
        monkeypatch.setenv('PYTHONPATH', os.pathsep.join([STAND_INS, os.environ['PYTHONPATH']]))
    for number in (signal.SIGINT, signal.SIGTERM):
        assert start('contact').signal_after(lambda: True, number) == 0
