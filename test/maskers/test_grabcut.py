import needs
import numpy as np
import pytest

from cs3_ros.collision import Prompt
from cs3_ros.maskers.grabcut import GrabCutConfig, GrabCutMasker
from cs3_ros.metrics import iou

FAST = GrabCutConfig(working_side=120)


def scene(seed=0, size=(120, 160), square=(40, 80, 60, 100)):
    """A noisy blue square on noisy brown, and where it is: rows, columns."""
    rng = np.random.default_rng(seed)
    image = np.empty((*size, 3), np.float64)
    image[:] = (140, 100, 60)
    top, bottom, left, right = square
    image[top:bottom, left:right] = (40, 60, 200)
    truth = np.zeros(size, bool)
    truth[top:bottom, left:right] = True
    return np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8), truth


def segment(image, *prompts, config=FAST):
    masker = GrabCutMasker(config)
    return masker.segment(masker.encode(image), prompts)


def points(*xy):
    return np.array(xy, np.float32).reshape(-1, 2)


def box_mask(box, size=(120, 160)):
    mask = np.zeros(size, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


@needs.with_opencv
def test_a_loose_box_is_tightened_to_the_object():
    image, truth = scene()
    (mask,) = segment(image, Prompt((54.0, 34.0, 106.0, 86.0)))
    assert mask.dtype == bool and mask.shape == truth.shape
    assert iou(mask, truth) > 0.9


@needs.with_opencv
def test_points_alone_find_the_object_round_them():
    image, truth = scene(square=(46, 74, 66, 94))
    (mask,) = segment(image, Prompt(positive_points=points((80, 60))))
    assert iou(mask, truth) > 0.6


@needs.with_opencv
def test_a_hand_is_left_out_by_its_colour():
    image, truth = scene()
    image[60:86, 76:92] = (225, 170, 150)  # a finger over the object's lower edge
    finger = np.zeros_like(truth)
    finger[60:86, 76:92] = True
    hull = points((76, 60), (91, 60), (91, 85), (76, 85))
    (mask,) = segment(image, Prompt((54.0, 34.0, 106.0, 86.0), exclude=(hull,)))
    assert (mask & finger).sum() < 0.1 * finger.sum()
    assert iou(mask, truth & ~finger) > 0.85


@needs.with_opencv
def test_what_a_hull_covers_can_be_won_back_by_a_point():
    image, truth = scene()
    hull = points((58, 38), (102, 38), (102, 82), (58, 82))  # a hand closed round the object
    prompt = Prompt((50.0, 30.0, 110.0, 90.0), points((80, 60)), exclude=(hull,))
    (mask,) = segment(image, prompt)
    assert iou(mask, truth) > 0.85


@needs.with_opencv
def test_negative_points_are_never_part_of_a_cut():
    image, _ = scene()
    prompt = Prompt((54.0, 34.0, 106.0, 86.0), negative_points=points((57, 37)))
    (mask,) = segment(image, prompt)
    assert not mask[37, 57]


@needs.with_opencv
def test_a_collapse_gives_the_box_without_the_hand():
    flat = np.full((120, 160, 3), 90, np.uint8)  # nothing to tell apart
    hull = points((40, 40), (60, 40), (60, 60), (40, 60))
    (mask,) = segment(flat, Prompt((40.0, 30.0, 100.0, 90.0), exclude=(hull,)))
    whole = box_mask((40, 30, 100, 90))
    assert not mask[45:55, 45:55].any()
    assert iou(mask, whole & ~box_mask((40, 40, 61, 61))) > 0.95


@needs.with_opencv
def test_a_near_full_cut_gives_the_box():
    image, _ = scene()
    strict = GrabCutConfig(working_side=120, max_share=0.3)
    (mask,) = segment(image, Prompt((54.0, 34.0, 106.0, 86.0)), config=strict)
    assert iou(mask, box_mask((54, 34, 106, 86))) > 0.95


@needs.with_opencv
def test_a_collapse_without_a_box_gives_discs_round_the_points():
    flat = np.full((120, 160, 3), 90, np.uint8)
    strict = GrabCutConfig(working_side=120, max_share=0.0)
    (mask,) = segment(flat, Prompt(positive_points=points((80, 60))), config=strict)
    rows, columns = np.nonzero(mask)
    assert mask[60, 80]
    assert np.hypot(rows - 60, columns - 80).max() == pytest.approx(0.1 * 120, abs=1.5)


@needs.with_opencv
def test_masks_do_not_depend_on_order_or_on_what_was_asked_before():
    image, _ = scene()
    other, _ = scene(seed=1, square=(20, 60, 20, 90))
    first, second = Prompt((54.0, 34.0, 106.0, 86.0)), Prompt(positive_points=points((30, 30)))
    masker = GrabCutMasker(FAST)
    one = masker.segment(masker.encode(image), [first, second])
    masker.segment(masker.encode(other), [second, first, first])
    two = masker.segment(masker.encode(image), [second, first])
    alone = masker.segment(masker.encode(image), [first])
    np.testing.assert_array_equal(one[0], two[1])
    np.testing.assert_array_equal(one[1], two[0])
    np.testing.assert_array_equal(one[0], alone[0])


@needs.with_opencv
def test_the_picture_is_not_touched():
    image, _ = scene()
    before = image.copy()
    segment(image, Prompt((54.0, 34.0, 106.0, 86.0), points((80, 60))))
    np.testing.assert_array_equal(image, before)


@needs.with_opencv
def test_masks_come_back_at_native_size_from_a_smaller_working_picture():
    image, truth = scene(size=(480, 640), square=(160, 320, 240, 400))
    prompt = Prompt((216.0, 136.0, 424.0, 344.0))
    (mask,) = segment(image, prompt)
    assert mask.shape == (480, 640)
    assert iou(mask, truth) > 0.9


@needs.with_opencv
@pytest.mark.parametrize(
    'box',
    [
        (-50.0, -40.0, 400.0, 300.0),  # larger than the picture
        (0.0, 0.0, 160.0, 120.0),
        (150.0, 110.0, 300.0, 300.0),
        (10.2, 10.2, 12.9, 12.4),  # a few pixels
    ],
)
def test_boxes_at_and_over_the_border(box):
    image, _ = scene()
    (mask,) = segment(image, Prompt(box))
    assert mask.shape == (120, 160) and mask.any()


@needs.with_opencv
@pytest.mark.parametrize('box', [(200.0, 10.0, 260.0, 60.0), (30.0, 30.0, 30.0, 60.0)])
def test_a_box_that_shows_nothing_gives_an_empty_mask(box):
    image, _ = scene()
    (mask,) = segment(image, Prompt(box))
    assert mask.shape == (120, 160) and not mask.any()


@needs.with_opencv
def test_prompts_without_a_place_are_refused():
    image, _ = scene()
    with pytest.raises(ValueError, match='neither'):
        segment(image, Prompt())
    with pytest.raises(ValueError, match='finite'):
        segment(image, Prompt((0.0, 0.0, float('nan'), 10.0)))


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match='working_side'):
        GrabCutConfig(working_side=5)
