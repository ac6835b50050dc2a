"""Tracked masks over DDS: the last word about every frame is what a replay of the bag says."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import threading

import numpy as np
from fakes import ClickRecording, fake_pipeline
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.offline.run import Run
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.settings import Settings
from cs3_ros.trackers.flow import FlowTracker
from cs3_ros.tracking import TrackingConfig


class Panning(ClickRecording):
    """A camera that pans over a wall of blocks."""

    def frames(self):
        wall = np.random.default_rng(5).integers(0, 256, (8, 60, 3), np.uint8)
        wall = np.kron(wall, np.ones((8, 8, 1), np.uint8))
        for k in range(round(self.duration_s * self.frame_rate)):
            picture = np.ascontiguousarray(wall[:, k : k + 96])
            yield Frame.from_rgb(round(k * NS_PER_S / self.frame_rate), picture)


def pipeline(pause_s: float = 0.0):
    made = fake_pipeline(pause_s)
    made.tracker = FlowTracker()
    return made


def test_the_last_word_about_every_frame_is_that_of_a_replay(rig, start, tmp_path) -> None:
    bag = make_bag(Panning((0.8, 1.5), duration_s=2.6), tmp_path / 'bag')
    robot = rig(lambda bundle, settings: pipeline(0.2), tracking__seconds=0.9).start()
    masks = robot.listen(Image, '/cs3/tracked_masks')
    detections = robot.listen(Detection2DArray, '/cs3/tracked_detections')
    player = start('bag', 'play', str(bag))

    offline = {}
    settings = Settings(tracking=TrackingConfig(seconds=0.9))
    run = Run(BagRecording(bag), load_bundle('lite'), pipeline(), settings, track=True)
    run.on_tracked = lambda tracked: offline.__setitem__(tracked.frame.stamp_ns, tracked)
    events = [found.collision for found in run]
    assert len(events) == 2 and len(offline) > 40
    frames = sorted(offline)

    def complete() -> bool:
        return {stamp_to_ns(m.header.stamp) for m in masks} == set(frames)

    robot.until(lambda: complete() and len(masks) == len(detections), 15)
    assert player.wait() == 0, player.text
    assert complete(), (len(masks), robot.node.problem)
    live = {stamp_to_ns(message.header.stamp): message for message in masks}
    told = {stamp_to_ns(message.header.stamp): message for message in detections}
    for stamp_ns, expected in offline.items():
        message = live[stamp_ns]
        assert (message.encoding, message.header.frame_id) == ('mono8', 'camera')
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        assert np.array_equal(labels, expected.label_image())
        boxes = told[stamp_ns].detections
        seen = [each for each in expected.objects if each is not None]
        assert [d.results[0].hypothesis.score for d in boxes] == [e.confidence for e in seen]
        assert {d.id for d in boxes} <= {expected.event}
    moved = offline[events[0].frame.stamp_ns + 600_000_000]
    assert moved.event == events[0].id and moved.objects[0] is not None
    shift = (
        np.nonzero(events[0].objects[0].mask)[1].min() - np.nonzero(moved.objects[0].mask)[1].min()
    )
    assert shift > 8, 'the masks go with the wall'
    assert robot.counted(failed_tracks=0, dropped_track_frames=0)

    robot.node.trigger_deactivate()
    assert not [t for t in threading.enumerate() if t.name == 'cs3_tracking']


def test_zero_seconds_is_off(rig) -> None:
    robot = rig(lambda bundle, settings: pipeline(), tracking__seconds=0.0).start()
    assert not [t for t in threading.enumerate() if t.name == 'cs3_tracking']
    assert robot.counted(tracked_frames=0)
