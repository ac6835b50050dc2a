"""Sounding object detection and action discovery by hand."""

from __future__ import annotations

import needs

needs.training()

import numpy as np
import pytest

from cs3_training.evaluation.sounding import candidates, discovery, is_hit, roc_areas, top_1


def boxes(*given: tuple[int, int, int, int]) -> np.ndarray:
    found = np.zeros((len(given), 30, 30), bool)
    for mask, (top, left, bottom, right) in zip(found, given, strict=True):
        mask[top:bottom, left:right] = True
    return found


def test_candidates_by_hand():
    pool = boxes(
        (0, 0, 15, 10),  # 150 pixels: enough
        (0, 0, 15, 11),  # IoU 150 / 165 with the first: gone
        (15, 0, 29, 10),  # 140 pixels: too few
        (0, 10, 15, 20),  # stays
    )
    objects = boxes((0, 0, 14, 10), (20, 20, 21, 21), (5, 5, 5, 5))
    found = candidates(pool, objects)
    assert np.array_equal(found.masks, [pool[0], pool[3], objects[1]])
    assert found.positive.tolist() == [True, False, True]  # small positives are candidates


def test_overlap_has_to_be_larger_than_the_limit():
    pool = boxes((0, 0, 16, 10), (0, 0, 10, 16))  # 100 of 220
    found = candidates(pool, boxes((0, 0, 10, 10)), same=100 / 160)
    assert len(found.masks) == 3  # 100 of 160 is no more than the limit
    found = candidates(pool, boxes((0, 0, 10, 10)), same=0.6)
    assert found.positive.tolist() == [True, False], 'the first that overlaps'


def test_an_empty_pool_leaves_the_objects():
    found = candidates(boxes()[:0], boxes((0, 0, 3, 3), (0, 0, 3, 3)))
    assert found.positive.tolist() == [True]
    assert candidates(boxes()[:0], boxes()[:0]).masks.shape == (0, 30, 30)


def test_hits():
    positive = np.array([False, True, False])
    assert is_hit(np.array([0.1, 0.7, 0.6]), positive)
    assert not is_hit(np.array([0.8, 0.7, 0.6]), positive)
    assert is_hit(np.array([np.nan, 0.7, 0.6]), positive, background=0.5)
    assert not is_hit(np.array([0.1, 0.7, 0.6]), positive, background=0.7), 'it takes part'
    assert is_hit(np.array([0.1, 0.7, 0.6]), positive, background=0.9, exclude_background=True)
    assert not is_hit(np.array([np.nan]), np.array([True])) and not is_hit(np.zeros(0), np.zeros(0))
    assert top_1(np.array([True, False, False, True])) == 0.5
    with pytest.raises(ValueError, match='no samples'):
        top_1(np.array([], bool))


def test_discovery_by_hand():
    """Scores 4 3 2 1, of which the first and the third sound."""
    found = discovery(np.array([4.0, 3, 2, 1]), np.array([True, False, True, False]))
    assert found.roc == pytest.approx(3 / 4)  # pairs in the right order
    # By falling threshold: recall 1/2, 1/2, 1, 1 and precision 1, 1/2, 2/3, 1/2; and 0 with 1.
    # Sorted by recall, equal ones by rising threshold: 0:1, 1/2:1/2, 1/2:1, 1:1/2, 1:2/3.
    expected = 0.5 * (1 + 1 / 2) / 2 + 0.5 * (1 + 1 / 2) / 2
    assert found.precision_recall == pytest.approx(expected)


def test_discovery_at_its_ends():
    sounding = np.array([True, True, False, False])
    assert discovery(np.array([4, 3, 2, 1]), sounding).roc == 1
    assert discovery(np.array([1, 2, 3, 4]), sounding).roc == 0
    assert discovery(np.ones(4), sounding).roc == 0.5
    order = np.array([2, 0, 3, 1])  # of the clips
    scores = np.array([4.0, 1, 3, 2])
    assert discovery(scores[order], sounding[order]) == discovery(scores, sounding)
    with pytest.raises(ValueError, match='4 clips, 4 with a sounding action: expected both kinds'):
        discovery(np.ones(4), np.ones(4, bool))


def test_areas_of_resamples_spread_round_that_of_all():
    rng = np.random.default_rng(1)
    sounding = rng.random(400) < 0.6
    scores = np.round(sounding + rng.normal(0, 1, 400), 1)  # some are equal
    found = roc_areas(scores, sounding, 200)
    whole = discovery(scores, sounding).roc
    assert found.shape == (200,) and found.mean() == pytest.approx(whole, abs=0.01)
    assert 0.5 < found.std() * np.sqrt(400) / 0.45 < 2, 'about that of the formula of Hanley'
    assert np.array_equal(found, roc_areas(scores + 1, sounding, 200)), 'the same resamples'
