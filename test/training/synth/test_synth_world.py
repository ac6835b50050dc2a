"""Scenes: the same everywhere, and true."""

import needs

needs.training()

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cs3_training.synth import (
    MATERIALS,
    SHAPES,
    SPLITS,
    WORDS,
    Scene,
    WorldConfig,
    make_scene,
    split_seed,
)
from cs3_training.synth.shading import cut_out
from cs3_training.synth.statistics import difficulty, further, measure

CONFIG = WorldConfig()
SEEDS = range(500, 560)


@pytest.fixture(scope='module')
def scenes() -> list[Scene]:
    return [make_scene(CONFIG, seed) for seed in SEEDS]


def digest(scene: Scene) -> str:
    parts = (scene.image, scene.sound, scene.instance_map)
    words = repr((scene.instances, scene.contact, scene.onset, scene.captions, scene.negatives))
    return hashlib.sha256(b''.join(p.tobytes() for p in parts) + words.encode()).hexdigest()


def test_another_process_makes_the_same_scenes(scenes: list[Scene]) -> None:
    program = (
        'import sys; sys.path.insert(0, sys.argv[1]); from test_synth_world import *; '
        'print(*(digest(make_scene(CONFIG, seed)) for seed in (507, 503, 500)))'
    )
    root = Path(__file__).parents[3]
    environment = os.environ | {
        'PYTHONPATH': os.pathsep.join(map(str, (root, root / 'training', root / 'test'))),
        'OMP_NUM_THREADS': '2',
        'PYTHONHASHSEED': '7',
    }
    answer = subprocess.run(
        [sys.executable, '-c', program, str(Path(__file__).parent)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.split() == [digest(scenes[k]) for k in (7, 3, 0)]


def test_seeds_make_different_scenes(scenes: list[Scene]) -> None:
    assert len({digest(scene) for scene in scenes}) == len(scenes)


def test_arrays_have_the_promised_form(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (352, 352, 3) and scene.image.dtype == np.uint8
        assert scene.sound.shape == (32000,) and scene.sound.dtype == np.float32
        assert np.abs(scene.sound).max() <= 1
        steps = scene.sound * 32768
        np.testing.assert_array_equal(steps, np.rint(steps))
        assert scene.masks.shape == (len(scene.colliding), 352, 352)
        assert abs(scene.onset / 16000 - 1) <= CONFIG.jitter_s + 1e-3
        assert 20 < scene.image.mean() < 235 and scene.image.std() > 12


def test_masks_agree_with_the_instance_map(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.masks.sum(0).max() == 1  # disjoint
        numbers = set(np.unique(scene.instance_map)) - {0, 252, 253, 254, 255}
        assert numbers <= {instance.number for instance in scene.instances}
        assert [i.number for i in scene.instances] == list(range(1, len(scene.instances) + 1))
        for instance in scene.instances:
            pixels = scene.instance_map == instance.number
            assert instance.area == pixels.sum()
            if instance.area:
                rows, columns = np.nonzero(pixels)
                x0, y0, x1, y1 = instance.box
                assert (x0, y0) == (columns.min(), rows.min())
                assert (x1, y1) == (columns.max() + 1, rows.max() + 1)


def test_colliding_objects_are_seen_near_the_contact(scenes: list[Scene]) -> None:
    for scene in scenes:
        x, y = scene.contact
        assert 0 <= x < 352 and 0 <= y < 352
        for mask in scene.masks:
            assert mask.sum() >= 200
            rows, columns = np.nonzero(mask)
            assert np.hypot(columns - x, rows - y).min() <= 16, scene.seed


def test_pixels_of_an_object_differ_from_the_table_without_it() -> None:
    # the truth is about the picture: painting starts from the same table, so inside the masks it
    # must have changed by more than exposure and shadows change it elsewhere
    from cs3_training.synth.table_top import lay_table_top

    scene = make_scene(WorldConfig(motion_blur=0.0), 503)
    table_top = lay_table_top(WorldConfig(motion_blur=0.0), np.random.default_rng([503, 1]))
    change = np.abs(scene.image.astype(float) - table_top.ground).max(2)
    background = np.median(change[scene.instance_map == 0])
    solid = [
        mask
        for instance, mask in zip(scene.colliding, scene.masks, strict=True)
        if instance.material != 'glass'
    ]
    assert solid
    for mask in solid:
        assert np.median(change[mask]) > 2 * background


def test_boxes_of_hands_surround_their_pixels(scenes: list[Scene]) -> None:
    sides = []
    for scene in scenes:
        for hand in scene.hands:
            sides.append(hand.side)
            if hand.mask.any():
                rows, columns = np.nonzero(hand.mask)
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                assert hand.box == box
            if hand.holds:
                held = scene.instances[hand.holds - 1]
                assert held.hand == hand.side and held.box == hand.object_box
        held = [instance.hand for instance in scene.instances if instance.hand]
        assert len(held) == len(set(held)) and set(held) <= {hand.side for hand in scene.hands}
    assert {'left', 'right'} == set(sides)


def test_distractors_touch_no_colliding_object(scenes: list[Scene]) -> None:
    import cv2

    for scene in scenes:
        near = cv2.dilate(scene.masks.any(0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        others = [i.number for i in scene.instances if not i.colliding]
        assert not np.isin(scene.instance_map[near], others).any(), scene.seed


def test_words_cover_the_captions(scenes: list[Scene]) -> None:
    assert 150 <= len(WORDS) <= 500 and list(WORDS) == sorted(set(WORDS))
    for scene in scenes:
        texts = [*scene.captions, *scene.negatives, *(i.caption for i in scene.instances)]
        assert {word for text in texts for word in text.split()} <= set(WORDS)
        assert len(set(scene.negatives)) == 8
        assert not set(scene.negatives) & {i.caption for i in scene.instances}


def test_difficulty_is_about_right(scenes: list[Scene]) -> None:
    facts = [measure(scene) for scene in scenes]
    values = {row.name: row.value for row in difficulty(facts)}
    assert 3 <= values['Centre mIoU, %'] <= 12
    assert 1 <= values['median object area, %'] <= 10
    assert 60 <= values['pairs, %'] <= 92 and 62 <= values['in hand, %'] <= 94
    assert values['fewest distractors'] >= 3
    assert values['with a distractor of a colliding material, %'] >= 30
    assert 0.1 <= further(facts)['contact x, deviation'] <= 0.3
    assert {m for scene in scenes for m in scene.sound_materials} == set(MATERIALS)
    assert {i.shape for scene in scenes for i in scene.instances} == set(SHAPES)


def test_settings_rule() -> None:
    config = WorldConfig(size=224, pairs=0.0, in_hand=1.0, sample_rate=8000, seconds=1.0)
    for seed in range(3):
        scene = make_scene(config, seed)
        assert scene.image.shape == (224, 224, 3) and len(scene.sound) == 8000
        assert len(scene.colliding) == 1 and scene.colliding[0].hand
        assert scene.sound_materials == (scene.colliding[0].material, scene.table)
    with pytest.raises(ValueError, match='distractors_max'):
        WorldConfig(distractors_min=5, distractors_max=4)
    with pytest.raises(ValueError, match='WorldConfig.pairs'):
        WorldConfig(pairs=1.5)


def test_the_largest_picture_is_wider_than_grain_and_unevenness() -> None:
    scene = make_scene(WorldConfig(size=1024), 1)  # its widest uneven thing does not fit either
    assert scene.image.shape == (1024, 1024, 3) and scene.masks.shape[1:] == (1024, 1024)


def test_a_tile_begins_again_beyond_its_edges() -> None:
    tile = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    everywhere = np.tile(tile, (4, 4, 1))
    for y, x, rows, columns in ((1, 1, 2, 3), (1, 0, 3, 4), (0, 1, 3, 4), (2, 3, 8, 9)):
        part = cut_out(tile, y, x, rows, columns)
        np.testing.assert_array_equal(part, everywhere[y : y + rows, x : x + columns])


def test_splits_do_not_overlap() -> None:
    ranges = sorted(SPLITS.values())
    assert all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    assert split_seed('test', 0) == 0 and split_seed('train', 3) == 2_000_003
    assert split_seed('validation', 999_999) < split_seed('train', 0)
    with pytest.raises(ValueError, match='expected one of'):
        split_seed('training', 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='999999'):
        split_seed('test', 1_000_000)
