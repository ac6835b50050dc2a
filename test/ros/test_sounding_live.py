"""How well each object fits the sound, over real DDS: the node says what replay says."""

from __future__ import annotations

import needs

needs.ros()
needs.training()

import json
from pathlib import Path

import pytest
from vision_msgs.msg import Detection2DArray

from cs3_ros import cli
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.ros.messages import stamp_to_ns
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.video_clip import make_clip, write_clip


def test_the_node_publishes_the_scores(start, listener, tmp_path: Path) -> None:
    path = tmp_path / 'clip.mp4'
    write_clip(make_clip(WorldConfig(), split_seeds('test', 0, 1)[0]), path)
    bag = make_bag(path, tmp_path / 'bag', image='raw')
    listener.listen(Detection2DArray, '/cs3/detections')
    node = start('node', '--bundle', 'nano')
    out = ['--bundle', 'nano', '--out', str(tmp_path / 'out'), '--no-overlay']
    assert cli.main(['replay', str(bag), *out]) == 0
    entries = json.loads((tmp_path / 'out' / 'events.json').read_text())
    expected = {
        entry['frame_stamp_ns']: [one['sounding'] for one in entry['objects']]
        for entry in entries
        if entry['objects']
    }
    assert expected and all(0 < score < 1 for some in expected.values() for score in some)

    heard = listener.heard['/cs3/detections']
    player = start('bag', 'play', str(bag))
    listener.until(lambda: len(heard) == len(expected), 60.0)
    assert player.wait() == 0, player.text
    found = {}
    for message in heard:
        hypotheses = [one.results[2].hypothesis for one in message.detections]
        assert {one.class_id for one in hypotheses} == {'sounding'}
        found[stamp_to_ns(message.header.stamp)] = [one.score for one in hypotheses]
    assert found.keys() == expected.keys(), node.text
    for stamp_ns, scores in expected.items():
        assert found[stamp_ns] == pytest.approx(scores, abs=1e-6), 'files have six decimals'
    assert node.stop() == 0
