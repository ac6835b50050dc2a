"""What is learned from: scenes of the synthetic world, and clips in the released layout."""

from __future__ import annotations

import needs

needs.training()

from dataclasses import replace

import numpy as np
import pytest
import torch
from sounding_training_fakes import CONFIG, Clips, ids, network
from tiny_media import brightness, impulses, write_media

from cs3_training.sounding.clips import ClipSet
from cs3_training.sounding.data import Samples, SceneSet, narration, object_patches
from cs3_training.sounding.mask_files import ClipMasks, write_masks
from cs3_training.sounding.validation import DetectionScore, scene_masks
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import ARMS, make_scenes
from cs3_training.synth.vocabulary import WORDS


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes')
    return make_scenes(folder, WorldConfig(size=96, seconds=1.0), split_seeds('train', 0, 8))


def test_scenes_give_what_is_in_hands(scenes):
    for row in range(len(scenes)):
        scene, rng = scenes.scene(row), np.random.default_rng(0)
        for kind in ('held', 'colliding'):
            sample = SceneSet(scenes, kind).sample(row, 4, 2, rng)
            asked = [
                one for one in scene.instances if (one.hand if kind == 'held' else one.colliding)
            ]
            expected = [scene.instance_map == one.number for one in asked][:2]
            assert len(sample.pictures) == 1 and sample.masks.shape == (1, len(expected), 96, 96)
            assert all(np.array_equal(sample.masks[0, k], mask) for k, mask in enumerate(expected))
            assert np.array_equal(sample.pictures[0], scene.image)
            heard, whole = sample.sound, np.pad(scene.sound, len(scene.sound))
            start = scene.onset + len(heard) - len(heard) // 2
            assert np.array_equal(heard, whole[start : start + len(heard)]), 'onset in the middle'
        others = SceneSet(scenes, kind, others=True).sample(row, 1, 2, rng).others
        asked = {one.number for one in asked}
        seen = set(np.unique(scene.instance_map)) - asked - {0, *ARMS}
        assert len(others[0]) == len(seen), 'everything else that is seen, hands too, arms not'
        assert all(set(np.unique(scene.instance_map[mask])) <= seen for mask in others[0])
        assert sample.others is None
    assert SceneSet(scenes).digest != SceneSet(scenes, 'colliding').digest


def test_the_text_names_what_collides(scenes):
    for row in range(len(scenes)):
        text = narration(scenes, row, np.random.default_rng(row))
        assert set(text.split()) <= set(WORDS) and len(text.split()) <= 15
        scene = scenes.scene(row)
        assert all(one.caption in text for one in scene.colliding)
        assert ('table' in text) == (len(scene.colliding) == 1)


def test_samples_depend_on_their_number_alone():
    clips = [Samples(Clips(), network(), ids, CONFIG.samples, CONFIG.align) for _ in range(2)]
    one, two = clips[0][9], [clips[1][k] for k in (3, 9)][1]
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert one['pixels'].shape == (2, 3, 64, 64) and one['masks'].shape == (2, 2, 16)
    epoch = [clips[0][k]['sound'].sum().item() for k in range(6)]
    assert len(set(epoch)) == 6
    assert sum(bool(clips[0][k]['valid']) for k in range(6)) == 5, 'one clip has no object'


def test_as_many_other_things_as_are_asked_for():
    some = Samples(Clips(), network(), ids, replace(CONFIG.samples, others=2), CONFIG.detect)
    counts = [int(some[k]['others'].any(2).sum()) for k in range(6)]
    assert sorted(counts) == [0, 0, 1, 1, 2, 2]
    assert {some[k]['others'].shape for k in range(6)} == {(1, 2, 16)}
    none = Samples(Clips(), network(), ids, CONFIG.samples, CONFIG.detect)
    assert {none[k]['others'].shape for k in range(6)} == {(1, 0, 16)}


def test_a_damaged_clip_is_passed_over_and_told(caplog):
    class Damaged(Clips):
        broken = {3}

        def sample(self, index, frames, objects, rng):
            if index in self.broken:
                raise ValueError(f'v{index}.mp4: damaged')
            return super().sample(index, frames, objects, rng)

    def epoch(clips):
        samples = Samples(clips, network(), ids, CONFIG.samples, CONFIG.align)
        return sorted(samples[k]['sound'].sum().item() for k in range(6))

    whole, found = epoch(Clips()), epoch(Damaged())
    assert len(set(found)) == 5 and set(found) < set(whole)
    assert 'clip 3 is passed over: v3.mp4: damaged' in caplog.text
    assert epoch(Damaged()) == found, 'the same one stands in'
    Damaged.broken = set(range(6))
    with pytest.raises(ValueError, match='8 clips in a row cannot be read, the last: v'):
        epoch(Damaged())


def test_sounds_of_any_length_fit_into_a_batch():
    class Uneven(Clips):
        def sample(self, index, frames, objects, rng):
            found = super().sample(index, frames, objects, rng)
            return replace(found, sound=found.sound[: 16_000 - 3000 * index])

    samples = Samples(Uneven(), network(), ids, CONFIG.samples, CONFIG.align)
    assert {samples[k]['sound'].shape for k in range(6)} == {(4800,)}


def test_object_patches_are_filled_up():
    net = network()
    masks = np.zeros((2, 1, 64, 64), bool)
    masks[:, 0, :16, :16] = True
    found = object_patches(net, masks, 2)
    assert found.shape == (2, 2, 16) and found[:, 0].sum(1).tolist() == [1, 1]
    assert not found[:, 1].any()
    assert object_patches(net, masks, 0).shape == (2, 1, 16) and object_patches(net, masks, 0).all()
    assert not object_patches(net, masks[:, :0], 2).any()


def test_scenes_are_judged_by_the_released_protocol(scenes):
    net, score = network(), DetectionScore(scenes, 5)
    value = score(net)
    assert value in {k / 5 for k in range(6)} and DetectionScore(scenes, 99)(net) >= 0
    for row in range(len(scenes)):
        others, collide = scene_masks(scenes, row)
        scene = scenes.scene(row)
        assert np.array_equal(collide, [mask for mask in scene.masks if mask.any()])
        assert not (others.any(0) & collide.any(0)).any()

    class Knowing(torch.nn.Module):
        """Fits where a picture is bright: what it is told of the scene."""

    bright = np.array(scenes.image)
    for row in range(len(scenes)):
        bright[row] = np.where(scene_masks(scenes, row)[1].any(0)[..., None], 255, 0)

    def embed(pixels):
        cells = torch.nn.functional.avg_pool2d(pixels, 16).flatten(2).transpose(1, 2)
        return cells.clone()

    net.embed_patches = embed
    net.hear = lambda sound: torch.ones(len(sound), 3)
    told = type(scenes)(**{**vars(scenes), 'image': bright})
    assert DetectionScore(told, 8, exclude_background=True)(net) > 0.7


@pytest.fixture
def released(tmp_path):
    """Two clips of 1 s at 30 frames per second, and one that is not there."""
    (tmp_path / 'mine_clips').mkdir()
    (tmp_path / 'mine_masks').mkdir()
    lines = ['video_uid\tnarration_source\tnarration_ind\tclip_file\tclip_text']
    for number in range(3):
        lines.append(f'v{number}\tpass_1\t{number}\tv{number}.wav\tcuts onion {number}')
        if number == 2:
            continue
        sound = impulses(1.0, 48_000, [0.5])
        write_media(tmp_path / 'mine_clips' / f'v{number}.mp4', frames=30, sound=sound,
                    sound_codec='aac', sound_format='fltp')  # fmt: skip
        frames = tuple(range(0, 30, 3))
        masks = np.zeros((10, 2, 48, 64), bool)
        for row in range(10):
            masks[row, 0, :, row * 3] = True  # tells the frame
        valid = np.tile([True, False], (10, 1))
        clip = ClipMasks(frames, masks, valid, masks[:0, 0])
        write_masks(tmp_path / 'mine_masks' / f'v{number}_pass_1_{number}.npz', clip)
    (tmp_path / 'mine.csv').write_text('\n'.join(lines) + '\n')
    return tmp_path


def test_released_clips(released):
    clips = ClipSet(released, 'mine')
    assert len(clips) == 2 and clips.missing == 1
    seen = set()
    for seed in range(8):
        sample = clips.sample(1, 3, 2, np.random.default_rng(seed))
        assert sample.text == 'cuts onion 1' and sample.masks.shape == (3, 2, 48, 64)
        numbers = [int(mask[0].any(0).argmax()) for mask in sample.masks]
        assert numbers == sorted(numbers) and all(10 <= n <= 25 and n % 3 == 0 for n in numbers)
        for number, picture in zip(numbers, sample.pictures, strict=True):

            class Shown:
                image = picture

            assert brightness(Shown) == pytest.approx(8 * number, abs=6), 'masks of that frame'
        seen |= set(numbers)
        assert not sample.masks[:, 1].any()
    assert len(seen) > 3
    loudest = np.abs(sample.sound).argmax() / 16_000
    assert loudest == pytest.approx(0.5, abs=0.02)
    assert sample.sound.dtype == np.float32 and sample.sound.ndim == 1


def test_masks_of_another_size_are_brought_to_the_picture(released):
    masks = np.zeros((10, 2, 24, 32), bool)
    masks[:, 0, :12] = True
    valid = np.tile([True, False], (10, 1))
    clip = ClipMasks(tuple(range(0, 30, 3)), masks, valid, masks[:0, 0])
    write_masks(released / 'mine_masks' / 'v0_pass_1_0.npz', clip)
    sample = ClipSet(released, 'mine').sample(0, 1, 2, np.random.default_rng(0))
    assert sample.masks[0, 0, :24].all() and not sample.masks[0, 0, 24:].any()


def test_tables_with_commas(released):
    table = released / 'mine.csv'
    table.write_text('narration_id,narration\nP01_1,"cut, then wash"\n')
    (released / 'mine_clips' / 'P01_1.mp4').write_bytes(b'')
    (released / 'mine_masks' / 'P01_1.npz').write_bytes(b'')
    assert ClipSet(released, 'mine').rows[0].text == 'cut, then wash'


def test_wrong_sets_are_told(released):
    clips = ClipSet(released, 'mine')
    with pytest.raises(ValueError, match='pictures from 10 to 25 have masks, expected at least 9'):
        clips.sample(0, 9, 2, np.random.default_rng(0))
    with pytest.raises(OSError):
        ClipSet(released, 'other')
    table = released / 'mine.csv'
    table.write_text('clip_file\tclip_text\n../v0.mp4\tsteals\n')
    with pytest.raises(ValueError, match="line 2: '../v0.mp4' leads out of the folder"):
        ClipSet(released, 'mine')
    table.write_text('clip_file\nv0.mp4\n')
    with pytest.raises(ValueError, match='expected columns clip_file and clip_text'):
        ClipSet(released, 'mine')
    table.write_text('clip_file\tclip_text\ngone.mp4\tcuts\n')
    with pytest.raises(ValueError, match='none of its 1 clips is there; expected videos in'):
        ClipSet(released, 'mine')
