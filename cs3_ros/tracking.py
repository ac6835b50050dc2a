"""The masks of an event carried on: from its own frame through those that follow, for a while.

The frames of an event are gathered from the moment in which they are settled, so that those which
arrive while the stages work are there when the answer is. ``Tracks`` decides what is followed and
when it ends, by stamps alone, for recordings and the live node alike; ``TrackingThread`` runs it
beside the worker.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cs3_ros.collision import NS_PER_S, Collision, Frame, Image, Label, Tracked, event_id
from cs3_ros.config import setting, validate
from cs3_ros.pipeline import Tracker
from cs3_ros.trigger.assembler import Event
from cs3_ros.trigger.buffers import JUMP_BACK_NS, FrameBuffer

_LOG = logging.getLogger(__name__)

MOST_EVENTS = 16
"""Events whose frames are gathered at a time; one more drops the oldest."""


@dataclass(frozen=True)
class TrackingConfig:
    """How long masks are carried on."""

    seconds: float = setting(
        2.0,
        'Seconds from its frame on for which the masks of an event are carried on; 0 is off.',
        minimum=0.0,
        maximum=60.0,
    )
    queue_frames: int = setting(
        120,
        'Frames of an event that may wait to be tracked; one more drops the oldest.',
        minimum=2,
        maximum=10_000,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """Where the objects of an event are in one frame."""

    event: str
    """Id of the event."""
    frame: Frame
    """The frame; the first one is that of the event."""
    labels: tuple[Label, ...]
    """Which stage proposed each object."""
    objects: tuple[Tracked | None, ...]
    """``objects[k]`` is label k + 1 of the mask image; None where it has left or was lost."""
    shape: tuple[int, int]
    """Height and width of the frame."""

    def label_image(self) -> Image:
        """uint8 [H, W]: 0 background, 1 and 2 the objects; overlap goes to the smaller one."""
        labels = np.zeros(self.shape, np.uint8)
        seen = [(k, each.mask) for k, each in enumerate(self.objects, 1) if each is not None]
        for value, mask in sorted(seen, key=lambda item: -int(np.count_nonzero(item[1]))):
            labels[mask] = value
        return labels


@dataclass(eq=False)
class _Track:
    """One event: its frames that wait, and how far it has come."""

    event: str
    first_ns: int
    """Stamp of the event's frame."""
    until_ns: int
    """No frame from here on belongs to it."""
    waiting: deque[Frame]
    last_ns: int
    complete: bool = False
    """Whether no further frame will come."""
    answer: Collision | None = None
    state: Any = None
    labels: tuple[Label, ...] = ()
    shape: tuple[int, int] = (0, 0)
    seen: int = 0
    """How many of its objects have not been lost."""


class Tracks:
    """Which frames are tracked for which event; every method may be called from any thread.

    An event is tracked over the frames from its own to the last one within ``seconds``. A later
    event with objects takes over: from its frame on nothing is told of earlier ones any more, and
    it tells of every frame again, so that the last word about a frame is the same however late
    an answer came.

    Args:
        tracker: of the bundle.
        config: how long, and how many frames may wait.

    Attributes:
        counts: ``tracked_frames``; ``lost_objects``, that left or were lost;
            ``dropped_track_frames``, for which there was no room or no time; ``failed_tracks``,
            frames that could not be decoded and tracks ended by an error.
    """

    def __init__(self, tracker: Tracker, config: TrackingConfig = TrackingConfig()) -> None:
        self.counts: Counter[str] = Counter()
        self.changed = threading.Condition()
        """Notified when there may be something to do."""
        self._tracker = tracker
        self._config = config
        self._tracks: dict[int, _Track] = {}  # by the stamp of the onset
        self._answered: deque[int] = deque(maxlen=MOST_EVENTS)  # stamps of their frames
        self._newest_ns = 0

    def expect(self, event: Event, frames: FrameBuffer) -> None:
        """Gather the frames of an event that has entered.

        Args:
            event: its frames are settled.
            frames: what has come so far; the newest frame was pushed here, too, before.
        """
        frame = event.frames[event.event_index]
        until_ns = frame.stamp_ns + round(self._config.seconds * NS_PER_S) + 1
        since = frames.window(frame.stamp_ns + 1, until_ns)
        with self.changed:
            while len(self._tracks) >= MOST_EVENTS:
                self._drop(self._tracks.pop(next(iter(self._tracks))))
            name = event_id(event.onset.stamp_ns)
            first_ns = frame.stamp_ns
            track = _Track(name, first_ns, until_ns, deque([frame]), first_ns)
            self._tracks[event.onset.stamp_ns] = track
            for later in since:
                self._add(track, later)

    def push(self, frame: Frame) -> None:
        """Take in the next frame; one that is late, or whose stamp was never set, is left out."""
        if frame.stamp_ns <= 0:
            return
        with self.changed:
            if frame.stamp_ns < self._newest_ns - JUMP_BACK_NS:  # these are of another time
                self._answered.clear()
                self._newest_ns = 0
            self._newest_ns = max(self._newest_ns, frame.stamp_ns)
            for track in self._tracks.values():
                self._add(track, frame)
            self.changed.notify_all()

    def answer(self, collision: Collision) -> None:
        """The objects of an event are known; without any, nothing is tracked."""
        with self.changed:
            track = self._tracks.get(collision.onset.stamp_ns)
            if track is None:
                return
            if not collision.objects:
                del self._tracks[collision.onset.stamp_ns]
                return
            track.answer = collision
            track.labels = tuple(found.label for found in collision.objects)
            height, width = collision.objects[0].mask.shape
            track.shape = (height, width)
            own_ns = track.first_ns
            for other in self._tracks.values():
                if other.first_ns < own_ns:
                    other.until_ns = min(other.until_ns, own_ns)
            newer = [stamp_ns for stamp_ns in self._answered if stamp_ns > own_ns]
            track.until_ns = min([track.until_ns, *newer])
            self._answered.append(own_ns)
            self.changed.notify_all()

    def forget(self, event: Event) -> None:
        """There will be no answer: the event failed or was dropped."""
        with self.changed:
            self._tracks.pop(event.onset.stamp_ns, None)

    def close(self) -> None:
        """Forget all; what waits for a track that has begun is dropped and counted."""
        with self.changed:
            for track in self._tracks.values():
                if track.answer is not None or track.state is not None:
                    self._drop(track)
            self._tracks.clear()
            self.changed.notify_all()

    @property
    def waiting(self) -> bool:
        """Whether ``step`` has something to do."""
        with self.changed:
            return self._next() is not None

    def step(self) -> TrackedFrame | None:
        """Track the next frame of the oldest event; None where there is none, or it gave nothing.

        Called by one thread at a time.

        Raises:
            Exception: whatever the tracker raises but ValueError; that event is tracked no more.
        """
        with self.changed:
            track = self._next()
            if track is None:
                return None
            frame = track.waiting.popleft()
        try:
            objects = self._followed(track, frame)
        except ValueError as error:  # of a broken frame: the next one may do
            self.counts['failed_tracks'] += 1
            _LOG.warning('frame %s is not tracked: %s', event_id(frame.stamp_ns), error)
            if track.state is None:
                self._end(track)
            return None
        except BaseException:
            self.counts['failed_tracks'] += 1
            self._end(track)
            raise
        with self.changed:
            if frame.stamp_ns >= track.until_ns:  # another event took over meanwhile
                return None
            self.counts['tracked_frames'] += 1
        return TrackedFrame(track.event, frame, track.labels, objects, track.shape)

    def _followed(self, track: _Track, frame: Frame) -> tuple[Tracked | None, ...]:
        if track.state is None:
            assert track.answer is not None
            masks = [found.mask for found in track.answer.objects]
            track.answer = None  # its maps are as large as its picture
            track.state, track.seen = self._tracker.begin(frame, masks), len(masks)
            return tuple(Tracked(mask, 1.0) for mask in masks)
        if not track.seen:
            return (None,) * len(track.labels)
        objects = tuple(self._tracker.follow(track.state, frame))
        seen = sum(each is not None for each in objects)
        self.counts['lost_objects'] += track.seen - seen
        track.seen = seen
        return objects

    def _add(self, track: _Track, frame: Frame) -> None:
        if frame.stamp_ns <= track.last_ns:
            # a clock that jumped back does not come to this time again
            track.complete |= frame.stamp_ns < track.last_ns - JUMP_BACK_NS
            return
        if track.complete or frame.stamp_ns >= track.until_ns:
            track.complete = True
            return
        track.last_ns = frame.stamp_ns
        # A copy: a picture decoded here shall not live as long as the buffer's frame.
        track.waiting.append(replace(frame))
        if len(track.waiting) > self._config.queue_frames:
            first = 1 if track.state is None else 0  # the event's own frame stays
            del track.waiting[first]
            self.counts['dropped_track_frames'] += 1

    def _drop(self, track: _Track) -> None:
        waited = sum(frame.stamp_ns < track.until_ns for frame in track.waiting)
        self.counts['dropped_track_frames'] += waited

    def _next(self) -> _Track | None:
        """The oldest event with a frame to track; those at their end go."""
        for stamp_ns, track in sorted(self._tracks.items()):
            if track.answer is None and track.state is None:
                continue
            if track.waiting and track.waiting[0].stamp_ns < track.until_ns:
                return track
            if track.waiting or track.complete or track.last_ns >= track.until_ns:
                del self._tracks[stamp_ns]
        return None

    def _end(self, track: _Track) -> None:
        with self.changed:
            for stamp_ns, each in list(self._tracks.items()):
                if each is track:
                    del self._tracks[stamp_ns]


class TrackingThread:
    """Tracks beside the worker until it is stopped.

    Args:
        tracks: what to track.
        on_tracked: called on the thread with every tracked frame.
        on_error: called on the thread with what the tracker, or ``on_tracked``, raised.
    """

    def __init__(
        self,
        tracks: Tracks,
        on_tracked: Callable[[TrackedFrame], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.tracks = tracks
        self._on_tracked = on_tracked
        self._on_error = on_error
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='cs3_tracking', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the running frame end, drop what waits, end the thread."""
        with self.tracks.changed:
            self._stopping = True
            self.tracks.changed.notify_all()
        self._thread.join()
        self.tracks.close()

    def _run(self) -> None:
        while True:
            with self.tracks.changed:
                while not self._stopping and not self.tracks.waiting:
                    self.tracks.changed.wait()
                if self._stopping:
                    return
            try:
                self._carry_on()
            except BaseException as error:  # anything, even SystemExit; the thread must live
                self._report(error)

    def _carry_on(self) -> None:
        """One frame; a function of its own, so that none is kept while the thread waits."""
        tracked = self.tracks.step()
        if tracked is not None:
            self._on_tracked(tracked)

    def _report(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except BaseException:  # else nothing would be tracked any more, without a word
            _LOG.exception('on_error failed')
