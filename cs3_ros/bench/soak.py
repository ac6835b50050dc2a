"""What the live node does under absurd data and rough handling: memory, losses told, no death.

A node with stages that cost nothing gets, phase by phase: pictures and sound with absurd fields, 4K
JPEG, many channels, publishers that come and go, hundreds of lifecycle cycles, storms of
parameters; then nodes are killed in every state. Everything runs in processes of its own, in a ROS
domain of its own. The status is 1 when the node ended, its memory grew or a message is missing in
its diagnostics.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cs3_ros.bench.soak_phases import PHASES, Soak
from cs3_ros.files.jsonfile import prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.ros.processes import Child, children, own_domain

PEERS = 'cs3_ros.bench.node_peers'
MINUTES = 3.0
"""Length of the whole, roughly; ``--minutes`` scales the phases from it."""
KILLS = 20
STATES = ('starting', 'unconfigured', 'inactive', 'active', 'changing')
"""Where a node may be when it is killed."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


def kills(start: Callable[..., Child], peer: Any, count: int, rng: random.Random) -> list[str]:
    """Kill nodes in every state; returns what was wrong.

    Args:
        start: starts a child.
        peer: publishes to the active ones.
        count: nodes to kill.
        rng: decides on the moments.
    """
    from cs3_ros.bench.soak_peers import change_request, small_jpeg

    wrong, jpeg = [], small_jpeg()
    for k in Bar(range(count), unit='kill', desc='kills', disable=None):
        state, number = STATES[k % len(STATES)], SIGNALS[k % len(SIGNALS)]
        idle = state in ('unconfigured', 'inactive')
        node = start(PEERS, 'fake_node', *(('-p', 'autostart:=false') if idle else ()))
        peer.on_wait = node.check
        if state == 'starting':
            time.sleep(rng.uniform(0.0, 2.0))
        else:
            reached = 'unconfigured' if idle else 'active'
            peer.forget()
            peer.until(lambda reached=reached: peer.state == reached, f'the node is {reached}')
            if state == 'inactive':
                peer.change('configure')
            elif state == 'changing':
                for name in ('deactivate', 'activate', 'deactivate', 'cleanup', 'configure'):
                    peer.request(change_request(name))
                time.sleep(rng.uniform(0.0, 0.3))
            elif state == 'active':
                peer.heard()
                peer.play(rng.uniform(0.1, 1.0), peer.pictures(jpeg, 30), peer.sound())
        node.signal(number)
        try:
            status = node.wait(15)
        except Exception:  # subprocess.TimeoutExpired
            status = node.stop()
            wrong.append(f'{state}: did not end on {number.name}')
        # Before it has its handlers a signal ends it as it ends any program.
        fine = {-number} if number == signal.SIGKILL else {0}
        if state == 'starting':
            fine |= {-number, 130, 1}  # an interrupted import has the status of an error
        if status not in fine:
            wrong.append(f'{state}, {number.name}: status {status}')
    return wrong


def soak(minutes: float, seed: int) -> dict[str, Any]:
    """Run all phases; the figures of each, and of the kills."""
    from cs3_ros.bench.soak_peers import Peer
    from cs3_ros.ros.environment import ros

    scale = minutes / MINUTES
    with own_domain(), children() as start:
        node = start(PEERS, 'fake_node', '-p', 'image_depth:=10', '-p', 'audio_depth:=100')
        with ros(), _peer(Peer) as peer:
            peer.on_wait = node.check
            peer.until(lambda: peer.state == 'active', 'the node is active')
            tested = Soak(node, peer, scale, seed)
            death = ''
            for name, phase in Bar(PHASES.items(), unit='phase', desc='soak', disable=None):
                try:
                    tested.run(name, phase)
                except RuntimeError as error:
                    death = f'{name}: {error}'
                    break
            status = node.stop()
            begin = time.monotonic()
            number = tested.times(KILLS)
            wrong = kills(start, peer, number, random.Random(seed)) if not death else []
            seconds = time.monotonic() - begin
    phases = [asdict(phase) for phase in tested.phases]
    return {
        'minutes': minutes,
        'seed': seed,
        'start_mb': tested.start_mb,
        'phases': phases,
        'death': death,
        'status': status,
        'kills': {'count': number, 'seconds': seconds, 'wrong': wrong},
        'ok': not death
        and status == 0
        and not wrong
        and all(phase['verdict'] == 'ok' for phase in phases),
    }


@contextmanager
def _peer(peer_class: Any) -> Iterator[Any]:
    peer = peer_class()
    try:
        yield peer
    finally:
        peer.destroy_node()


def _print(figures: dict[str, Any]) -> None:
    print('| phase | s | sent | used | refused | lost | RSS, MB | growth | highest | verdict |')
    print('|---|---|---|---|---|---|---|---|---|---|')
    for f in figures['phases']:
        print(
            f'| {f["name"]} | {f["seconds"]:.0f} | {f["sent"]} | {f["used"]} | {f["refused"]} | '
            f'{f["lost"]} | {f["rss_mb"]:.0f} | {f["growth_mb"]:+.0f} | {f["highest_mb"]:.0f} | '
            f'{f["verdict"]} |'
        )
    kills = figures['kills']
    if not figures['death']:
        verdict = '; '.join(kills['wrong']) or 'ok'
        print(f'| {kills["count"]} kills | {kills["seconds"]:.0f} |' + ' |' * 7 + f' {verdict} |')
    if figures['death']:
        print(f'the node died: {figures["death"]}')
    elif figures['status']:
        print(f'the node ended with status {figures["status"]}; expected 0')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench soak``."""
    parser.add_argument(
        '--minutes', type=float, default=MINUTES, metavar='M', help='length of the whole, roughly'
    )
    parser.add_argument('--seed', type=int, default=1, metavar='N', help='of all that is random')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark; 1 where something was wrong, 130 where it was interrupted."""
    if not 0 < args.minutes < float('inf'):
        raise ValueError(f'--minutes {args.minutes}: expected a positive number of minutes')
    prepare_json(args.json)
    try:
        figures = soak(args.minutes, args.seed)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    _print(figures)
    write_json(args.json, figures)
    return 0 if figures['ok'] else 1
