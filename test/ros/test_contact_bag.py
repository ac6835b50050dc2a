"""A bag with depth, played into node and contact node: the points of ``cs3 replay``."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from depth_bag import DEPTH, INFO, depth_image, steps, with_depth
from fakes import ClickRecording, fake_pipeline
from geometry_msgs.msg import PointStamped

from cs3_ros import cli
from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import NS_PER_S
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import Bag
from cs3_ros.ros.messages import stamp_to_ns

START_NS = 1000 * NS_PER_S
STAND_INS = str(Path(__file__).resolve().parents[1] / 'apt_stand_ins')


def test_a_bag_gives_the_points_of_replay(listener, start, tmp_path, monkeypatch):
    """Two events; the depth of the second one is too old, so it has no point."""
    plain = make_bag(ClickRecording((0.8, 1.6), duration_s=2.6, size=(64, 48)), tmp_path / 'plain')
    stamps = [START_NS + round(k * NS_PER_S / 15) for k in range(20)]
    depths = [(stamp, depth_image(stamp, steps())) for stamp in stamps]
    bag = with_depth(Bag(plain), tmp_path / 'bag', depths, [START_NS])
    listener.listen(PointStamped, '/cs3/contact_point')
    if not all(map(find_spec, ('message_filters', 'cv_bridge'))):
        monkeypatch.setenv('PYTHONPATH', os.pathsep.join([STAND_INS, os.environ['PYTHONPATH']]))
    node = start('fake_node')
    contact = start('contact', '--ros-args', '-r', f'depth:={DEPTH}', '-r', f'camera_info:={INFO}')
    names = listener.node.get_subscriptions_info_by_topic
    topics = (DEPTH, INFO, '/cs3/collision_masks', '/cs3/audio')
    assert listener.until(lambda: all(names(topic) for topic in topics)), node.text + contact.text
    player = start('bag', 'play', str(bag))
    assert player.wait() == 0, player.text
    points = listener.heard['/cs3/contact_point']
    assert listener.until(lambda: len(points) == 1), contact.text

    monkeypatch.setattr(Bundle, 'build', lambda self, *settings: fake_pipeline())
    out = tmp_path / 'out'
    words = ['--depth-topic', DEPTH, '--no-overlay', '--image-topic', '/cs3/image/compressed']
    assert cli.main(['replay', str(bag), '--out', str(out), *words]) == 0
    first, second = json.loads((out / 'events.json').read_text())
    assert first['contact'] is not None and second['no_contact'] == 'no_depth_image'
    point = points[0]
    assert stamp_to_ns(point.header.stamp) == first['frame_stamp_ns']
    assert point.header.frame_id == first['camera_frame'] == 'optical'
    np.testing.assert_allclose(
        [point.point.x, point.point.y, point.point.z], first['contact']['point'], atol=1e-6
    )
