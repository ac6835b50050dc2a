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
