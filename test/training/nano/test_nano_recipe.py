"""The nano recipe as a whole, absurdly small: every stage, going on after a kill, the bundle."""

from __future__ import annotations

import needs

needs.training()

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.weights import digest_of
from cs3_ros.collision import AudioClip, CollisionClip, Frame, Onset
from cs3_training.cli import main
from cs3_training.nano import loop
from cs3_training.nano.bundle import write_bundle
from cs3_training.nano.card import read_card
from cs3_training.nano.config import STAGES, make_config
from cs3_training.nano.loop import Machine
from cs3_training.nano.recipe import NEEDS, Recipe
from cs3_training.nano.weak import segmenter
from cs3_training.synth.store import open_scenes

CONFIG = make_config('smoke')
MACHINE = Machine(torch.device('cpu'), loaders=0, save_s=0)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory):
    """A finished run."""
    out = tmp_path_factory.mktemp('nano')
    assert Recipe(CONFIG, out, MACHINE).run() == out / 'nano'
    return out


def test_every_stage_leaves_its_figures(whole):
    for name in STAGES[1:-1]:
        done = json.loads((whole / 'stages' / name / 'done.json').read_text())
        assert done['figures'] and all(np.isfinite(v) for v in done['figures'].values()), name


def test_the_bundle_runs_an_event(whole):
    bundle = load_bundle(str(whole / 'nano' / 'nano.yaml'))
    assert 'ONLY the synthetic world' in bundle.description
    assert 'ONLY the synthetic world' in bundle.warning and 'use lite' in bundle.warning
    scenes = open_scenes(whole / 'scenes' / 'validation')
    frame = Frame.from_rgb(1, np.array(scenes.image[0]))
    sound = scenes.waveform(0)
    audio = AudioClip(1, 16_000, sound, np.ones(len(sound), bool))
    found = bundle.build()(CollisionClip(Onset(1, -20.0, 20.0), (frame,), 0, audio))
    assert found.timings_ms.keys() >= {'localiser_locate', 'masker_encode', 'hands'}


def test_the_bundle_is_small_and_described(whole):
    folder = whole / 'nano'
    files = [file for file in folder.rglob('*') if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 3_000_000
    weights = [file for file in files if file.suffix == '.safetensors']
    assert len(weights) == 4 and all(file.stat().st_mode & 0o777 == 0o644 for file in weights)
    assert not any(v.dtype == torch.float32 for file in weights for v in load_file(file).values())
    listed = {file.path for file in load_bundle(str(folder / 'nano.yaml')).weights}
    named = {str(file.relative_to(folder)) for file in files}
    assert named == listed | {'nano.yaml', 'MODEL_CARD.md'}
    card = (folder / 'MODEL_CARD.md').read_text()
    assert 'Apache-2.0' in card and 'only the synthetic world' in card and 'AV mIoU' in card
    assert all(f' in `{file.name}`' in card for file in weights if file.parent == folder)


def test_the_bundle_takes_the_thresholds_of_the_hands(whole, tmp_path):
    records = {
        name: json.loads((whole / folder / 'done.json').read_text())
        for name, folder in {'scenes': 'scenes', **{s: f'stages/{s}' for s in STAGES[1:-1]}}.items()
    }
    records['hands']['figures'] |= {'threshold hands': 0.3, 'threshold held objects': 0.6}
    write_bundle(CONFIG, whole / 'stages', tmp_path / 'nano', records)
    hands = load_bundle(str(tmp_path / 'nano' / 'nano.yaml')).stages['hands']
    assert (hands['hand_threshold'], hands['object_threshold']) == (0.3, 0.6)


def test_a_finished_run_does_nothing(whole):
    before = {file: file.stat().st_mtime_ns for file in (whole / 'stages').rglob('*')}
    Recipe(CONFIG, whole, MACHINE).run(STAGES[:-1])
    assert before == {file: file.stat().st_mtime_ns for file in (whole / 'stages').rglob('*')}


@pytest.mark.parametrize('name', ['clip', 'clipseg', 'audio', 'hands', 'masks', 'weak'])
def test_a_stage_that_was_killed_goes_on_bit_by_bit(whole, tmp_path, monkeypatch, name):
    (tmp_path / 'scenes').symlink_to(whole / 'scenes')
    (tmp_path / 'stages').mkdir()
    for need in NEEDS[name]:
        if need != 'scenes':
            shutil.copytree(whole / 'stages' / need, tmp_path / 'stages' / need)
    seen = []
    where = 'cs3_training.loop.learning_rate' if name == 'weak' else 'cs3_training.nano.loop.rate'

    class Killed(Exception):
        pass

    def die(step, config):
        seen.append(step)
        if step == 1:
            raise Killed
        return 0.5

    recipe = Recipe(CONFIG, tmp_path, MACHINE)
    with monkeypatch.context() as patch:
        patch.setattr(where, lambda step, config: 0.5)
        shutil.copytree(tmp_path, tmp_path.with_name(f'whole_{name}'), symlinks=True)
        Recipe(CONFIG, tmp_path.with_name(f'whole_{name}'), MACHINE).run([name])
        patch.setattr(where, die)
        with pytest.raises(Killed):
            recipe.run([name])
        assert (tmp_path / 'stages' / name / 'state.pt').is_file() and seen[-1] == 1
        seen.clear()
        patch.setattr(where, lambda step, config: seen.append(step) or 0.5)
        recipe.run([name])
    assert seen[0] == 1  # not from the start
    other = tmp_path.with_name(f'whole_{name}') / 'stages' / name
    files = sorted((tmp_path / 'stages' / name).glob('*.safetensors'))
    assert files
    for file in files:
        again, once = load_file(file), load_file(other / file.name)
        assert again.keys() == once.keys()
        assert all(torch.equal(again[key], once[key]) for key in once)


def test_other_settings_need_another_folder(whole):
    with pytest.raises(ValueError, match='other settings'):
        Recipe(CONFIG.scaled(2), whole, MACHINE).run(['audio'])


def test_the_bundle_is_made_of_one_chain(whole, tmp_path):
    with pytest.raises(ValueError, match='scenes was made with other settings'):
        other = replace(CONFIG, scenes=replace(CONFIG.scenes, pairs=9))
        Recipe(other, whole, MACHINE).run(['bundle'])
    shutil.copytree(whole, tmp_path / 'run')
    path = tmp_path / 'run' / 'stages' / 'clipseg' / 'done.json'
    done = json.loads(path.read_text())
    done['settings']['made_from'] = {'clip': 'of another run'}
    path.write_text(json.dumps(done))
    with pytest.raises(ValueError, match='clipseg was made with other settings'):
        Recipe(CONFIG, tmp_path / 'run', MACHINE).run(['bundle'])


def test_the_command(whole, capsys):
    call = ['nano', '--out', str(whole), '--preset', 'smoke', '--threads', '1', '--device', 'cpu']
    assert main([*call, '--stages', 'audio', 'masks']) == 0
    assert 'masks: done' in capsys.readouterr().out
    assert main([*call, '--stages', 'clap']) == 1
    assert 'stages clap: expected some of scenes' in capsys.readouterr().err
    assert main([*call, '--minutes-scale', '0']) == 1
    assert 'expected a factor above 0' in capsys.readouterr().err


def test_a_bundle_can_be_taken_and_its_last_stage_trained_on(whole, tmp_path, capsys):
    start = whole / 'nano' / 'nano.yaml'
    call = ['nano', '--out', str(tmp_path / 'run'), '--preset', 'smoke', '--threads', '1']
    call += ['--device', 'cpu', '--loaders', '0', '--from', str(start)]
    assert main(call) == 0
    assert not (tmp_path / 'run' / 'scenes' / 'pretrain').exists()
    made = tmp_path / 'run' / 'nano'
    for file in (whole / 'nano').rglob('*.*'):
        same = file.read_bytes() == (made / file.relative_to(whole / 'nano')).read_bytes()
        assert same == (file.name not in ('audio_visual.safetensors', 'nano.yaml', 'MODEL_CARD.md'))
    stages = start.parent / 'audio_visual.safetensors', tmp_path / 'run/stages/audio'
    begun = segmenter(CONFIG, tmp_path / 'run' / 'stages').state_dict()
    for name, value in load_file(stages[0]).items():
        assert torch.equal(begun[name], value.float()), 'goes on from what was there'
    card, first = (
        read_card((f / 'MODEL_CARD.md').read_text(), 'it') for f in (made, whole / 'nano')
    )
    for name in ('clip', 'clipseg', 'audio', 'hands', 'masks'):
        assert card[name] == first[name]
    assert card['scenes'] == first['scenes']
    text = (made / 'MODEL_CARD.md').read_text()
    assert '--from' in text and digest_of(stages[0]) in text
    assert main([*call[:-2]]) == 1, 'the run is another one without it'
    assert 'other settings' in capsys.readouterr().err
    for other, words in (('lite', 'expected a bundle of cs3-train nano'), ('no', 'not found')):
        call[2] = str(tmp_path / other)
        assert main([*call[:-1], other]) == 1
        assert words in capsys.readouterr().err


def test_a_card_of_something_else_is_refused():
    with pytest.raises(ValueError, match="mine: no row 'CLIP towers"):
        read_card('# mine', 'mine')


def test_a_stage_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match='stage clip needs scenes'):
        Recipe(CONFIG, tmp_path, MACHINE).run(['clip'])
    with pytest.raises(ValueError, match='stages clap: expected some of scenes, clip'):
        Recipe(CONFIG, tmp_path, MACHINE).run(['clap'])


@pytest.mark.parametrize('bad', [0, CONFIG.audio.steps - 1])
def test_a_gradient_that_is_not_finite_stops_the_stage(whole, tmp_path, monkeypatch, bad):
    from cs3_training.nano.audio import AudioStage

    scenes = open_scenes(whole / 'scenes' / 'pretrain')
    stage = AudioStage(CONFIG.audio, scenes, scenes, 0)
    losses = stage.losses
    steps = iter(range(CONFIG.audio.steps))
    monkeypatch.setattr(
        stage,
        'losses',
        lambda batch: {'total': losses(batch)['total'] * (1.0 if next(steps) < bad else math.nan)},
    )
    with pytest.raises(FloatingPointError, match=f'audio, step {bad}.*lower lr'):
        loop.train(stage, tmp_path, MACHINE, 0, {})
    assert not (tmp_path / 'done.json').exists()
