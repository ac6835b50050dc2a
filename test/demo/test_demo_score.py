"""What the demo says of answers and truth, against cases that a person can work out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cs3_ros.demo.score import compare, summarise
from cs3_ros.files.truth import ClipTruth, TrueEvent, TrueFrame, runs_of
from cs3_ros.ros.live_run import LiveEvent

MS = 1_000_000
ORIGIN_NS = 1_000_000_000_000
LEFT, RIGHT, NOTHING = np.zeros((3, 4, 8), bool)
LEFT[:, :2] = True
RIGHT[:, 6:] = True


def true(time_ms: int, *masks, frames_ms=(-33, 0, 33)) -> TrueEvent:
    runs = tuple(runs_of(mask) for mask in masks)
    frames = tuple(TrueFrame((time_ms + k) * MS, runs) for k in frames_ms)
    return TrueEvent(time_ms * MS, tuple(f'thing {k}' for k in range(len(masks))), frames)


def detected(onset_ms: int, *masks, frame_ms: int | None = None, size=(4, 8)) -> LiveEvent:
    if not masks:
        return LiveEvent(ORIGIN_NS + onset_ms * MS, 10.0)
    labels = np.zeros(size, np.uint8)
    for number, mask in enumerate(masks, 1):
        labels[mask] = number
    frame_ns = ORIGIN_NS + (onset_ms if frame_ms is None else frame_ms) * MS
    names = ('right_hand', 'audio_visual')[: len(masks)]
    return LiveEvent(ORIGIN_NS + onset_ms * MS, 10.0, 10.25, frame_ns, names, labels)


def truth(*events: TrueEvent) -> ClipTruth:
    return ClipTruth('test', 8, 4, events)


def test_an_answer_is_scored_on_its_own_frame():
    (row,) = compare(
        [detected(1003, RIGHT, LEFT, frame_ms=1033)], ORIGIN_NS, truth(true(1000, LEFT, RIGHT))
    )
    assert row.ious == (1.0, 1.0) and row.score == 1.0
    assert row.error_ms == pytest.approx(3) and row.time_s == pytest.approx(1.003)


def test_half_and_needless_masks_cost():
    half = LEFT.copy()
    half[:2] = False
    (row,) = compare([detected(1000, half, RIGHT)], ORIGIN_NS, truth(true(1000, LEFT)))
    assert row.ious == (0.5,) and row.score == 0.25
    (row,) = compare([detected(1000, half)], ORIGIN_NS, truth(true(1000, LEFT, RIGHT)))
    assert row.ious == (0.5, 0.0) and row.score == 0.25


def test_an_object_that_is_not_seen_is_left_out():
    (row,) = compare([detected(1000, LEFT)], ORIGIN_NS, truth(true(1000, NOTHING, LEFT)))
    assert row.ious == (1.0,) and row.score == 1.0
    (row,) = compare([detected(1000, LEFT)], ORIGIN_NS, truth(true(1000, NOTHING)))
    assert row.score is None and row.true is not None


def test_other_sounds_and_missed_collisions_are_rows():
    events = [detected(500, LEFT), detected(2050), detected(4000, LEFT)]
    known = truth(true(1000, LEFT), true(2000, LEFT), true(4000, LEFT))
    rows = compare(events, ORIGIN_NS, known)
    assert [row.time_s for row in rows] == pytest.approx([0.5, 1.0, 2.05, 4.0])
    assert rows[0].true is None and rows[0].judged and rows[0].score is None
    assert rows[1].detected is None and rows[1].ious == (0.0,) and math.isnan(rows[1].error_ms)
    assert rows[2].ious == (0.0,) and rows[2].error_ms == pytest.approx(50), 'heard, nothing found'
    mean = summarise(rows)
    assert mean.score == pytest.approx(1 / 3) and mean.error_ms == pytest.approx(25)
    assert mean.latency_ms == pytest.approx(250)


def test_the_nearest_onset_is_taken_and_only_once():
    events = [detected(960, LEFT), detected(1010, LEFT), detected(1090, LEFT)]
    rows = compare(events, ORIGIN_NS, truth(true(1000, LEFT), true(1080, LEFT)))
    assert [None if row.true is None else row.error_ms for row in rows] == [None, 10, 10]
    (row, other) = compare([detected(1101, LEFT)], ORIGIN_NS, truth(true(1000, LEFT)))
    assert row.detected is None and other.true is None, 'too far away'


def test_a_frame_that_the_truth_does_not_know_is_not_scored():
    (row,) = compare([detected(1000, LEFT, frame_ms=1015)], ORIGIN_NS, truth(true(1000, LEFT)))
    assert row.true is not None and row.ious == () and row.score is None


def test_a_contact_between_two_frames():
    (row,) = compare([], ORIGIN_NS, truth(true(1000, LEFT, frames_ms=(-16, 17))))
    assert row.ious == (0.0,) and row.masks[0].sum() == 8


def test_without_truth_nothing_is_said_of_right_and_wrong():
    rows = compare([detected(1000, LEFT), detected(2000)], ORIGIN_NS, None)
    assert not any(row.judged for row in rows) and all(row.score is None for row in rows)
    mean = summarise(rows)
    assert math.isnan(mean.score) and math.isnan(mean.error_ms) and mean.latency_ms == 250
    assert math.isnan(summarise([]).latency_ms)


def test_the_truth_of_another_clip_is_refused():
    large = np.ones((8, 8), bool)
    with pytest.raises(ValueError, match='masks of 8x8, truth of 8x4: expected the truth file'):
        compare([detected(1000, large, size=(8, 8))], ORIGIN_NS, truth(true(1000, LEFT)))
