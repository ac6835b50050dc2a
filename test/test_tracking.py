"""Which frames are tracked for which event, and the thread that does it."""

from __future__ import annotations

import needs

needs.opencv()

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from fakes import fake_pipeline

from cs3_ros.collision import NS_PER_S, AudioClip, Collision, Frame, Onset, Tracked
from cs3_ros.tracking import MOST_EVENTS, TrackingConfig, TrackingThread, Tracks
from cs3_ros.trigger.assembler import Event
from cs3_ros.trigger.buffers import FrameBuffer

SILENCE = AudioClip(0, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))
PICTURE = np.zeros((40, 60, 3), np.uint8)
STEP_NS = 100_000_000


class Counting:
    """A tracker that finds every mask again until it has followed ``lasts`` frames."""

    def __init__(self, lasts: int = 1000) -> None:
        self.lasts = lasts
        self.trouble: BaseException | None = None

    def begin(self, frame: Frame, masks):
        return {'masks': masks, 'count': 0}

    def follow(self, state, frame: Frame):
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        assert frame.image is not None
        state['count'] += 1
        first = None if state['count'] > self.lasts else Tracked(state['masks'][0], 0.5)
        return (first, *(Tracked(mask, 0.7) for mask in state['masks'][1:]))


class Camera:
    """Frames every 0.1 s, given to a buffer and to tracks as the doors give them."""

    def __init__(self, tracks: Tracks) -> None:
        self.tracks, self.buffer, self.events = tracks, FrameBuffer(), {}

    def take(self, *numbers: int) -> None:
        for number in numbers:
            frame = Frame.from_rgb(10 * NS_PER_S + number * STEP_NS, PICTURE)
            self.buffer.push(frame)
            self.tracks.push(frame)

    def enter(self, number: int) -> Event:
        stamp_ns = 10 * NS_PER_S + number * STEP_NS
        frame = self.buffer.nearest(stamp_ns)
        event = Event(Onset(stamp_ns + 1, -10.0, 20.0), (frame,), 0)
        event.audio = SILENCE
        self.events[number] = event
        self.tracks.expect(event, self.buffer)
        return event

    def answer(self, number: int, keep: int = 2) -> Collision:
        collision = fake_pipeline()(self.events[number].clip)
        found = collision.verdict.objects[:keep]
        object.__setattr__(collision.verdict, 'objects', found)
        self.tracks.answer(collision)
        return collision

    def told(self) -> list[tuple[int, int]]:
        """Event and frame of all that is tracked now, by their numbers."""
        rows = []
        while self.tracks.waiting:
            if (tracked := self.tracks.step()) is not None:
                event = round((float(tracked.event) - 10) * 10)
                rows.append((event, round((tracked.frame.stamp_ns / NS_PER_S - 10) * 10)))
        return rows


def camera(seconds: float = 0.5, tracker: Counting | None = None, **config) -> Camera:
    return Camera(Tracks(tracker or Counting(), TrackingConfig(seconds, **config)))


def test_frames_that_came_while_the_stages_worked_are_caught_up_with() -> None:
    cam = camera()
    cam.take(0, 1, 2, 3)
    cam.enter(1)
    cam.take(4)
    assert cam.told() == []
    cam.answer(1)
    assert cam.told() == [(1, 1), (1, 2), (1, 3), (1, 4)]
    cam.take(5)
    assert cam.told() == [(1, 5)]
    cam.take(6, 7, 8)
    assert cam.told() == [(1, 6)]  # 0.5 s are over
    assert cam.tracks.counts == {'tracked_frames': 6, 'lost_objects': 0}


@pytest.mark.parametrize('late', [0, 3])
def test_a_new_event_takes_over_and_has_the_last_word_about_every_frame(late: int) -> None:
    """However late it is answered."""
    cam = camera()
    cam.take(0, 1)
    cam.enter(0)
    cam.answer(0)
    told = cam.told()
    cam.take(2, 3)
    cam.enter(2)
    for number in range(late):
        cam.take(4 + number)
        told += cam.told()
    cam.answer(2)
    cam.take(*range(4 + late, 12))
    told += cam.told()
    last = {frame: event for event, frame in told}
    assert last == {0: 0, 1: 0} | dict.fromkeys(range(2, 8), 2)


def test_an_older_event_that_is_answered_later_ends_where_the_newer_one_began() -> None:
    cam = camera()
    cam.take(0, 1, 2, 3)
    cam.enter(0)
    cam.enter(2)
    cam.answer(2)
    assert cam.told() == [(2, 2), (2, 3)]
    cam.answer(0)
    assert cam.told() == [(0, 0), (0, 1)]


def test_an_event_without_objects_or_without_answer_is_forgotten() -> None:
    cam = camera()
    cam.take(0, 1)
    cam.enter(0)
    cam.answer(0, keep=0)
    event = cam.enter(1)
    cam.tracks.forget(event)
    cam.take(2)
    cam.answer(1)
    assert cam.told() == []


def test_lost_objects_stay_lost_and_are_counted_and_frames_go_on_being_told() -> None:
    tracker = Counting(lasts=1)
    cam = camera(tracker=tracker)
    cam.take(0, 1, 2, 3)
    cam.enter(0)
    collision = cam.answer(0)
    frames = [cam.tracks.step() for _ in range(4)]
    seen = [[each is not None for each in frame.objects] for frame in frames]
    assert seen == [[True, True], [True, True], [False, True], [False, True]]
    assert cam.tracks.counts['lost_objects'] == 1
    assert np.array_equal(frames[1].label_image(), collision.label_image())
    assert set(np.unique(frames[2].label_image())) == {0, 2}
    cam.enter(3)
    cam.answer(3, keep=1)
    cam.take(4, 5, 6)
    frames = [cam.tracks.step() for _ in range(4)]
    assert [frame.objects[0] is not None for frame in frames] == [True, True, False, False]
    assert not frames[-1].label_image().any() and frames[-1].shape == (40, 60)


def test_a_full_queue_drops_the_oldest_but_the_events_own_frame() -> None:
    cam = camera(5.0, queue_frames=3)
    cam.take(0)
    cam.enter(0)
    cam.take(*range(1, 10))
    cam.answer(0)
    assert cam.told() == [(0, 0), (0, 8), (0, 9)]
    assert cam.tracks.counts['dropped_track_frames'] == 7


def test_broken_frames_are_skipped_and_an_error_ends_the_event_alone() -> None:
    tracker = Counting()
    cam = camera(tracker=tracker)
    cam.take(0, 1, 2)
    cam.enter(0)
    cam.answer(0)
    cam.tracks.step()
    tracker.trouble = ValueError('broken')
    assert cam.tracks.step() is None
    assert cam.told() == [(0, 2)]
    cam.take(3)
    tracker.trouble = RuntimeError('worse')
    with pytest.raises(RuntimeError):
        cam.tracks.step()
    cam.take(4)
    assert cam.told() == []
    assert cam.tracks.counts['failed_tracks'] == 2
    cam.enter(4)
    cam.answer(4)
    assert cam.told() == [(4, 4)]


def test_late_frames_are_left_out_and_a_clock_that_jumps_back_ends_the_track() -> None:
    cam = camera(5.0)
    cam.take(20)
    cam.enter(20)
    cam.answer(20)
    cam.take(22, 21, 23)
    assert cam.told() == [(20, 20), (20, 22), (20, 23)]
    cam.take(1, 24)
    assert cam.told() == []


def test_a_bag_that_loops_is_tracked_alike_each_time() -> None:
    cam = camera(1.0)
    told = []
    for _ in range(2):
        cam.buffer.clear()
        for number in range(30):
            cam.take(number)
            if number in (5, 10):
                cam.enter(number)
                cam.answer(number)
            told.append(cam.told())
    assert told[:30] == told[30:] and len(sum(told[:30], [])) == 5 + 11


def test_events_that_are_never_answered_do_not_pile_up() -> None:
    cam = camera()
    cam.take(0)
    for number in range(0, 3 * MOST_EVENTS):
        cam.take(number + 1)
        cam.enter(number)
    assert len(cam.tracks._tracks) == MOST_EVENTS
    assert cam.tracks.counts['dropped_track_frames'] > 0


def test_the_thread_survives_what_is_raised_and_ends_with_nothing_left(caplog) -> None:
    tracker = Counting()
    tracks = Tracks(tracker, TrackingConfig(60.0))
    errors, numbers = [], []
    heard = threading.Semaphore(0)

    def on_tracked(tracked) -> None:
        numbers.append(tracked.frame.stamp_ns)
        heard.release()
        if len(numbers) == 2:
            raise SystemExit('as a callback may')

    def on_error(error: BaseException) -> None:
        errors.append(type(error))
        raise RuntimeError('on_error itself fails')

    thread = TrackingThread(tracks, on_tracked, on_error)
    cam = Camera(tracks)
    cam.take(0, 1, 2)
    cam.enter(0)
    cam.answer(0)
    for _ in range(3):
        assert heard.acquire(timeout=10)
    tracker.trouble = MemoryError()
    cam.take(3)
    deadline = time.monotonic() + 10
    while len(errors) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert errors == [SystemExit, MemoryError]
    cam.take(4)
    cam.enter(4)
    cam.answer(4)
    assert heard.acquire(timeout=10)
    picture = weakref.ref(cam.buffer.latest)
    thread.stop()
    assert not thread._thread.is_alive()
    cam.buffer.clear()
    cam.events.clear()
    caplog.clear()  # the errors hold what they came through
    gc.collect()
    assert picture() is None
