"""``cs3-train sounding train``: from scenes to the checkpoint that the scorer loads."""

from __future__ import annotations

import needs

needs.training()

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sounding_fakes import tiny_clipseg

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.sounding import SoundingScorer, SoundingScorerConfig
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.cli import main
from cs3_training.nano.tokens import write_tokenizer
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import make_scenes

STAGE = 'steps: 2, batch: 2, workers: 0'
SETTINGS = f"""
network: {{embedding: 8, slots: 3, slot_width: 8, slot_hidden: 8, decoder_blocks: 1, ast_width: 8,
  decoder_heads: 3, ast_hidden: 8, ast_layers: 2, ast_heads: 2, ast_frames: 40}}
samples: {{before_s: 0.2, after_s: 0.2, text_length: 17}}
slots: {{{STAGE}}}
align: {{{STAGE}, frozen_blocks: 1}}
refine: {{{STAGE}, frozen_blocks: 1}}
detect: {{{STAGE}}}
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('sounding_command')
    world = WorldConfig(size=96, seconds=1.0)
    for split in ('train', 'validation'):
        make_scenes(folder / split, world, split_seeds(split, 0, 4))
    (folder / 'settings.yaml').write_text(SETTINGS)
    return folder


@pytest.fixture(scope='module')
def towers(tmp_path_factory) -> Path:
    """A CLIPSeg with a tokenizer that knows the words of the world."""
    folder = tmp_path_factory.mktemp('towers')
    tiny_clipseg(write_tokenizer(folder)).model.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text('{"size": 64}')
    return folder


def call(data: Path, towers: Path, out: Path, *more: str) -> list[str]:
    return [
        'sounding', 'train', '--out', str(out), '--scenes', str(data / 'train'), '--settings',
        str(data / 'settings.yaml'), '--vision', str(towers), '--device', 'cpu', '--threads', '1',
        *more,
    ]  # fmt: skip


def test_the_checkpoint_is_loaded_by_the_scorer(data, towers, tmp_path, capsys):
    judged = ('--validation', str(data / 'validation'), '--judged', '3')
    assert main(call(data, towers, tmp_path / 'run', *judged)) == 0
    path = tmp_path / 'run' / 'detect' / 'sounding.safetensors'
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(path) and lines[0] == 'slots: begins with random weights'
    assert lines[1] == f'align: begins with {tmp_path / "run" / "slots" / path.name}'
    config = SoundingScorerConfig(checkpoint=str(path), vision=str(towers))
    scorer = SoundingScorer(config, Runtime(RuntimeConfig('cpu', threads=1)))
    frame = Frame.from_rgb(0, np.zeros((96, 96, 3), np.uint8))
    audio = AudioClip(0, 16_000, np.ones(16_000, np.float32), np.ones(16_000, bool))
    found = scorer.score(scorer.encode(frame), audio, [np.ones((96, 96), bool)])
    assert np.isfinite(found.cosine).all()
    notes = read_safetensors(path)[1]
    assert json.loads(notes['training'])['steps'] == 2 and 0 <= float(notes['validation']) <= 1
    assert {'vision', 'text', 'data'} <= notes.keys()


def test_where_a_run_goes_on_and_where_not(data, towers, tmp_path, capsys):
    one = call(data, towers, tmp_path, '--stages', 'align')
    assert main(one) == 0
    path = tmp_path / 'align' / 'sounding.safetensors'
    first = path.read_bytes()
    assert main(one) == 0  # finished already
    assert path.read_bytes() == first
    other = [*one]
    other[other.index('--scenes') + 1] = str(data / 'validation')
    assert main(other) == 1
    assert main([*one, '--masks', 'colliding']) == 1
    assert capsys.readouterr().err.count('other settings or data') == 2


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        (['--judged', '0'], '--judged 0: expected 1 or more'),
        (['--validation', 'TRAIN'], 'the scenes to learn from'),
        (['--stages', 'later'], 'stages later: expected some of slots'),
        (['--vision', 'nowhere'], 'vision tower in nowhere: model_type is None'),
        (['--text', 'nowhere'], 'text tower in nowhere: model_type is None'),
        (['--start', 'nowhere'], 'nowhere'),
        (['--settings', 'BEATS'], 'needs --beats FILE'),
    ],
)
def test_wrong_calls_are_told(data, towers, tmp_path, capsys, options, error):
    beats = tmp_path / 'beats.yaml'
    beats.write_text('network: {sound: beats}\n')
    names = {'TRAIN': str(data / 'train'), 'BEATS': str(beats)}
    options = [names.get(option, option) for option in options]
    assert main(call(data, towers, tmp_path / 'run', *options)) == 1
    assert error in capsys.readouterr().err
    assert not list(tmp_path.glob('run/*/sounding.safetensors'))


def test_torchrun_trains_in_several_processes(data, towers, tmp_path, capsys):
    """That they compute the loss of the joint batch is told by test_sounding_model."""
    words = call(data, towers, tmp_path, '--stages', 'align', 'detect')
    subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc-per-node', '2', '-m', 'cs3_training.cli', *words),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    for stage in ('align', 'detect'):
        notes = read_safetensors(tmp_path / stage / 'sounding.safetensors')[1]
        assert notes['step'] == '2' and notes['stage'] == stage
    assert main(words) == 1  # one process draws other noise
    assert 'other settings' in capsys.readouterr().err
