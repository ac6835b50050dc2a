import gc
import re
import sys
from types import SimpleNamespace

import needs
import numpy as np
import pytest
from shared_data import shared_data

from cs3_ros.collision import NS_PER_S, Frame
from cs3_ros.hands import mediapipe as hands
from cs3_ros.hands.mediapipe import Detection, MediaPipeConfig, MediaPipeHands

SHAPE = (400, 600)
FINGERS = [(-20, -45), (-7, -50), (7, -48), (20, -42)]  # base knuckles, wrist at the origin


def landmarks(wrist=(300, 300), scale=1.0, turn=0.0):
    """21 landmarks of an open hand, fingers up, thumb to the left; ``turn`` in radians."""
    marks = [(0, 0), (-18, -12), (-30, -24), (-38, -34), (-45, -44)]
    for x, y in FINGERS:
        marks += [(x * (1 + reach), y * (1 + reach)) for reach in (0.0, 0.4, 0.65, 0.85)]
    turned = np.array(
        [
            (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn))
            for x, y in marks
        ]
    )
    return (turned * scale + np.array(wrist)).astype(np.float32)


def detection(wrist=(300, 300), scale=1.0, turn=0.0, score=0.9, right=0.0, votes=1):
    return Detection(landmarks(wrist, scale, turn), score, right, votes)


def detector(look, config=MediaPipeConfig()):
    """A MediaPipeHands that sees what ``look`` says, without the network."""
    made = object.__new__(MediaPipeHands)
    made.config = config
    made.look = look
    return made


def film(count=9, shape=(*SHAPE, 3)):
    """Frames that can be told apart by their first pixel."""
    frames = []
    for number in range(count):
        image = np.zeros(shape, np.uint8)
        image[0, 0, 0] = number
        frames.append(Frame.from_rgb(1_000_000_000 + number * 33_333_333, image))
    return frames


# --- sides ----------------------------------------------------------------------------------------


def test_two_hands_take_their_sides_from_where_they_are_even_if_the_labels_agree():
    left, right = detection((150, 300), right=0.9), detection((450, 300), right=0.9)
    found = hands.wearers([right, left], SHAPE)
    assert found['left'] is left and found['right'] is right


@pytest.mark.parametrize(('label', 'side'), [(0.9, 'right'), (-0.9, 'left')])
def test_the_label_decides_for_a_hand_in_the_middle(label, side):
    assert set(hands.wearers([detection((300, 300), right=label)], SHAPE)) == {side}


def test_the_forearm_decides_where_it_is_plain():
    # Wrist in the middle, fingers up left: the forearm comes from the right border.
    one = detection((330, 250), turn=-1.2, right=-0.9)
    assert set(hands.wearers([one], SHAPE)) == {'right'}


def test_a_detection_labelled_left_by_the_network_is_a_right_hand(monkeypatch):
    class Mark:
        def __init__(self, x, y):
            self.x, self.y = x, y

    class Result:
        def __init__(self, shape):
            unit = landmarks((90, 90), 0.5) / 180
            label = type('Label', (), {'label': 'Left', 'score': 0.8})
            self.multi_hand_landmarks = [
                type('Marks', (), {'landmark': [Mark(float(x), float(y)) for x, y in unit]})
            ]
            self.multi_handedness = [type('Sides', (), {'classification': [label]})]

    made = object.__new__(MediaPipeHands)
    made._solution = type('Solution', (), {'process': lambda self, view: Result(view.shape)})()
    seen = made.look(np.zeros((180, 180, 3), np.uint8))
    assert seen and all(one.rightness > 0 for one in seen)
    # The full view's landmarks are in its pixels.
    np.testing.assert_allclose(seen[0].landmarks, landmarks((90, 90), 0.5), atol=1e-3)


# --- whose hands ----------------------------------------------------------------------------------


@needs.with_opencv
def test_large_views_are_scaled_down_and_others_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(hands, 'MAX_VIEW', 48)
    seen = []
    network = SimpleNamespace(
        process=lambda view: (
            seen.append(view.shape)
            or SimpleNamespace(multi_hand_landmarks=None, multi_handedness=None)
        )
    )
    detector = object.__new__(MediaPipeHands)
    detector._solution = network
    detector.look(np.zeros((60, 96, 3), np.uint8))
    assert seen == [(30, 48, 3), *[(40, 40, 3)] * 3]


def test_tiny_hands_and_hands_that_hang_from_above_are_not_the_wearers():
    tiny = detection(scale=0.2)
    hanging = detection((300, 60), turn=np.pi)
    assert hands.wearers([tiny, hanging], SHAPE) == {}


def test_only_the_two_likeliest_hands_are_kept():
    own = [detection((150, 350), 1.5, votes=3), detection((450, 350), 1.5, votes=3)]
    other = detection((300, 150), 0.7, score=0.6)
    found = hands.wearers([other, *own], SHAPE)
    assert {id(one) for one in found.values()} == {id(one) for one in own}


def test_views_of_one_hand_are_joined_and_the_best_gives_the_landmarks():
    best = detection((300, 300), score=0.95, right=0.95)
    joined = hands.join([detection((303, 301), score=0.7, right=-0.7), best, detection((100, 300))])
    assert sorted(one.votes for one in joined) == [1, 2]
    pair = next(one for one in joined if one.votes == 2)
    assert pair.landmarks is best.landmarks and pair.score == 0.95
    assert pair.rightness == pytest.approx(0.25)


@pytest.mark.parametrize(('height', 'width'), [(540, 540), (720, 1280), (1280, 720), (64, 64)])
def test_views_lie_in_the_picture_and_cover_its_lower_part(height, width):
    seen = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in hands.views(height, width)[1:]:
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        seen[y0:y1, x0:x1] = True
    assert seen[height - min(height, width) // 2 :].all()
    assert len(hands.views(height, width)) <= 6


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (1, 500), (500, 1), (7, 5000)])
def test_a_sliver_of_a_picture_is_one_view(height, width):
    assert hands.views(height, width) == [(0, 0, width, height)]


# --- search ---------------------------------------------------------------------------------------


@needs.with_opencv
def test_the_event_frame_is_enough_where_it_shows_a_hand():
    looked = []

    def look(image):
        looked.append(int(image[0, 0, 0]))
        return [detection(right=0.9)]

    (found,) = detector(look).detect(film(), 4)
    assert looked == [4] and found.side == 'right'


def test_neighbours_are_searched_nearest_first_and_boundedly():
    looked = []

    def look(image):
        looked.append(int(image[0, 0, 0]))
        return []

    assert detector(look, MediaPipeConfig(search_frames=5)).detect(film(), 4) == ()
    assert looked[0] == 4
    assert [abs(number - 4) for number in looked[1:]] == [1, 1, 2, 2, 3]


def test_frames_far_in_time_are_not_searched():
    config = MediaPipeConfig(search_s=0.05)
    assert sorted(hands.search_order(film(), 4, config)) == [3, 4, 5]


@needs.with_opencv
def test_a_neighbours_hand_is_used_where_the_event_frame_shows_none():
    def look(image):
        return [detection((150, 300), right=-0.9)] if image[0, 0, 0] == 6 else []

    (found,) = detector(look).detect(film(), 4)
    assert found.side == 'left'


@needs.with_opencv
def test_a_damaged_neighbour_is_passed_over():
    def damaged(payload):
        raise ValueError('damaged')

    def look(image):
        return [detection((150, 300), right=-0.9)] if image[0, 0, 0] == 5 else []

    frames = film()
    frames[3] = Frame(frames[3].stamp_ns, b'', damaged)
    (found,) = detector(look).detect(frames, 4)
    assert found.side == 'left'


# --- geometry -------------------------------------------------------------------------------------


@needs.with_opencv
def test_grip_and_object_lie_beyond_the_fingers():
    found = hands.hand_object('right', detection((300, 300)), SHAPE)
    x0, y0, x1, y1 = found.object_box
    wrist = (300, 300)
    assert found.grip_points.shape == (1, 2) and found.grip_points.dtype == np.float32
    assert found.grip_points[0, 1] < wrist[1] - 50  # up, where the fingers point
    assert x0 < found.grip_points[0, 0] < x1 and y0 < found.grip_points[0, 1] < y1
    assert (y0 + y1) / 2 < found.grip_points[0, 1]


@needs.with_opencv
@pytest.mark.parametrize('turn', [0.0, 1.0, 2.5])
def test_the_hull_holds_all_landmarks(turn):
    import cv2

    one = detection((300, 200), turn=turn)
    hull = hands.hull(one.landmarks, SHAPE)
    assert len(hull) >= 3
    for x, y in one.landmarks.tolist():
        assert cv2.pointPolygonTest(hull, (x, y), False) >= 0


@needs.with_opencv
def test_a_hand_over_the_border_stays_in_the_picture():
    found = hands.hand_object('left', detection((20, 395), scale=2), SHAPE)
    corners = np.array([*found.hand_hull, *found.grip_points])
    assert corners.min() >= 0 and corners[:, 0].max() <= 600 and corners[:, 1].max() <= 400
    assert found.object_box is not None and found.object_box[0] >= 0
    assert found.hand_box[3] <= 400


@needs.with_opencv
def test_the_box_scales_with_the_hand():
    small = hands.hand_object('right', detection((300, 250), 0.5), SHAPE).object_box
    large = hands.hand_object('right', detection((300, 250), 1.0), SHAPE).object_box
    assert large[2] - large[0] == pytest.approx(2 * (small[2] - small[0]), rel=1e-3)


@needs.with_opencv
def test_points_take_the_place_of_the_box_for_a_masker_that_knows_them():
    one = detection((300, 300))
    box = hands.hand_object('right', one, SHAPE)
    points = hands.hand_object('right', one, SHAPE, 'points')
    assert box.object_box is not None and len(box.hand_points) == 0
    assert points.object_box is None
    np.testing.assert_array_equal(points.grip_points, box.grip_points)
    np.testing.assert_array_equal(points.hand_hull, box.hand_hull)
    assert points.hand_box == box.hand_box
    # Wrist and the four knuckles of the palm, none of them a finger tip.
    np.testing.assert_array_equal(points.hand_points, one.landmarks[[0, 5, 9, 13, 17]])
    assert points.hand_points.dtype == np.float32


@needs.with_opencv
def test_points_of_the_hand_outside_the_picture_are_left_out():
    found = hands.hand_object('right', detection((300, 430)), SHAPE, 'points')
    marks = landmarks((300, 430))
    assert len(found.hand_points) == 4  # the wrist is below the border
    np.testing.assert_array_equal(found.hand_points, marks[[5, 9, 13, 17]])
    far = hands.hand_object('right', detection((300, 900)), SHAPE, 'points')
    assert far.hand_points.shape == (0, 2)


@needs.with_opencv
def test_the_setting_decides_what_the_masker_is_told():
    def look(image):
        return [detection((150, 300), right=-0.9)]

    (box,) = detector(look).detect(film(), 4)
    (points,) = detector(look, MediaPipeConfig(prompt='points')).detect(film(), 4)
    assert box.object_box is not None and points.object_box is None
    assert len(box.hand_points) == 0 and len(points.hand_points) == 5
    with pytest.raises(ValueError, match='box, points'):
        MediaPipeConfig(prompt='mask')


# --- the network ----------------------------------------------------------------------------------


def test_without_mediapipe_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mediapipe', None)
    with pytest.raises(ImportError, match=re.escape(hands.LITE)):
        MediaPipeHands()


def test_the_network_ends_with_the_detector(monkeypatch):
    ended = []

    class Solution:
        def process(self, image):
            assert not ended

        def close(self):
            ended.append(True)

    monkeypatch.setattr(hands, '_load', lambda min_confidence: Solution())
    detector = MediaPipeHands()
    assert not ended
    del detector
    gc.collect()
    assert ended == [True]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match='min_confidence'):
        MediaPipeConfig(min_confidence=0.0)


@pytest.fixture(scope='module')
def network():
    pytest.importorskip('mediapipe', reason='extra lite is not installed')
    return MediaPipeHands()


def test_an_empty_room_has_no_hands(network):
    frames = film(3, (120, 160, 3))
    assert network.detect(frames, 1) == ()


def test_real_hands_are_found_whatever_was_seen_before(network):
    from cs3_ros.files.media import VideoFile

    video = VideoFile(shared_data('real_clips') / 'epi_00a' / 'clip.mp4')
    frames = [frame for frame in video.frames() if frame.stamp_ns < 0.2 * NS_PER_S]
    first = network.detect(frames, 0)
    network.detect(frames, 4)
    again = network.detect(frames, 0)
    assert [hand.side for hand in first] == ['right', 'left']
    right, left = first
    assert left.hand_box[2] < right.hand_box[2]  # the left hand lies to the left
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.hand_hull, other.hand_hull)
        np.testing.assert_array_equal(one.grip_points, other.grip_points)
