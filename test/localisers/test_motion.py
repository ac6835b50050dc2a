import needs

needs.opencv()

import cv2
import numpy as np
import pytest

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.motion import (
    MOST_AREA,
    PRIOR_CENTRE,
    MotionConfig,
    MotionLocaliser,
    action_centre,
    action_heat,
    heat_extent,
    own_motion,
)

SILENCE = AudioClip(0, 16_000, np.zeros(0, np.float32), np.zeros(0, bool))
STEP_NS = 33_333_333


def texture(seed, size):
    noise = np.random.default_rng(seed).normal(0, 1, size)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


SCENE, THING = texture(0, (240, 280)), texture(1, (40, 40))


def grey(camera=(0, 0), thing=None):
    """180 x 180 view of a scene seen by a moved camera, with a moving thing (x, y) in front."""
    x, y = 40 + camera[0], 30 + camera[1]
    view = SCENE[y : y + 180, x : x + 180].copy()
    if thing is not None:
        view[thing[1] : thing[1] + 40, thing[0] : thing[0] + 40] = THING
    return view


def clip(place, moving=True, camera=True, count=9):
    """Frames in which the camera pans and a thing at ``place`` shakes."""
    frames = []
    for step in range(count):
        shift = (2 * step - 8, 0) if camera else (0, 0)
        thing = (place[0] + (3 * step - 12 if moving else 0), place[1])
        image = np.repeat(grey(shift, thing)[..., None], 3, axis=2)
        frames.append(Frame.from_rgb(1_000_000_000 + step * STEP_NS, image))
    return frames


def test_the_background_has_no_motion_of_its_own_while_the_camera_pans():
    flow = own_motion(grey((0, 0)), grey((4, 2)))
    inner = np.hypot(flow[..., 0], flow[..., 1])[15:-15, 15:-15]
    assert np.median(inner) < 0.2


def test_a_thing_that_moves_against_the_background_stands_out():
    flow = own_motion(grey((0, 0), (60, 90)), grey((3, 0), (65, 90)))
    speed = np.hypot(flow[..., 0], flow[..., 1])
    assert np.median(speed[100:120, 70:90]) > 3
    assert np.median(speed[20:60, 110:160]) < 0.5


@pytest.mark.parametrize('place', [(30, 100), (110, 90)])
def test_the_box_moves_towards_the_action(place):
    frames = clip(place)
    localiser = MotionLocaliser(MotionConfig(box_width=0.4, box_height=0.4))
    found = localiser.locate(localiser.encode(frames, 4), SILENCE)
    centre = np.array([found.box[0] + found.box[2], found.box[1] + found.box[3]]) / 2
    target = np.array(place) + 20
    prior = np.array(PRIOR_CENTRE) * 180
    assert np.hypot(*(centre - target)) < 0.6 * np.hypot(*(prior - target))
    assert found.heat_map.shape == (180, 180) and found.heat_map.dtype == np.float32
    assert 0 <= found.heat_map.min() and found.heat_map.max() <= 1
    assert 0.3 < found.score <= 1


def test_one_frame_alone_gives_the_prior():
    frames = clip((30, 100))[:1]
    assert action_centre(action_heat(frames, 0)) == pytest.approx(PRIOR_CENTRE, abs=0.05)


def test_a_still_scene_gives_the_prior():
    frames = clip((30, 100), moving=False, camera=False)
    assert action_centre(action_heat(frames, 4)) == pytest.approx(PRIOR_CENTRE, abs=0.05)


def test_where_nothing_moves_on_its_own_there_is_no_box():
    localiser = MotionLocaliser()
    for frames in (clip((30, 100), moving=False, camera=False), clip((30, 100))[4:5]):
        index = len(frames) // 2
        assert localiser.locate(localiser.encode(frames, index), SILENCE) is None


def test_the_extent_of_motion_is_a_box_round_what_moves():
    frames = clip((30, 100), camera=False)
    localiser = MotionLocaliser(MotionConfig(extent='motion'))
    x0, y0, x1, y1 = localiser.locate(localiser.encode(frames, 4), SILENCE).box
    assert x0 <= 40 and y0 <= 110 and x1 >= 60 and y1 >= 130  # the thing is 40 pixels wide
    assert (x1 - x0) * (y1 - y0) < 80 * 80


def test_the_extent_of_motion_is_bounded_where_everything_moves():
    x0, y0, x1, y1 = heat_extent(np.ones((90, 180), np.float32))
    assert (x1 - x0) * (y1 - y0) == pytest.approx(MOST_AREA)
    assert (x0 + x1) / 2 == pytest.approx(0.5, abs=0.01)
    heat = np.zeros((90, 180), np.float32)
    heat[30:60, 90:180] = 1
    assert heat_extent(heat) == pytest.approx((0.55, 0.366, 0.95, 0.633), abs=0.02)


def test_the_box_lies_in_whole_pixels_in_a_wide_picture():
    frames = [
        Frame.from_rgb(frame.stamp_ns, cv2.resize(frame.image, (322, 181)))
        for frame in clip((60, 90))
    ]
    localiser = MotionLocaliser()
    found = localiser.locate(localiser.encode(frames, 4), SILENCE)
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= 322 and 0 <= y0 < y1 <= 181
    assert all(edge == int(edge) for edge in found.box)
    assert found.heat_map.shape == (181, 322)


def test_frames_of_another_size_are_left_out():
    frames = clip((30, 100))
    odd = Frame.from_rgb(frames[3].stamp_ns, np.zeros((90, 90, 3), np.uint8))
    mixed = [*frames[:3], odd, *frames[4:]]
    assert action_heat(mixed, 4).shape == (180, 180)


def test_heat_depends_on_time_not_on_the_number_of_frames():
    frames = clip((60, 90))
    longer = [Frame.from_rgb(0, frames[0].image), *frames]
    np.testing.assert_array_equal(action_heat(frames, 4), action_heat(longer, 5))


def test_heat_is_the_same_with_any_number_of_threads():
    frames = clip((60, 90))
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = action_heat(frames, 4)
        cv2.setNumThreads(4)
        four = action_heat(frames, 4)
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(one, four)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match='box_width'):
        MotionConfig(box_width=1.5)


def test_a_damaged_neighbour_is_left_out():
    def damaged(payload):
        raise ValueError('damaged')

    frames = clip((30, 100))
    frames[3] = Frame(frames[3].stamp_ns, b'', damaged)
    other_size = [*frames[:3], Frame.from_rgb(frames[3].stamp_ns, np.zeros((9, 9, 3), np.uint8))]
    heat, height, width = MotionLocaliser().encode(frames, 4)
    np.testing.assert_array_equal(heat, action_heat([*other_size, *frames[4:]], 4))
    with pytest.raises(ValueError, match='damaged'):
        MotionLocaliser().encode(frames, 3)
