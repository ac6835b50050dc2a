"""What the demo's subscriber makes of the messages: which masks belong to which event."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cs3_ros.ros.spectator import Answer, events_of

MASKS = [np.full((2, 3), value, np.uint8) for value in range(3)]


def answer(onset_ns: int, frame_ns: int) -> Answer:
    return Answer(onset_ns, frame_ns, ('right_hand',), 9.0)


def test_two_events_on_one_frame_keep_their_own_masks() -> None:
    """The worker answers in the order in which events become ready, not in that of the onsets."""
    heard_s = {10: 1.0, 20: 2.0, 30: 3.0, 40: 4.0}
    answers = [answer(20, 500), answer(10, 500), answer(40, 600)]
    events = events_of(heard_s, answers, list(zip((500, 500, 600), MASKS, strict=True)))
    assert [event.onset_ns for event in events] == [10, 20, 30, 40]
    assert events[0].label_image is MASKS[1] and events[1].label_image is MASKS[0]
    assert events[3].label_image is MASKS[2] and events[3].frame_ns == 600
    assert events[2].label_image is None and math.isnan(events[2].answered_s)
    assert [event.heard_s for event in events] == [1.0, 2.0, 3.0, 4.0]
    assert events[0].labels == ('right_hand',) and events[0].answered_s == 9.0


def test_an_answer_without_its_onset_is_an_event() -> None:
    (event,) = events_of({}, [answer(10, 500)], [(500, MASKS[0])])
    assert (event.onset_ns, event.heard_s) == (10, 9.0)


@pytest.mark.parametrize(
    'masks', [[], [(500, MASKS[0]), (500, MASKS[1])], [(600, MASKS[0])]], ids=['0', '2', 'other']
)
def test_masks_that_were_lost_are_told(masks) -> None:
    with pytest.raises(RuntimeError, match='messages were lost'):
        events_of({10: 1.0}, [answer(10, 500)], masks)
