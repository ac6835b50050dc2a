"""Windows of a video in which something may have collided, by its sound alone."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S
from cs3_ros.config import setting, validate
from cs3_ros.files.fields import expect
from cs3_ros.files.media import VideoFile
from cs3_ros.trigger.decimation import make_detector
from cs3_ros.trigger.onset import OnsetConfig
from cs3_training.curate.narrations import Narration
from cs3_training.data.annotations import OWN_VIDEO
from cs3_training.data.excerpts import RATE, Sound, sounds_in
from cs3_training.data.records import Segment

WINDOW_NS = 3 * NS_PER_S
"""Length of a candidate, as in Ego4D-CS3."""
HEARD = 2 * RATE
"""Samples that a classifier hears, about the onset."""


@dataclass(frozen=True)
class Listening:
    """Settings of what is a candidate."""

    minimum_rms_dbfs: float = setting(
        -50.0, 'Mean level (RMS) below which a window is too quiet, dB relative to full scale.',
        minimum=-120.0, maximum=0.0,
    )  # fmt: skip
    apart_s: float = setting(
        3.0, 'Least distance of two onsets; of closer ones the loudest stays, seconds.',
        minimum=0.1, maximum=60.0,
    )  # fmt: skip
    onset: OnsetConfig = field(default_factory=OnsetConfig)
    """Of the package's onset detector; not looked at where narrations say when."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A window with its sound."""

    segment: Segment
    """Its times; without class."""
    heard: NDArray[np.int16]
    """[``HEARD``] at ``RATE``, the onset in the middle where the window allows it."""
    digest: str
    """SHA-256 of the sound of the whole window: the same in copies of a video."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What was heard in a video."""

    candidates: list[Candidate]
    """In time order."""
    dropped: Counter[str]
    """Reason -> windows."""
    problems: list[str]
    """What is broken in the file."""


@dataclass(frozen=True)
class _Moment:
    """A moment that a window is laid about."""

    time_ns: int
    loudness: float
    text: str = ''


class Stopped(Exception):
    """Nobody wants to know any more."""


def listen_to(
    path: Path,
    settings: Listening,
    narrations: Sequence[Narration] | None = None,
    stop: Event | None = None,
) -> Heard:
    """The candidates of a video.

    Args:
        path: of the video; its name without ending is the name of the video.
        settings: what is one.
        narrations: moments of this video; None lets the onset detector find them.
        stop: ends it early, from another thread.

    Raises:
        OSError: the file is no longer there.
        ValueError: it cannot be read, its sound is of an odd rate, or its name fits no table.
        Stopped: as ``stop`` says.
    """
    name, stop = path.stem, stop or Event()
    good = re.fullmatch(OWN_VIDEO, name) is not None and name.isprintable()
    expect(good and name == name.strip(), 'name', name, 'at most 160 letters, not hidden')
    video, dropped = VideoFile(path), Counter[str]()
    if video.sound_format is None:
        return Heard([], Counter({'without_sound': 1}), [])
    problems: list[str] = []
    if narrations is None:
        moments = [_Moment(t, dbfs) for t, dbfs in onsets_in(video, settings.onset, stop)]
        dropped['onsets'] = len(moments)
    else:
        moments = []
        for narration in narrations:
            dropped['narrations'] += 1
            if narration.noises:  # speech, music: not things
                dropped[narration.noises[0]] += 1
            else:
                moments.append(_Moment(narration.time_ns, 0.0, narration.text))
    end_ns = round(video.duration_s * NS_PER_S)
    inside = [moment for moment in moments if not end_ns or moment.time_ns < end_ns]
    dropped['beyond_the_end'] += len(moments) - len(inside)
    kept = _apart(inside, settings.apart_s, dropped)
    spans = [_window(moment.time_ns, end_ns) for moment in kept]
    found: dict[int, Candidate] = {}
    for k, sound in sounds_in(video, spans, problems) if spans else ():
        if stop.is_set():
            raise Stopped
        if not sound.heard.any() or level_dbfs(sound) < settings.minimum_rms_dbfs:
            dropped['quiet'] += 1
            continue
        moment = kept[k]
        onset_ns = moment.time_ns if narrations is None else _loudest_ns(sound)
        found[k] = _candidate(name, spans[k], onset_ns, moment.text, sound)
    if problems or video.problems:
        problems = [*video.problems, *problems]
    return Heard([found[k] for k in sorted(found)], +dropped, problems)


def onsets_in(video: VideoFile, config: OnsetConfig, stop: Event) -> Iterator[tuple[int, float]]:
    """Media time and level (dBFS) of each onset of a video's sound.

    Args:
        video: the file.
        config: thresholds.
        stop: ends it early, from another thread.

    Raises:
        ValueError: its sound is of a rate that cannot be listened to.
        Stopped: as ``stop`` says.
    """
    detector, rate, first_ns, count = None, 0, 0, 0
    for chunk in video.sound():
        if stop.is_set():
            raise Stopped
        if detector is None or chunk.rate != rate:
            if detector is not None:
                for onset in detector.flush():
                    yield first_ns + onset.sample * NS_PER_S // rate, onset.peak_dbfs
            detector = make_detector(chunk.rate, config)
            rate, first_ns, count = chunk.rate, chunk.stamp_ns, 0
        gap = round((chunk.stamp_ns - first_ns) * rate / NS_PER_S) - count
        if gap > 0:
            detector.skip(gap)
            count += gap
        for onset in detector.push(chunk.samples.mean(1)):
            yield first_ns + onset.sample * NS_PER_S // rate, onset.peak_dbfs
        count += len(chunk.samples)
    if detector is not None:
        for onset in detector.flush():
            yield first_ns + onset.sample * NS_PER_S // rate, onset.peak_dbfs


def level_dbfs(sound: Sound) -> float:
    """Mean level (RMS) of what is there of a sound, in dB relative to full scale."""
    values = sound.samples[sound.heard].astype(np.float64) / (1 << 15)
    return 10 * float(np.log10(max(np.mean(values**2), 1e-20)))


def _apart(moments: Sequence[_Moment], apart_s: float, dropped: Counter[str]) -> list[_Moment]:
    """Of moments closer than that the loudest, of equal ones the first; in time order."""
    kept: dict[int, _Moment] = {}
    step = round(apart_s * NS_PER_S)  # one at most in each cell of this length
    for moment in sorted(moments, key=lambda moment: (-moment.loudness, moment.time_ns)):
        cell = moment.time_ns // step
        near = [kept[k] for k in (cell - 1, cell, cell + 1) if k in kept]
        if any(abs(other.time_ns - moment.time_ns) < step for other in near):
            dropped['close_to_a_louder_one'] += 1
        else:
            kept[cell] = moment
    return [kept[cell] for cell in sorted(kept)]


def _window(time_ns: int, end_ns: int) -> tuple[int, int]:
    """``WINDOW_NS`` about a moment, moved into the video; whole hundredths of a second."""
    hundredth = NS_PER_S // 100
    latest = end_ns - WINDOW_NS if end_ns else time_ns
    start = max(min(time_ns - WINDOW_NS // 2, latest), 0) // hundredth * hundredth
    stop = start + WINDOW_NS
    if end_ns:
        stop = min(stop, max(end_ns // hundredth * hundredth, start + hundredth))
    return start, stop


def _loudest_ns(sound: Sound) -> int:
    loudest = int(np.abs(sound.samples.astype(np.int32)).argmax())
    return sound.start_ns + loudest * NS_PER_S // RATE


def _candidate(
    video: str, span: tuple[int, int], onset_ns: int, text: str, sound: Sound
) -> Candidate:
    start_ns, stop_ns = span
    onset_ns = min(max(onset_ns, start_ns), stop_ns)
    name = f'{video}_{start_ns / NS_PER_S:.2f}_{stop_ns / NS_PER_S:.2f}'
    segment = Segment(name, 'own', video, start_ns, stop_ns, text=text, onset_ns=onset_ns)
    middle = round((onset_ns - start_ns) * RATE / NS_PER_S)
    first = max(min(middle - HEARD // 2, len(sound.samples) - HEARD), 0)
    samples = sound.samples[first : first + HEARD]
    heard = np.zeros(HEARD, np.int16)
    heard[: len(samples)] = samples
    return Candidate(segment, heard, hashlib.sha256(sound.samples.tobytes()).hexdigest())
