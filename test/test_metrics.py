from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from cs3_ros.metrics import (
    auc,
    best_assignment,
    centred_square,
    iou,
    iou_matrix,
    matched_ious,
    sample_score,
)


def block(rows, columns, size=(20, 20)):
    mask = np.zeros(size, bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


A, B = block((0, 10), (0, 10)), block((10, 20), (10, 20))
HALF_A = block((0, 5), (0, 10))
NOTHING = np.zeros((20, 20), bool)


def test_iou_counts_pixels_and_calls_two_empty_masks_zero():
    assert iou(A, A) == 1.0
    assert iou(A, HALF_A) == 0.5
    assert iou(A, B) == 0.0
    assert iou(NOTHING, NOTHING) == 0.0


def test_iou_refuses_masks_of_different_sizes():
    with pytest.raises(ValueError, match='20, 20.*10, 20.*resize'):
        iou(A, A[:10])


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_the_assignment_is_that_of_the_hungarian_method(rows, columns, seed):
    matrix = np.random.default_rng(seed).random((rows, columns))
    chosen = linear_sum_assignment(-matrix)
    assert best_assignment(matrix) == tuple(zip(*(side.tolist() for side in chosen), strict=True))


def test_nothing_is_assigned_where_there_is_nothing():
    assert best_assignment(iou_matrix([A, B], [])) == ()
    assert matched_ious([A, B], []) == [0.0, 0.0] and matched_ious([], [A]) == []


@pytest.mark.parametrize('truths, predictions', [(1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)])
def test_the_best_assignment_against_all_of_them(truths, predictions):
    rng = np.random.default_rng(truths * 10 + predictions)
    truth = [rng.random((6, 6)) > 0.5 for _ in range(truths)]
    predicted = [rng.random((6, 6)) > 0.5 for _ in range(predictions)]
    slots = [*range(predictions), *[None] * truths]
    best = max(
        sum(iou(t, predicted[k]) for t, k in zip(truth, choice, strict=True) if k is not None)
        for choice in permutations(slots, truths)
    )
    assert sum(matched_ious(truth, predicted)) == pytest.approx(best)


def test_every_annotated_mask_has_its_own_iou():
    assert matched_ious([A, B], [B, HALF_A]) == [0.5, 1.0]
    assert matched_ious([A, B], [NOTHING, HALF_A, B]) == [0.5, 1.0]
    assert matched_ious([B, A], [HALF_A]) == [0.0, 0.5]


@pytest.mark.parametrize(
    ('truth', 'predicted', 'score'),
    [
        ([A, B], [A, B], 1.0),
        ([A, B], [B, A], 1.0),  # order does not matter
        ([A, B], [A], 0.5),  # a missing mask counts as 0
        ([A], [A, B], 0.5),  # so does a needless one
        ([A], [HALF_A], 0.5),
        ([A, B], [HALF_A, B], 0.75),
        ([A], [], 0.0),
        ([A, B], [A, A], 0.5),  # one prediction cannot be used twice
    ],
)
def test_sample_score(truth, predicted, score):
    assert sample_score(truth, predicted) == pytest.approx(score)


def test_denominator_truth_forgives_a_needless_mask():
    assert sample_score([A], [A, B], denominator='truth') == 1.0
    with pytest.raises(ValueError, match='max or truth'):
        sample_score([A], [A], denominator='none')


def test_a_sample_without_truth_has_no_score():
    with pytest.raises(ValueError, match='leave it out'):
        sample_score([], [A])


def test_auc_of_known_curves():
    assert auc([0.0]) == pytest.approx(0.025)
    assert auc([1.0, 1.0]) == pytest.approx(1.0)
    # 0.15 is three float steps of 0.05: success at 0, 0.05, 0.1, 0.15 and then none
    assert auc([0.15]) == pytest.approx(0.175)
    assert auc([0.0, 1.0]) == pytest.approx((0.025 + 1.0) / 2)


@pytest.mark.parametrize('scores', [[], [50.0], [-0.1], [[0.5]], [float('nan')]])
def test_auc_refuses_what_is_no_list_of_fractions(scores):
    with pytest.raises(ValueError, match='expected'):
        auc(scores)


def test_centred_square_covers_a_tenth_in_the_middle():
    square = centred_square(540, 540)
    rows, columns = np.nonzero(square)
    assert square.mean() == pytest.approx(0.1, abs=0.001)
    assert abs(rows.mean() - 269.5) <= 0.5 and abs(columns.mean() - 269.5) <= 0.5
    assert centred_square(90, 160).mean() == pytest.approx(0.1, abs=0.005)
