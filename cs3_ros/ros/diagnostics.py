"""What the node tells on ``/diagnostics``: what comes in, what is lost, how fast it is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

LOSSES = {
    'image': (
        'lost_frames',
        'refused_frames',
        'evicted_frames',
        'duplicate_frames',
        'out_of_order_frames',
    ),
    'audio': (
        'lost_audio',
        'refused_audio',
        'gaps',
        'missing_samples',
        'duplicates',
        'overlaps',
        'out_of_order',
        'nonfinite_samples',
        'clipped_chunks',
        'dropped_samples',
        'bad_chunks',
        'jumps_forward',
    ),
    'events': (
        'no_frame',
        'failed',
        'dropped',
        'resets',
        'rate_changes',
        'bad_stamps',
        'abandoned',
    ),
}
"""Counters that should stay at zero, by the status that shows them; a rise is a warning."""


@dataclass
class Snapshot:
    """The state of the node at one moment."""

    state: str
    """Lifecycle state."""
    bundle: str
    """Name of the bundle."""
    problem: str = ''
    """Why configure failed, or the last error of a stage; empty when all is well."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """All counters since activation."""
    publishers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Status name -> topic -> publishers now."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Status name -> further readings; ``last_refused`` says why nothing can be used."""


class Diagnostics:
    """Turns snapshots into DiagnosticArray messages; keeps the last counters for the rates.

    Args:
        name: fully qualified node name, the prefix of every status.
    """

    def __init__(self, name: str) -> None:
        self._name = name.lstrip('/')
        self._last: Mapping[str, int] = {}
        self._last_time = time.monotonic()

    def message(self, header: Header, snapshot: Snapshot) -> DiagnosticArray:
        """One status each for the node, the images, the sound and the events."""
        now = time.monotonic()
        elapsed, self._last_time = max(now - self._last_time, 1e-3), now
        counts, active = snapshot.counts, snapshot.state == 'active'
        level = ERROR if snapshot.problem and not active else OK
        statuses = [
            self._status(
                'node',
                level,
                snapshot.problem or snapshot.state,
                {'state': snapshot.state},
                snapshot,
            )
        ]
        for name, counter in (('image', 'frames'), ('audio', 'audio_chunks'), ('events', 'onsets')):
            rate = max(counts.get(counter, 0) - self._last.get(counter, 0), 0) / elapsed
            risen = [
                f'{loss} +{counts[loss] - self._last.get(loss, 0)}'
                for loss in LOSSES[name]
                if counts.get(loss, 0) > self._last.get(loss, 0)
            ]
            level, text = OK, f'{rate:.1f} per s'
            if not active:
                text = snapshot.state
            elif name != 'events' and rate == 0 and risen:
                level = WARN
                reason = snapshot.values.get(name, {}).get('last_refused')
                text = '; '.join(
                    ['nothing usable', ', '.join(risen), *([reason] if reason else [])]
                )
            elif name != 'events' and rate == 0:
                level = WARN
                text = 'nothing received; publishers: ' + ', '.join(
                    f'{topic} {number}'
                    for topic, number in snapshot.publishers.get(name, {}).items()
                )
            elif risen:
                level, text = WARN, f'{text}; {", ".join(risen)}'
            if name == 'events' and active and snapshot.problem and 'failed' in ''.join(risen):
                level, text = ERROR, snapshot.problem
            values = {'rate_hz': f'{rate:.2f}', counter: str(counts.get(counter, 0))}
            values |= {loss: str(counts.get(loss, 0)) for loss in LOSSES[name]}
            statuses.append(self._status(name, level, text, values, snapshot))
        self._last = dict(counts)
        return DiagnosticArray(header=header, status=statuses)

    def _status(
        self, name: str, level: bytes, text: str, values: Mapping[str, str], snapshot: Snapshot
    ) -> DiagnosticStatus:
        readings = dict(values) | dict(snapshot.values.get(name, {}))
        return DiagnosticStatus(
            level=level,
            name=f'{self._name}: {name}',
            message=text,
            hardware_id=snapshot.bundle,
            values=[KeyValue(key=key, value=value) for key, value in readings.items()],
        )
