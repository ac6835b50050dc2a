"""Means, intervals and breakdowns against plain computations."""

from __future__ import annotations

import needs

needs.training()

import numpy as np
import pytest

from cs3_training.evaluation.intervals import by_size, compare, summarise


def scores(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, count)


def test_a_row_against_the_textbook():
    values = scores(400)
    row = summarise(values)
    assert row.miou == pytest.approx(values.mean() * 100) and row.n == 400
    half = 1.96 * values.std() / 20 * 100
    assert row.ci[0] == pytest.approx(row.miou - half, abs=0.3)
    assert row.ci[1] == pytest.approx(row.miou + half, abs=0.3)
    assert 50 < row.auc + 2.5 < 56
    assert summarise(values) == row


def test_samples_of_one_video_are_not_independent():
    values = np.repeat(scores(40), 10)
    videos = np.repeat(np.arange(40), 10)
    alone, grouped = summarise(values), summarise(values, [f'video {k}' for k in videos])
    assert grouped.miou == pytest.approx(alone.miou)
    assert grouped.ci[1] - grouped.ci[0] > 2.5 * (alone.ci[1] - alone.ci[0])


def test_pairs_tell_methods_apart_that_intervals_do_not():
    first = scores(300)
    second = np.clip(first - 0.02, 0, 1)
    one, two = summarise(first), summarise(second)
    assert one.ci[0] < two.ci[1], 'the intervals overlap'
    difference = compare(first, second)
    assert difference.apart and difference.low > 1 and difference.high <= 2.0 + 1e-9
    assert not compare(first, scores(300, seed=1)).apart
    assert compare(second, first).mean == pytest.approx(-difference.mean)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match='expected the same samples'):
        compare([0.5], [0.5, 0.5])
    with pytest.raises(ValueError, match='2 groups for 1 scores'):
        summarise([0.5], ['a', 'b'])
    with pytest.raises(ValueError, match='non-empty'):
        summarise([])


def test_sizes_fall_into_their_ranges():
    rows = by_size([0.0, 0.004, 0.005, 0.05, 1.0], [0.1, 0.3, 0.5, 0.7, 0.9])
    assert {name: (round(row.miou, 6), row.n) for name, row in rows.items()} == {
        '0-0.5 %': (20.0, 2),
        '0.5-1 %': (50.0, 1),
        '5-10 %': (70.0, 1),
        '20-100 %': (90.0, 1),
    }
