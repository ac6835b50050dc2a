"""Scenes on disk are the scenes that were made."""

import needs

needs.training()

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cs3_training.cli import main
from cs3_training.synth import COLOURS, MATERIALS, SHAPES, WorldConfig, make_scene, split_seed
from cs3_training.synth import store as module
from cs3_training.synth.config import split_seeds
from cs3_training.synth.store import HANDS, SIDES, Scenes, make_scenes, open_scenes

CONFIG = WorldConfig(size=128, seconds=1.0)
SEEDS = range(30, 35)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'CHUNK', 2)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'CHUNK', 2)
        return make_scenes(tmp_path_factory.mktemp('whole'), CONFIG, SEEDS)


def test_scenes_come_back_as_they_were_made(whole: Scenes) -> None:
    assert len(whole) == 5 and whole.config == CONFIG and whole.seeds == SEEDS
    sides = set()
    for k, seed in enumerate(SEEDS):
        scene = make_scene(CONFIG, seed)
        image, sound = whole[k]
        np.testing.assert_array_equal(image, scene.image)
        np.testing.assert_array_equal(sound, scene.sound)
        assert whole.onset(k) == scene.onset
        assert sound.dtype == np.float32
        np.testing.assert_array_equal(whole.numbers[k], scene.instance_map)
        assert [MATERIALS[code] for code in whole.heard[k]] == list(scene.sound_materials)
        table = whole.objects[k]
        for one, row in zip(scene.instances, table, strict=False):
            assert (COLOURS[row[0]], MATERIALS[row[1]], SHAPES[row[2]], row[3], SIDES[row[4]]) == (
                one.colour, one.material, one.shape, one.colliding, one.hand
            )  # fmt: skip
        assert (table[len(scene.instances) :] == -1).all()
        for hand in scene.hands:
            number = HANDS[('left', 'right').index(hand.side)]
            np.testing.assert_array_equal(whole.numbers[k] == number, hand.mask)
            sides.add(hand.side)
        assert whole.scene(k).captions == scene.captions
    assert sides == {'left', 'right'}


def test_scenes_of_another_world_are_not_taken_for_these(whole: Scenes) -> None:
    other = replace(whole, seeds=range(31, 36))
    with pytest.raises(ValueError, match='another version of the world'):
        other.scene(0)


def test_they_are_pairs_that_end(whole: Scenes) -> None:
    assert len(list(whole)) == 5
    with pytest.raises(IndexError, match='0 to 4'):
        whole[5]
    with pytest.raises(ValueError, match='read-only'):
        whole.image[0] = 0


def test_other_processes_map_the_files_anew(whole: Scenes) -> None:
    packed = pickle.dumps(whole)
    assert len(packed) < 1000
    copy = pickle.loads(packed)
    assert copy.digest == whole.digest
    np.testing.assert_array_equal(copy[3][0], whole[3][0])


def test_an_interrupted_run_goes_on_to_the_same_files(
    whole: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Killed(Exception):
        pass

    def die(config: WorldConfig, seed: int):
        if seed == 33:
            raise Killed
        return make_scene(config, seed)

    with monkeypatch.context() as patch:
        patch.setattr(module, 'make_scene', die)
        with pytest.raises(Killed):
            make_scenes(tmp_path, CONFIG, SEEDS)
    with pytest.raises(ValueError, match='1 of 3 chunks.*goes on'):
        open_scenes(tmp_path)
    monkeypatch.setattr(module, 'make_scene', lambda c, s: made.append(s) or make_scene(c, s))
    assert make_scenes(tmp_path, CONFIG, SEEDS).digest == whole.digest
    assert made == [32, 33, 34]
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    made.clear()
    make_scenes(tmp_path, CONFIG, SEEDS)
    assert not made


def test_two_processes_make_the_same(tmp_path: Path) -> None:
    config, seeds = WorldConfig(size=96, seconds=0.5), range(3)
    one = make_scenes(tmp_path / 'one', config, seeds)
    two = make_scenes(tmp_path / 'two', config, seeds, workers=2)
    assert one.digest == two.digest
    np.testing.assert_array_equal(one.image, two.image)


def test_other_settings_are_not_mixed_in(whole: Scenes, tmp_path: Path) -> None:
    for config, seeds in ((CONFIG, range(30, 36)), (WorldConfig(size=96, seconds=1.0), SEEDS)):
        with pytest.raises(ValueError, match='other settings'):
            make_scenes(whole.folder, config, seeds)
    with pytest.raises(ValueError, match='cs3-train synth make'):
        open_scenes(tmp_path)
    (tmp_path / 'store.json').write_text('{"format": "cs3-scenes-1"}')
    with pytest.raises(ValueError, match="expected 'cs3-scenes-2'"):
        open_scenes(tmp_path)


def test_the_command_makes_scenes_of_its_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['synth', 'make', '--out', str(tmp_path), '--scenes', '2', '--size', '96']
    assert main([*arguments, '--split', 'validation']) == 0
    scenes = open_scenes(tmp_path)
    first = split_seed('validation', 0)
    assert scenes.seeds == range(first, first + 2) and scenes.image.shape == (2, 96, 96, 3)
    assert scenes.digest in capsys.readouterr().out


def test_seeds_of_a_split() -> None:
    assert split_seeds('train', 3, 2) == range(2_000_003, 2_000_005)
    with pytest.raises(ValueError, match='at least 1'):
        split_seeds('train', 0, 0)
    with pytest.raises(ValueError, match='1000000 of test'):
        split_seeds('test', 999_999, 2)


def test_a_silent_action_changes_the_sound_alone(tmp_path: Path, whole: Scenes) -> None:
    silent = make_scenes(tmp_path, replace(CONFIG, silent=1.0), SEEDS)
    assert whole.sounding.all() and not silent.sounding.any()
    for name in ('image', 'numbers', 'objects'):
        np.testing.assert_array_equal(getattr(silent, name), getattr(whole, name))
    np.testing.assert_array_equal(~silent.heard, whole.heard)
    for k in range(len(SEEDS)):
        assert not np.array_equal(silent.sound[k], whole.sound[k])
        scene = silent.scene(k)
        assert scene.silent and [MATERIALS[~code] for code in silent.heard[k]] == list(
            scene.materials
        )
    assert 'silent' not in (whole.folder / 'store.json').read_text()
    assert '"silent": 1.0' in (silent.folder / 'store.json').read_text()


def test_a_share_of_silent_scenes_leaves_the_others_as_they_are() -> None:
    mixed = [make_scene(replace(CONFIG, silent=0.5), seed) for seed in range(30, 50)]
    assert 4 <= sum(scene.silent for scene in mixed) <= 16
    for scene in mixed[:8]:
        same = np.array_equal(scene.sound, make_scene(CONFIG, scene.seed).sound)
        assert same != scene.silent
