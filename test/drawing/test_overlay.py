"""Pictures for people: tints, tags, captions and heat maps."""

import needs

needs.opencv()

from dataclasses import replace

import numpy as np
import pytest

from cs3_ros.collision import (
    NS_PER_S,
    Candidate,
    Collision,
    Frame,
    HandObject,
    Onset,
    Verdict,
)
from cs3_ros.drawing import lettering
from cs3_ros.drawing.overlay import OBJECT_COLOURS, answer_picture, heat_map_image, overlay


def masks(width, height):
    """Two rectangles, the second inside the right half of the first."""
    first, second = np.zeros((2, height, width), bool)
    first[height // 4 : height * 3 // 4, width // 8 : width * 7 // 8] = True
    second[height * 3 // 8 : height * 5 // 8, width // 2 : width * 3 // 4] = True
    return first, second


def collision(image, stamp_ns=0, count=2):
    height, width = image.shape[:2]
    objects = tuple(
        Candidate(label, mask)
        for label, mask in zip(('right_hand', 'audio_visual'), masks(width, height), strict=True)
    )[:count]
    hand = HandObject('left', 0.9, (1, 1, width / 4, height / 4))
    return Collision(
        onset=Onset(stamp_ns, -6.0, 30.0),
        frame=Frame.from_rgb(stamp_ns, image),
        verdict=Verdict(objects, 'closest_pair' if objects else 'none', 2.5 if objects else None),
        candidates=objects,
        hands=(hand,),
        heat_map=None,
        timings_ms={'hands': 40.0, 'masks': 60.0},
        bundle='lite',
    )


def grey(width, height):
    return np.full((height, width, 3), 128, np.uint8)


@pytest.mark.parametrize('size', [(1, 1), (16, 12), (320, 180), (640, 480), (3840, 2160)])
@pytest.mark.parametrize('count', [0, 1, 2])
def test_any_size_can_be_drawn_on(size, count):
    image = grey(*size)
    drawn = overlay(image, collision(image, count=count))
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert (image == 128).all(), 'the picture given is left alone'


def test_objects_have_their_colours_and_the_smaller_one_wins():
    image = grey(640, 480)
    drawn = overlay(image, collision(image)).astype(int)
    for pixel, colour in (((300, 120), OBJECT_COLOURS[0]), ((230, 340), OBJECT_COLOURS[1])):
        want = 0.55 * 128 + 0.45 * np.array(colour)
        np.testing.assert_allclose(drawn[pixel], want, atol=1)
    np.testing.assert_array_equal(drawn[20, 600], 128)


@pytest.mark.parametrize('size', [(320, 240), (1280, 720), (3840, 2160)])
def test_caption_is_white_on_dark_and_in_proportion(size):
    image = grey(*size)
    band = overlay(image, collision(image))[-size[1] // 30 :]
    assert (band.max(2) > 200).mean() > 0.01, 'text'
    assert np.median(band) == 32, 'dark band'


def test_how_well_an_object_fits_the_sound_stands_on_its_plate(monkeypatch):
    image, plates = grey(480, 640), []
    monkeypatch.setattr(lettering, 'tags', lambda canvas, names, *_: plates.append(list(names)))
    event = collision(image)
    overlay(image, event)
    heard = tuple(replace(one, sounding=0.666) for one in event.objects)
    overlay(image, replace(event, verdict=replace(event.verdict, objects=heard)))
    assert plates[1] == [f'{label}, sound 0.67' for label in plates[0]] and plates[0]


def test_caption_changes_with_what_it_says():
    image = grey(640, 480)
    first = overlay(image, collision(image, 2 * NS_PER_S))
    later = overlay(image, collision(image, 2 * NS_PER_S), origin_ns=NS_PER_S)
    changed = np.flatnonzero((first != later).any((1, 2)))
    assert changed.size and changed.min() > 440


def test_hands_are_outlined():
    image = grey(640, 480)
    event = collision(image, count=0)
    hull = np.array([[500, 100], [600, 100], [550, 180]], np.float32)
    with_hull = overlay(image, replace(event, hands=(replace(event.hands[0], hand_hull=hull),)))
    assert (with_hull[100, 520:580] > 200).all() and (with_hull[1:100, 1] == 128).all()
    assert (overlay(image, event)[2:100, 1] > 200).all(), 'a box where there is no hull'


def test_an_empty_mask_is_no_error():
    image = grey(64, 48)
    event = collision(image)
    empty = (Candidate('left_hand', np.zeros((48, 64), bool)),)
    overlay(image, replace(event, verdict=replace(event.verdict, objects=empty)))


def test_masks_of_another_size_are_refused():
    event = collision(grey(64, 48))
    with pytest.raises(ValueError, match='mask 1 of event 0.000000000 is 64x48: expected 32x48'):
        overlay(grey(32, 48), event)


def test_heat_map_goes_from_blue_to_red():
    heat = np.array([[0, 1, np.nan, -3, 9]], np.float32)
    image = heat_map_image(heat)
    assert image.shape == (1, 5, 3) and image.dtype == np.uint8
    cold, hot = image[0, 0].astype(int), image[0, 1].astype(int)
    assert cold[2] > cold[0] and hot[0] > hot[2]
    np.testing.assert_array_equal(image[0, 2:], image[0, [0, 0, 1]])
    assert (
        len(np.unique(heat_map_image(np.linspace(0, 1, 256)[None].astype(np.float32)), axis=1)[0])
        > 200
    )


def test_an_answer_is_drawn_at_the_size_of_the_picture():
    first, second = masks(64, 48)
    labels = first.astype(np.uint8) + second
    image = grey(640, 480)
    drawn = answer_picture(image, labels, ('left_hand', 'audio_visual'), ['onset 1 s'], [second])
    assert (image == 128).all(), 'the picture given is left alone'
    for pixel, colour in (((300, 120), OBJECT_COLOURS[0]), ((230, 400), OBJECT_COLOURS[1])):
        want = 0.55 * 128 + 0.45 * np.array(colour)
        np.testing.assert_allclose(drawn[pixel].astype(int), want, atol=1)
    assert (drawn[190:290, 318:324].min(2) > 200).any(1).mean() > 0.8, 'the truth in white'
    nothing = answer_picture(image, np.zeros((48, 64), np.uint8), (), ['onset 1 s'])
    assert (nothing[:400] == 128).all() and (nothing[-8:] != 128).any()
