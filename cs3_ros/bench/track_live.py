"""How late tracked masks are on their topic: ``cs3 bench track --live SECONDS``.

A camera process publishes 720p30 JPEG, a node process with stages that cost nothing and the tracker
``flow`` answers an event every 1.5 s (``~/segment_now``); this process listens. A mask is live when
its frame is newer than the answer of its event; the others were caught up with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from cs3_ros.bench.node import PEERS, DiagnosticsListener
from cs3_ros.collision import NS_PER_S
from cs3_ros.ros.processes import children, own_domain

EVERY_S = 1.5
"""Time from one event to the next."""


def measure(seconds: float) -> dict[str, Any]:
    """Let the node track for a while.

    Args:
        seconds: length of the measurement.

    Raises:
        RuntimeError: a process did not come up, or ended.
    """
    import rclpy
    from sensor_msgs.msg import CompressedImage, Image
    from std_srvs.srv import Trigger

    from cs3_ros.ros.environment import ros
    from cs3_ros.ros.messages import stamp_to_ns

    answers: list[tuple[int, int]] = []  # stamp of the frame, time of publication
    tracked: list[tuple[int, int]] = []
    taken: list[tuple[int, int]] = []

    def keep(into: list[tuple[int, int]]) -> Any:
        def on_message(message: Any, info: Mapping[str, int]) -> None:
            into.append((stamp_to_ns(message.header.stamp), info['source_timestamp']))

        return on_message

    with own_domain(), children() as start:
        node = start(PEERS, 'tracking_node')
        camera = start(PEERS, 'camera', '2')
        with ros():
            peer = rclpy.create_node('bench', namespace='cs3')
            listener = DiagnosticsListener(peer)
            peer.create_subscription(Image, 'collision_masks', keep(answers), 100)
            peer.create_subscription(Image, 'tracked_masks', keep(tracked), 200)
            peer.create_subscription(CompressedImage, 'image/compressed', keep(taken), 200)
            client: Any = peer.create_client(Trigger, 'cs3/segment_now')
            listener.until(
                lambda: listener.counter('image', 'frames') and client.service_is_ready(),
                'pictures arrive at the node',
                (node, camera),
            )
            cpu, begin, asked = node.cost()[0], time.monotonic(), 0
            while time.monotonic() < begin + seconds:
                client.call_async(Trigger.Request())
                asked += 1
                listener.spin(EVERY_S)
            cpu = (node.cost()[0] - cpu) / (time.monotonic() - begin)
            listener.spin(3.0)  # the last track, and the diagnostics that count it
            counts = {
                name: listener.counter('events', name)
                for name in ('done', 'tracked_frames', 'dropped_track_frames', 'failed_tracks')
            }
            peer.destroy_node()
    return {'seconds': seconds, 'events': asked, 'cpu_percent': 100 * cpu, **counts} | latencies(
        answers, tracked, dict(taken)
    )


def latencies(
    answers: list[tuple[int, int]], tracked: list[tuple[int, int]], taken: Mapping[int, int]
) -> dict[str, dict[str, float]]:
    """Milliseconds from a frame's publication to its tracked masks, live and caught up with.

    Args:
        answers: stamp of the frame and time of publication, ns, of the masks of each event.
        tracked: the same of the tracked masks.
        taken: stamp of a frame -> time of its publication, ns.
    """
    found: dict[str, list[float]] = {'live_ms': [], 'caught_up_ms': []}
    for stamp_ns, told_ns in tracked:
        event = max((each for each in answers if each[0] <= stamp_ns), default=None)
        if event is not None and stamp_ns in taken:
            key = 'live_ms' if taken[stamp_ns] > event[1] else 'caught_up_ms'
            found[key].append((told_ns - taken[stamp_ns]) / (NS_PER_S / 1e3))
    return {
        key: {
            'n': len(values),
            **{
                name: float(np.percentile(values or [np.nan], share))
                for name, share in (('p50', 50), ('p95', 95), ('p99', 99), ('max', 100))
            },
        }
        for key, values in found.items()
    }


def told(figures: dict[str, Any]) -> str:
    """The figures in words."""
    live, late = figures['live_ms'], figures['caught_up_ms']
    return (
        f'{figures["done"]} of {figures["events"]} events answered in {figures["seconds"]:g} s; '
        f'{figures["tracked_frames"]} frames tracked, {figures["dropped_track_frames"]} dropped, '
        f'{figures["failed_tracks"]} failed; node {figures["cpu_percent"]:.0f} % of one core\n'
        f'live: {live["n"]} masks, {live["p50"]:.0f} ms after their frame, 95 % within '
        f'{live["p95"]:.0f} ms, 99 % within {live["p99"]:.0f} ms, latest {live["max"]:.0f} ms\n'
        f'caught up with: {late["n"]} masks, latest {late["max"]:.0f} ms'
    )
