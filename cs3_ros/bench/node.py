"""What the live node costs: CPU and memory while nothing happens, memory over many events.

Without options, the node (bundle lite, ``cs3 node``) hears steady faint noise and gets 720p30 JPEG
for a minute, beside a plain rclpy node that decodes every frame. With ``--events N`` the node, with
stages that cost nothing, hears N clicks as fast as it keeps up. Everything runs in processes of its
own, in a ROS domain of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEERS = 'cs3_ros.bench.node_peers'
START_S = 20.0
"""A process that is not there after this long is given up."""
ANSWER_S = 5.0
"""A click without masks after this long is given up."""
MB = 1e6


class Child:
    """A process of this package whose output is kept and whose cost can be read.

    Args:
        module: what ``python -m`` runs.
        arguments: its arguments.
        log: file for its output.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        import psutil

        self.name = ' '.join((module.rpartition('.')[2], *arguments))
        self._log = log
        # The wheels' bootstrap marks its process; a child has to find its libraries itself.
        inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=inherited,
                preexec_fn=_end_with_parent,
            )
        self._usage = psutil.Process(self._process.pid)

    @property
    def text(self) -> str:
        """What it has written."""
        return self._log.read_text('utf-8', 'replace')

    def last_json(self) -> dict[str, int]:
        """The figures in its last line.

        Raises:
            RuntimeError: it ended before it could write them.
        """
        try:
            figures: dict[str, int] = json.loads(self.text.splitlines()[-1])
        except (IndexError, ValueError) as error:
            raise RuntimeError(f'{self.name} left no figures:\n{self.text}') from error
        return figures

    def check(self) -> None:
        """Raise RuntimeError where the process has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f'{self.name} ended ({self._process.returncode}):\n{self.text}')

    def cost(self) -> tuple[float, float]:
        """CPU seconds so far, user and system, and resident megabytes now."""
        self.check()
        times = self._usage.cpu_times()
        return times.user + times.system, self._usage.memory_info().rss / MB

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does; kill it where that does not help."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _end_with_parent() -> None:
    """In the child: have the kernel interrupt it when the benchmark ends, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)


@contextmanager
def _children() -> Iterator[Any]:
    """A function that starts children; they end with the context."""
    children: list[Child] = []
    with tempfile.TemporaryDirectory(prefix='cs3_bench_') as folder:

        def start(module: str, *arguments: str) -> Child:
            children.append(Child(module, arguments, Path(folder) / f'{len(children)}.log'))
            return children[-1]

        try:
            yield start
        finally:
            for child in children:
                child.stop()


class Listener:
    """The newest diagnostics of the node in this benchmark's domain.

    Args:
        node: receives them while it spins.
    """

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray

        self.count = 0
        self._problem = ''
        self._node = node
        self._values: dict[str, dict[str, str]] = {}
        node.create_subscription(DiagnosticArray, '/diagnostics', self._keep, 10)

    def _keep(self, message: Any) -> None:
        self.count += 1
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
        import rclpy

        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

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


def idle(seconds: float, warm_up_s: float, bundle: str) -> dict[str, Any]:
    """CPU and memory of the node and of the plain node while nothing happens.

    Args:
        seconds: length of the measurement.
        warm_up_s: time before it; the node's buffers hold 10 s of frames.
        bundle: the node's bundle.
    """
    import rclpy
    from tqdm import tqdm

    from cs3_ros.ros.environment import ros

    with _own_domain(), _children() as start:
        node, plain = start('cs3_ros.cli', 'node', '--bundle', bundle), start(PEERS, 'decoder')
        camera = start(PEERS, 'camera')
        watched = {'node': node, 'plain': plain}
        everyone = (node, plain, camera)
        with ros():
            listener = Listener(rclpy.create_node('bench'))
            listener.until(
                lambda: (
                    listener.counter('image', 'frames')
                    and listener.counter('audio', 'audio_chunks')
                ),
                'pictures and sound arrive at the node',
                everyone,
            )
            with tqdm(total=round(warm_up_s + seconds), unit='s', desc='idle') as bar:
                _pass(listener, warm_up_s, bar)
                before = {name: child.cost() for name, child in watched.items()}
                begin = time.monotonic()
                _pass(listener, seconds, bar)
                elapsed = time.monotonic() - begin
                after = {name: child.cost() for name, child in watched.items()}
            camera.stop()
            seen = listener.count
            listener.until(lambda: listener.count >= seen + 2, 'the last diagnostics', (node,))
            plain.stop()
        published, decoded = camera.last_json(), plain.last_json()['frames']
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


def many_events(count: int) -> dict[str, Any]:
    """Memory of the node over many events, and how fast it answers with stages that cost nothing.

    Args:
        count: number of clicks.
    """
    import numpy as np
    import rclpy
    from tqdm import tqdm

    from cs3_ros.ros.environment import ros

    rss: list[float] = []
    with _own_domain(), _children() as start:
        node = start(PEERS, 'fake_node')
        with ros():
            from cs3_ros.bench.node_peers import Clicks

            clicks = Clicks()
            listener = Listener(clicks)
            listener.until(lambda: clicks.connected, 'the node listens', (node,))
            listener.spin(1.0)  # by then it has read audio_info and follows the publishers' QoS
            begin, cpu = time.monotonic(), node.cost()[0]
            for period in tqdm(range(count), unit='event', desc='clicks'):
                clicks.publish(period)
                # Two periods are under way, so that the node never waits for this process.
                deadline = time.monotonic() + ANSWER_S
                while period > 0 and period - 1 not in clicks.mask_ns:
                    rclpy.spin_once(clicks, timeout_sec=0.1)
                    if time.monotonic() > deadline:
                        break
                rss.append(node.cost()[1])
            elapsed, cpu = time.monotonic() - begin, node.cost()[0] - cpu
            seen = listener.count
            listener.until(lambda: listener.count >= seen + 2, 'the last diagnostics', (node,))
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
        'seconds': elapsed,
        'times_real_time': count * Clicks.PERIOD_S / elapsed,
        'cpu_ms_per_event': 1e3 * cpu / count,
        'onset_to_masks_ms': {'p50': float(p50), 'p95': float(p95)},
        'block': block,
        'rss_mb': blocks,
        'rss_growth_mb': blocks[-1] - blocks[0],
    }


@contextmanager
def _own_domain() -> Iterator[None]:
    """A random domain on this machine only, for this process and its children."""
    mine = {
        'ROS_DOMAIN_ID': str(random.randrange(1, 100)),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    before = dict(os.environ)
    os.environ.update(mine)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _pass(listener: Listener, seconds: float, bar: Any) -> None:
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
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark as the command line asks; 130 where it was interrupted."""
    try:
        if args.events is None:
            figures = idle(args.seconds, args.warm_up, args.bundle)
            _print_idle(figures)
        else:
            figures = many_events(args.events)
            _print_events(figures)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    if args.json is not None:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(figures, indent=1) + '\n')
    return 0
