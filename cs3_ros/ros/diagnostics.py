"""What the node tells on ``/diagnostics``: what comes in, what is lost, how fast it is."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from cs3_ros.collision import NS_PER_S, Collision
from cs3_ros.runtime import gpu_memory_gib
from cs3_ros.trigger.stream import CollisionStream

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
        'splices',
    ),
    'events': (
        'no_frame',
        'failed',
        'dropped',
        'resets',
        'rate_changes',
        'bad_stamps',
        'out_of_memory',
        'not_accelerated',
        'dropped_track_frames',
        'failed_tracks',
    ),
}
"""Counters that should stay at zero, by the status that shows them; a rise is a warning."""


COUNTERS = {'image': 'frames', 'audio': 'audio_chunks', 'events': 'onsets'}
"""What the rate of each status counts."""
HARMLESS = {'image': ('built_in_frames', 'cv_bridge_frames'), 'events': ('gated',)}
"""Counters that are shown and no reason for a warning: who reads pictures, what was no impact."""


@dataclass(frozen=True)
class Snapshot:
    """The state of the node at one moment."""

    state: str
    """Lifecycle state."""
    hardware: Mapping[str, str] = field(default_factory=dict)
    """Status name -> the sensor behind it, its frame_id; the others are about this computer."""
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
        # While it is active, a problem is that of one event, and the events' status tells it.
        problem = snapshot.problem if snapshot.state != 'active' else ''
        level, text = (ERROR, problem) if problem else (OK, snapshot.state)
        statuses = [self._status('node', level, text, {'state': snapshot.state}, snapshot)]
        counts = snapshot.counts
        for name, counter in COUNTERS.items():
            rate = max(counts.get(counter, 0) - self._last.get(counter, 0), 0) / elapsed
            level, text = self._judge(name, rate, snapshot)
            values = {'rate_hz': f'{rate:.2f}', counter: str(counts.get(counter, 0))}
            shown = (*HARMLESS.get(name, ()), *LOSSES[name])
            values |= {each: str(counts.get(each, 0)) for each in shown}
            statuses.append(self._status(name, level, text, values, snapshot))
        self._last = dict(counts)
        return DiagnosticArray(header=header, status=statuses)

    def _judge(self, name: str, rate: float, snapshot: Snapshot) -> tuple[bytes, str]:
        """Level and text of the images, the sound or the events."""
        if snapshot.state != 'active':
            return OK, snapshot.state
        rises = {
            loss: snapshot.counts.get(loss, 0) - self._last.get(loss, 0) for loss in LOSSES[name]
        }
        losses = ', '.join(f'{loss} +{rise}' for loss, rise in rises.items() if rise > 0)
        if name == 'events':
            if snapshot.problem and rises['failed'] > 0:
                return ERROR, snapshot.problem
        elif rate == 0 and losses:
            reason = snapshot.values.get(name, {}).get('last_refused')
            return WARN, '; '.join(part for part in ('nothing usable', losses, reason) if part)
        elif rate == 0:
            topics = snapshot.publishers.get(name, {}).items()
            publishers = ', '.join(f'{topic} {number}' for topic, number in topics)
            return WARN, f'nothing received; publishers: {publishers}'
        text = f'{rate:.1f} per s'
        if clocks := snapshot.values.get(name, {}).get('clocks'):
            return WARN, '; '.join(part for part in (clocks, losses) if part)
        return (WARN, f'{text}; {losses}') if losses else (OK, text)

    def _status(
        self, name: str, level: bytes, text: str, values: Mapping[str, str], snapshot: Snapshot
    ) -> DiagnosticStatus:
        readings = dict(values) | dict(snapshot.values.get(name, {}))
        return DiagnosticStatus(
            level=level,
            name=f'{self._name}: {name}',
            message=text,
            hardware_id=snapshot.hardware.get(name) or platform.node(),
            values=[KeyValue(key=key, value=value) for key, value in readings.items()],
        )


def memory_readings() -> dict[str, str]:
    """GPU memory of this process; nothing where there is no GPU."""
    memory = gpu_memory_gib()
    if memory is None:
        return {}
    now_gib, most_gib = memory
    return {'gpu_memory_gib': f'{now_gib:.2f}', 'gpu_memory_peak_gib': f'{most_gib:.2f}'}


def skew_s(stream: CollisionStream) -> float | None:
    """Seconds by which the newest sound is ahead of the newest frame; None without both."""
    image, audio = stream.frames.latest, stream.audio
    sound_ns = None if audio is None else audio.end_ns
    if image is None or sound_ns is None:
        return None
    return (sound_ns - image.stamp_ns) / NS_PER_S


def stream_readings(stream: CollisionStream, now_ns: int) -> dict[str, dict[str, str]]:
    """Ages of the newest frame and sound and their skew in seconds; jitter and drift of the sound.

    Args:
        stream: what the inputs push into.
        now_ns: time of the node's clock.
    """
    readings: dict[str, dict[str, str]] = {'image': {}, 'audio': {}}
    image, audio = stream.frames.latest, stream.audio
    sound_ns = None if audio is None else audio.end_ns
    if audio is not None and (clock := audio.clock) is not None:
        readings['audio']['jitter_ms'] = f'{clock.jitter_ms:.1f}'
        readings['audio']['drift_ppm'] = f'{clock.drift_ppm:.0f}'
        readings['audio']['stamps'] = clock.judged
    if image is not None:
        readings['image']['age_s'] = f'{(now_ns - image.stamp_ns) / NS_PER_S:.3f}'
    if sound_ns is not None:
        readings['audio']['age_s'] = f'{(now_ns - sound_ns) / NS_PER_S:.3f}'
    if (ahead_s := skew_s(stream)) is not None:
        readings['audio']['ahead_of_image_s'] = f'{ahead_s:.3f}'
    if problem := stream.spans.problem:
        readings['audio']['clocks'] = problem
    return readings


def answer_readings(last: Collision | None) -> dict[str, str]:
    """The last answer with the time of its stages; nothing before the first."""
    if last is None:
        return {}
    answered = {'last_answered': last.id, 'last_rule': last.verdict.rule}
    return answered | {f'{k}_ms': f'{v:.1f}' for k, v in last.timings_ms.items()}


def count_readings(counts: Counter[str]) -> dict[str, str]:
    """How many answers there were, and what became of their masks."""
    names = ('done', 'with_objects', 'without_objects', 'tracked_frames', 'lost_objects')
    return {name: str(counts[name]) for name in names}
