"""Plays a bag into a node of its own, over real DDS, and keeps what the node answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from cs3_ros.collision import NS_PER_S, Image
from cs3_ros.images import decode_image
from cs3_ros.ros.environment import ros
from cs3_ros.ros.messages import stamp_to_ns
from cs3_ros.ros.processes import children, own_domain

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 60.0
CLOSING_S = 2.5
"""Events at the very end of a bag close 1 s after the last sound."""


@dataclass(eq=False)
class LiveEvent:
    """One event as a subscriber saw it."""

    onset_ns: int
    """Stamp of ``onset``."""
    heard_s: float
    """When ``onset`` arrived, monotonic seconds."""
    answered_s: float = float('nan')
    """When the masks arrived; NaN when no object was found."""
    frame_ns: int = 0
    """Stamp of the masks."""
    labels: list[str] = field(default_factory=list)
    """Label of each object."""
    label_image: NDArray[np.uint8] | None = None
    """uint8 [H, W] of ``collision_masks``."""


@dataclass(eq=False)
class LiveRun:
    """What a subscriber saw while a bag was played."""

    events: list[LiveEvent]
    """In onset order."""
    overlays: dict[int, Image]
    """Frame stamp -> RGB of ``overlay``."""
    counts: dict[str, int]
    """Counters of the last diagnostics."""


def play(bag: Path, bundle: str, speed: float = 1.0) -> LiveRun:
    """Start a node, play a bag into it from another process, wait for its answers.

    Args:
        bag: folder of the bag.
        bundle: what the node runs.
        speed: of the player.

    Raises:
        RuntimeError: the node did not become active.
    """
    with own_domain(), ros(), children() as start:
        node = start('cs3_ros.cli', 'node', '--bundle', bundle)
        spectator = _Spectator()
        _spin(spectator, lambda: spectator.active or node.ended, START_TIMEOUT_S)
        node.check()
        if not spectator.active:
            raise RuntimeError(f'the node was not active after {START_TIMEOUT_S:g} s:\n{node.text}')
        player = start('cs3_ros.cli', 'bag', 'play', str(bag), '--rate', str(speed))
        _spin(spectator, lambda: player.ended, float('inf'))
        _spin(spectator, lambda: False, CLOSING_S)
        _spin(spectator, lambda: spectator.finished, ANSWER_TIMEOUT_S)
        spectator.destroy_node()
    events = [spectator.events[onset_ns] for onset_ns in sorted(spectator.events)]
    for event in events:
        event.label_image = spectator.masks.get(event.frame_ns)
    return LiveRun(events, spectator.overlays, spectator.counts)


class _Spectator(Node):
    def __init__(self) -> None:
        super().__init__('cs3_spectator')
        self.active = False
        self.events: dict[int, LiveEvent] = {}
        self.masks: dict[int, NDArray[np.uint8]] = {}
        self.overlays: dict[int, Image] = {}
        self.counts: dict[str, int] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(LabelInfo, '/cs3/label_info', self._on_active, latched)
        self.create_subscription(Header, '/cs3/onset', self._on_onset, 100)
        self.create_subscription(ImageMessage, '/cs3/collision_masks', self._on_masks, 100)
        self.create_subscription(Detection2DArray, '/cs3/detections', self._on_answer, 100)
        self.create_subscription(ImageMessage, '/cs3/overlay', self._on_overlay, 100)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    @property
    def finished(self) -> bool:
        """True once every onset has been answered or dropped, or has failed."""
        ended = sum(self.counts.get(k, 0) for k in ('done', 'failed', 'dropped', 'no_frame'))
        return ended >= max(len(self.events), self.counts.get('onsets', 0))

    def _event(self, onset_ns: int) -> LiveEvent:
        return self.events.setdefault(onset_ns, LiveEvent(onset_ns, time.monotonic()))

    def _on_active(self, message: LabelInfo) -> None:
        self.active = True

    def _on_onset(self, message: Header) -> None:
        self._event(stamp_to_ns(message.stamp))

    def _on_answer(self, message: Detection2DArray) -> None:
        seconds, _, nanoseconds = message.detections[0].id.partition('.')
        event = self._event(int(seconds) * NS_PER_S + int(nanoseconds))
        event.answered_s = time.monotonic()
        event.frame_ns = stamp_to_ns(message.header.stamp)
        event.labels = [d.results[0].hypothesis.class_id for d in message.detections]

    def _on_masks(self, message: ImageMessage) -> None:
        labels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)
        self.masks[stamp_to_ns(message.header.stamp)] = labels

    def _on_overlay(self, message: ImageMessage) -> None:
        self.overlays[stamp_to_ns(message.header.stamp)] = decode_image(
            message.encoding, message.height, message.width, message.step, 0, message.data
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {v.key: v.value for status in message.status for v in status.values}
        self.counts = {k: int(v) for k, v in values.items() if v.isdigit()}


def _spin(node: Node, condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        rclpy.spin_once(node, timeout_sec=0.05)
