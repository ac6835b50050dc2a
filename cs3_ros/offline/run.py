"""What ``cs3 run`` and ``cs3 replay`` do: a recording through stream and pipeline.

Deterministic: no clock, no queue, no thread. From one bag the live node gives the same label
images, bit for bit, as long as no frame, sound or event is lost.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.collision import LAST_STAMP_NS, NS_PER_S, Collision
from cs3_ros.config import from_mapping
from cs3_ros.drawing.overlay_video import write_overlay_video
from cs3_ros.files.bags import BagRecording
from cs3_ros.files.media import Recording, VideoFile
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.progress import Bar
from cs3_ros.files.yamlfile import load_yaml
from cs3_ros.offline.bag_depth import BagDepth
from cs3_ros.offline.parameters import parameters, split
from cs3_ros.offline.results import NAMES, OVERLAY, ResultWriter
from cs3_ros.pipeline import Pipeline
from cs3_ros.settings import NodeConfig, Settings
from cs3_ros.space.contact import SpaceConfig
from cs3_ros.tracking import TrackedFrame, Tracks
from cs3_ros.trigger.onset import check_rate
from cs3_ros.trigger.stream import CollisionStream, Update

log = logging.getLogger(__name__)

TRACKED_HOLD_S = 0.3
"""How long an event's picture stands in the overlay video before its masks move on."""


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
        track: carry masks on to the frames after an event.

    Raises:
        ValueError: the settings do not fit the bundle, or there is nothing to track with.

    Attributes:
        failed: onset stamp and reason of every event that a stage could not handle.
        on_time: called with every frame and chunk, after ``seconds`` has moved on.
        on_tracked: called with every frame to which masks are carried on.
        stream: the engine, with its counters.
    """

    def __init__(
        self,
        recording: Recording,
        bundle: Bundle,
        pipeline: Pipeline,
        settings: Settings,
        track: bool = False,
    ) -> None:
        self.failed: list[tuple[int, str]] = []
        self.on_time: Callable[[], None] = lambda: None
        self.on_tracked: Callable[[TrackedFrame], None] = lambda tracked: None
        clip = settings.clip.of(bundle.clip)
        self.stream = CollisionStream(clip, settings.onset, settings.audio, settings.frames)
        self._recording = recording
        self._pipeline = pipeline
        self._tracks: Tracks | None = None
        if track:
            if pipeline.tracker is None or not settings.tracking.seconds:
                raise ValueError(
                    f'--track: bundle {bundle.name!r} has no tracker, or tracking.seconds is 0: '
                    'name one in the bundle (tracker: {type: flow}) and set more than 0 s'
                )
            self._tracks = Tracks(pipeline.tracker, settings.tracking)
        self._frame_numbers: dict[int, int] = {}
        self._frame_count = 0
        self._seconds = 0.0
        self._firsts: dict[type, int] = {}

    def __iter__(self) -> Iterator[Found]:
        for item in self._recording:
            # Each from its own first stamp: their clocks may have nothing in common.
            first_ns = self._firsts.setdefault(type(item), item.stamp_ns)
            self._seconds = max(self._seconds, (item.stamp_ns - first_ns) / NS_PER_S)
            self.on_time()
            if isinstance(item, SoundChunk):
                update = self.stream.push_audio(item.stamp_ns, item.samples, item.rate)
            else:
                self._frame_numbers.setdefault(item.stamp_ns, self._frame_count)
                self._frame_count += 1
                update = self.stream.push_frame(item)
                if self._tracks is not None:
                    self._tracks.push(item)
            yield from self._answers(update)
        yield from self._answers(self.stream.flush())

    def losses(self) -> str:
        """What was repaired, refused or lost, as ``counter number, ...``; empty if nothing was."""
        good = ('frames', 'audio_chunks', 'gated', 'onsets', 'clips')
        counts = {'refused_frames': self._recording.refused_frames} | self.stream.counts
        if self._tracks is not None:
            lost = ('dropped_track_frames', 'failed_tracks')
            counts |= {name: self._tracks.counts[name] for name in lost}
        return ', '.join(
            f'{name} {count}' for name, count in counts.items() if count and name not in good
        )

    @property
    def seconds(self) -> float:
        """How far the recording has been read, by the clock of frames or that of sound."""
        return self._seconds

    def _answers(self, update: Update) -> Iterator[Found]:
        if self._tracks is not None:
            for event in update.ready:
                self._tracks.expect(event, self.stream.frames)
        for event in update.complete:
            try:
                collision = self._pipeline(event.clip)
            except Exception as error:  # a broken frame; a stage may raise anything
                self.failed.append((event.onset.stamp_ns, str(error)))
                if self._tracks is not None:
                    self._tracks.forget(event)
                continue
            if self._tracks is not None:
                self._tracks.answer(collision)
            yield Found(collision, self._frame_numbers[collision.frame.stamp_ns])
        self._carry_on()

    def _carry_on(self) -> None:
        """Track all that has come so far."""
        while self._tracks is not None and self._tracks.waiting:
            try:
                tracked = self._tracks.step()
            except Exception as error:  # a stage may raise anything
                log.warning('tracking failed: %s', error)
                continue
            if tracked is not None:
                self.on_tracked(tracked)


def run_video(options: argparse.Namespace) -> int:
    """``cs3 run``; 1 where an event failed, or with ``--strict`` where anything was lost."""
    last_s = LAST_STAMP_NS // NS_PER_S
    if not 0 < options.start <= last_s:
        raise ValueError(
            f'--start {options.start:g}: expected seconds above 0 (a stamp of 0 means '
            f'"not set") and up to {last_s}'
        )
    origin_ns = round(options.start * NS_PER_S)
    node_config, settings = parameters(options.params, options.settings)
    max_pixels = settings.frames.max_pixels
    video = VideoFile(options.video, origin_ns=origin_ns, max_pixels=max_pixels)
    return _process(video, options, node_config, settings)


def replay(options: argparse.Namespace) -> int:
    """``cs3 replay``; the status is as that of ``cs3 run``."""
    node_config, settings = parameters(options.params, options.settings)
    sound_format = None
    if node_config.audio_rate:
        sound_format = SoundFormat(
            node_config.audio_rate, node_config.audio_channels, node_config.audio_sample_format
        )
    recording = BagRecording(
        options.bag,
        image_topic=options.image_topic,
        audio_topic=options.audio_topic,
        info_topic=options.info_topic,
        sound_format=sound_format,
        max_pixels=settings.frames.max_pixels,
        allow_unstamped=settings.audio.allow_unstamped,
    )
    if recording.refused_sound:
        raise ValueError(recording.refused_sound)
    depth = None
    if options.depth_topic:
        config = from_mapping(SpaceConfig, dict(map(_named, options.space)), '--contact')
        depth = BagDepth(recording.bag, options.depth_topic, options.camera_info_topic, config)
    elif options.camera_info_topic or options.space:
        raise ValueError('--camera-info-topic and --contact: expected --depth-topic beside them')
    return _process(recording, options, node_config, settings, depth)


def _named(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as name and value."""
    name, value = split(text, '--contact', 'max_gap_m=0.05')
    return name, load_yaml(value)


def _process(
    recording: Recording,
    options: argparse.Namespace,
    node_config: NodeConfig,
    settings: Settings,
    depth: BagDepth | None = None,
) -> int:
    if recording.sound_format is None:
        raise ValueError(f'{recording.path}: has no sound, so no collision can be heard in it')
    output = OutputFolder(
        options.out, 'run', NAMES, force=options.force, source=Path(recording.path)
    )
    check_rate(recording.sound_format.rate)
    settings.audio.check_channels(recording.sound_format.channels)
    bundle = load_bundle(options.bundle or node_config.bundle)
    if bundle.warning:
        print(f'bundle {bundle.name}: {bundle.warning}', file=sys.stderr)
    pipeline = bundle.build(settings.verification, settings.runtime)
    if settings.runtime.accelerated:
        pipeline.warm_up(settings.clip.of(bundle.clip).audio_s)
    origin_ns = recording.origin_ns
    events = Run(recording, bundle, pipeline, settings, options.track)
    with output, _counted_warnings() as told:
        writer = ResultWriter(output, origin_ns, depth)
        events.on_tracked = writer.track
        with Bar(total=round(recording.duration_s, 2), unit='s', desc='listening') as bar:
            events.on_time = lambda: _advance(bar, events.seconds)
            for found in events:
                entry = writer.add(found.collision, found.frame_index)
                del found  # its maps are as large as its picture, and the next event has its own
                labels = ' + '.join(o['label'] for o in entry['objects']) or 'nothing found'
                bar.write(f'{entry["onset_s"]:8.3f} s  {labels}  ({entry["rule"]})')
        if options.track:
            writer.finish_tracks()
        for stamp_ns, reason in events.failed:
            seconds = (stamp_ns - origin_ns) / NS_PER_S
            print(f'event at {seconds:.3f} s failed: {reason}', file=sys.stderr)
        losses = events.losses()
        if losses:
            print(f'counted on the way: {losses}', file=sys.stderr)
        problems = [*recording.problems, *filter(None, [events.stream.spans.problem])]
        for problem in problems:
            print(problem, file=sys.stderr)
        if not options.no_overlay:
            with output.replacing(OVERLAY) as part:
                write_overlay_video(
                    part,
                    recording,
                    writer.stills,
                    tracks=writer.tracks,
                    hold_s=TRACKED_HOLD_S if options.track else 0.7,
                    progress=True,
                )
    print(f'{len(writer.entries)} event(s): {writer.path}')
    lost = bool(losses or problems or told.count)
    if lost and options.strict:
        print('something was lost, as told above: status 1 for --strict', file=sys.stderr)
    return int(bool(events.failed) or (lost and options.strict))


class _Warnings(logging.StreamHandler):
    """Prints warnings, as Python does where nobody listens, and counts them."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        super().emit(record)


@contextmanager
def _counted_warnings() -> Iterator[_Warnings]:
    """The warnings that this package logs in the meantime."""
    handler, logger = _Warnings(), logging.getLogger('cs3_ros')
    handler.setLevel(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


def _advance(bar: Bar, seconds: float) -> None:
    """Move the bar on, in steps that a person can see, and never beyond its end."""
    seconds = min(seconds, bar.total)
    if seconds >= bar.n + 0.1:
        bar.update(round(seconds, 1) - bar.n)
