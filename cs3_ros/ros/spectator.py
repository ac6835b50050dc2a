"""Plays a bag into a node of its own, over real DDS, and keeps what the node answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from vision_msgs.msg import Classification, Detection2DArray, LabelInfo

from cs3_ros.collision import onset_of
from cs3_ros.files.encodings import decode_image
from cs3_ros.files.images import as_jpeg
from cs3_ros.ros.environment import ros
from cs3_ros.ros.live_run import LiveEvent, LiveRun
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.ros.processes import children, own_domain
from cs3_ros.ros.spin import spin_until

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
CLOSING_S = 2.5
"""Events at the very end of a bag close 1 s after the last sound."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What ``detections`` tells of one event."""

    onset_ns: int
    """Stamp of the onset, from the id."""
    frame_ns: int
    """Stamp of the frame."""
    labels: tuple[str, ...]
    """Label of each object."""
    arrived_s: float
    """When it arrived, monotonic seconds."""


def play(bag: Path, bundle: str, speed: float = 1.0) -> LiveRun:
    """Start a node, play a bag into it from another process, wait for its answers.

    Args:
        bag: folder of the bag.
        bundle: what the node runs.
        speed: of the player.

    Raises:
        RuntimeError: the node did not become active or ended, the player failed, an onset was not
            answered in time, or answers were lost on their way here.
    """
    with own_domain(), ros(), children() as start:
        node = start('cs3_ros.cli', 'node', '--bundle', bundle)
        spectator = _Spectator()
        spin_until(spectator, lambda: spectator.active or node.ended, START_TIMEOUT_S)
        node.check()
        if not spectator.active:
            raise RuntimeError(f'the node was not active after {START_TIMEOUT_S:g} s:\n{node.text}')
        player = start('cs3_ros.cli', 'bag', 'play', str(bag), '--rate', str(speed))
        spin_until(spectator, lambda: player.ended or node.ended, float('inf'))
        node.check()
        if player.wait():
            player.check()
        spin_until(spectator, lambda: node.ended, CLOSING_S)
        finished = spin_until(spectator, lambda: spectator.finished or node.ended, ANSWER_TIMEOUT_S)
        node.check()
        if not finished:
            raise RuntimeError(
                f'an onset was not answered within {ANSWER_TIMEOUT_S:g} s of the end of the bag: '
                f'try a smaller bundle, or a machine with less load; the node wrote:\n{node.text}'
            )
        spectator.destroy_node()
    events = events_of(spectator.heard_s, spectator.answers, spectator.masks)
    return LiveRun(
        events,
        spectator.overlays,
        spectator.heat_maps,
        spectator.timings_ms,
        spectator.counts,
    )


def events_of(
    heard_s: Mapping[int, float],
    answers: Sequence[Answer],
    masks: Sequence[tuple[int, NDArray[np.uint8]]],
) -> list[LiveEvent]:
    """Puts together what three topics told; several events may have the same frame.

    Args:
        heard_s: stamp of each ``onset`` -> when it arrived.
        answers: from ``detections``, as they arrived.
        masks: frame stamp and label image of each ``collision_masks``, as they arrived.

    Returns:
        The events in onset order.

    Raises:
        RuntimeError: masks and answers do not match, so some were lost.
    """
    # The node publishes both for every event with objects, and one event after the other.
    frames = [answer.frame_ns for answer in answers], [frame_ns for frame_ns, _ in masks]
    if frames[0] != frames[1]:
        raise RuntimeError(
            f'{len(frames[0])} detections and {len(frames[1])} label images arrived, or not on the '
            'same frames: messages were lost, try again on a machine with less load'
        )
    found = {
        answer.onset_ns: LiveEvent(
            answer.onset_ns,
            heard_s.get(answer.onset_ns, answer.arrived_s),
            answer.arrived_s,
            answer.frame_ns,
            answer.labels,
            label_image,
        )
        for answer, (_, label_image) in zip(answers, masks, strict=True)
    }
    unanswered = {ns: LiveEvent(ns, arrived_s) for ns, arrived_s in heard_s.items()}
    return [event for _, event in sorted((unanswered | found).items())]


class _Spectator(Node):
    def __init__(self) -> None:
        super().__init__('cs3_spectator')
        self.active = False
        self.heard_s: dict[int, float] = {}
        self.answers: list[Answer] = []
        self.masks: list[tuple[int, NDArray[np.uint8]]] = []
        self.overlays: dict[int, bytes] = {}
        self.heat_maps: dict[int, bytes] = {}
        self.timings_ms: dict[int, dict[str, float]] = {}
        self.counts: dict[str, int] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(LabelInfo, '/cs3/label_info', self._on_active, latched)
        self.create_subscription(Classification, '/cs3/onset', self._on_onset, 100)
        self.create_subscription(ImageMessage, '/cs3/collision_masks', self._on_masks, 100)
        self.create_subscription(Detection2DArray, '/cs3/detections', self._on_answer, 100)
        for topic, kept in (('overlay', self.overlays), ('heatmap', self.heat_maps)):
            keep = partial(_keep_picture, kept)
            self.create_subscription(ImageMessage, f'/cs3/{topic}', keep, 100)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    @property
    def finished(self) -> bool:
        """True once every onset has been answered or dropped, or has failed."""
        ended = sum(self.counts.get(k, 0) for k in ('done', 'failed', 'dropped', 'no_frame'))
        arrived = min(len(self.answers), len(self.masks))
        return arrived >= self.counts.get('with_objects', 0) and (
            ended >= max(len(self.heard_s), self.counts.get('onsets', 0))
        )

    def _on_active(self, message: LabelInfo) -> None:
        self.active = True

    def _on_onset(self, message: Classification) -> None:
        self.heard_s[stamp_to_ns(message.header.stamp)] = time.monotonic()

    def _on_answer(self, message: Detection2DArray) -> None:
        labels = tuple(d.results[0].hypothesis.class_id for d in message.detections)
        onset_ns = onset_of(message.detections[0].id)
        frame_ns = stamp_to_ns(message.header.stamp)
        self.answers.append(Answer(onset_ns, frame_ns, labels, time.monotonic()))

    def _on_masks(self, message: ImageMessage) -> None:
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        self.masks.append((stamp_to_ns(message.header.stamp), labels))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {v.key: v.value for status in message.status for v in status.values}
        self.counts = {k: int(v) for k, v in values.items() if v.isdigit()}
        if last := values.get('last_answered'):
            self.timings_ms[onset_of(last)] = {
                key.removesuffix('_ms'): float(value)
                for key, value in values.items()
                if key.endswith('_ms')
            }


def _keep_picture(kept: dict[int, bytes], message: ImageMessage) -> None:
    """Compressed: a long recording has hundreds of events."""
    image = decode_image(
        message.encoding, message.height, message.width, message.step, 0, message.data
    )
    kept[stamp_to_ns(message.header.stamp)] = as_jpeg(image, 92)
