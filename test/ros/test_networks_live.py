"""The bundles with networks over real DDS: the same answers, bit for bit, on every way."""

from __future__ import annotations

import needs

needs.ros()

import json
from pathlib import Path

import drawn_clip
import numpy as np
import pytest
from sensor_msgs.msg import Image

from cs3_ros import cli
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.images import load_image
from cs3_ros.ros.messages import stamp_to_ns


def label_images(out: Path) -> dict[int, np.ndarray]:
    """Frame stamp -> label image of every event in an output folder that has objects."""
    entries = json.loads((out / 'events.json').read_text())
    return {
        entry['frame_stamp_ns']: load_image(out / entry['label_image'])[..., 0]
        for entry in entries
        if entry['objects']
    }


@pytest.mark.parametrize('bundle', ['cs3', 'zero_shot', 'acl'])
def test_run_replay_and_the_node_agree(
    start, listener, tmp_path: Path, cs3_home: Path, monkeypatch, bundle: str
) -> None:
    if bundle != 'cs3':
        needs.hands()
    monkeypatch.setattr(drawn_clip, 'CLICK_FRAMES', (27, 60))
    monkeypatch.setattr(drawn_clip, 'SECONDS', 2.6)
    clip = drawn_clip.make_drawn_clip(tmp_path / 'clip.mp4')
    bag = make_bag(clip.path, tmp_path / 'bag', image='raw')

    listener.listen(Image, '/cs3/collision_masks')
    node = start('node', '--bundle', bundle)
    run, replay = tmp_path / 'run', tmp_path / 'replay'
    for command, source, out in (('run', clip.path, run), ('replay', bag, replay)):
        arguments = [command, str(source), '--bundle', bundle, '--out', str(out), '--no-overlay']
        assert cli.main(arguments) == 0
    expected = label_images(replay)
    assert len(expected) == len(drawn_clip.CLICK_FRAMES)
    assert all(labels.any() and not labels.all() for labels in expected.values())
    from_file = label_images(run)
    assert expected.keys() == from_file.keys()
    for stamp_ns, labels in expected.items():
        np.testing.assert_array_equal(from_file[stamp_ns], labels)

    masks = listener.heard['/cs3/collision_masks']
    player = start('bag', 'play', str(bag))
    listener.until(lambda: len(masks) == len(expected))
    assert player.wait() == 0, player.text
    live = {
        stamp_to_ns(mask.header.stamp): np.frombuffer(mask.data, np.uint8).reshape(
            mask.height, mask.width
        )
        for mask in masks
    }
    assert live.keys() == expected.keys(), node.text
    for stamp_ns, labels in expected.items():
        np.testing.assert_array_equal(live[stamp_ns], labels)
    assert node.stop() == 0
