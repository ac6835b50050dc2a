"""A finished localiser learns to make of the beginning of a sound what it makes of all of it."""

from __future__ import annotations

import needs

needs.training()

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from segmenter_fakes import segmenter

from cs3_ros.networks.audio_visual import load_checkpoint
from cs3_training.localiser.shorter import ShorterSamples, ShorterTrainer
from cs3_training.localiser.train import CHECKPOINT, TrainConfig

CONFIG = TrainConfig(
    steps=60,
    batch=4,
    lr=2e-4,
    lr_token=2e-4,
    warm_up=5,
    schedule='cosine',
    precision='float32',
    workers=0,
    listen_least_s=0.1,
)


class Knocks:
    """Sounds that begin in noise, with a tone of their own from the onset on; no picture counts."""

    digest = 'none'

    def __len__(self) -> int:
        return 12

    def draw(self, index, rng=None):
        rng = np.random.default_rng(index)
        sound = rng.normal(0, 0.01, 16_000).astype(np.float32)
        time = np.arange(16_000 - self.onset(index)) / 16_000
        tone = np.sin(2 * np.pi * (300 + 250 * index) * time) * np.exp(-4 * time)
        sound[self.onset(index) :] += tone.astype(np.float32)
        return np.zeros((8, 8, 3), np.uint8), sound, self.onset(index)

    def onset(self, index):
        return 8000 + 50 * index


def test_samples_are_the_beginning_and_the_whole():
    samples, pairs = ShorterSamples(Knocks(), CONFIG), Knocks()
    wholes = [pairs.draw(k)[1] for k in range(12)]
    batch = [samples[n] for n in range(4)]
    for heard, whole in batch:
        index = next(k for k in range(12) if np.array_equal(whole, wholes[k]))
        assert torch.equal(heard, whole[: len(heard)])
        assert pairs.onset(index) + 1600 <= len(heard) <= 16_000
    heard, whole = ShorterSamples.together(batch)
    assert heard.shape == (4, min(len(one) for one, _ in batch)) and whole.shape == (4, 16_000)


def test_the_distance_falls_and_nothing_but_the_sound_side_moves(tiny_weights, tmp_path):
    model = segmenter(tiny_weights)
    first = copy.deepcopy(model)
    trainer = ShorterTrainer(model, Knocks(), CONFIG, tmp_path)
    batch = ShorterSamples.together([ShorterSamples(Knocks(), CONFIG)[n] for n in range(4)])
    model.eval()
    before = trainer.losses(model, batch)['total'].item()
    trainer.run()
    model.eval()
    assert 0 < trainer.losses(model, batch)['total'].item() < 0.7 * before
    found = load_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(found.mask.offset, first.mask.offset)
    assert found.beats is not None
    moved = [
        not torch.equal(value, dict(first.beats.named_parameters())[name])
        for name, value in found.beats.named_parameters()
    ]
    assert any(moved)
    for name, value in model.clipseg.model.state_dict().items():
        assert torch.equal(value, first.clipseg.model.state_dict()[name])


def test_a_run_that_was_ended_goes_on_with_the_same_teacher(tiny_weights, tmp_path):
    config = replace(CONFIG, steps=4, save_every=2)
    whole = ShorterTrainer(segmenter(tiny_weights), Knocks(), config, tmp_path / 'whole')
    whole.run()

    class Killed(Exception):
        pass

    begun = ShorterTrainer(segmenter(tiny_weights), Knocks(), config, tmp_path / 'cut')
    losses = begun.losses

    def die(module, batch):
        if begun.step == 3:
            raise Killed
        return losses(module, batch)

    begun.losses = die
    with pytest.raises(Killed):
        begun.run()
    again = ShorterTrainer(segmenter(tiny_weights), Knocks(), config, tmp_path / 'cut')
    assert again.step == 2
    again.run()
    for (name, one), (_, other) in zip(
        whole.model.named_parameters(), again.model.named_parameters(), strict=True
    ):
        assert torch.equal(one, other), name
