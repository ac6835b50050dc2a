"""What the live node does under absurd data and rough handling: memory, losses told, no death.

A node with stages that cost nothing and the tracker ``flow`` gets, phase by phase: pictures and
sound with absurd fields, 4K JPEG, many channels, publishers that come and go, hundreds of lifecycle
cycles, storms of parameters; then nodes are killed in every state. ``--events N`` plays N
collisions instead of the phases, in blocks with a deactivation after each; ``--depth`` has the
contact node beside it, with depth of its own. Everything runs in processes of its own, in a ROS
domain of its own. The status is 1 when a node ended, its memory grew or a message is missing in its
diagnostics.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from cs3_ros.bench.soak_phases import PHASES, Soak, absurd_depth
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
CONTACT = ('cs3_ros.cli', 'contact', '--ros-args', '-p', 'depth_mb:=2.0')
"""The contact node, whose cache is full soon."""
MOST_SLOPE_MB = 1.0
"""More resident memory than this per thousand events is a leak."""
LEAST_BLOCKS = 8
"""From so many blocks a slope is told."""


def kills(
    start: Callable[..., Child], peer: Any, count: int, rng: random.Random, depth: bool
) -> list[str]:
    """Kill nodes in every state; returns what was wrong.

    Args:
        start: starts a child.
        peer: publishes to the active ones.
        count: nodes to kill.
        rng: decides on the moments.
        depth: kill a contact node with each.
    """
    from cs3_ros.bench.soak_peers import change_request, small_jpeg

    wrong, jpeg = [], small_jpeg()
    for k in Bar(range(count), unit='kill', desc='kills', disable=None):
        state, number = STATES[k % len(STATES)], SIGNALS[k % len(SIGNALS)]
        idle = state in ('unconfigured', 'inactive')
        node = start(PEERS, 'tracking_node', *(('-p', 'autostart:=false') if idle else ()))
        victims = [node, start(*CONTACT)] if depth else [node]
        peer.on_wait = node.check
        if state == 'starting':
            time.sleep(rng.uniform(0.0, 2.0))
        else:
            reached = 'unconfigured' if idle else 'active'
            peer.forget()
            peer.until(
                lambda reached=reached: (
                    peer.state == reached and (peer.diagnosed_contact or not depth)
                ),
                f'the node is {reached}',
            )
            if state == 'inactive':
                peer.change('configure')
            elif state == 'changing':
                for name in ('deactivate', 'activate', 'deactivate', 'cleanup', 'configure'):
                    peer.request(change_request(name))
                time.sleep(rng.uniform(0.0, 0.3))
            elif state == 'active':
                peer.heard()
                peer.play(rng.uniform(0.1, 1.0), peer.pictures(jpeg, 30), peer.sound())
        # Before it has its handlers a signal ends it as it ends any program.
        fine = {-number} if number == signal.SIGKILL else {0}
        if state == 'starting':
            fine |= {-number, 130, 1}  # an interrupted import has the status of an error
        for victim in victims:
            victim.signal(number)
        for victim in victims:
            told = f'{state}, {victim.name.split()[0]}'
            try:
                status = victim.wait(15)
            except subprocess.TimeoutExpired:
                status = victim.stop()
                wrong.append(f'{told}: did not end on {number.name}')
            if status not in fine:
                wrong.append(f'{told}, {number.name}: status {status}')
    return wrong


def soak(
    minutes: float,
    seed: int,
    events: int = 0,
    depth: bool = False,
    keep: Callable[[dict[str, Any]], None] = lambda figures: None,
) -> dict[str, Any]:
    """Run all phases, or events; the figures of each, and of the kills.

    Args:
        minutes: length of the phases, roughly, and so many kills.
        seed: of all that is random.
        events: play so many in place of the phases; 0 plays the phases.
        depth: with the contact node.
        keep: called with the figures so far after each phase or block.
    """
    from cs3_ros.bench.soak_events import BLOCK, TRACK_S, EventPeer
    from cs3_ros.ros.environment import ros

    # The phases look at full queues, too; of events none shall be lost.
    depths = ('-p', 'image_depth:=10', '-p', 'audio_depth:=100')
    options = ('-p', f'tracking.seconds:={TRACK_S}') if events else depths
    figures: dict[str, Any] = {'minutes': minutes, 'seed': seed, 'events': events, 'depth': depth}
    with own_domain(), children() as start:
        node = start(PEERS, 'tracking_node', *options)
        contact = start(*CONTACT) if depth else None
        with ros(), _peer(lambda: EventPeer(depth)) as peer:
            peer.on_wait = node.check
            peer.until(lambda: peer.state == 'active', 'the node is active')
            peer.until(lambda: peer.diagnosed_contact or not depth, 'the contact node speaks')
            tested = Soak(node, contact, peer, minutes / MINUTES, seed)
            blocks: list[dict[str, int]] = []
            death = ''

            def account(soak: Soak) -> str:
                blocks.append(peer.figures())
                return str(peer.account())

            try:
                for name, count, phase in _plan(events, depth, BLOCK):
                    if phase is None:
                        tested.run(name, partial(_block, count), account)
                    else:
                        tested.run(name, phase)
                    figures |= _so_far(tested, blocks)
                    keep(figures)
            except RuntimeError as error:
                death = f'{name}: {error}'
            statuses = [child.stop() for child in (node, contact) if child is not None]
            begin = time.monotonic()
            number = tested.times(KILLS)
            wrong = kills(start, peer, number, random.Random(seed), depth) if not death else []
            seconds = time.monotonic() - begin
    figures |= {
        'death': death,
        'statuses': statuses,
        'kills': {'count': number, 'seconds': seconds, 'wrong': wrong},
    }
    fine = all(phase['verdict'] == 'ok' for phase in figures['phases'])
    steep = any(slope > MOST_SLOPE_MB for slope in figures['slopes_mb'].values())
    figures['ok'] = not (death or any(statuses) or wrong or steep) and fine
    return figures


def _block(count: int, soak: Soak) -> str:
    """So many events as a phase."""
    return str(soak.peer.block(count))


def _plan(events: int, depth: bool, block: int) -> Iterator[tuple[str, int, Any]]:
    """Name, number of events and phase of what is done in its turn."""
    if not events:
        names: Any = [name for name, phase in PHASES.items() if depth or phase is not absurd_depth]
        for name in Bar(names, unit='phase', desc='soak', disable=None):
            yield name, 0, PHASES[name]
    else:
        for first in Bar(range(0, events, block), unit='block', desc='soak', disable=None):
            count = min(block, events - first)
            yield f'events {first + 1} to {first + count}', count, None


def _so_far(tested: Soak, blocks: list[dict[str, int]]) -> dict[str, Any]:
    """The figures of all phases, of the events in them, and the slopes of memory."""
    from cs3_ros.bench.soak_events import BLOCK, slope

    phases = [asdict(phase) for phase in tested.phases]
    slopes = {}
    if len(blocks) >= LEAST_BLOCKS:
        names = {'node': 'rss_mb', 'contact node': 'contact_mb'}
        watched = list(names) if tested.contact is not None else ['node']
        slopes = {name: slope([p[names[name]] for p in phases], BLOCK) for name in watched}
    totals = {name: sum(block[name] for block in blocks) for name in (blocks or [{}])[0]}
    return {
        'start_mb': tested.start_mb,
        'phases': phases,
        'blocks': blocks,
        'totals': totals,
        'slopes_mb': slopes,
    }


@contextmanager
def _peer(make: Callable[[], Any]) -> Iterator[Any]:
    peer = make()
    try:
        yield peer
    finally:
        peer.destroy_node()


def _print(figures: dict[str, Any]) -> None:
    print(
        '| phase | s | sent | used | refused | lost | RSS, MB | growth | highest | contact, MB | '
        'verdict |'
    )
    print('|---|---|---|---|---|---|---|---|---|---|---|')
    for f in figures['phases']:
        print(
            f'| {f["name"]} | {f["seconds"]:.0f} | {f["sent"]} | {f["used"]} | {f["refused"]} | '
            f'{f["lost"]} | {f["rss_mb"]:.0f} | {f["growth_mb"]:+.0f} | {f["highest_mb"]:.0f} | '
            f'{f["contact_mb"]:.0f} | {f["verdict"]} |'
        )
    kills = figures['kills']
    if not figures['death']:
        verdict = '; '.join(kills['wrong']) or 'ok'
        print(f'| {kills["count"]} kills | {kills["seconds"]:.0f} |' + ' |' * 8 + f' {verdict} |')
    if figures['totals']:
        print('; '.join(f'{name} {count}' for name, count in figures['totals'].items()))
    for name, slope in figures['slopes_mb'].items():
        print(f'memory of the {name}: {slope:+.2f} MB per 1000 events')
    if figures['death']:
        print(f'a node died: {figures["death"]}')
    elif any(figures['statuses']):
        print(f'the nodes ended with status {figures["statuses"]}; expected 0')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``cs3 bench soak``."""
    parser.add_argument(
        '--minutes',
        type=float,
        default=MINUTES,
        metavar='M',
        help='length of phases and kills, roughly',
    )
    parser.add_argument(
        '--events', type=int, default=0, metavar='N', help='N collisions in place of the phases'
    )
    parser.add_argument(
        '--depth',
        action='store_true',
        help='with the contact node, which needs message_filters and cv_bridge of apt',
    )
    parser.add_argument('--seed', type=int, default=1, metavar='N', help='of all that is random')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures here')


def main(args: argparse.Namespace) -> int:
    """Run the benchmark; 1 where something was wrong, 130 where it was interrupted."""
    if not 0 < args.minutes < float('inf'):
        raise ValueError(f'--minutes {args.minutes}: expected a positive number of minutes')
    if args.events < 0:
        raise ValueError(f'--events {args.events}: expected a number of events')
    if args.depth:
        from cs3_ros.ros.apt import from_apt

        for module in ('message_filters', 'cv_bridge'):
            from_apt(module, 'the contact node')
    prepare_json(args.json)
    try:
        figures = soak(
            args.minutes,
            args.seed,
            args.events,
            args.depth,
            lambda figures: write_json(args.json, figures),
        )
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    _print(figures)
    write_json(args.json, figures)
    return 0 if figures['ok'] else 1
