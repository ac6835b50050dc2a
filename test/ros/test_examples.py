"""The example subscriber hears the node over DDS, pairs by stamp and prints what hit what."""

from __future__ import annotations

import needs

needs.ros()

import re
import sys
from pathlib import Path

import pytest
from fakes import ClickRecording, fake_pipeline
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.offline.run import Run
from cs3_ros.ros.messages import detections_message, header, image_message
from cs3_ros.ros.processes import Child
from cs3_ros.settings import Settings

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch):
    """The example as a module, here and in child processes."""
    monkeypatch.setenv('PYTHONPATH', str(EXAMPLES), prepend=':')
    monkeypatch.syspath_prepend(EXAMPLES)
    import what_hit_what

    yield what_hit_what
    del sys.modules['what_hit_what']


def test_it_prints_every_collision(example, start, listener, request, tmp_path: Path) -> None:
    bag = make_bag(ClickRecording((0.8, 1.5), duration_s=2.0), tmp_path / 'bag')
    found = list(Run(BagRecording(bag), load_bundle('lite'), fake_pipeline(), Settings()))
    subscriber = Child('what_hit_what', (), tmp_path / 'subscriber.log')
    request.addfinalizer(subscriber.stop)
    node = start('fake_node')
    names = ('/cs3/collision_masks', '/cs3/detections')
    assert listener.until(
        lambda: all(
            listener.node.count_publishers(name) and listener.node.count_subscribers(name)
            for name in names
        )
    ), node.text + subscriber.text
    player = start('bag', 'play', str(bag))
    assert listener.until(lambda: subscriber.text.count('\n') >= 2), subscriber.text + node.text
    assert player.wait() == 0, player.text
    lines = subscriber.text.splitlines()
    assert len(lines) == len(found) == 2
    for line, answer in zip(lines, found, strict=True):
        first, second = answer.collision.objects
        assert line.startswith(f'{answer.collision.id}: right_hand (')
        assert line.count(' hit left_hand (') == 1
        labels = answer.collision.label_image()
        pixels = [str((labels == value).sum()) for value in (1, 2)]
        assert re.findall(r'(\d+) pixels', line) == pixels
        x0, y0, x1, y1 = second.box
        assert line.endswith(f'{x1 - x0:.0f} x {y1 - y0:.0f} box, {pixels[1]} pixels)')
        assert f'{first.score:.2f}' in line
    assert subscriber.stop() == 0, subscriber.text


def test_what_has_no_partner_does_not_wait_for_ever(example, listener, capsys) -> None:
    recording = ClickRecording((0.8,), duration_s=1.5)
    ((answer),) = Run(recording, load_bundle('lite'), fake_pipeline(), Settings())
    collision = answer.collision

    def masks(second: int) -> Image:
        return image_message(header(second * 10**9, 'camera'), collision.label_image())

    def detections(second: int) -> Detection2DArray:
        return detections_message(header(second * 10**9, 'camera'), collision)

    node = example.WhatHitWhat()
    for second in range(1, 2 * example.WAITING):
        node.pair(masks(second))
    assert len(node.waiting) == example.WAITING
    node.pair(detections(1))  # its masks were given up
    assert capsys.readouterr().out == ''
    node.pair(detections(15))
    assert capsys.readouterr().out.count(' hit ') == 1
    assert (15, 0) not in node.waiting
    node.destroy_node()


def test_the_head_turns_to_the_contact_and_follows(listener, monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / 'look_at_contact')
    import numpy as np
    from geometry_msgs.msg import Point, PointStamped
    from look_at_contact.node import LookAtContact
    from rclpy.executors import SingleThreadedExecutor
    from sensor_msgs.msg import JointState

    head, peer = LookAtContact(), listener.node
    executor = SingleThreadedExecutor()
    executor.add_node(head)
    executor.add_node(peer)
    listener.listen(JointState, '/cs3/head_command')
    point = peer.create_publisher(PointStamped, '/cs3/contact_point', 10)
    masks = peer.create_publisher(Image, '/cs3/tracked_masks', 10)
    commands = listener.heard['/cs3/head_command']

    def until(condition) -> bool:
        for _ in range(500):
            if condition():
                return True
            executor.spin_once(timeout_sec=0.02)
        return False

    ends = (point, masks)
    assert until(lambda: all(end.get_subscription_count() for end in ends))
    assert until(lambda: peer.count_publishers('/cs3/head_command'))
    point.publish(PointStamped(header=header(1, 'optical'), point=Point(x=0.5, y=0.0, z=0.5)))
    assert until(lambda: commands)
    assert list(commands[0].position) == pytest.approx([-np.pi / 4, 0])  # to the right, level
    labels = np.zeros((40, 60), np.uint8)
    masks.publish(image_message(header(2, 'camera'), labels))  # lost: no command
    labels[30:, :10] = 1
    masks.publish(image_message(header(3, 'camera'), labels))
    assert until(lambda: len(commands) > 1)
    pan, tilt = commands[1].position
    assert commands[1].header.stamp.nanosec == 3 and pan > 0.1 and tilt > 0.1
    executor.shutdown()
    head.destroy_node()
