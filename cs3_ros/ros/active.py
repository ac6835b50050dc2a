"""What exists while the node is active: the way from the inputs over the worker to the outputs.

Callbacks only store; one worker thread runs the pipeline and publishes its answers, another one
carries their masks on to the frames that follow.
"""

from __future__ import annotations

import ctypes
import gc
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping

from rclpy.lifecycle import LifecycleNode

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import Collision, Frame, event_id
from cs3_ros.files.pcm import SoundChunk
from cs3_ros.pipeline import Pipeline
from cs3_ros.ros.diagnostics import skew_s, stream_readings
from cs3_ros.ros.inputs import Inputs
from cs3_ros.ros.narrator import Narrator
from cs3_ros.ros.outputs import Outputs
from cs3_ros.settings import NodeConfig, Settings
from cs3_ros.tracking import TrackedFrame, TrackingThread, Tracks
from cs3_ros.trigger.assembler import Event
from cs3_ros.trigger.stream import CollisionStream, Update
from cs3_ros.worker import Worker


def make_stream(bundle: Bundle, settings: Settings) -> CollisionStream:
    """The engine for a bundle.

    Raises:
        ValueError: a buffer is too short for the clips of the bundle, or ``clip`` does not fit it.
    """
    clip = settings.clip.of(bundle.clip)
    return CollisionStream(clip, settings.onset, settings.audio, settings.frames)


class Active:
    """Listens, lets the worker think, publishes.

    Args:
        node: the owner.
        config: settings of the node.
        settings: thresholds and buffers.
        bundle: spans round the onset.
        pipeline: the stages of the bundle.
        outputs: publishers.
        on_problem: called, on the worker thread too, with the reason when an event fails.

    Attributes:
        stream: the engine, with its counters.
        last: the newest answer; None before the first.
        narrator: writes the log.

    Raises:
        ImportError, ValueError: as ``Inputs`` and ``make_stream`` do.
    """

    def __init__(
        self,
        node: LifecycleNode,
        config: NodeConfig,
        settings: Settings,
        bundle: Bundle,
        pipeline: Pipeline,
        outputs: Outputs,
        on_problem: Callable[[str], None],
    ) -> None:
        self.stream = make_stream(bundle, settings)
        self.last: Collision | None = None
        self.narrator = Narrator(node.get_logger())
        self._timeout_s = config.audio_timeout_s
        self._outputs = outputs
        self._on_problem = on_problem
        self._counts: Counter[str] = Counter()
        self._inputs = Inputs(
            node,
            config,
            self._counts,
            self._on_frame,
            self._on_sound,
            settings.audio,
            settings.frames.max_pixels,
        )
        self._tracks: Tracks | None = None
        self._tracking: TrackingThread | None = None
        if pipeline.tracker is not None and settings.tracking.seconds:
            self._tracks = Tracks(pipeline.tracker, settings.tracking)
            self._tracking = TrackingThread(self._tracks, self._on_tracked, self._on_lost_track)
        self._worker = Worker(
            pipeline, config.queue_size, self._on_collision, self._on_error, self._forget_track
        )
        self.narrator.activated(self._inputs.listening())

    @property
    def counts(self) -> Counter[str]:
        """All counters since activation."""
        counts = Counter(self._counts)
        counts.update(dict(self._worker.counts))  # a copy: the worker goes on counting
        if self._tracks is not None:
            counts.update(dict(self._tracks.counts))
        counts.update(self.stream.counts)
        return counts

    @property
    def sensors(self) -> dict[str, str]:
        """``image`` and ``audio`` -> frame_id of the newest message; empty before the first."""
        image = self.stream.frames.latest
        return {
            'image': '' if image is None else image.frame_id,
            'audio': self._inputs.audio_frame_id,
        }

    def stop(self) -> None:
        """Stop listening; what waits is dropped and counted."""
        self._inputs.destroy()
        self._worker.stop()
        if self._tracking is not None:
            self._tracking.stop()

    def segment_now(self) -> str:
        """Run the pipeline on the newest frame and sound; returns the id of the event.

        Raises:
            ValueError: no frame has arrived yet.
        """
        event = self.stream.event_now()
        if event is None:
            raise ValueError('no frame has arrived yet')
        self._enter(event)
        self._worker.complete(event)
        return event_id(event.onset.stamp_ns)

    def keep_house(self) -> None:
        """Follow the publishers; close open events when no sound comes any more."""
        self._inputs.update()
        if time.monotonic() - self._inputs.silent_since > self._timeout_s:
            self._inputs.silent_since = time.monotonic()
            self._advance(self.stream.flush())

    def publishers(self) -> dict[str, dict[str, int]]:
        """``image`` and ``audio`` -> topic -> publishers now."""
        return self._inputs.publishers()

    def readings(self, now_ns: int) -> Mapping[str, dict[str, str]]:
        """What the diagnostics show of inputs and queue, by status.

        Args:
            now_ns: time of the node's clock.
        """
        readings = stream_readings(self.stream, now_ns)
        readings['audio']['format'] = str(self._inputs.format or 'unknown')
        for name, reason in self._inputs.why_unused().items():
            readings[name]['last_refused'] = reason
        return readings | {'events': {'queue': str(self._worker.waiting)}}

    # ---- the way of the data --------------------------------------------------------------

    def _on_frame(self, frame: Frame) -> None:
        update = self.stream.push_frame(frame)
        if self._tracks is not None:
            self._tracks.push(frame)
        self._advance(update)
        if not self.narrator.began('image'):
            ahead_s = skew_s(self.stream)
            behind_s = None if ahead_s is None else -ahead_s
            self.narrator.first('image', self._inputs.first_image, behind_s)

    def _on_sound(self, chunk: SoundChunk) -> None:
        self._advance(self.stream.push_audio(chunk.stamp_ns, chunk.samples, chunk.rate))
        if not self.narrator.began('audio'):
            sound_format = self._inputs.format  # AudioStamped has none
            text = str(sound_format or f'{chunk.rate} Hz, {chunk.samples.shape[1]} ch')
            self.narrator.first('audio', text, skew_s(self.stream))

    def _advance(self, update: Update) -> None:
        """Publish what was heard, hand to the worker what is ready."""
        for onset in update.onsets:
            self._outputs.onset(onset, self._inputs.audio_frame_id)
            self.narrator.onset(onset)
        for onset in update.gated:
            self.narrator.gated(onset)
        for event in update.ready:
            self._enter(event)
        for event in update.complete:
            self._worker.complete(event)

    def _enter(self, event: Event) -> None:
        if self._tracks is not None:
            self._tracks.expect(event, self.stream.frames)
        self._worker.enter(event)

    def _on_collision(self, collision: Collision) -> None:
        """On the worker thread: publish an answer."""
        self._outputs.collision(collision)
        if self._tracks is not None:
            self._tracks.answer(collision)
        self.narrator.answered(collision)
        self.last = collision
        self._counts['with_objects' if collision.objects else 'without_objects'] += 1

    def _on_error(self, event: Event, error: BaseException) -> None:
        """On the worker thread: an event is lost, the node goes on."""
        self._forget_track(event)
        self._on_problem(self.narrator.failed(event.onset, reason_of(error)))

    def _forget_track(self, event: Event) -> None:
        if self._tracks is not None:
            self._tracks.forget(event)

    def _on_tracked(self, tracked: TrackedFrame) -> None:
        """On the tracking thread: publish where the objects are now."""
        self._outputs.tracked(tracked)

    def _on_lost_track(self, error: BaseException) -> None:
        """On the tracking thread: the masks of an event end, the node goes on."""
        self._on_problem(f'tracking failed: {reason_of(error)}')


def reason_of(error: BaseException) -> str:
    """What an error says; its class where it says nothing or cannot say it."""
    try:
        text = str(error)
    except Exception:  # its __str__ may raise anything
        text = ''
    return text or traceback.format_exception_only(error)[-1].strip()


def give_memory_back() -> None:
    """Give the system what the buffers took: up to ``frames.buffer_mb`` of frames.

    What listened and what it called refer to each other, so Python frees them when it next looks
    for such rings, which may be never; and the C library (glibc; others lack the call) keeps what
    was freed.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
