"""The offline doors, ``cs3 run`` and ``cs3 replay``: a recording through stream and pipeline.

Deterministic: no clock, no queue, no thread; the live node gives the same label images as long as
no frame is lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cs3_ros.bundle import Bundle, load_bundle
from cs3_ros.collision import NS_PER_S, Collision
from cs3_ros.media import Recording
from cs3_ros.pcm import SoundChunk
from cs3_ros.pipeline import Pipeline
from cs3_ros.settings import Settings, load_settings
from cs3_ros.stream import CollisionStream, Update


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
        recording: Recording,
        bundle: Bundle,
        pipeline: Pipeline,
        settings: Settings,
    ) -> None:
        self.failed: list[tuple[int, str]] = []
        self.stream = CollisionStream(bundle.clip, settings.onset, settings.audio, settings.frames)
        self._recording = recording
        self._pipeline = pipeline
        self._frame_numbers: dict[int, int] = {}
        self._frame_count = 0

    def __iter__(self) -> Iterator[Found]:
        for item in self._recording:
            if isinstance(item, SoundChunk):
                update = self.stream.push_audio(item.stamp_ns, item.samples, item.rate)
            else:
                self._frame_numbers.setdefault(item.stamp_ns, self._frame_count)
                self._frame_count += 1
                update = self.stream.push_frame(item)
            yield from self._answers(update)
        yield from self._answers(self.stream.flush())

    def _answers(self, update: Update) -> Iterator[Found]:
        for event in update.complete:
            try:
                collision = self._pipeline(event.clip)
            except Exception as error:  # a broken frame; a stage may raise anything
                self.failed.append((event.onset.stamp_ns, str(error)))
                continue
            yield Found(collision, self._frame_numbers[collision.frame.stamp_ns])


def run(video: Path, options: argparse.Namespace) -> int:
    """``cs3 run``; 1 where an event failed."""
    from cs3_ros.media import VideoFile

    if not 0 < options.start < 2**31:
        raise ValueError(f'--start {options.start:g}: expected seconds above 0 and below 2^31')
    recording = VideoFile(video, origin_ns=round(options.start * NS_PER_S))
    return _process(recording, options)


def replay(bag: Path, options: argparse.Namespace) -> int:
    """``cs3 replay``; 1 where an event failed."""
    from cs3_ros.bags import BagRecording

    return _process(BagRecording(bag), options)


def _process(recording: Recording, options: argparse.Namespace) -> int:
    from cs3_ros.draw import write_overlay_video
    from cs3_ros.results import ResultWriter

    settings = load_settings(options.params) if options.params else Settings()
    bundle = load_bundle(options.bundle)
    pipeline = bundle.build(settings.verification)
    if recording.sound_format is None:
        raise ValueError(f'{recording.path}: has no sound, so no collision can be heard in it')
    origin_ns = recording.origin_ns
    writer = ResultWriter(options.out, origin_ns)
    events = Run(recording, bundle, pipeline, settings)
    with tqdm(total=round(recording.duration_s, 2), unit='s', desc='listening') as bar:
        for found in events:
            entry = writer.add(found.collision, found.frame_index)
            bar.update(round(entry['onset_s'], 2) - bar.n)
            labels = ' + '.join(o['label'] for o in entry['objects']) or 'nothing found'
            bar.write(f'{entry["onset_s"]:8.3f} s  {labels}  ({entry["rule"]})')
        bar.update(bar.total - bar.n)
    path = writer.close()
    for stamp_ns, reason in events.failed:
        seconds = (stamp_ns - origin_ns) / NS_PER_S
        print(f'event at {seconds:.3f} s failed: {reason}', file=sys.stderr)
    if not options.no_overlay:
        write_overlay_video(options.out / 'overlay.mp4', recording, writer.stills, progress=True)
    print(f'{len(writer.entries)} event(s): {path}')
    return int(len(events.failed) > 0)
