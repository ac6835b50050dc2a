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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cs3_ros.files.jsonfile import prepare_json, write_json
from cs3_ros.files.progress import Bar
from cs3_ros.ros.processes import Child, children, own_domain
from cs3_ros.settings import field_of, parameter_names

PEERS = 'cs3_ros.bench.node_peers'
MINUTES = 3.0
"""Length of the whole, roughly; ``--minutes`` scales the phases from it."""
PHASE_S = 18.0
"""Length of a phase that is played in real time."""
CYCLES, RELOADS, KILLS, STORM_HZ = 200, 50, 20, 50.0
MOST_GROWTH_MB = 50.0
"""More resident memory than this above the start, with empty buffers, is a leak."""
STATES = ('starting', 'unconfigured', 'inactive', 'active', 'changing')
"""Where a node may be when it is killed."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True)
class Phase:
    """What came of one phase."""

    name: str
    """What was done."""
    seconds: float
    """How long it took."""
    sent: int
    """Messages that the node has to give account of."""
    used: int
    """Of these, frames and chunks that were stored, as the diagnostics say."""
    refused: int
    """Of these, refused for a reason."""
    lost: int
    """Of these, lost by the middleware."""
    untold: int
    """The rest: missing in the diagnostics; negative where they count more than was sent."""
    rss_mb: float
    """Resident megabytes at its end, the node inactive and its buffers empty."""
    growth_mb: float
    """By how much that is above the start."""
    highest_mb: float
    """Most resident megabytes that were seen in it."""
    verdict: str
    """``ok``, or what was wrong."""


class Soak:
    """The node under test, the peer, and the figures of each phase.

    Args:
        node: the process of the node, autostarted.
        peer: what talks to it.
        scale: 1 for the full length.
        seed: of all that is random.
    """

    def __init__(self, node: Child, peer: Any, scale: float, seed: int) -> None:
        from cs3_ros.bench.soak_peers import Absurd, small_jpeg

        self.node, self.peer = node, peer
        self.seconds = PHASE_S * scale
        self.rng = random.Random(seed)
        self.jpeg = small_jpeg()
        self.absurd = Absurd(self.rng, self.jpeg)
        self.phases: list[Phase] = []
        self.start_mb = 0.0
        self._highest_mb = 0.0
        self._scale = scale
        peer.on_wait = self._watch

    def times(self, count: int) -> int:
        """A number of repetitions on the scale of this run."""
        return max(3, round(count * self._scale))

    def run(self, name: str, phase: Callable[[Soak], str]) -> None:
        """Run a phase on the active node, then deactivate it and look at what is left.

        Args:
            name: for the table.
            phase: returns what was wrong, '' if nothing was.
        """
        peer = self.peer
        peer.sent, self._highest_mb, begin = 0, 0.0, time.monotonic()
        problem = phase(self)
        peer.settle()
        peer.change('deactivate')
        peer.until(lambda: peer.state == 'inactive', 'the node is inactive')
        peer.next_diagnostics()  # and the node has kept house: what it had is given back
        rss = self._watch()
        self.start_mb = self.start_mb or rss
        self._keep(name, time.monotonic() - begin, rss, problem)
        peer.change('activate')
        peer.next_diagnostics()

    def _keep(self, name: str, seconds: float, rss: float, problem: str) -> None:
        from cs3_ros.bench.soak_peers import LOST, REFUSED, USED

        used, refused, lost = (self.peer.counted(*names) for names in (USED, REFUSED, LOST))
        untold = self.peer.sent - used - refused - lost
        growth = rss - self.start_mb
        if self.peer.sent and not used:
            problem = problem or 'nothing was used'
        problems = [problem, f'{untold} messages untold' * (untold != 0)]
        problems.append(f'memory grew by {growth:.0f} MB' * (growth > MOST_GROWTH_MB))
        verdict = '; '.join(text for text in problems if text) or 'ok'
        self.phases.append(
            Phase(
                name=name,
                seconds=seconds,
                sent=self.peer.sent,
                used=used,
                refused=refused,
                lost=lost,
                untold=untold,
                rss_mb=rss,
                growth_mb=growth,
                highest_mb=self._highest_mb,
                verdict=verdict,
            )
        )

    def _watch(self) -> float:
        rss = self.node.cost()[1]
        self._highest_mb = max(self._highest_mb, rss)
        return rss


def usual(soak: Soak) -> str:
    """A camera and a microphone as they should be; what comes after is compared with its end."""
    _advertise(soak, 'image/compressed', 'audio_info', 'audio')
    soak.peer.play(soak.seconds / 2, soak.peer.pictures(soak.jpeg, 30), soak.peer.sound())
    return ''


def absurd_compressed(soak: Soak) -> str:
    """Compressed pictures, sound and infos with absurd fields."""
    _advertise(soak, 'image/compressed', 'audio_info', 'audio')
    return _absurd(soak, 'image/compressed', soak.absurd.compressed)


def absurd_raw(soak: Soak) -> str:
    """The same with raw pictures."""
    soak.peer.withdraw('image/compressed')
    _advertise(soak, 'image', 'audio_info', 'audio')
    problem = _absurd(soak, 'image', soak.absurd.raw)
    soak.peer.withdraw('image')
    return problem


def _absurd(soak: Soak, topic: str, picture: Callable[[int], Any]) -> str:
    peer, absurd = soak.peer, soak.absurd

    def good(count: int, stamp_ns: int) -> None:
        sound[1](count, stamp_ns)

    def info(count: int, stamp_ns: int) -> None:
        if count % 4:
            peer.tell(*absurd.info())
        else:  # so that sound and events go on in between
            peer.sound()

    sound = peer.sound()
    peer.play(
        soak.seconds,
        (1 / 30, lambda count, stamp_ns: peer.send(topic, picture(stamp_ns))),
        (sound[0], good),
        (1 / 10, lambda count, stamp_ns: peer.send('audio', absurd.audio(stamp_ns))),
        (1 / 2, info),
    )
    peer.sound()  # the latched info must be a good one, for it comes again
    return ''


def big_pictures(soak: Soak) -> str:
    """4K JPEG at 30 Hz."""
    from cs3_ros.bench.node_peers import textured
    from cs3_ros.files.images import as_jpeg

    _advertise(soak, 'image/compressed', 'audio_info', 'audio')
    jpeg = as_jpeg(textured(0, 3840, 2160), 80)
    soak.peer.play(soak.seconds, soak.peer.pictures(jpeg, 30), soak.peer.sound())
    return ''


def many_channels(soak: Soak) -> str:
    """Eight channels at 96 kHz in chunks of 2.5 ms."""
    _advertise(soak, 'image/compressed', 'audio_info', 'audio')
    sound = soak.peer.sound(96_000, 8, 0.0025)
    soak.peer.play(soak.seconds, soak.peer.pictures(soak.jpeg, 30), sound)
    return ''


def returning(soak: Soak) -> str:
    """Publishers that end and return with another QoS, size and rate."""
    from cs3_ros.bench.soak_peers import small_jpeg

    rng, lives = soak.rng, soak.times(12)
    for _ in range(lives):
        for topic in ('image/compressed', 'audio_info', 'audio'):
            soak.peer.advertise(topic, rng.random() < 0.5)
        soak.peer.heard()
        jpeg = small_jpeg(rng.choice((16, 64, 200, 720)))
        rate, channels = rng.choice((8000, 16_000, 44_100, 96_000)), rng.choice((1, 2, 8))
        sound = soak.peer.sound(rate, channels, rng.choice((0.005, 0.02, 0.1)))
        pictures = soak.peer.pictures(jpeg, rng.choice((5, 30, 60)))
        soak.peer.play(soak.seconds / lives, pictures, sound)
    return ''


def storm(soak: Soak) -> str:
    """Hot parameters, valid and invalid, 50 times a second, while sound and pictures come."""
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter
    from rclpy.qos import qos_profile_parameters

    peer, rng, wrong = soak.peer, soak.rng, []
    # of a depth that keeps a storm of answers; the usual one keeps ten
    client = peer.create_client(
        SetParameters, 'cs3/set_parameters', qos_profile=qos_profile_parameters
    )
    peer.until(client.service_is_ready, client.srv_name)
    hot = [name for name in parameter_names() if _field(name).metadata['hot']]
    asked: list[tuple[Any, str, bool]] = []

    def change(count: int, stamp_ns: int) -> None:
        name = rng.choice(hot)
        value = default = _field(name).default
        if not (valid := bool(count % 2)):
            value = rng.choice((float('nan'), float('inf'), -1e300, 'x' * 10_000, [1, 2], True))
            name = rng.choice((name, name, name, 'no.such', 'bundle', 'frames.buffer_mb'))
        assert default is not None
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        asked.append((client.call_async(request), f'{name} = {str(value)[:20]}', valid))

    _advertise(soak, 'image/compressed', 'audio_info', 'audio')
    pictures = peer.pictures(soak.jpeg, 30)
    peer.play(soak.seconds, (1 / STORM_HZ, change), pictures, peer.sound())
    peer.until(lambda: all(future.done() for future, _, _ in asked), 'answers to parameters')
    for future, text, valid in asked:
        if future.result().results[0].successful != valid:
            wrong.append(f'{text} was {"refused" if valid else "taken"}')
    peer.destroy_client(client)
    return '; '.join(sorted(set(wrong))[:3])


def cycles(soak: Soak) -> str:
    """Deactivate and activate, many times."""
    for _ in range(soak.times(CYCLES)):
        soak.peer.change('deactivate')
        soak.peer.change('activate')
    return ''


def reloads(soak: Soak) -> str:
    """Deactivate, clean up, configure and activate, many times."""
    for _ in range(soak.times(RELOADS)):
        for name in ('deactivate', 'cleanup', 'configure', 'activate'):
            soak.peer.change(name)
    return ''


PHASES: dict[str, Callable[[Soak], str]] = {
    'usual data': usual,
    'absurd JPEG, sound, infos': absurd_compressed,
    'absurd raw pictures, sound, infos': absurd_raw,
    '4K JPEG at 30 Hz': big_pictures,
    '8 channels at 96 kHz, 2.5 ms': many_channels,
    'publishers return': returning,
    'parameters at 50 Hz': storm,
    f'{CYCLES} deactivate, activate': cycles,
    f'{RELOADS} cleanup, configure': reloads,
}


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


def _advertise(soak: Soak, *topics: str) -> None:
    for topic in topics:
        soak.peer.advertise(topic)
    soak.peer.heard()


def _field(name: str) -> Any:
    return field_of(name)


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
