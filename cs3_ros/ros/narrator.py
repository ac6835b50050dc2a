"""What the node's log says, and when: inputs, events and losses in one line each.

The node tells what happens; here it is decided what of it is worth a line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from cs3_ros.collision import Collision, Onset, event_id
from cs3_ros.ros.diagnostics import COUNTERS, LOSSES, Snapshot

MISSING_S = 5.0
"""An input of which nothing came for this long is missing."""
REMIND_S = 60.0
"""It is named again after this long."""
LOSSES_S = 10.0
"""Losses are told at most this often."""
MOST_EVENTS = 256
"""Onsets remembered for the time until their masks."""

WORDS = {'image': 'pictures', 'audio': 'sound'}
"""Status of the diagnostics -> what it is about."""

_OWN_LINE = {'refused_frames', 'refused_audio', 'failed'}
"""Losses that are logged with their reason where they happen."""


class Narrator:
    """Writes the log of an active node.

    Args:
        logger: of the node, with ``info`` and ``warning``.
        clock: monotonic seconds.
    """

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self.activated({})

    def activated(self, topics: Mapping[str, str]) -> None:
        """The node listens from now on.

        Args:
            topics: full name -> its publishers and QoS in words; nothing is said without any.
        """
        now = self._clock()
        self._began = dict.fromkeys(WORDS, False)
        self._counted = dict.fromkeys(WORDS, 0)
        self._moved = dict.fromkeys(WORDS, now)
        self._warned: dict[str, float] = {}
        self._heard: dict[int, float] = {}
        self._lost: Mapping[str, int] = {}
        self._rises: dict[str, int] = {}
        self._losses_said = self._clocks_said = -REMIND_S
        if topics:
            listed = ', '.join(f'{name} ({text})' for name, text in topics.items())
            self._logger.info(f'listening to {listed}')

    def first(self, what: str, text: str, ahead_s: float | None) -> None:
        """The first frame or the first sound has come; later ones say nothing.

        Args:
            what: ``image`` or ``audio``.
            text: size and encoding, or rate, channels and format.
            ahead_s: seconds by which its stamps are ahead of the other input's; None where that
                has not come.
        """
        if self._began[what]:
            return
        self._began[what] = True
        other = WORDS['audio' if what == 'image' else 'image']
        skew = '' if ahead_s is None else f', {ahead_s:+.3f} s ahead of the {other}'
        self._logger.info(f'first {WORDS[what]}: {text}{skew}')

    def began(self, what: str) -> bool:
        """Whether ``first`` was said; cheap, for it is asked with every message."""
        return self._began[what]

    def onset(self, onset: Onset) -> None:
        """An onset was published."""
        while len(self._heard) >= MOST_EVENTS:
            del self._heard[next(iter(self._heard))]
        self._heard[onset.stamp_ns] = self._clock()

    def gated(self, onset: Onset) -> None:
        """A sudden sound was turned away."""
        self._logger.debug(
            f'no impact at {event_id(onset.stamp_ns)}: probability {onset.probability:.2f}, '
            f'peak {onset.peak_dbfs:.0f} dBFS'
        )

    def answered(self, collision: Collision) -> None:
        """An event was answered; called on the worker thread."""
        heard = self._heard.pop(collision.onset.stamp_ns, None)
        if heard is None:  # segment_now
            took = f'{sum(collision.timings_ms.values()):.0f} ms of work'
        else:
            took = f'{(self._clock() - heard) * 1e3:.0f} ms after its onset'
        verdict = collision.verdict
        if collision.objects:
            found = ' + '.join(candidate.label for candidate in collision.objects)
            contact = '' if verdict.contact_px is None else f', contact {verdict.contact_px:.1f} px'
            text = f'{found} ({verdict.rule}{contact})'
        else:
            text = f'no object ({" ".join(verdict.trace) or verdict.rule})'
        self._logger.info(f'event {collision.id}: {text}, {took}')

    def failed(self, onset: Onset, reason: str) -> str:
        """What to say of an event that a stage could not handle; called on the worker thread."""
        self._heard.pop(onset.stamp_ns, None)
        return f'event {event_id(onset.stamp_ns)} failed: {reason}'

    def observe(self, snapshot: Snapshot) -> None:
        """Look at the state of the node: what is missing, what is lost.

        Args:
            snapshot: as the diagnostics show it, about once a second while the node is active.
        """
        now = self._clock()
        for what in WORDS:
            self._watch(what, snapshot, now)
        clocks = snapshot.values.get('audio', {}).get('clocks', '')
        if clocks and now - self._clocks_said >= REMIND_S:
            self._clocks_said = now
            self._logger.warning(clocks)
        for names in LOSSES.values():
            for name in names:
                rise = snapshot.counts.get(name, 0) - self._lost.get(name, 0)
                if rise > 0 and name not in _OWN_LINE:
                    self._rises[name] = self._rises.get(name, 0) + rise
        self._lost = dict(snapshot.counts)
        if self._rises and now - self._losses_said >= LOSSES_S:
            listed = ', '.join(f'{name} +{rise}' for name, rise in self._rises.items())
            self._logger.warning(f'lost or repaired: {listed}')
            self._rises, self._losses_said = {}, now

    def _watch(self, what: str, snapshot: Snapshot, now: float) -> None:
        """Say that an input is missing, and that it is there again."""
        count = snapshot.counts.get(COUNTERS[what], 0)
        if count != self._counted[what]:
            self._counted[what], self._moved[what] = count, now
            if self._warned.pop(what, None) is not None and self._began[what]:
                self._logger.info(f'{WORDS[what]} again')
            return
        last = self._warned.get(what, now - REMIND_S)
        if now - self._moved[what] < MISSING_S or now - last < REMIND_S:
            return
        self._warned[what] = now
        self._logger.warning(
            f'no {WORDS[what]} for {now - self._moved[what]:.0f} s: {_why(what, snapshot)}; '
            '`cs3 doctor` tells more'
        )


def _why(what: str, snapshot: Snapshot) -> str:
    """Why nothing of an input arrives, as far as the node can know."""
    publishers = snapshot.publishers.get(what, {})
    refused = snapshot.values.get(what, {}).get('last_refused')
    if refused:
        return f'refused: {refused}'
    if not any(publishers.values()):
        names = ' and '.join(publishers) or 'its topic'
        return f'nobody publishes {names}; start the driver or remap the topic'
    listed = ', '.join(f'{name} has {count} publisher(s)' for name, count in publishers.items())
    return f'{listed}, but nothing arrives; compare message type, domain and network'


class RosLogHandler(logging.Handler):
    """Hands what the library logs to the node's logger."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """One record at the level of its own."""
        text = f'{record.name}: {record.getMessage()}'
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)
