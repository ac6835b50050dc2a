"""Scenes in space: the contact point is found from what a cheap depth camera would measure."""

import needs

needs.training()

import numpy as np
import pytest

from cs3_ros.space.camera import masks_at, metres
from cs3_ros.space.contact import Contact, find_contact
from cs3_training.synth.config import WorldConfig, split_seed
from cs3_training.synth.depth import DISTANCE_M, make_depth
from cs3_training.synth.world import make_scene


@pytest.fixture(scope='module')
def pairs():
    """Scenes in which two objects collide and are seen."""
    scenes = (make_scene(WorldConfig(), split_seed('validation', k)) for k in range(40))
    return [scene for scene in scenes if len(scene.colliding) == 2]


def test_depth_follows_from_the_scene(pairs):
    first, again = make_depth(pairs[0]), make_depth(pairs[0])
    assert np.array_equal(first.depth, again.depth)
    assert first.depth.shape == pairs[0].instance_map.shape
    assert first.contact[2] == DISTANCE_M
    column, row = (round(v) for v in pairs[0].contact)
    assert np.isfinite(first.depth).all() and 0.3 < first.depth[row, column] < 1.2


def test_contact_points_of_scenes_with_noise_and_holes(pairs):
    rng, errors = np.random.default_rng(0), []
    for scene in pairs:
        space = make_depth(scene)
        noisy = space.depth + rng.normal(0, 0.005, space.depth.shape)
        noisy[rng.random(noisy.shape) < 0.1] = 0
        depth = metres(np.round(noisy * 1000).astype(np.uint16), '16UC1')
        labels = np.zeros(scene.instance_map.shape, np.uint8)
        for number, instance in enumerate(scene.colliding, 1):
            labels[scene.instance_map == instance.number] = number
        found = find_contact(*masks_at(labels, depth.shape), depth, space.camera)
        if isinstance(found, Contact):
            errors.append(np.linalg.norm(found.point - space.contact))
    assert len(errors) >= 0.9 * len(pairs)
    assert np.median(errors) <= 0.015
