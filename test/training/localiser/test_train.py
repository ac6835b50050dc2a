"""The training loop: what it draws, that it goes on exactly, what it leaves behind."""

from __future__ import annotations

import needs

needs.training()

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from segmenter_fakes import segmenter

from cs3_ros.networks.audio_visual import load_checkpoint
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.train import (
    PairSamples,
    TrainConfig,
    Trainer,
    augment,
    load_config,
)
from cs3_training.loop import learning_rate

QUICK = TrainConfig(
    steps=4,
    batch=2,
    lr=1e-4,
    lr_token=1e-3,
    precision='float32',
    columns=2,
    workers=0,
    save_every=2,
)


class Noise:
    """Random pictures and sounds."""

    def __len__(self) -> int:
        return 5

    def draw(self, index, rng):
        rng = np.random.default_rng(index)
        sound = rng.normal(0, 0.1, 8000).astype(np.float32)
        return rng.integers(0, 256, (80, 80, 3), np.uint8), sound


def trained(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_run_that_was_killed_goes_on_bit_by_bit(tiny_weights, tmp_path, monkeypatch, precision):
    config = replace(QUICK, precision=precision)
    whole = Trainer(segmenter(tiny_weights), Noise(), config, tmp_path / 'whole')
    before = trained(whole.model)
    whole.run()
    assert any(not torch.equal(value, before[name]) for name, value in trained(whole.model).items())

    class Killed(Exception):
        pass

    def die(step, config):
        if step == 3:
            raise Killed
        return learning_rate(step, config)

    with monkeypatch.context() as patch:
        patch.setattr('cs3_training.loop.learning_rate', die)
        with pytest.raises(Killed):
            Trainer(segmenter(tiny_weights), Noise(), config, tmp_path / 'killed').run()
    again = Trainer(segmenter(tiny_weights), Noise(), config, tmp_path / 'killed')
    assert again.step == 2 and (before := again.seconds) > 0
    again.run()
    for name, value in trained(whole.model).items():
        assert torch.equal(value, trained(again.model)[name]), name
    assert again.seconds > before  # those before the end count, too


def test_another_number_of_processes_is_another_run(tiny_weights, tmp_path, monkeypatch):
    Trainer(segmenter(tiny_weights), Noise(), QUICK, tmp_path).run()
    monkeypatch.setattr('cs3_training.loop.world_size', lambda: 2)
    with pytest.raises(ValueError, match='belongs to a run with other settings'):
        Trainer(segmenter(tiny_weights), Noise(), QUICK, tmp_path)


def test_what_is_frozen_stays(tiny_weights, tmp_path):
    model = segmenter(tiny_weights, train_beats=False)
    with pytest.raises(ValueError, match='train_beats is True in the settings and False'):
        Trainer(model, Noise(), QUICK, tmp_path)
    trainer = Trainer(model, Noise(), replace(QUICK, train_beats=False), tmp_path)
    frozen = {n: p.clone() for n, p in trainer.model.named_parameters() if not p.requires_grad}
    assert any(name.startswith('beats') for name in frozen)
    trainer.run()
    now = dict(trainer.model.named_parameters())
    assert all(torch.equal(value, now[name]) for name, value in frozen.items())
    assert load_checkpoint(tmp_path / 'audio_visual.safetensors').beats is None


def test_the_best_checkpoint_is_kept_and_tells_its_story(tiny_weights, tmp_path):
    scores = iter([0.2, 0.5, 0.3, 0.1])
    states = []

    def validate(model):
        assert not model.training and not torch.is_grad_enabled()
        states.append(trained(model))
        return next(scores)

    config = replace(QUICK, validate_every=1)
    about = {'data': 'sha256 of the pairs'}
    Trainer(segmenter(tiny_weights), Noise(), config, tmp_path, validate, about).run()
    path = tmp_path / 'audio_visual.safetensors'
    found = load_checkpoint(path)
    for name, value in found.audio_token.named_parameters():
        assert torch.equal(value, states[1][f'audio_token.{name}'])
    with safe_open(path, 'pt') as file:
        notes = file.metadata()
    assert notes['data'] == about['data'] and notes['step'] == '2'
    assert notes['validation'] == '0.500000'
    assert json.loads(notes['training'])['loss']['area_positive'] == 0.1
    assert list(tmp_path.glob('events.*')) and not list(tmp_path.glob('*.part'))


def test_a_folder_of_another_run_is_refused(tiny_weights, tmp_path):
    Trainer(segmenter(tiny_weights), Noise(), replace(QUICK, steps=2), tmp_path).run()
    with pytest.raises(ValueError, match='other settings or data'):
        Trainer(segmenter(tiny_weights), Noise(), QUICK, tmp_path)


def test_every_epoch_shows_every_pair_once():
    samples = PairSamples(Noise(), replace(QUICK, augment=False))
    first = [samples[n][0].numpy().tobytes() for n in range(5)]
    second = [samples[n][0].numpy().tobytes() for n in range(5, 10)]
    assert len(set(first)) == 5 and set(first) == set(second) and first != second
    assert samples[3][0].numpy().tobytes() == first[3], 'whatever was asked for before'


def test_windows_and_mirrors():
    image = np.arange(387 * 387 * 3, dtype=np.uint32).reshape(387, 387, 3)
    windows = [augment(image, np.random.default_rng(k)) for k in range(20)]
    assert {w.shape for w in windows} == {(352, 352, 3)}
    mirrored = [bool(w[0, 0, 0] > w[0, 1, 0]) for w in windows]
    assert 3 < sum(mirrored) < 17
    corners = {int(min(w[0, 0, 0], w[0, -1, 0])) for w in windows}
    assert len(corners) == 20


def test_learning_rates():
    config = replace(QUICK, steps=100, warm_up=10, schedule='cosine')
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, abs=0.01) and max(rates) == pytest.approx(0.98, abs=0.02)
    assert rates[-1] == pytest.approx(0.05, abs=0.01)
    assert {learning_rate(step, QUICK) for step in range(4)} == {1.0}


def test_settings_from_yaml(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('steps: 7\nlr: 1\nloss: {area_weight: 5, feature_audio: row}\n')
    expected = TrainConfig(steps=7, lr=1.0, loss=LossConfig(area_weight=5.0, feature_audio='row'))
    assert load_config(path) == expected
    for text, words in (
        ('stepz: 7', r'mine.yaml.*unknown key\(s\) stepz'),
        ('steps: 0', 'TrainConfig.steps = 0'),
        ('loss: {tau: 1}', r'mine.yaml.*loss: unknown key\(s\) tau'),
        ('loss: 3', 'loss: expected a mapping'),
        ('[', 'is not valid YAML'),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            load_config(path)
