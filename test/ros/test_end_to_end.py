"""The whole way over real DDS in separate processes: player -> lifecycle node -> subscriber."""

from __future__ import annotations

import needs

needs.ros()

import json
from pathlib import Path

import numpy as np
import pytest
from fakes import ClickRecording, fake_pipeline
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S, Frame, event_id
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.files.images import load_image
from cs3_ros.offline.run import Run
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.settings import Settings

CLICKS_S = (0.8, 1.5, 2.2)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.parametrize('image', ['compressed', 'raw'])
def test_masks_arrive_with_the_header_of_the_source_frame(
    start, listener, tmp_path: Path, image: str
) -> None:
    bag = make_bag(ClickRecording(CLICKS_S), tmp_path / 'bag', image=image)
    listener.listen(Image, '/cs3/collision_masks')
    listener.listen(Detection2DArray, '/cs3/detections')
    listener.listen(Classification, '/cs3/onset')
    listener.listen(LabelInfo, '/cs3/label_info', LATCHED)
    node = start('fake_node')
    assert listener.until(lambda: bool(listener.heard['/cs3/label_info'])), node.text
    player = start('bag', 'play', str(bag))
    masks, detections = listener.heard['/cs3/collision_masks'], listener.heard['/cs3/detections']
    listener.until(lambda: len(detections) == 3 and len(masks) == 3)
    assert player.wait() == 0, player.text
    assert len(masks) == 3, node.text

    recording = BagRecording(bag)
    offline = list(Run(recording, load_bundle('lite'), fake_pipeline(), Settings()))
    onsets_s = [(f.collision.onset.stamp_ns - recording.origin_ns) / 1e9 for f in offline]
    assert np.allclose(onsets_s, CLICKS_S, atol=0.005)
    for found, mask, detected, onset in zip(
        offline, masks, detections, listener.heard['/cs3/onset'], strict=True
    ):
        frame = found.collision.frame
        assert stamp_to_ns(mask.header.stamp) == frame.stamp_ns
        assert mask.header.frame_id == frame.frame_id == 'camera'
        assert mask.encoding == 'mono8' and (mask.height, mask.width) == (64, 96)
        labels = np.frombuffer(mask.data, np.uint8).reshape(64, 96)
        assert np.array_equal(labels, found.collision.label_image())
        assert stamp_to_ns(onset.header.stamp) == found.collision.onset.stamp_ns
        assert [d.id for d in detected.detections] == [
            event_id(stamp_to_ns(onset.header.stamp))
        ] * 2
        assert [d.results[0].hypothesis.class_id for d in detected.detections] == [
            'right_hand',
            'left_hand',
        ]
        for number, detection in enumerate(detected.detections, 1):
            rows, columns = np.nonzero(labels == number)
            box = detection.bbox
            assert box.center.position.x == (columns.min() + columns.max() + 1) / 2
            assert box.size_y == rows.max() + 1 - rows.min()
    (info,) = listener.heard['/cs3/label_info']
    assert [c.class_id for c in info.class_map] == [0, 1, 2]
    assert node.stop() == 0


class MovingRecording(ClickRecording):
    """A bright square that crosses a dark picture."""

    def frames(self):
        width, height = self.size
        for k in range(round(self.duration_s * self.frame_rate)):
            image = np.full((height, width, 3), 40, np.uint8)
            left = 20 + 2 * k
            image[40:80, left : left + 40] = (230, 190, 60)
            yield Frame.from_rgb(round(k * NS_PER_S / self.frame_rate), image)


def test_replay_writes_what_the_library_finds(start, tmp_path: Path) -> None:
    """``cs3 replay`` in its own process, with ``lite``."""
    needs.hands()
    bag = make_bag(MovingRecording((0.8,), duration_s=1.5, size=(192, 128)), tmp_path / 'bag')
    out = tmp_path / 'out'
    process = start('replay', str(bag), '--out', str(out))
    bundle = load_bundle('lite')
    (found,) = Run(BagRecording(bag), bundle, bundle.build(), Settings())
    assert process.wait() == 0, process.text
    (entry,) = json.loads((out / 'events.json').read_text())
    assert abs(entry['onset_s'] - 0.8) < 0.005 and entry['frame_index'] == 24
    assert entry['onset_stamp_ns'] == found.collision.onset.stamp_ns
    assert entry['rule'] == found.collision.verdict.rule
    (labelled,) = found.collision.objects  # what moves
    assert [o['label'] for o in entry['objects']] == [labelled.label]
    labels = load_image(out / entry['label_image'])[..., 0]
    assert np.array_equal(labels, found.collision.label_image()) and labels.any()
    assert (out / 'overlay.mp4').stat().st_size > 0
