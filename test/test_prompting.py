"""Hands and places snap to proposals; a guess that nothing supports is no candidate."""

import numpy as np
import pytest

from cs3_ros.collision import HandObject, Localisation, Proposal
from cs3_ros.prompting import box_iou, prompts_of

GUESS = (40.0, 40.0, 90.0, 90.0)


def hand(side='right', grip=(60, 60), box=GUESS, guessed=True):
    points = np.array([grip], np.float32) if grip else np.zeros((0, 2), np.float32)
    hull = np.array([(50, 70), (70, 70), (60, 95)], np.float32)
    return HandObject(side, 0.8, (50.0, 70.0, 70.0, 90.0), hull, points, box, points, guessed)


def place(at=(60, 60), box=(20.0, 20.0, 100.0, 100.0), hot=GUESS):
    heat = np.full((200, 200), 0.01, np.float32)
    x0, y0, x1, y1 = (int(edge) for edge in hot)
    heat[y0:y1, x0:x1] = 1
    return Localisation(heat, box, 0.5, at)


def boxes(*arguments, **options):
    labels, _, prompts = prompts_of(*arguments, **options)
    return {label: prompt.box for label, prompt in zip(labels, prompts, strict=True)}


CUP = Proposal((55.0, 50.0, 75.0, 72.0), 0.1, 'cup')
TABLE = Proposal((0.0, 10.0, 200.0, 200.0), 0.9, 'dining table')


def test_of_the_proposals_that_a_grip_lies_in_the_surest_for_its_size_is_held():
    assert boxes([hand()], None, [TABLE, CUP])['right_hand'] == CUP.box
    faint = Proposal(CUP.box, 0.0009, 'cup')
    assert boxes([hand()], None, [TABLE, faint])['right_hand'] == TABLE.box


def test_nothing_larger_than_half_of_the_picture_is_held():
    """TABLE, 38 000 of 40 000 pixels, under the hand."""
    assert boxes([hand()], place(), [TABLE], size=(200, 200))['right_hand'] == GUESS
    assert boxes([hand()], place(), [TABLE], size=(200, 400))['right_hand'] == TABLE.box
    there = boxes([hand()], place(), [TABLE], size=(200, 200))['audio_visual']
    assert there == TABLE.box  # the place may be a table


def test_a_grip_that_lies_in_none_may_touch_one():
    beside = Proposal((61.5, 50.0, 80.0, 70.0), 0.5, 'cup')
    beyond = Proposal((63.0, 50.0, 80.0, 70.0), 0.5, 'cup')
    assert boxes([hand()], place(), [beside])['right_hand'] == beside.box  # a hand of 20 px
    assert boxes([hand()], place(), [beyond])['right_hand'] == GUESS
    assert boxes([hand()], None, [beside, TABLE])['right_hand'] == TABLE.box  # it lies in that


def test_what_a_detector_saw_in_the_hand_stays():
    assert boxes([hand(guessed=False)], None, [CUP])['right_hand'] == GUESS


def test_points_become_the_box_of_a_proposal():
    _, _, (alone,) = prompts_of([hand(box=None, guessed=False)], None)
    assert alone.box is None and len(alone.positive_points) == 1
    _, _, (snapped,) = prompts_of([hand(box=None, guessed=False)], None, [CUP])
    assert snapped.box == CUP.box and not len(snapped.positive_points) and not snapped.guessed


def test_the_place_snaps_to_what_holds_it_unless_that_is_in_a_hand():
    large = Proposal((30.0, 30.0, 110.0, 110.0), 0.4, 'bowl')
    assert boxes([], place(), [large, TABLE])['audio_visual'] == large.box
    held = boxes([hand()], place(), [large, TABLE])
    assert held == {'right_hand': large.box, 'audio_visual': TABLE.box}
    assert boxes([], place(at=(150, 20)), [large])['audio_visual'] == (20.0, 20.0, 100.0, 100.0)
    assert boxes([], place(), [CUP])['audio_visual'] == (20.0, 20.0, 100.0, 100.0)  # too small


def test_without_a_centre_the_middle_of_the_box_is_the_place():
    far = Proposal((100.0, 100.0, 180.0, 180.0), 0.4, 'bowl')
    found = place(at=None, box=(120.0, 120.0, 160.0, 160.0))
    assert boxes([], found, [far])['audio_visual'] == far.box


def test_a_guess_that_neither_a_proposal_nor_the_heat_supports_is_no_candidate():
    cold = place(at=(150, 150), hot=(130, 130, 170, 170))
    assert set(boxes([hand()], cold)) == {'audio_visual'}
    assert set(boxes([hand()], place())) == {'right_hand', 'audio_visual'}
    assert boxes([hand()], None) == {}
    assert boxes([hand()], None, searched=False) == {'right_hand': GUESS}
    assert set(boxes([hand()], cold, [CUP])) == {'right_hand', 'audio_visual'}
    assert set(boxes([hand(guessed=False)], cold)) == {'right_hand', 'audio_visual'}


def test_the_masker_is_told_that_a_box_is_a_guess():
    _, _, (right, there) = prompts_of([hand()], place())
    assert right.guessed and len(right.positive_points) == 1
    assert not there.guessed


def test_priority_is_right_left_place():
    labels, scores, _ = prompts_of([hand('left', (80, 80)), hand()], place())
    assert labels == ['right_hand', 'left_hand', 'audio_visual'] and scores == [0.8, 0.8, 0.5]


def test_box_iou():
    assert box_iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert box_iou((0, 0, 10, 10), (20, 20, 30, 30)) == 0
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
