"""The stages: that they go on exactly, what one hands to the next, what is refused."""

from __future__ import annotations

import needs

needs.training()

import json
from dataclasses import fields, replace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sounding_training_fakes import CONFIG, Clips, ids, towers

from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.networks.sounding_checkpoint import load_sounding
from cs3_training.loop import learning_rate
from cs3_training.sounding.config import GROUPS, PAPER, STAGES, SoundingConfig, load_config
from cs3_training.sounding.data import Samples
from cs3_training.sounding.model import Batch, SoundingTask
from cs3_training.sounding.train import train_stages


class Killed(Exception):
    pass


def die_at(step_of_death, monkeypatch):
    def die(step, config):
        if step == step_of_death:
            raise Killed
        return learning_rate(step, config)

    monkeypatch.setattr('cs3_training.loop.learning_rate', die)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp('whole')
    train_stages(CONFIG, Clips(), towers(), out)
    return out


@pytest.mark.parametrize('stage', STAGES)
def test_a_run_that_was_killed_goes_on_bit_by_bit(whole, tmp_path, stage):
    done = STAGES[: STAGES.index(stage)]
    if done:
        train_stages(CONFIG, Clips(), towers(), tmp_path, done)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        die_at(3, patch)
        train_stages(CONFIG, Clips(), towers(), tmp_path, [stage])
    train_stages(CONFIG, Clips(), towers(), tmp_path, STAGES)
    for name in STAGES:
        first, second = (load_file(f / name / 'sounding.safetensors') for f in (whole, tmp_path))
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[key]) for key, value in first.items()), name


def test_each_stage_changes_what_it_trains(whole):
    files = [load_file(whole / name / 'sounding.safetensors') for name in STAGES]
    for before, after, name in zip(files, files[1:], STAGES[1:], strict=False):
        changed = {key for key in after if not torch.equal(before[key], after[key])}
        assert changed and not any(key.startswith('slots.slot_attn') for key in changed), name
        assert any(key.startswith('slots.dec.') for key in changed)
        assert any('text_aligner' in key for key in changed) == (name != 'detect')
        kept = any(key.startswith('sound.model.layers.0.') for key in changed)
        assert kept == (name == 'detect'), 'first blocks are frozen in align and refine alone'


def test_adam_goes_on_from_stage_to_stage(whole):
    steps = {}
    for name in STAGES:
        state = torch.load(whole / name / 'state.pt', weights_only=True)
        numbers = list(state['model'])
        steps[name] = {numbers[k]: int(v['step']) for k, v in state['optimiser']['state'].items()}
    decoder = 'network.slots.bos_tokens'
    assert [steps[name][decoder] for name in STAGES] == [4, 4, 8, 12]
    frozen = next(key for key in steps['detect'] if key.startswith('network.sound.model.layers.0.'))
    assert steps['detect'][frozen] == 4 and frozen not in steps['refine']


def test_the_checkpoint_tells_its_story(whole):
    notes = read_safetensors(whole / 'detect' / 'sounding.safetensors')[1]
    assert notes['stage'] == 'detect' and notes['data'] == 'noise' and notes['vision'] == 'tiny'
    assert notes['step'] == '4' and notes['optimiser'] == 'goes on' and len(notes['start']) == 64
    assert json.loads(notes['training'])['background_share'] == 0.5
    assert json.loads(notes['settings'])['samples']['after_s'] == 0.2


def test_a_stage_may_begin_with_a_checkpoint(whole, tmp_path):
    start = whole / 'align' / 'sounding.safetensors'
    found = train_stages(CONFIG, Clips(), towers(), tmp_path, ['detect'], start)
    assert found == tmp_path / 'detect' / 'sounding.safetensors'
    notes = read_safetensors(found)[1]
    assert notes['optimiser'] == 'goes on'
    with pytest.raises(ValueError, match='belongs to a run with other settings or data'):
        train_stages(CONFIG, Clips(), towers(), tmp_path, ['detect'])


def test_beats_may_stay_where_it_lies(tmp_path):
    sizes = replace(CONFIG.network, sound='beats', train_sound=False)
    config = replace(CONFIG, network=sizes)
    found = train_stages(config, Clips(), towers(), tmp_path, ['align', 'refine'])
    assert not any('beats' in key for key in load_file(found))


@pytest.mark.parametrize('sound', ['ast', 'beats'])
def test_networks_may_run_in_bfloat16(tmp_path, sound):
    half = dict(steps=1, precision='bfloat16')
    groups = {name: replace(CONFIG.stage(name), **half) for name in STAGES}
    config = replace(CONFIG, network=replace(CONFIG.network, sound=sound), **groups)
    found = load_file(train_stages(config, Clips(), towers(), tmp_path))
    assert all(value.isfinite().all() for value in found.values())
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_a_judge_chooses_the_checkpoint(tmp_path):
    scores, seen = iter([0.3, 0.1]), []

    def judge(one):
        assert not one.training and not torch.is_grad_enabled()
        seen.append({k: v.clone() for k, v in one.aligner.state_dict().items()})
        return next(scores)

    align = replace(CONFIG.align, validate_every=2)
    config = replace(CONFIG, align=align)
    path = train_stages(config, Clips(), towers(), tmp_path, ['align'], judge=judge)
    tensors = load_file(path)
    assert all(torch.equal(tensors[f'aligner.{k}'], v) for k, v in seen[0].items())


def test_wrong_calls_are_told(whole, tmp_path):
    with pytest.raises(ValueError, match='stages later: expected some of slots, align, refine, d'):
        train_stages(CONFIG, Clips(), towers(), tmp_path, ['later'])
    with pytest.raises(ValueError, match='no stages'):
        train_stages(CONFIG, Clips(), towers(), tmp_path, [])
    other = replace(CONFIG, network=replace(CONFIG.network, slots=4))
    start = whole / 'slots' / 'sounding.safetensors'
    with pytest.raises(ValueError, match='correct the groups network and samples'):
        train_stages(other, Clips(), towers(), tmp_path, ['align'], start)


def test_the_papers_file_states_every_default():
    assert load_config() == SoundingConfig()
    values = yaml.safe_load(PAPER.read_text('utf-8'))
    assert {name: set(part) for name, part in values.items()} == {
        name: {field.name for field in fields(cls)} for name, cls in GROUPS.items()
    }


def test_settings_from_yaml(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('detect: {union_background: true}\nnetwork: {sound: beats}\n')
    found = load_config(path)
    assert found.detect.union_background and found.network.sound == 'beats'
    assert found.align == SoundingConfig().align
    for text, words in (
        ('later: {}', r'mine.yaml.*unknown key\(s\) later'),
        ('align: {tau: 1}', r'mine.yaml.*align: unknown key\(s\) tau'),
        ('align: {temperature: 0}', 'AlignConfig.temperature = 0'),
        ('align: 3', 'align: expected a mapping'),
        ('[1]', 'expected a mapping of network'),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            load_config(path)


def test_epochs_make_steps():
    config = SoundingConfig()
    assert config.align.for_samples(100).steps == 13  # 4 * 100 / 32, rounded up
    assert replace(config.align, steps=7).for_samples(100).steps == 7


def test_the_tiny_network_learns_the_pairs(tmp_path):
    some, losses = towers(), []
    for steps in (1, 50):
        config = replace(CONFIG, align=replace(CONFIG.align, steps=steps, lr=5e-3))
        path = train_stages(config, Clips(), some, tmp_path / str(steps), ['align'])
        network = load_sounding(path, some.vision, text=some.text)
        task = SoundingTask(network, 'align', config.align)
        samples = Samples(Clips(), task.network, ids, config.samples, config.align)
        rows = [samples[k] for k in range(6)]
        batch = Batch(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]})
        losses.append(float(task.eval()(batch)['total'].detach()))
    assert losses[1] < 0.8 * losses[0]
