"""The vocabulary: frames decode once, candidates measure themselves, collisions draw themselves."""

import dataclasses

import numpy as np
import pytest

from cs3_ros import collision as vocabulary
from cs3_ros.collision import (
    LAST_STAMP_NS,
    NS_PER_S,
    Candidate,
    Collision,
    Frame,
    Onset,
    Verdict,
    event_id,
)
from cs3_ros.files.message_fields import header_stamp_ns


def rectangle(x0, y0, x1, y1, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def collision(*objects, stamp_ns=1_002_003_004_005):
    image = np.zeros((20, 30, 3), np.uint8)
    return Collision(
        onset=Onset(stamp_ns, -3.0, 40.0),
        frame=Frame.from_rgb(stamp_ns - 7, image),
        verdict=Verdict(tuple(objects), 'closest_pair', 1.0),
        candidates=tuple(objects),
        hands=(),
        heat_map=None,
        timings_ms={},
        bundle='test',
    )


def test_a_frame_is_decoded_once_and_a_copy_anew():
    calls = []

    def decode(payload):
        calls.append(payload)
        return np.zeros((2, 3, 3), np.uint8)

    frame = Frame(5, b'jpeg', decode)
    assert frame.image is frame.image and calls == [b'jpeg']
    assert dataclasses.replace(frame).image.shape == (2, 3, 3) and len(calls) == 2


def test_frames_know_their_size():
    assert Frame(1, b'12345', lambda payload: payload).nbytes == 5
    image = np.zeros((4, 5, 3), np.uint8)
    frame = Frame.from_rgb(9, image, 'camera')
    assert (frame.nbytes, frame.stamp_ns, frame.frame_id) == (60, 9, 'camera')
    assert np.shares_memory(frame.image, image) and frame.image is frame.image
    assert Frame.from_rgb(10, image).image is not frame.image, 'stages share by identity'


def test_a_candidate_measures_itself():
    candidate = Candidate('right_hand', rectangle(3, 5, 10, 9))
    assert candidate.box == (3.0, 5.0, 10.0, 9.0) and candidate.area == 28
    single = Candidate('right_hand', rectangle(29, 19, 30, 20))
    assert single.box == (29.0, 19.0, 30.0, 20.0) and single.area == 1


def test_an_empty_candidate_has_an_empty_box():
    candidate = Candidate('left_hand', np.zeros((20, 30), bool))
    assert candidate.box == (0.0, 0.0, 0.0, 0.0) and candidate.area == 0


def test_labels_follow_the_order_of_the_objects():
    right = Candidate('right_hand', rectangle(0, 0, 10, 10))
    audio = Candidate('audio_visual', rectangle(12, 0, 20, 10))
    labels = collision(right, audio).label_image()
    assert labels.dtype == np.uint8 and labels.shape == (20, 30)
    assert (labels[right.mask] == 1).all() and (labels[audio.mask] == 2).all()
    assert np.count_nonzero(labels) == right.area + audio.area


@pytest.mark.parametrize('smaller_first', [True, False])
def test_overlap_goes_to_the_smaller_one(smaller_first):
    small, large = rectangle(5, 5, 10, 10), rectangle(0, 0, 20, 15)
    masks = (small, large) if smaller_first else (large, small)
    labels = collision(*(Candidate('right_hand', mask) for mask in masks)).label_image()
    assert (labels[small] == (1 if smaller_first else 2)).all()
    assert (labels[large & ~small] == (2 if smaller_first else 1)).all()


def test_no_object_gives_background():
    assert not collision().label_image().any()


@pytest.mark.parametrize(
    'stamp_ns, text',
    [
        (1_002_003_004_005, '1002.003004005'),
        (1_000_000_000_000, '1000.000000000'),
        (7, '0.000000007'),
    ],
)
def test_the_id_is_the_stamp_of_the_onset(stamp_ns, text):
    assert event_id(stamp_ns) == collision(stamp_ns=stamp_ns).id == text


def test_a_damaged_frame_has_no_picture():
    def damaged(payload):
        raise ValueError('damaged')

    assert Frame(1, b'', damaged).image_or_none is None
    assert Frame.from_rgb(1, np.ones((2, 3, 3), np.uint8)).image_or_none.shape == (2, 3, 3)


def test_header_stamps_end_before_their_seconds_do():
    last_s = LAST_STAMP_NS // NS_PER_S
    assert header_stamp_ns(3, 999_999_999) == 3_999_999_999
    assert header_stamp_ns(last_s, 0) == LAST_STAMP_NS and last_s < 2**31 - 1
    for sec, nanosec in ((last_s, 1), (2**31 - 1, 0), (5, NS_PER_S)):
        with pytest.raises(ValueError, match=f'header stamp of {sec} s and {nanosec} ns: expected'):
            header_stamp_ns(sec, nanosec)


def test_a_refused_frame_is_tried_once():
    tries = []

    def refuse(payload):
        tries.append(payload)
        raise ValueError('broken')

    frame = Frame(1, b'payload', refuse)
    for _ in range(3):
        assert frame.image_or_none is None
        with pytest.raises(ValueError, match='broken') as caught:
            _ = frame.image
        assert len(caught.traceback) < 4, 'the error does not grow with every look'
    assert tries == [b'payload']


def test_decoded_pictures_are_kept_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(vocabulary, '_KEPT', vocabulary._Kept())
    monkeypatch.setattr(vocabulary, 'KEPT_BYTES', 3 * 12)
    decoded = []

    def decode(payload):
        decoded.append(payload)
        return np.full((2, 2, 3), payload, np.uint8)

    frames = [Frame(k, k, decode) for k in range(5)]
    for frame in frames:
        assert frame.image[0, 0, 0] == frame.stamp_ns
    assert decoded == [0, 1, 2, 3, 4]
    for frame in reversed(frames):
        assert frame.image[0, 0, 0] == frame.stamp_ns
    assert decoded == [0, 1, 2, 3, 4, 1, 0], 'the newest three were kept'
    large = Frame(9, 9, lambda payload: np.zeros((4, 4, 3), np.uint8))
    assert large.image is large.image, 'one is kept, however large'
