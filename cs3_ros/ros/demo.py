"""The live half of ``cs3 demo``: node and player as processes, a subscriber that writes down."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from cs3_ros.bags import BagRecording
from cs3_ros.collision import NS_PER_S
from cs3_ros.draw import write_overlay_video
from cs3_ros.images import decode_image, save_image
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import stamp_to_ns

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0


class Spectator(Node):
    """Keeps what the node says about each event."""

    def __init__(self) -> None:
        super().__init__('cs3_demo')
        self.active = False
        self.onsets: dict[int, float] = {}
        self.answers: dict[int, tuple[float, Detection2DArray]] = {}
        self.pictures: dict[int, ImageMessage] = {}
        self.masks: dict[int, ImageMessage] = {}
        self.counts: dict[str, int] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(LabelInfo, '/cs3/label_info', self._on_active, latched)
        self.create_subscription(Header, '/cs3/onset', self._on_onset, 100)
        self.create_subscription(Detection2DArray, '/cs3/detections', self._on_answer, 100)
        self.create_subscription(ImageMessage, '/cs3/overlay', self._on_picture, 100)
        self.create_subscription(ImageMessage, '/cs3/collision_masks', self._on_masks, 100)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_active(self, message: LabelInfo) -> None:
        self.active = True

    def _on_onset(self, message: Header) -> None:
        self.onsets[stamp_to_ns(message.stamp)] = time.monotonic()

    def _on_answer(self, message: Detection2DArray) -> None:
        seconds, _, nanoseconds = message.detections[0].id.partition('.')
        onset_ns = int(seconds) * NS_PER_S + int(nanoseconds)
        self.answers[onset_ns] = (time.monotonic(), message)

    def _on_picture(self, message: ImageMessage) -> None:
        self.pictures[stamp_to_ns(message.header.stamp)] = message

    def _on_masks(self, message: ImageMessage) -> None:
        self.masks[stamp_to_ns(message.header.stamp)] = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {v.key: v.value for status in message.status for v in status.values}
        self.counts = {k: int(v) for k, v in values.items() if v.isdigit()}

    @property
    def finished(self) -> bool:
        """True once every onset has been answered, dropped or has failed."""
        ended = sum(self.counts.get(k, 0) for k in ('done', 'failed', 'dropped', 'no_frame'))
        return ended >= max(len(self.onsets), self.counts.get('onsets', 0))


def play_into_node(bag: Path, out: Path, bundle: str) -> int:
    """Start the node, play the bag, print the events, write ``overlay.mp4``."""
    os.environ['ROS_DOMAIN_ID'] = str(random.randrange(1, 100))  # of its own, on this machine
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    with ros(), _child('node', '--bundle', bundle) as node:
        spectator = Spectator()
        print(f'node    bundle {bundle}')
        if not _spin(
            spectator, lambda: spectator.active or node.poll() is not None, START_TIMEOUT_S
        ):
            raise RuntimeError(f'the node was not active after {START_TIMEOUT_S:g} s, see above')
        with _child('bag', 'play', str(bag)) as player:
            _spin(spectator, lambda: player.poll() is not None, float('inf'))
        # Events at the very end close 1 s after the last sound.
        _spin(spectator, lambda: False, 2.5)
        _spin(spectator, lambda: spectator.finished, ANSWER_TIMEOUT_S)
        recording = BagRecording(bag)
        _print_table(spectator, recording.origin_ns)
        stills = _save_pictures(spectator, out)
        spectator.destroy_node()
    write_overlay_video(out / 'overlay.mp4', recording, stills, progress=True)
    print(f'video   {out / "overlay.mp4"}')
    return 0


def _print_table(spectator: Spectator, origin_ns: int) -> None:
    print('\n onset s   frame s  objects                      mask px        latency ms')
    for onset_ns, heard in sorted(spectator.onsets.items()):
        line = f'{(onset_ns - origin_ns) / NS_PER_S:8.3f}  '
        if onset_ns not in spectator.answers:
            print(line + '       -  nothing found')
            continue
        answered, message = spectator.answers[onset_ns]
        frame_ns = stamp_to_ns(message.header.stamp)
        labels = ' + '.join(d.results[0].hypothesis.class_id for d in message.detections)
        mask = np.frombuffer(spectator.masks[frame_ns].data, np.uint8)
        areas = ' + '.join(
            str(int((mask == k).sum())) for k in range(1, len(message.detections) + 1)
        )
        line += f'{(frame_ns - origin_ns) / NS_PER_S:8.3f}  {labels:27}  {areas:14}'
        print(f'{line} {(answered - heard) * 1e3:10.0f}')
    lost = spectator.counts.get('lost_frames', 0) + spectator.counts.get('lost_audio', 0)
    print(f'{len(spectator.onsets)} event(s), {lost} message(s) lost\n')


def _save_pictures(spectator: Spectator, out: Path) -> dict[int, Path]:
    folder = out / 'overlays'
    folder.mkdir(exist_ok=True)
    stills = {}
    for stamp_ns, message in spectator.pictures.items():
        image = decode_image('rgb8', message.height, message.width, message.step, 0, message.data)
        stills[stamp_ns] = folder / f'{stamp_ns}.jpg'
        save_image(stills[stamp_ns], image)
    return stills


def _spin(node: Node, condition: Any, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (met := bool(condition())) and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.05)
    return met


@contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """``cs3 ARGUMENTS`` as a process that ends with the block."""
    process = subprocess.Popen([sys.executable, '-m', 'cs3_ros.cli', *arguments])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
