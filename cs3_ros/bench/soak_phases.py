"""The phases of ``cs3 bench soak``: what is done to the node, and the figures of each."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cs3_ros.ros.processes import Child
from cs3_ros.settings import field_of, parameter_names

PHASE_S = 18.0
"""Length of a phase that is played in real time."""
CYCLES, RELOADS, STORM_HZ = 200, 50, 50.0
MOST_GROWTH_MB = 50.0
"""More resident memory than this above the start, with empty buffers, is a leak."""
KEPT_MB = 128.0
"""From the 4K pictures on so much more is none: glibc keeps up to 64 MB of what a thread freed for
the next thread, and pictures pass through two of them."""
BIG = '4K JPEG at 30 Hz'
"""The phase of big pictures."""


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
    contact_mb: float
    """Resident megabytes of the contact node at its end; 0 where none runs."""
    verdict: str
    """``ok``, or what was wrong."""


class Soak:
    """The node under test, the peer, and the figures of each phase.

    Args:
        node: the process of the node, autostarted.
        contact: the process of the contact node; None where none runs beside it.
        peer: what talks to it.
        scale: 1 for the full length.
        seed: of all that is random.
    """

    def __init__(
        self, node: Child, contact: Child | None, peer: Any, scale: float, seed: int
    ) -> None:
        from cs3_ros.bench.soak_absurd import Absurd
        from cs3_ros.bench.soak_peers import small_jpeg

        self.node, self.contact, self.peer = node, contact, peer
        self.seconds = PHASE_S * scale
        self.rng = random.Random(seed)
        self.jpeg = small_jpeg()
        self.absurd = Absurd(self.rng, self.jpeg)
        self.phases: list[Phase] = []
        self.start_mb = self.start_contact_mb = 0.0
        self._highest_mb = 0.0
        self._scale = scale
        peer.on_wait = self._watch

    def times(self, count: int) -> int:
        """A number of repetitions on the scale of this run."""
        return max(3, round(count * self._scale))

    def run(
        self,
        name: str,
        phase: Callable[[Soak], str],
        after: Callable[[Soak], str] = lambda soak: '',
    ) -> None:
        """Run a phase on the active node, then deactivate it and look at what is left.

        Args:
            name: for the table.
            phase: returns what was wrong, '' if nothing was.
            after: the same, asked when the node is inactive and has told what it dropped.
        """
        peer = self.peer
        peer.begin()
        self._highest_mb, begin = 0.0, time.monotonic()
        problem = phase(self)
        peer.settle()
        peer.change('deactivate')
        peer.until(lambda: peer.state == 'inactive', 'the node is inactive')
        peer.next_diagnostics()  # and the node has kept house: what it had is given back
        rss = self._watch()
        contact_mb = 0.0 if self.contact is None else self.contact.cost()[1]
        self.start_mb = self.start_mb or rss
        self.start_contact_mb = self.start_contact_mb or contact_mb
        problem = '; '.join(filter(None, [problem, after(self)]))
        self._keep(name, time.monotonic() - begin, rss, contact_mb, problem)
        peer.change('activate')
        peer.next_diagnostics()

    def _keep(self, name: str, seconds: float, rss: float, contact_mb: float, problem: str) -> None:
        from cs3_ros.bench import soak_peers as told

        peer = self.peer
        used, refused, lost = (
            peer.counted(*names) + peer.counted_contact(*depth_names)
            for names, depth_names in (
                (told.USED, told.DEPTH_USED),
                (told.REFUSED, told.DEPTH_REFUSED),
                (told.LOST, told.DEPTH_LOST),
            )
        )
        sent = peer.sent + peer.sent_depth
        untold = sent - used - refused - lost
        growth = rss - self.start_mb
        seen_big = name == BIG or any(phase.name == BIG for phase in self.phases)
        most = MOST_GROWTH_MB + KEPT_MB * seen_big
        contact_growth = contact_mb - self.start_contact_mb
        if sent and not used:
            problem = problem or 'nothing was used'
        problems = [problem, f'{untold} messages untold' * (untold != 0)]
        problems.append(f'memory grew by {growth:.0f} MB' * (growth > most))
        grew = f'memory of the contact node grew by {contact_growth:.0f} MB'
        problems.append(grew * (contact_growth > most))
        verdict = '; '.join(text for text in problems if text) or 'ok'
        self.phases.append(
            Phase(
                name=name,
                seconds=seconds,
                sent=sent,
                used=used,
                refused=refused,
                lost=lost,
                untold=untold,
                rss_mb=rss,
                growth_mb=growth,
                highest_mb=self._highest_mb,
                contact_mb=contact_mb,
                verdict=verdict,
            )
        )

    def _watch(self) -> float:
        if self.contact is not None:
            self.contact.check()
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


def absurd_depth(soak: Soak) -> str:
    """Depth and camera_info with absurd fields beside usual pictures and sound."""
    peer, absurd = soak.peer, soak.absurd
    _advertise(soak, 'image/compressed', 'audio_info', 'audio', 'depth', 'camera_info')
    peer.play(
        soak.seconds,
        peer.pictures(soak.jpeg, 30),
        peer.sound(),
        (1 / 30, lambda count, stamp_ns: peer.send('depth', absurd.depth(stamp_ns))),
        (1 / 10, lambda count, stamp_ns: peer.send('camera_info', absurd.camera_info(stamp_ns))),
    )
    peer.withdraw('depth')
    peer.withdraw('camera_info')
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
    fields: dict[str, Any] = {name: field_of(name) for name in parameter_names()}
    hot = [name for name, field in fields.items() if field.metadata['hot']]
    asked: list[tuple[Any, str, bool]] = []

    def change(count: int, stamp_ns: int) -> None:
        name = rng.choice(hot)
        value = default = fields[name].default
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


def _advertise(soak: Soak, *topics: str) -> None:
    for topic in topics:
        soak.peer.advertise(topic)
    soak.peer.heard()


PHASES: dict[str, Callable[[Soak], str]] = {
    'usual data': usual,
    'absurd JPEG, sound, infos': absurd_compressed,
    'absurd raw pictures, sound, infos': absurd_raw,
    'absurd depth, camera_info': absurd_depth,
    BIG: big_pictures,
    '8 channels at 96 kHz, 2.5 ms': many_channels,
    'publishers return': returning,
    'parameters at 50 Hz': storm,
    f'{CYCLES} deactivate, activate': cycles,
    f'{RELOADS} cleanup, configure': reloads,
}
"""What is done in its turn; ``absurd_depth`` only where a contact node runs."""
