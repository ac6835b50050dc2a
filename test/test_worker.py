"""The worker: order, drop-oldest, failures, two-step events."""

import threading

import needs
import numpy as np
import pytest
from fakes import fake_pipeline

from cs3_ros.collision import AudioClip, Collision, Frame, Onset
from cs3_ros.pipeline import Pipeline
from cs3_ros.trigger.assembler import Event
from cs3_ros.worker import Worker

FRAME = Frame.from_rgb(5, np.zeros((40, 60, 3), np.uint8))
SILENCE = AudioClip(0, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))


def event(onset_ns: int) -> Event:
    """An event whose frames are settled; ``heard`` settles its sound."""
    return Event(Onset(onset_ns, -10.0, 20.0), (FRAME,), 0)


def heard(event: Event) -> Event:
    event.audio = SILENCE
    return event


class Answers:
    """Collects what a worker says; ``wait`` returns once that many events have ended."""

    def __init__(self) -> None:
        self.collisions: list[int] = []
        self.errors: list[int] = []
        self._ended = threading.Semaphore(0)

    def collision(self, collision: Collision) -> None:
        self.collisions.append(collision.onset.stamp_ns)
        self._ended.release()

    def error(self, event: Event, error: BaseException) -> None:
        self.errors.append(event.onset.stamp_ns)
        self._ended.release()

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._ended.acquire(timeout=10)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def make(answers: Answers, pipeline: Pipeline | None = None, capacity: int = 4) -> Worker:
    return Worker(pipeline or fake_pipeline(), capacity, answers.collision, answers.error)


@needs.with_opencv
def test_an_event_ends_only_with_its_sound(answers: Answers) -> None:
    worker = make(answers)
    first, second = event(1), event(2)
    worker.enter(first)
    worker.enter(second)
    worker.complete(heard(second))
    answers.wait(1)
    assert answers.collisions == [2]
    worker.complete(heard(first))
    answers.wait(1)
    worker.stop()
    assert answers.collisions == [2, 1]
    assert worker.counts == {'done': 2, 'dropped': 0}


@needs.with_opencv
def test_the_oldest_waiting_event_is_dropped(answers: Answers) -> None:
    held, entered = threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return not held.wait(10)

    worker = make(answers, fake_pipeline(fail=hold), capacity=2)
    for onset_ns in range(1, 7):
        one = heard(event(onset_ns))
        worker.enter(one)
        worker.complete(one)
        assert entered.wait(10)  # the first one runs, the others wait
    assert worker.waiting == 2
    held.set()
    answers.wait(3)
    worker.stop()
    assert answers.collisions == [1, 5, 6]
    assert worker.counts['dropped'] == 3


@needs.with_opencv
def test_a_stage_that_raises_costs_one_event(answers: Answers) -> None:
    failures = iter([True, False])
    worker = make(answers, fake_pipeline(fail=lambda: next(failures)))
    for onset_ns in (1, 2):
        one = heard(event(onset_ns))
        worker.enter(one)
        worker.complete(one)
        answers.wait(1)
    worker.stop()
    assert (answers.errors, answers.collisions) == ([1], [2])
    assert worker.counts == {'failed': 1, 'done': 1, 'dropped': 0}


class Unspeakable(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError('no text')


@needs.with_opencv
@pytest.mark.parametrize('raised', [Unspeakable(), SystemExit(3)])
def test_the_thread_survives_what_on_error_raises(
    answers: Answers, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    def error(event: Event, error: BaseException) -> None:
        answers.error(event, error)
        raise raised

    failures = iter([True, True, False])
    pipeline = fake_pipeline(fail=lambda: next(failures))
    worker = Worker(pipeline, 4, answers.collision, error)
    for onset_ns in (1, 2, 3):
        one = heard(event(onset_ns))
        worker.enter(one)
        worker.complete(one)
        answers.wait(1)
    worker.stop()
    assert (answers.errors, answers.collisions) == ([1, 2], [3])
    assert worker.counts == {'failed': 2, 'done': 1, 'dropped': 0}
    assert [record.message for record in caplog.records] == ['on_error failed'] * 2


def test_a_stage_that_asks_to_exit_costs_one_event(answers: Answers) -> None:
    def leave() -> bool:
        raise SystemExit(1)

    worker = make(answers, fake_pipeline(fail=leave))
    one = heard(event(1))
    worker.enter(one)
    worker.complete(one)
    answers.wait(1)
    worker.stop()
    assert answers.errors == [1] and worker.counts['failed'] == 1


def test_stop_counts_what_it_leaves(answers: Answers) -> None:
    worker = make(answers)
    worker.enter(event(1))
    worker.stop()
    assert worker.counts['dropped'] == 1
    assert not answers.collisions


def test_the_sound_of_a_dropped_event_is_ignored(answers: Answers) -> None:
    worker = make(answers)
    worker.complete(heard(event(9)))
    worker.stop()
    assert not answers.collisions


def test_capacity_must_be_positive(answers: Answers) -> None:
    with pytest.raises(ValueError, match='at least 1'):
        make(answers, capacity=0)


@needs.with_opencv
def test_events_of_one_stamp_are_two(answers: Answers) -> None:
    """segment_now asked twice on one frame: each is answered, with its own sound."""
    worker = make(answers)
    twins = [heard(event(1)), heard(event(1))]
    for one in twins:
        worker.enter(one)
    for one in twins:
        worker.complete(one)
    answers.wait(2)
    worker.stop()
    assert answers.collisions == [1, 1] and worker.counts == {'done': 2, 'dropped': 0}


def test_an_event_without_its_sound_cannot_be_completed(answers: Answers) -> None:
    worker, one = make(answers), event(1)
    worker.enter(one)
    with pytest.raises(ValueError, match='has no sound yet'):
        worker.complete(one)
    worker.stop()
