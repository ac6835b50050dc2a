"""Frames and sound that do not meet in time."""

from __future__ import annotations

import pytest

from cs3_ros.trigger.spans import APART_S, Spans

S = 1_000_000_000


def spans(frames: tuple[float, float], sound: tuple[float, float]) -> Spans:
    found = Spans()
    for kind, (first_s, last_s) in (('frames', frames), ('sound', sound)):
        found.add(kind, round(last_s * S))
        found.add(kind, round(first_s * S))
    return found


@pytest.mark.parametrize(
    'frames, sound',
    [
        ((1, 5), (1, 5)),
        ((1, 5), (4.9, 60)),
        ((10, 12), (1, 60)),
        ((1, 5), (5 + APART_S, 9)),
        ((7 + APART_S, 9 + APART_S), (1, 7)),
    ],
)
def test_what_meets_or_nearly_meets_is_fine(frames, sound):
    assert spans(frames, sound).problem == ''


@pytest.mark.parametrize(
    'frames, sound, words',
    [
        ((1.7e9, 1.7e9 + 4), (9.769, 13.749), ('sound (9.769 to 13.749 s)', 'the time of day')),
        ((9.769, 13.749), (1.7e9, 1.7e9 + 4), ('pictures (9.769 to 13.749 s)', 'the time of day')),
        ((1.7e9, 1.7e9 + 4), (1.7e9 + 60, 1.7e9 + 64), ('1700000060.000', 'clocks of camera')),
    ],
)
def test_both_spans_and_the_likely_cause_are_named(frames, sound, words):
    problem = spans(frames, sound).problem
    assert 'do not overlap in time' in problem and '\n' not in problem
    for word in words:
        assert word in problem


def test_one_alone_and_a_clock_that_jumped_are_no_problem():
    alone = Spans()
    alone.add('sound', 5 * S)
    assert alone.problem == ''
    both = spans((1.7e9, 1.7e9 + 4), (9, 13))
    assert both.problem
    both.clear()
    assert both.problem == ''
