"""Words on pictures: they fit, they can be told apart, nothing is hidden by another."""

import needs

needs.opencv()

import numpy as np
import pytest

from cs3_ros.drawing.lettering import Pen, caption, heading, tags

ORANGE, BLUE = (255, 140, 0), (0, 160, 255)


def area(height, width, x, y, side):
    mask = np.zeros((height, width), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def plates(masks, names=('right_hand', 'audio_visual'), size=(240, 320)):
    """Where each name's plate is, bool [H, W] each, black letters left out."""
    canvas = np.full((*size, 3), 128, np.uint8)
    tags(canvas, names, masks, (ORANGE, BLUE))
    return [(canvas == colour).all(2) for colour in (ORANGE, BLUE)]


@pytest.mark.parametrize('y', [0, 100, 220])
def test_objects_at_one_spot_have_plates_beside_each_other(y):
    mask = area(240, 320, 150, y, 20)
    alone, _ = plates([mask, np.zeros_like(mask)])
    first, second = plates([mask, mask])
    assert (first == alone).all() and second.sum() > 500, 'neither hides the other'
    rows = [np.flatnonzero(plate.any(1)) for plate in (first, second)]
    assert rows[0][-1] < rows[1][0] or rows[1][-1] < rows[0][0]


def test_a_plate_stands_above_its_object():
    (plate, _) = plates([area(240, 320, 150, 120, 20)])
    rows, columns = np.nonzero(plate)
    assert rows.max() < 120 and abs(columns.mean() - 160) < 10


def test_an_object_without_pixels_has_no_plate():
    nothing = np.zeros((240, 320), bool)
    assert not any(plate.any() for plate in plates([nothing, nothing]))


def test_text_is_made_to_fit():
    pen = Pen(np.zeros((100, 200, 3), np.uint8))
    pen.fit('a long description of a bundle' * 4, 150)
    assert pen.measure('a long description of a bundle' * 4)[0] <= 155
    scale = pen.scale
    pen.fit('short', 150)
    assert pen.scale == scale, 'never larger'


def test_a_caption_takes_as_many_lines_as_it_needs():
    dark = []
    for parts in (['one'], ['a part of some length'] * 6):
        canvas = np.full((240, 320, 3), 128, np.uint8)
        caption(canvas, parts)
        dark.append(np.flatnonzero((canvas != 128).any((1, 2))).size)
    assert 8 < dark[0] < dark[1] < 240


@pytest.mark.parametrize('width', [1, 64, 704])
def test_a_heading_is_as_wide_as_asked(width):
    picture = heading(width, 'bundle nano  |  white: truth')
    assert picture.shape[1] == width and picture.dtype == np.uint8
    if width > 1:
        assert picture.max() > 100 and np.median(picture) == 32
