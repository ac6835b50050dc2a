"""Where objects touch and how far they reach, on planes and spheres whose truth is known."""

import needs

needs.opencv()

import numpy as np
import pytest
import solids
from hypothesis import given, settings
from hypothesis import strategies as st

from cs3_ros.space.camera import Camera, masks_at, metres
from cs3_ros.space.contact import Contact, SpaceConfig, find_contact, find_extent

SMALL = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


def contact_of(scene, millimetres, camera=solids.CAMERA):
    depth = metres(millimetres, '16UC1')
    return find_contact(*masks_at(scene.labels, depth.shape), depth, camera)


@pytest.mark.parametrize('kind', [solids.ball_on_table, solids.two_balls, solids.roof])
def test_error_with_noise_and_holes(kind):
    rng, errors = np.random.default_rng(11), []
    for _ in range(12):
        scene = kind(rng)
        found = contact_of(scene, solids.seen(scene, rng))
        assert isinstance(found, Contact)
        errors.append(np.linalg.norm(found.point - scene.contact))
    assert np.median(errors) <= 0.015


def test_a_ball_hides_where_it_touches_a_wall_behind():
    wall, ball = solids.plane(np.array([0, 0, 0.75]), (0, 0, 1)), np.array([0.02, 0.01, 0.71])
    scene = solids.view(solids.sphere(ball, 0.04), wall, (0.02, 0.01, 0.75))
    found = contact_of(scene, solids.seen(scene, np.random.default_rng(0)))
    assert found.by_shape
    assert np.linalg.norm(found.point - scene.contact) <= 0.015


def test_the_order_of_the_objects_does_not_matter():
    rng = np.random.default_rng(3)
    scene = solids.roof(rng)
    depth = metres(solids.seen(scene, rng), '16UC1')
    first, second = masks_at(scene.labels, depth.shape)
    one, two = (
        find_contact(*pair, depth, solids.CAMERA) for pair in ((first, second), (second, first))
    )
    assert np.linalg.norm(one.point - two.point) <= 0.01


def test_labels_of_another_size():
    rng = np.random.default_rng(4)
    scene = solids.ball_on_table(rng)
    depth = metres(solids.seen(scene, rng), '16UC1')
    large = scene.labels.repeat(2, 0).repeat(2, 1)
    found = find_contact(*masks_at(large, depth.shape), depth, solids.CAMERA)
    assert np.linalg.norm(found.point - scene.contact) <= 0.015
    with pytest.raises(ValueError, match='same shape'):
        masks_at(large[:, ::2], depth.shape)


def boxes(gap=0, behind_m=0.0):
    """Two squares side by side, the second so much farther away: masks and depth."""
    first, second = np.zeros((2, 48, 64), bool)
    first[10:30, 10:28], second[10:30, 28 + gap : 50] = True, True
    depth = np.full((48, 64), 0.7, np.float32)
    depth[second] += behind_m
    return first, second, depth


def test_side_by_side():
    first, second, depth = boxes()
    found = find_contact(first, second, depth, SMALL)
    assert not found.by_shape and found.gap_m == pytest.approx(0, abs=1e-6)
    assert found.point == pytest.approx(((27.5 - 31.5) / 60 * 0.7, -4 / 60 * 0.7, 0.7), abs=0.012)


def test_what_does_not_touch_has_no_contact():
    first, second, depth = boxes()
    assert find_contact(first, np.zeros_like(first), depth, SMALL) == 'one_object'
    assert find_contact(*boxes(gap=8), SMALL) == 'apart'
    assert find_contact(*boxes(behind_m=0.5), SMALL) == 'gap'
    assert isinstance(find_contact(*boxes(behind_m=0.05), SMALL), Contact)


def test_missing_depth_gives_no_contact():
    first, second, depth = boxes()
    depth[:, 20:36] = np.nan
    assert find_contact(first, second, depth, SMALL) == 'no_depth'
    depth[:] = 30.0
    assert find_contact(first, second, depth, SMALL) == 'no_depth'
    far = SpaceConfig(farthest_m=50.0)
    assert isinstance(find_contact(first, second, depth, SMALL, far), Contact)
    assert find_extent(first, depth, SMALL) is None


def test_extent_of_a_slab():
    first, _, depth = boxes()
    depth[12, 12] = 1.4  # a rim pixel that saw something else
    found = find_extent(first, depth, SMALL)
    assert found.centre == pytest.approx(((18.5 - 31.5) / 60 * 0.7, -4 / 60 * 0.7, 0.7), abs=0.01)
    assert found.size == pytest.approx((17 / 60 * 0.7, 19 / 60 * 0.7, 0), abs=0.035)


def test_settings_are_checked():
    with pytest.raises(ValueError, match='smaller'):
        SpaceConfig(nearest_m=5.0, farthest_m=1.0)
    with pytest.raises(ValueError, match='reach'):
        SpaceConfig(reach=2.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_any_picture_gives_a_contact_or_a_reason(seed, holes, share):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (12, 16)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    labels[rng.random(labels.shape) > share] = 0
    depth = rng.uniform(0.05, 12, labels.shape).astype(np.float32)
    depth[rng.random(labels.shape) < holes] = np.nan
    found = find_contact(*masks_at(labels, depth.shape), depth, SMALL)
    if isinstance(found, Contact):
        assert np.isfinite(found.point).all() and found.gap_m >= 0
    else:
        assert found in ('one_object', 'apart', 'no_depth', 'gap')
