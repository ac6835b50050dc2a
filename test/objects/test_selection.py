import needs

needs.opencv()

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.objects.selection import MOST, select
from cs3_ros.prompting import box_iou


def chosen(boxes, scores, names=None, **options):
    options = {'min_score': 0.1, 'max_iou': 0.5} | options
    names = names or ['cup'] * len(boxes)
    return select(np.array(boxes, float), np.array(scores), names, (100, 200), **options)


def test_boxes_are_cut_at_the_border_and_the_surest_comes_first():
    first, second = chosen([[-10, -10, 50, 50], [100, 20, 260, 60]], [0.3, 0.8])
    assert first.box == (100.0, 20.0, 200.0, 60.0) and first.score == 0.8
    assert second.box == (0.0, 0.0, 50.0, 50.0) and second.name == 'cup'


def test_what_is_no_object_is_no_proposal():
    boxes = [[k * 30, 10, k * 30 + 20, 40] for k in range(5)]
    names = ['person', 'hand', 'cup', 'left_hand', 'face']
    assert [one.name for one in chosen(boxes, [0.9] * 5, names)] == ['cup']
    assert chosen(boxes, [0.05] * 5) == ()
    assert chosen([[float('nan'), 0, 9, 9], [300, 0, 400, 50], [9, 9, 9, 40]], [0.9] * 3) == ()


def test_what_is_surer_a_person_is_no_bottle():
    boxes = [[10, 10, 50, 50], [12, 10, 52, 50]]
    assert chosen(boxes, [0.6, 0.5], ['person', 'bottle']) == ()
    assert [one.name for one in chosen(boxes, [0.5, 0.6], ['person', 'bottle'])] == ['bottle']


def test_one_thing_seen_as_two_is_proposed_once():
    boxes = [[10, 10, 50, 50], [12, 10, 52, 50], [30, 10, 70, 50]]
    names = ['cup', 'bowl', 'cup']
    found = chosen(boxes, [0.5, 0.6, 0.4], names)
    assert [one.name for one in found] == ['bowl', 'cup']
    assert len(chosen(boxes, [0.5, 0.6, 0.4], names, max_iou=1.0)) == 3


def test_a_picture_has_a_bounded_number_of_proposals():
    boxes = [[x * 6, y * 6, x * 6 + 5, y * 6 + 5] for x in range(30) for y in range(15)]
    assert len(chosen(boxes, [0.5] * len(boxes))) == MOST


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.05, 0.95))
def test_it_suppresses_as_its_definition_says(seed, count, max_iou):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 80, (count, 2))  # every box has 5 pixels within the picture
    boxes = np.concatenate([corners, corners + rng.uniform(5, 60, (count, 2))], 1)
    scores = rng.permutation(count) / count + 0.2
    expected = []
    for k in np.argsort(-scores):
        box = tuple(np.clip(boxes[k], 0, [200, 100, 200, 100]))
        if all(box_iou(box, other) <= max_iou + 1e-6 for other in expected):
            expected.append(box)
    found = [one.box for one in chosen(boxes, scores, max_iou=max_iou)]
    assert found == [pytest.approx(box) for box in expected]
