"""The step that encodes a picture for every sound: equal losses and gradients; the command."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path

import pytest
import torch
from segmenter_fakes import CALM, batch, segmenter, sides

from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.bench import throughput
from cs3_training.bench.reencoding import reencoding_losses
from cs3_training.bench.throughput import compare
from cs3_training.cli import main
from cs3_training.localiser.losses import Losses
from cs3_training.nano.config import NanoConfig

CALL = ['bench', '--sizes', 'tiny', '--batch', '3', '--steps', '2', '--device', 'cpu']
CALL += ['--threads', '1']


@pytest.mark.parametrize('recompute', [False, True])
def test_both_steps_have_the_same_losses_and_gradients(tiny_weights: Path, recompute: bool):
    found = []
    for again in (False, True):
        model = segmenter(tiny_weights)
        data = batch(model, 3)
        losses = (
            reencoding_losses(model, *data, CALM, recompute)
            if again
            else model(*data, CALM, columns=2)
        )
        losses.total.backward()
        found.append((losses, sides(model)))
    (first, gradients), (second, others) = found
    for name in ('image', 'feature', 'area', 'total'):
        torch.testing.assert_close(getattr(second, name), getattr(first, name))
    assert gradients.keys() == others.keys() and any(g.abs().max() > 0 for g in others.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('recompute', [False, True])
def test_a_picture_is_encoded_for_every_sound(tiny_weights, monkeypatch, recompute):
    model = segmenter(tiny_weights)
    encode, seen = model.clipseg.encode_image, []
    monkeypatch.setattr(
        model.clipseg, 'encode_image', lambda pixels: seen.append(len(pixels)) or encode(pixels)
    )
    model(*batch(model, 3)).total.backward()
    assert seen == [3]
    seen.clear()
    reencoding_losses(model, *batch(model, 3), recompute=recompute).total.backward()
    assert seen == [3, 3, 3], 'and not once more for the gradients'


def test_the_command_prints_both_side_by_side(tmp_path, capsys):
    path = tmp_path / 'new' / 'bench.json'
    assert main([*CALL, '--json', str(path)]) == 0
    printed = capsys.readouterr().out
    assert '| tiny | 3 | once | 6 |' in printed
    assert '| tiny | 3 | for every sound | 12 |' in printed
    data = json.loads(path.read_text())
    assert data['precision'] == 'float32' and '1 threads' in data['machine']
    (found,) = data['sizes']
    once, again = found['speeds']['once'], found['speeds']['again']
    for speed in (once, again):
        assert len(speed['ms']) == 2 and speed['memory_gib'] > 0
        assert speed['images_per_s'] == pytest.approx(3e3 / (sum(speed['ms']) / 2))
    assert found['ratio'] == pytest.approx(once['images_per_s'] / again['images_per_s'])
    assert once['loss'] == pytest.approx(again['loss'], rel=1e-4)
    assert found['gradient_difference'] < 1e-3
    assert f'{found["ratio"]:.1f} x the images/s at B = 3' in printed


def test_steps_that_compute_something_else_are_not_compared(monkeypatch):
    def other(*arguments) -> Losses:
        found = reencoding_losses(*arguments)
        return Losses(found.image, found.feature, found.area, 1.1 * found.total)

    monkeypatch.setattr(throughput, 'reencoding_losses', other)
    runtime = Runtime(RuntimeConfig('cpu', threads=1))
    with pytest.raises(RuntimeError, match='expected them equal within 0.001'):
        compare('tiny', 2, 1, runtime)


def test_pictures_of_another_size(tmp_path):
    path = tmp_path / 'bench.json'
    assert main([*CALL, '--picture', '96', '--steps', '1', '--json', str(path)]) == 0
    (found,) = json.loads(path.read_text())['sizes']
    assert found['picture'] == 96 != throughput.segmenter('tiny').clipseg.image_size
    assert main([*CALL, '--picture', '97']) == 1


def test_nano_has_the_sizes_of_the_recipe():
    model, config = throughput.segmenter('nano'), NanoConfig()
    assert model.clipseg.image_size == config.clip.image_size
    assert model.beats.config.encoder_embed_dim == config.audio.width
    assert model.audio_token.config.text_width == config.clip.text_width


@pytest.mark.parametrize('wrong', [['--steps', '0'], ['--batch', '1'], ['--columns', '0']])
def test_wrong_calls_say_what_is_wrong(wrong, capsys):
    assert main([*CALL, *wrong]) == 1
    assert f'{wrong[0]} {wrong[1]}: expected at least' in capsys.readouterr().err
