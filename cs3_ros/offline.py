"""The offline doors, ``cs3 run`` and ``cs3 replay``: a recording through stream and pipeline.

Deterministic: no clock, no queue, no thread; the live node gives the same label images as long as
no frame is lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from cs3_ros.bundle import Bundle, load_bundle
from cs3_ros.collision import NS_PER_S, Collision, Frame
from cs3_ros.media import Recording
from cs3_ros.pcm import SoundChunk
from cs3_ros.pipeline import Pipeline
from cs3_ros.settings import Settings, load_settings
from cs3_ros.stream import CollisionStream, Update


@dataclass(frozen=True)
class Shifted:
    """A recording whose media time 0 gets another time stamp.

    A video begins at stamp 0, which a header leaves to mean "not set".
    """

    recording: Recording
    """The recording."""
    origin_ns: int
    """Stamp of its media time 0."""

    def __iter__(self) -> Iterator[Frame | SoundChunk]:
        shift_ns = self.origin_ns - self.recording.origin_ns
        for item in self.recording:
            yield replace(item, stamp_ns=item.stamp_ns + shift_ns)


@dataclass(frozen=True, eq=False)
class Found:
    """One event of a recording."""

    collision: Collision
    """The answer."""
    frame_index: int
    """Number of its frame in the recording, counted from 0."""


class Run:
    """The events of one recording.

    Args:
        recording: frames and sound, stamps above 0.
        bundle: spans round the onset.
        pipeline: the stages of the bundle.
        settings: thresholds and buffers.

    Attributes:
        failed: onset stamp and reason of every event that a stage could not handle.
        stream: the engine, with its counters.
    """

    def __init__(
        self,
        recording: Recording | Shifted,
        bundle: Bundle,
        pipeline: Pipeline,
        settings: Settings,
    ) -> None:
        self.failed: list[tuple[int, str]] = []
        self.stream = CollisionStream(bundle.clip, settings.onset, settings.audio, settings.frames)
        self._recording = recording
        self._pipeline = pipeline
        self._frame_numbers: dict[int, int] = {}

    def __iter__(self) -> Iterator[Found]:
        for item in self._recording:
            if isinstance(item, SoundChunk):
                update = self.stream.push_audio(item.stamp_ns, item.samples, item.rate)
            else:
                self._frame_numbers.setdefault(item.stamp_ns, len(self._frame_numbers))
                update = self.stream.push_frame(item)
            yield from self._answers(update)
        yield from self._answers(self.stream.flush())

    def _answers(self, update: Update) -> Iterator[Found]:
        for event in update.complete:
            try:
                collision = self._pipeline(event.clip)
            except ValueError as error:  # a frame that cannot be decoded
                self.failed.append((event.onset.stamp_ns, str(error)))
                continue
            yield Found(collision, self._frame_numbers[collision.frame.stamp_ns])


def run(video: Path, options: argparse.Namespace) -> int:
    """``cs3 run``."""
    from cs3_ros.media import VideoFile

    if not 0 < options.start < 2**31:
        raise ValueError(f'--start {options.start:g}: expected seconds above 0 and below 2^31')
    source = VideoFile(video)
    if not source.has_sound:
        raise ValueError(f'{video}: has no sound track, so no collision can be heard in it')
    return _process(source, round(options.start * NS_PER_S), options)


def replay(bag: Path, options: argparse.Namespace) -> int:
    """``cs3 replay``."""
    from cs3_ros.bags import BagRecording

    source = BagRecording(bag)
    return _process(source, source.origin_ns, options)


def _process(source: Recording, origin_ns: int, options: argparse.Namespace) -> int:
    from cs3_ros.draw import write_overlay
    from cs3_ros.results import ResultWriter

    settings = load_settings(options.params) if options.params else Settings()
    bundle = load_bundle(options.bundle)
    pipeline = bundle.build(settings.verification)
    recording = Shifted(source, origin_ns)
    writer = ResultWriter(options.out, origin_ns)
    collisions = []
    events = Run(recording, bundle, pipeline, settings)
    with tqdm(total=round(source.duration_s, 2), unit='s', desc='listening') as bar:
        for found in events:
            entry = writer.add(found.collision, found.frame_index)
            collisions.append(found.collision)
            bar.update(round(entry['onset_s'], 2) - bar.n)
            labels = ' + '.join(o['label'] for o in entry['objects']) or 'nothing found'
            bar.write(f'{entry["onset_s"]:8.3f} s  {labels}  ({entry["rule"]})')
        bar.update(bar.total - bar.n)
    path = writer.close()
    for stamp_ns, reason in events.failed:
        seconds = (stamp_ns - origin_ns) / NS_PER_S
        print(f'event at {seconds:.3f} s failed: {reason}', file=sys.stderr)
    if not options.no_overlay:
        write_overlay(options.out / 'overlay.mp4', recording, source, collisions)
    print(f'{len(collisions)} event(s): {path}')
    return 0
