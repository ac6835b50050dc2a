"""What the live node costs: CPU and memory while nothing happens, memory over many events.

Without options, the node (bundle lite, ``cs3 node``) hears steady faint noise and gets 720p30 JPEG
for a minute, beside a plain rclpy node that decodes every frame. With ``--events N`` the node, with
stages that cost nothing, hears N clicks as fast as it keeps up. Everything runs in processes of its
own, in a ROS domain of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from cs3_ros.files.jsonfile import add_json, prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.ros.processes import Child, children, own_domain

PEERS = 'cs3_ros.bench.node_peers'
START_S = 60.0
"""A process that is not there after this long is given up."""
ANSWER_S = 5.0
"""A click without masks after this long is given up."""


class DiagnosticsListener:
    """The newest diagnostics of the node in this benchmark's domain.

    Args:
        node: receives them while it spins.
    """

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self._count = 0
        self._problem = ''
        self._node = node
        self._values: dict[str, dict[str, str]] = {}
        node.create_subscription(DiagnosticArray, '/diagnostics', self._keep, 10)

    def _keep(self, message: Any) -> None:
        self._count += 1
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            self._values[status.name.rpartition(' ')[2]] = values
            if status.level == status.ERROR:
                self._problem = status.message

    def counter(self, status: str, name: str) -> int:
        """A counter of the node; 0 before it is known."""
        return int(self._values.get(status, {}).get(name, 0))

    def spin(self, seconds: float) -> None:
        """Listen for a while."""
        from cs3_ros.ros.spin import spin_until

        spin_until(self._node, lambda: False, seconds)

    def until(self, condition: Any, what: str, children: Sequence[Child]) -> None:
        """Listen until something is true.

        Raises:
            RuntimeError: it took too long, a child ended or the node says that it failed.
        """
        deadline = time.monotonic() + START_S
        while not condition():
            for child in children:
                child.check()
            if self._problem:
                raise RuntimeError(f'the node: {self._problem}')
            if time.monotonic() > deadline:
                logs = '\n'.join(f'--- {child.name}\n{child.text}' for child in children)
                raise RuntimeError(f'{what}: not after {START_S:g} s\n{logs}')
            self.spin(0.1)

    def settle(self, status: str, name: str, expected: int) -> None:
        """Listen until a counter is where it should be, at most to the third diagnostics."""
        last = self._count + 3
        while self.counter(status, name) < expected and self._count < last:
            self.spin(0.1)


def idle(seconds: float, warm_up_s: float, bundle: str) -> dict[str, Any]:
    """CPU and memory of the node and of the plain node while nothing happens.

    Args:
        seconds: length of the measurement.
        warm_up_s: time before it; the node's buffers hold 10 s of frames.
        bundle: the node's bundle.
    """
    import rclpy

    from cs3_ros.ros.environment import ros

    with own_domain(), children() as start:
        node, plain = start('cs3_ros.cli', 'node', '--bundle', bundle), start(PEERS, 'decoder')
        camera = start(PEERS, 'camera')
        watched = {'node': node, 'plain': plain}
        everyone = (node, plain, camera)
        with ros():
            listener = DiagnosticsListener(rclpy.create_node('bench'))
            listener.until(
                lambda: (
                    listener.counter('image', 'frames')
                    and listener.counter('audio', 'audio_chunks')
                ),
                'pictures and sound arrive at the node',
                everyone,
            )
            with Bar(total=round(warm_up_s + seconds), unit='s', desc='idle', disable=None) as bar:
                _pass(listener, warm_up_s, bar)
                before = {name: child.cost() for name, child in watched.items()}
                begin = time.monotonic()
                _pass(listener, seconds, bar)
                elapsed = time.monotonic() - begin
                after = {name: child.cost() for name, child in watched.items()}
            camera.stop()
            published = camera.last_json()
            listener.settle('image', 'frames', published['frames'])
            listener.settle('audio', 'audio_chunks', published['chunks'])
            plain.stop()
        decoded = plain.last_json()['frames']
    frames = listener.counter('image', 'frames')
    chunks = listener.counter('audio', 'audio_chunks')
    figures: dict[str, Any] = {
        'seconds': elapsed,
        'bundle': bundle,
        'published_frames': published['frames'],
        'published_chunks': published['chunks'],
    }
    for name, received in (('node', frames), ('plain', decoded)):
        figures[name] = {
            'cpu_percent': 100 * (after[name][0] - before[name][0]) / elapsed,
            'rss_start_mb': before[name][1],
            'rss_end_mb': after[name][1],
            'frames': received,
            'lost_frames': published['frames'] - received,
        }
    figures['node'] |= {
        'chunks': chunks,
        'lost_chunks': published['chunks'] - chunks,
        'onsets': listener.counter('events', 'onsets'),
    }
    figures['cpu_ratio'] = figures['node']['cpu_percent'] / figures['plain']['cpu_percent']
    return figures


def many_events(count: int, track: bool = False) -> dict[str, Any]:
    """Memory of the node over many events, and how fast it answers with stages that cost nothing.

    Args:
        count: number of clicks.
        track: carry the masks on, too, by ``flow``.
    """
    from cs3_ros.bench.node_peers import Clicks
    from cs3_ros.ros.environment import ros
    from cs3_ros.ros.spin import spin_until

    def answered(period: int) -> bool:
        return period < 0 or period in clicks.mask_ns

    rss: list[float] = []
    with own_domain(), children() as start:
        node = start(PEERS, 'tracking_node' if track else 'fake_node')
        with ros():
            clicks = Clicks()
            listener = DiagnosticsListener(clicks)
            listener.until(lambda: clicks.connected, 'the node listens', (node,))
            listener.spin(0.5)  # by then it has read audio_info and follows the publishers' QoS
            begin, cpu = time.monotonic(), node.cost()[0]
            for period in Bar(range(count), unit='event', desc='clicks', disable=None):
                clicks.publish(period)
                # Two periods are under way, so that the node never waits for this process.
                spin_until(clicks, partial(answered, period - 1), ANSWER_S)
                rss.append(node.cost()[1])
            elapsed, cpu = time.monotonic() - begin, node.cost()[0] - cpu
            listener.settle('events', 'done', len(clicks.mask_ns))
    both = sorted(set(clicks.onset_ns) & set(clicks.mask_ns))
    latency_ms = [(clicks.mask_ns[k] - clicks.onset_ns[k]) / 1e6 for k in both]
    block = max(1, min(1000, count // 10))
    blocks = [float(np.median(rss[k : k + block])) for k in range(0, count, block)]
    p50, p95 = np.percentile(latency_ms or [float('nan')], (50, 95))
    return {
        'events': count,
        'onsets': len(clicks.onset_ns),
        'needless_onsets': clicks.needless,
        'answered': len(clicks.mask_ns),
        'dropped': listener.counter('events', 'dropped'),
        'failed': listener.counter('events', 'failed'),
        'lost_frames': listener.counter('image', 'lost_frames'),
        'tracked_frames': listener.counter('events', 'tracked_frames'),
        'dropped_track_frames': listener.counter('events', 'dropped_track_frames'),
        'seconds': elapsed,
        'times_real_time': count * Clicks.PERIOD_S / elapsed,
        'cpu_ms_per_event': 1e3 * cpu / count,
        'onset_to_masks_ms': {'p50': float(p50), 'p95': float(p95)},
        'block': block,
        'rss_mb': blocks,
        'rss_growth_mb': blocks[-1] - blocks[0],
    }


def _pass(listener: DiagnosticsListener, seconds: float, bar: Any) -> None:
    """Let time pass, a second at a time."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        step = min(1.0, left)
        listener.spin(step)
        bar.update(round(step))


def _print_idle(figures: dict[str, Any]) -> None:
    print(
        f'720p30 JPEG, 48 kHz sound, no impacts, {figures["seconds"]:.0f} s; published '
        f'{figures["published_frames"]} frames, {figures["published_chunks"]} chunks'
    )
    print('| process | CPU, % of one core | RSS start, MB | RSS end, MB | frames | lost |')
    print('|---|---|---|---|---|---|')
    for name, title in (('node', f'cs3 node ({figures["bundle"]})'), ('plain', 'plain, decodes')):
        f = figures[name]
        print(
            f'| {title} | {f["cpu_percent"]:.1f} | {f["rss_start_mb"]:.0f} | '
            f'{f["rss_end_mb"]:.0f} | {f["frames"]} | {f["lost_frames"]} |'
        )
    f = figures['node']
    print(
        f'The node read {f["chunks"]} chunks ({f["lost_chunks"]} lost), heard {f["onsets"]} onsets'
    )
    print(f'CPU, node / plain node: {figures["cpu_ratio"]:.2f}')


def _print_events(figures: dict[str, Any]) -> None:
    f, block = figures, figures['block']
    print(
        f'{f["events"]} clicks in {f["seconds"]:.0f} s, {f["times_real_time"]:.1f} x real time, '
        f'{f["cpu_ms_per_event"]:.1f} ms CPU per event'
    )
    print(
        f'{f["onsets"]} heard (+{f["needless_onsets"]} needless), {f["answered"]} answered, '
        f'{f["dropped"]} dropped, {f["failed"]} failed, {f["lost_frames"]} frames lost'
    )
    print(f'{f["tracked_frames"]} frames tracked, {f["dropped_track_frames"]} dropped')
    latency = f['onset_to_masks_ms']
    print(f'onset to masks: p50 {latency["p50"]:.1f} ms, p95 {latency["p95"]:.1f} ms')
    rss = f['rss_mb']
    print(f'RSS, MB, median of each {block} events: {" ".join(f"{mb:.1f}" for mb in rss)}')
    print(
        f'first {block} against last {block}: {rss[0]:.1f} -> {rss[-1]:.1f} MB '
        f'({f["rss_growth_mb"]:+.1f})'
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench node``."""
    parser.add_argument('--seconds', type=float, default=60.0, help='length of the measurement')
    parser.add_argument(
        '--warm-up', type=float, default=15.0, metavar='S', help='seconds before it'
    )
    parser.add_argument('--bundle', default='lite', help='bundle of the node')
    parser.add_argument(
        '--events', type=int, metavar='N', help='N clicks and fake stages in place of idleness'
    )
    parser.add_argument('--track', action='store_true', help='with --events: track, too')
    add_json(parser, 'write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark as the command line asks; 130 where it was interrupted."""
    prepare_json(args.json, args.force)
    try:
        if args.events is None:
            figures = idle(args.seconds, args.warm_up, args.bundle)
            _print_idle(figures)
        else:
            figures = many_events(args.events, args.track)
            _print_events(figures)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    write_json(args.json, figures)
    return 0
