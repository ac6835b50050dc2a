"""Tracked masks over DDS: the last word about every frame is what a replay of the bag says."""

from __future__ import annotations

import needs

needs.ros()
needs.opencv()

import threading

import numpy as np
import pytest
from fakes import (
    ClickRecording,
    blocks,
    fake_pipeline,
    jpeg_message,
    picture_message,
    stamp_ns,
)
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
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
    for taken_ns, expected in offline.items():
        message = live[taken_ns]
        assert (message.encoding, message.header.frame_id) == ('mono8', 'camera')
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        assert np.array_equal(labels, expected.label_image())
        boxes = told[taken_ns].detections
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


# ---- faults in the middle of a track ------------------------------------------------------------


def larger(time_s: float):
    return picture_message(time_s, blocks().repeat(2, axis=0))


def damaged(time_s: float):
    """Its end is there, so that only decoding shows the damage."""
    message = jpeg_message(time_s)
    data = bytearray(message.data)
    size = data.index(b'\xff\xc0') + 5
    data[size : size + 4] = bytes(4)  # zero rows, zero columns
    message.data = bytes(data)
    return message


def late(time_s: float):
    return picture_message(time_s - 0.15)


def stampless(time_s: float):
    message = picture_message(time_s)
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    return message


MIDWAY = {
    'a picture of another shape': (larger, {'failed_tracks': 1, 'frames': 8}),
    'a JPEG damaged inside': (damaged, {'failed_tracks': 1, 'frames': 8}),
    'a picture that is late': (late, {'failed_tracks': 0, 'out_of_order_frames': 1}),
    'a picture without a stamp': (stampless, {'failed_tracks': 0, 'bad_stamps': 1}),
}


@pytest.mark.parametrize('name', MIDWAY)
def test_a_fault_costs_one_frame_of_a_track(rig, name: str) -> None:
    """Of eight pictures in the middle of a track one is bad: the seven others are tracked."""
    make, counts = MIDWAY[name]
    robot = rig(lambda bundle, settings: pipeline()).start()
    picture = jpeg_message if make is damaged else picture_message
    masks = robot.listen(Image, 'tracked_masks')
    robot.send(picture(0.0))
    assert robot.counted(frames=1) and robot.call(Trigger, 'cs3/segment_now').success
    assert robot.until(lambda: len(masks) == 1)
    robot.send(*(make(k / 10) if k == 4 else picture(k / 10) for k in range(1, 8)))
    told = [stamp_ns(k / 10) for k in range(8) if k != 4]
    assert robot.until(lambda: [stamp_to_ns(m.header.stamp) for m in masks] == told), robot.status
    assert robot.counted(tracked_frames=7, lost_objects=0, dropped_track_frames=0, **counts)


def test_a_clock_that_goes_back_ends_a_track(rig) -> None:
    robot = rig(lambda bundle, settings: pipeline()).start()
    masks = robot.listen(Image, 'tracked_masks')
    for start_s in (60.0, 0.0):  # a bag that loops
        robot.send(picture_message(start_s))
        assert robot.until(lambda: robot.reading('frames') not in ('', '0'))
        assert robot.call(Trigger, 'cs3/segment_now').success
        begin = stamp_ns(start_s)
        assert robot.until(lambda ns=begin: masks and stamp_to_ns(masks[-1].header.stamp) == ns)
        robot.send(*(picture_message(start_s + k / 10) for k in range(1, 5)))
        due = stamp_ns(start_s + 0.4)
        assert robot.until(lambda ns=due: stamp_to_ns(masks[-1].header.stamp) == ns), start_s
    assert len(masks) == 10 and robot.counted(failed_tracks=0, dropped_track_frames=0)
