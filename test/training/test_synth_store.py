"""Scenes on disk are the scenes that were made."""

import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('cv2', reason='pip install "cs3_ros[train]"')
from cs3_training.cli import main
from cs3_training.synth import WorldConfig, make_scene, split_seed
from cs3_training.synth.scene import Scene
from cs3_training.synth.store import SceneStore, make_store

CONFIG = WorldConfig(size=128, seconds=1.0)
SEEDS = range(30, 35)


def assert_equal(one: Scene, other: Scene) -> None:
    for field in fields(Scene):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        elif field.name == 'hands':
            assert [(h.side, h.box, h.holds, h.object_box) for h in a] == [
                (h.side, h.box, h.holds, h.object_box) for h in b
            ]
            for h, k in zip(a, b, strict=True):
                np.testing.assert_array_equal(h.mask, k.mask)
                np.testing.assert_array_equal(h.arm_mask, k.arm_mask)
        else:
            assert a == b, field.name


def test_scenes_come_back_as_they_were_made(tmp_path: Path) -> None:
    assert list(make_store(CONFIG, SEEDS, tmp_path)) == [1, 2, 3, 4, 5]
    store = SceneStore(tmp_path)
    assert len(store) == 5 and store.config == CONFIG
    for k, seed in enumerate(SEEDS):
        scene = make_scene(CONFIG, seed)
        assert_equal(store.scene(k), scene)
        image, sound = store[k]
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(sound, scene.sound)
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 1000
    np.testing.assert_array_equal(copy[3][0], store[3][0])
    with pytest.raises(IndexError, match='0 to 4'):
        store[5]


def test_an_interrupted_store_goes_on_to_the_same_files(tmp_path: Path) -> None:
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    list(make_store(CONFIG, SEEDS, whole))
    work = make_store(CONFIG, SEEDS, parts)
    next(work), next(work)
    work.close()
    with pytest.raises(ValueError, match='2 of 5 scenes.*goes on'):
        SceneStore(parts)
    with open(parts / 'facts.jsonl', 'a') as file:
        file.write('{"seed": 3')  # killed while it wrote
    assert list(make_store(CONFIG, SEEDS, parts)) == [3, 4, 5]
    for path in whole.iterdir():
        assert path.read_bytes() == (parts / path.name).read_bytes(), path.name


def test_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    list(make_store(CONFIG, range(0, 1), tmp_path))
    with pytest.raises(ValueError, match='other settings'):
        list(make_store(CONFIG, range(0, 2), tmp_path))
    with pytest.raises(ValueError, match='cs3-train synth make'):
        SceneStore(tmp_path / 'nowhere')


def test_the_command_makes_scenes_of_its_split(tmp_path: Path) -> None:
    arguments = ['synth', 'make', '--out', str(tmp_path), '--scenes', '2', '--size', '96']
    assert main([*arguments, '--split', 'validation']) == 0
    store = SceneStore(tmp_path)
    assert [facts['seed'] for facts in store.facts] == [
        split_seed('validation', 0),
        split_seed('validation', 1),
    ]
    assert store.images.shape == (2, 96, 96, 3)
