"""The ablation of nano's last stage, absurdly small: one thing changes, scores are evaluate's."""

from __future__ import annotations

import needs

needs.training()

import fcntl
import json
import shutil

import numpy as np
import pytest
import torch
from evaluation_fakes import result
from safetensors.torch import load_file, save_file

from cs3_ros.networks.beats import beats_fbank
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_training.cli import main
from cs3_training.evaluation.intervals import compare, summarise
from cs3_training.localiser.train import CHECKPOINT
from cs3_training.nano import ablation
from cs3_training.nano.ablation import VARIANTS, Ablation, as_markdown, tabulate
from cs3_training.nano.config import STAGES, make_config
from cs3_training.nano.loop import Machine
from cs3_training.nano.recipe import Recipe
from cs3_training.nano.weak import model_of, train_weak
from cs3_training.synth.store import open_scenes

CONFIG = make_config('smoke')
MACHINE = Machine(torch.device('cpu'), loaders=0, save_s=0)


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory):
    """A finished run whose heat maps are hot in places, as those of trained networks are."""
    out = tmp_path_factory.mktemp('ablated')
    Recipe(CONFIG, out, MACHINE).run(STAGES[:-1])
    warm(out, out / 'stages' / 'weak' / CHECKPOINT)
    Recipe(CONFIG, out, MACHINE).run(['bundle'])
    return out


def warm(run, path):
    """Give a checkpoint the bias with which one pixel of ten is hot."""
    model = model_of(path.parent, CONFIG, run / 'stages')
    picture, sound = open_scenes(run / 'scenes' / 'validation')[0]
    with torch.no_grad():
        pixels = model.clipseg.normalise(torch.from_numpy(picture)[None])
        condition = model.embed_audio(beats_fbank(torch.from_numpy(sound)[None]))
        logits = model.clipseg.decode(model.clipseg.encode_image(pixels), condition)
        bias = -logits.quantile(0.9) * model.mask.scale
    tensors, notes = read_safetensors(path)
    save_file({**tensors, 'mask.bias': bias.reshape(())}, path, notes)


@pytest.fixture
def copy(whole, tmp_path):
    """The same run in a folder of its own."""
    shutil.copytree(whole, tmp_path / 'run')
    return tmp_path / 'run'


def notes(path) -> dict:
    return json.loads(read_safetensors(path)[1]['training'])


def test_the_full_training_scores_as_evaluate_scores_it(whole, tmp_path):
    call = ['evaluate', '--bundle', str(whole / 'nano' / 'nano.yaml'), '--scenes', '3']
    call += ['--device', 'cpu', '--workers', '1', '--results', str(tmp_path / 'results.jsonl')]
    assert main([*call, '--json', str(tmp_path / 'rows.json')]) == 0
    lines = (tmp_path / 'results.jsonl').read_text().splitlines()[1:]
    expected = [json.loads(line)['scores'] for line in lines]
    found = Ablation(whole, MACHINE).score('full', 3, 1, 'cpu')
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.scores == {row: theirs[row] for row in ('av', 'av_shuffled')}
    assert any(r.scores['av'] > 0 for r in found), 'else nothing was compared'
    rows = json.loads((tmp_path / 'rows.json').read_text())
    row = tabulate({'full': found})['full']
    assert [row.av.miou, list(row.av.ci)] == [rows['av']['miou'], rows['av']['ci']]
    assert row.over_shuffled.mean == rows['av']['over']['av_shuffled']['mean']


def test_a_training_without_changes_is_that_of_the_recipe(whole, tmp_path):
    stages = whole / 'stages'
    made_from = json.loads((stages / 'weak' / 'done.json').read_text())['settings']['made_from']
    sets = [open_scenes(whole / 'scenes' / name) for name in ('pairs', 'validation')]
    done = train_weak(CONFIG, *sets, stages, MACHINE, made_from, tmp_path)
    assert set(done['settings']) == {'config', 'seed', 'made_from'}, 'folders stay valid'
    ours, theirs = (load_file(f / CHECKPOINT) for f in (tmp_path, stages / 'weak'))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if k != 'mask.bias')


def test_every_variant_changes_one_thing(copy):
    study = Ablation(copy, MACHINE)
    full = notes(copy / 'stages' / 'weak' / CHECKPOINT)
    changed = {}
    for name in VARIANTS:
        study.train(name)
        if name != 'full':
            now = notes(study.folder(name) / CHECKPOINT)
            loss = {k: v for k, v in now.pop('loss').items() if v != full['loss'][k]}
            changed[name] = loss | {k: v for k, v in now.items() if v != full[k]}
    assert changed == {
        'no_image_loss': {'image_weight': 0.0},
        'no_feature_loss': {'feature_weight': 0.0},
        'no_area_loss': {'area_weight': 0.0},
        'beats_frozen': {'train_beats': False},
    }
    before = load_file(copy / 'stages' / 'audio' / 'beats.safetensors')
    for name in changed:
        half = load_file(study.folder(name) / 'half.safetensors')
        beats = {k.removeprefix('beats.'): v for k, v in half.items() if k.startswith('beats.')}
        same = all(torch.equal(beats[k], before[k].half()) for k in before)
        assert same == (name == 'beats_frozen'), name
        token = load_file(study.folder(name) / CHECKPOINT)['audio_token.fc2.weight']
        assert torch.equal(half['audio_token.fc2.weight'], token.half())


def test_a_variant_that_was_killed_goes_on_and_a_finished_one_is_passed_over(copy, monkeypatch):
    seen = []

    class Killed(Exception):
        pass

    def die(step, config):
        seen.append(step)
        if step == 1:
            raise Killed
        return 0.5

    study = Ablation(copy, MACHINE)
    with monkeypatch.context() as patch:
        patch.setattr('cs3_training.loop.learning_rate', die)
        with pytest.raises(Killed):
            study.train('no_area_loss')
        seen.clear()
        patch.setattr(
            'cs3_training.loop.learning_rate',
            lambda step, config: seen.append(step) or 0.5,
        )
        study.train('no_area_loss')
        assert set(seen) == {1}, 'not from the start'
        seen.clear()
        study.train('no_area_loss')
        assert seen == []


def test_the_command_adds_to_the_table(copy, capsys):
    call = ['ablation', '--run', str(copy), '--scenes', '2', '--workers', '1', '--threads', '1']
    call += ['--device', 'cpu', '--variants']
    assert main([*call, 'beats_frozen']) == 0
    assert 'not there yet: no_image_loss, no_feature_loss, no_area_loss' in capsys.readouterr().out
    before = (copy / 'ablation' / 'full' / 'results.jsonl').read_text()
    with (copy / 'ablation' / 'beats_frozen' / 'lock').open('w') as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # another process is scoring it
        assert main([*call, 'no_area_loss']) == 0
    rows = json.loads((copy / 'ablation' / 'table.json').read_text())
    assert set(rows) == {'full', 'no_area_loss'}
    assert main([*call, 'no_area_loss']) == 0
    rows = json.loads((copy / 'ablation' / 'table.json').read_text())
    assert list(rows) == ['full', 'no_area_loss', 'beats_frozen'], 'in the order of the table'
    assert rows['full']['over_full'] is None and rows['beats_frozen']['av']['n'] == 2
    text = (copy / 'ablation' / 'table.md').read_text()
    assert '| BEATs frozen |' in text and text.strip() in capsys.readouterr().out
    assert (copy / 'ablation' / 'full' / 'results.jsonl').read_text() == before


def test_the_table_compares_scene_by_scene():
    rng = np.random.default_rng(0)
    scores = {name: rng.uniform(0, 0.5, (40, 2)) for name in ('full', 'no_area_loss')}
    results = {
        name: [result(k, {'av': a, 'av_shuffled': s}) for k, (a, s) in enumerate(values)]
        for name, values in scores.items()
    }
    groups = [k // 2 for k in range(40)]
    row = tabulate(results)['no_area_loss']
    full, ours = scores['full'], scores['no_area_loss']
    assert row.av == summarise(ours[:, 0], groups)
    assert row.over_full == compare(ours[:, 0], full[:, 0], groups)
    assert row.over_shuffled == compare(ours[:, 0], ours[:, 1], groups)
    assert f'{row.over_full.mean:+.2f} [' in as_markdown(tabulate(results))
    with pytest.raises(ValueError, match='nothing to compare with'):
        tabulate({'no_area_loss': results['full']})


def test_what_cannot_be_compared_is_refused(copy, monkeypatch, capsys):
    assert main(['ablation', '--run', str(copy / 'no'), '--device', 'cpu']) == 1
    assert 'cs3-train nano --out' in capsys.readouterr().err
    assert main(['ablation', '--run', str(copy), '--variants', 'no_ears']) == 1
    assert 'variants no_ears: expected some of no_image_loss' in capsys.readouterr().err
    assert main(['ablation', '--run', str(copy), '--scenes', '0']) == 1
    assert 'expected 1 or more' in capsys.readouterr().err
    own = ablation.training_config
    with monkeypatch.context() as patch:
        patch.setattr(
            ablation, 'training_config', lambda *given: own(*given, {'precision': 'bfloat16'})
        )
        with pytest.raises(ValueError, match=r'other settings \(precision\)'):
            Ablation(copy, MACHINE)
    path = copy / 'stages' / 'weak' / CHECKPOINT
    tensors, facts = read_safetensors(path)
    save_file(tensors, path, {**facts, 'step': '1000'})
    with pytest.raises(ValueError, match='--stages bundle'):
        Ablation(copy, MACHINE)
    (copy / 'stages' / 'clipseg' / 'done.json').write_text('{"settings": {}}')
    with pytest.raises(ValueError, match='other settings or from other scenes'):
        Ablation(copy, MACHINE)
