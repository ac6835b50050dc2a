"""The worker: order, drop-oldest, failures, two-step events."""

import threading

import numpy as np
import pytest
from fakes import fake_pipeline

from cs3_ros.collision import AudioClip, Collision, CollisionClip, Frame, Onset
from cs3_ros.pipeline import Pipeline
from cs3_ros.worker import Worker

FRAME = Frame.from_rgb(5, np.zeros((40, 60, 3), np.uint8))
SILENCE = AudioClip(0, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))


def clip(onset_ns: int) -> CollisionClip:
    return CollisionClip(Onset(onset_ns, -10.0, 20.0), (FRAME,), 0, SILENCE)


class Answers:
    """Collects what a worker says; ``wait`` returns once that many events have ended."""

    def __init__(self) -> None:
        self.collisions: list[int] = []
        self.errors: list[int] = []
        self._ended = threading.Semaphore(0)

    def collision(self, collision: Collision) -> None:
        self.collisions.append(collision.onset.stamp_ns)
        self._ended.release()

    def error(self, onset_ns: int, error: BaseException) -> None:
        self.errors.append(onset_ns)
        self._ended.release()

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self._ended.acquire(timeout=10)


@pytest.fixture
def answers() -> Answers:
    return Answers()


def make(answers: Answers, pipeline: Pipeline | None = None, capacity: int = 4) -> Worker:
    return Worker(pipeline or fake_pipeline(), capacity, answers.collision, answers.error)


def test_an_event_ends_only_with_its_sound(answers: Answers) -> None:
    worker = make(answers)
    worker.prepare(1, (FRAME,), 0)
    worker.prepare(2, (FRAME,), 0)
    worker.finish(clip(2))
    answers.wait(1)
    assert answers.collisions == [2]
    worker.finish(clip(1))
    answers.wait(1)
    worker.stop()
    assert answers.collisions == [2, 1]
    assert worker.counts == {'done': 2, 'dropped': 0}


def test_the_oldest_waiting_event_is_dropped(answers: Answers) -> None:
    held, entered = threading.Event(), threading.Event()

    def hold() -> bool:
        entered.set()
        return not held.wait(10)

    worker = make(answers, fake_pipeline(fail=hold), capacity=2)
    for onset_ns in range(1, 7):
        worker.prepare(onset_ns, (FRAME,), 0)
        worker.finish(clip(onset_ns))
        assert entered.wait(10)  # the first one runs, the others wait
    assert worker.waiting == 2
    held.set()
    answers.wait(3)
    worker.stop()
    assert answers.collisions == [1, 5, 6]
    assert worker.counts['dropped'] == 3


def test_a_stage_that_raises_costs_one_event(answers: Answers) -> None:
    failures = iter([True, False])
    worker = make(answers, fake_pipeline(fail=lambda: next(failures)))
    for onset_ns in (1, 2):
        worker.prepare(onset_ns, (FRAME,), 0)
        worker.finish(clip(onset_ns))
        answers.wait(1)
    worker.stop()
    assert (answers.errors, answers.collisions) == ([1], [2])
    assert worker.counts == {'failed': 1, 'done': 1, 'dropped': 0}


class Unspeakable(Exception):
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError('no text')


@pytest.mark.parametrize('raised', [Unspeakable(), SystemExit(3)])
def test_the_thread_survives_what_on_error_raises(
    answers: Answers, caplog: pytest.LogCaptureFixture, raised: BaseException
) -> None:
    def error(onset_ns: int, error: BaseException) -> None:
        answers.error(onset_ns, error)
        raise raised

    failures = iter([True, True, False])
    pipeline = fake_pipeline(fail=lambda: next(failures))
    worker = Worker(pipeline, 4, answers.collision, error)
    for onset_ns in (1, 2, 3):
        worker.prepare(onset_ns, (FRAME,), 0)
        worker.finish(clip(onset_ns))
        answers.wait(1)
    worker.stop()
    assert (answers.errors, answers.collisions) == ([1, 2], [3])
    assert worker.counts == {'failed': 2, 'done': 1, 'dropped': 0}
    assert [record.message for record in caplog.records] == ['on_error failed'] * 2


def test_a_stage_that_asks_to_exit_costs_one_event(answers: Answers) -> None:
    def leave() -> bool:
        raise SystemExit(1)

    worker = make(answers, fake_pipeline(fail=leave))
    worker.prepare(1, (FRAME,), 0)
    worker.finish(clip(1))
    answers.wait(1)
    worker.stop()
    assert answers.errors == [1] and worker.counts['failed'] == 1


def test_stop_counts_what_it_leaves(answers: Answers) -> None:
    worker = make(answers)
    worker.prepare(1, (FRAME,), 0)
    worker.stop()
    assert worker.counts['dropped'] == 1
    assert not answers.collisions


def test_the_sound_of_a_dropped_event_is_ignored(answers: Answers) -> None:
    worker = make(answers)
    worker.finish(clip(9))
    worker.stop()
    assert not answers.collisions


def test_capacity_must_be_positive(answers: Answers) -> None:
    with pytest.raises(ValueError, match='at least 1'):
        make(answers, capacity=0)
