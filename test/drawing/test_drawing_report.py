"""Pictures for reports: colours where they belong, sound where it is heard."""

import needs

needs.opencv()

import cv2
import numpy as np
import pytest

from cs3_ros.drawing.overlay import OBJECT_COLOURS
from cs3_ros.drawing.report import answer_colours, outlined, over_grey, sound_picture, tinted
from cs3_ros.files.images import as_jpeg


def area(x, y):
    """20 pixels square."""
    mask = np.zeros((100, 100), bool)
    mask[y : y + 20, x : x + 20] = True
    return mask


A, B, FAR = area(20, 20), area(40, 20), area(0, 70)
GREY = np.full((100, 100, 3), 128, np.uint8)


def test_an_answer_has_the_colours_of_the_truth_that_it_is_compared_with():
    truth, orange_blue = [A, B], list(OBJECT_COLOURS)
    assert answer_colours(truth, [A, B]) == orange_blue
    assert answer_colours(truth, [B, A]) == orange_blue[::-1]
    assert answer_colours(truth, [B]) == orange_blue[1:]
    assert answer_colours([A], [FAR, A]) == orange_blue[::-1]
    assert answer_colours(truth, []) == []


def test_masks_are_filled_and_outlined():
    filled, line = tinted(GREY, [A]), outlined(GREY, [A], [(255, 0, 0)])
    assert (filled[22:38, 22:38] != GREY[22:38, 22:38]).any(2).all()
    assert line[30, 20, 0] > 220 > 60 > line[30, 20, 1] and (line[22:38, 22:38] == 128).all()
    assert (GREY == 128).all(), 'the picture given is left alone'


def test_heat_lies_over_grey():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, :, 0] = 90
    assert (over_grey(image, None) == 30).all()
    hot = over_grey(image, np.full_like(image, 200))
    assert (hot == round(0.45 * 30 + 0.55 * 200)).all()


@pytest.mark.parametrize('count', [100, 48_000])
def test_a_click_is_bright_where_it_is(count):
    sound = np.zeros(count, np.float32)
    sound[count // 4] = 1
    strip = sound_picture(sound, count // 2, 80, 40)
    assert strip.shape == (40, 80, 3)
    if count > 1000:  # a hundred samples are too few to tell where
        assert abs(int(strip[12:28].mean((0, 2)).argmax()) - 20) <= 1
    assert (strip[0, 40] == 255).all() and (strip[39, 40] == 255).all(), 'ticks at the onset'


def test_a_jpeg_is_the_picture():
    image = np.dstack([np.full((16, 16), value, np.uint8) for value in (200, 40, 90)])
    again = cv2.imdecode(np.frombuffer(as_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(again[:, :, ::-1].astype(int), image, atol=6)
