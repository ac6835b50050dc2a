"""One thread that runs the pipeline on events; when it falls behind, the oldest event is dropped.

An event enters as soon as its frames are there, and is completed when its sound is.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cs3_ros.collision import Collision, CollisionClip
from cs3_ros.pipeline import Pipeline, Prepared
from cs3_ros.trigger.assembler import Event

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    event: Event
    clip: CollisionClip | None = None
    prepared: Prepared | None = None


class Worker:
    """Runs events through a pipeline, one at a time, in the order in which they become ready.

    Args:
        pipeline: the four stages.
        capacity: events that may wait, at least 1; a further one drops the oldest waiting.
        on_collision: called on the worker thread with every answer.
        on_error: called on the worker thread with the event and what a stage raised; what it raises
            itself is logged.
        on_dropped: called with an event that was dropped to make room.

    ``counts`` holds ``done``, ``dropped`` and ``failed``; it is read from any thread.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        capacity: int,
        on_collision: Callable[[Collision], None],
        on_error: Callable[[Event, BaseException], None],
        on_dropped: Callable[[Event], None] = lambda event: None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f'capacity = {capacity}: expected at least 1 waiting event')
        self.counts: Counter[str] = Counter()
        self._pipeline = pipeline
        self._capacity = capacity
        self._on_collision = on_collision
        self._on_error = on_error
        self._on_dropped = on_dropped
        self._jobs: dict[Event, _Job] = {}  # in the order in which they entered
        self._running: _Job | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name='cs3_worker', daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that wait, the running one not counted."""
        with self._changed:
            return len(self._jobs) - (self._running is not None)

    def enter(self, event: Event) -> None:
        """Take in an event whose frames are settled; its sound may still be arriving."""
        with self._changed:
            waiting = [job.event for job in self._jobs.values() if job is not self._running]
            dropped = waiting[: max(0, len(waiting) - self._capacity + 1)]
            for oldest in dropped:
                del self._jobs[oldest]
                self.counts['dropped'] += 1
            self._jobs[event] = _Job(event)
            self._changed.notify_all()
        for oldest in dropped:
            self._on_dropped(oldest)

    def complete(self, event: Event) -> None:
        """The sound of an event that entered before is there; nothing happens if it was dropped.

        Raises:
            ValueError: its sound or its frames are not settled.
        """
        with self._changed:
            if event in self._jobs:
                self._jobs[event].clip = event.clip
                self._changed.notify_all()

    def stop(self) -> None:
        """Drop what waits, let the running stage end, end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self.counts['dropped'] += len(self._jobs)
        self._jobs.clear()

    def _next(self) -> _Job | None:
        """The oldest event that can be finished, else the oldest that can be prepared."""
        jobs = self._jobs.values()
        for job in jobs:
            if job.clip is not None:
                return job
        return next((job for job in jobs if job.prepared is None), None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._stopping and self._next() is None:
                    self._changed.wait()
                if self._stopping:
                    return
                job = self._running = self._next()
            assert job is not None
            try:
                if job.prepared is None:
                    event = job.event
                    job.prepared = self._pipeline.prepare(event.frames, event.event_index)
                if job.clip is None:
                    continue
                self._on_collision(self._pipeline.finish(job.prepared, job.clip))
            except BaseException as error:  # anything, even SystemExit; the thread must live
                self._end(job, 'failed')
                self._report(job.event, error)
            else:
                self._end(job, 'done')

    def _report(self, event: Event, error: BaseException) -> None:
        try:
            self._on_error(event, error)
        except BaseException:  # else no further event would be answered, without a word
            _LOG.exception('on_error failed')

    def _end(self, job: _Job, outcome: str) -> None:
        with self._changed:
            del self._jobs[job.event]
            self._running = None
            self.counts[outcome] += 1
