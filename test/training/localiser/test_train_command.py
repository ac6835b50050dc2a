"""``cs3-train train``: from scenes to the checkpoint that the node loads."""

from __future__ import annotations

import needs

needs.training()

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from shipped_nano import shipped_nano

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.weights import digest_of
from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.audio_visual import AudioVisualConfig, AudioVisualLocaliser
from cs3_ros.metrics import sample_score
from cs3_ros.networks.audio_visual import MaskScale, load_checkpoint, save_checkpoint
from cs3_ros.networks.beats import RATE, load_beats
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.cli import main
from cs3_training.localiser.command import BEATS, CLIPSEG
from cs3_training.localiser.model import assemble
from cs3_training.localiser.train import CHECKPOINT
from cs3_training.localiser.validation import HeatMapScore
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import Scenes, make_scenes

SETTINGS = 'steps: 2\nbatch: 2\nlr: 1.0e-4\nlr_token: 1.0e-3\nprecision: float32\nworkers: 0\n'
WORLD = WorldConfig(size=96, seconds=1.0)


def scenes(folder: Path, split: str) -> Scenes:
    return make_scenes(folder, WORLD, split_seeds(split, 0, 4))


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('train_command')
    scenes(folder / 'train', 'train')
    scenes(folder / 'validation', 'validation')
    (folder / 'settings.yaml').write_text(SETTINGS)
    return folder


def call(data: Path, out: Path, *more: str) -> list[str]:
    return [
        'train', '--out', str(out), '--scenes', str(data / 'train'), '--settings',
        str(data / 'settings.yaml'), '--device', 'cpu', '--threads', '1', *more,
    ]  # fmt: skip


def test_the_checkpoint_is_loaded_by_the_localiser(data, tmp_path, cs3_home, capsys):
    judged = ('--validation', str(data / 'validation'), '--judged', '3')
    assert main(call(data, tmp_path / 'run', *judged)) == 0
    path = tmp_path / 'run' / CHECKPOINT
    assert capsys.readouterr().out.splitlines()[-1] == str(path)
    config = AudioVisualConfig(
        clipseg=str(cs3_home / CLIPSEG), beats=str(cs3_home / BEATS), checkpoint=str(path)
    )
    assert AudioVisualLocaliser(config, Runtime(RuntimeConfig('cpu', threads=1)))
    notes = read_safetensors(path)[1]
    assert json.loads(notes['training'])['steps'] == 2
    assert 0 <= float(notes['validation']) <= 1
    assert notes['data'] == scenes(data / 'train', 'train').digest


@pytest.mark.parametrize('trained', [False, True], ids=['ACL-SSL', 'a run'])
def test_a_run_starts_from_a_checkpoint(data, tmp_path, cs3_home, capsys, trained):
    """With learning rates of 0 it stays what it was."""
    still = tmp_path / 'still.yaml'
    still.write_text(
        'steps: 1\nbatch: 2\nlr: 0.0\nlr_token: 0.0\nlr_mask: 0.0\nprecision: float32\nworkers: 0\n'
    )
    init = 'acl/Param_best.pth'
    start = load_checkpoint(cs3_home / init)
    if trained:  # with a BEATs of its own: that of the home folder is not asked for
        init = str(tmp_path / 'start.safetensors')
        beats = load_beats(cs3_home / BEATS)
        with torch.no_grad():
            beats.layer_norm.weight.mul_(2)
        save_checkpoint(init, start.audio_token, MaskScale(3.0, 4.0), beats)
        start = load_checkpoint(init)
    more = ('--init', init, '--settings', str(still), *(('--beats', 'no.pt') if trained else ()))
    assert main(call(data, tmp_path / 'run', *more)) == 0
    found = load_checkpoint(tmp_path / 'run' / CHECKPOINT)
    assert found.audio_token.config == start.audio_token.config
    assert (found.mask.scale, found.mask.bias) == (start.mask.scale, start.mask.bias)
    parts = [(found.audio_token, start.audio_token)] + [(found.beats, start.beats)] * trained
    for ours, theirs in parts:
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
    assert read_safetensors(tmp_path / 'run' / CHECKPOINT)[1]['init'] == digest_of(cs3_home / init)
    assert main(call(data, tmp_path / 'run', '--settings', str(still))) == 1
    assert 'other settings or data' in capsys.readouterr().err


def test_where_a_run_goes_on_and_where_not(data, tmp_path, cs3_home, capsys):
    assert main(call(data, tmp_path)) == 0
    first = (tmp_path / CHECKPOINT).read_bytes()
    assert main(call(data, tmp_path)) == 0  # finished already
    assert (tmp_path / CHECKPOINT).read_bytes() == first
    other = call(data, tmp_path)
    other[other.index('--scenes') + 1] = str(data / 'validation')
    assert main(other) == 1
    assert 'other settings or data' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'error'),
    [
        (['--beats', 'nowhere.pt'], 'nowhere.pt: not there; cs3 fetch cs3 brings it, or set --b'),
        (['--init', 'nowhere.pth'], 'nowhere.pth'),
        (['--judged', '0'], '--judged 0: expected 1 or more'),
        (['--validation', 'TRAIN'], 'the scenes to learn from'),
        (['--validation', 'nowhere'], 'no scenes there'),
    ],
)
def test_wrong_calls_are_told(data, tmp_path, cs3_home, capsys, options, error):
    options = [str(data / 'train') if option == 'TRAIN' else option for option in options]
    assert main(call(data, tmp_path, *options)) == 1
    assert error in capsys.readouterr().err
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_default_weights_are_those_of_the_bundle():
    files = {file.path for file in load_bundle('cs3').weights}
    assert {BEATS, f'{CLIPSEG}/model.safetensors'} <= files


def test_torchrun_trains_in_several_processes(data, tmp_path, cs3_home, capsys):
    """That they compute the loss of the joint batch is told by test_model."""
    words = call(data, tmp_path)
    subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc-per-node', '2', '-m', 'cs3_training.cli', *words),
        ],
        check=True,
        timeout=120,
        capture_output=True,
    )
    notes = read_safetensors(tmp_path / CHECKPOINT)[1]
    assert notes['step'] == '2' and json.loads(notes['training'])['batch'] == 2
    assert main(words) == 1  # one process draws other noise
    assert 'other settings' in capsys.readouterr().err


def test_the_score_is_that_of_the_nodes_localiser(tmp_path):
    """Scene by scene, with the localiser that is loaded from the files of nano."""
    nano = shipped_nano()
    judges = make_scenes(tmp_path, WorldConfig(), split_seeds('validation', 1000, 4))
    config = AudioVisualConfig(clipseg=str(nano / 'clipseg'), checkpoint=str(nano / CHECKPOINT))
    localiser = AudioVisualLocaliser(config, Runtime(RuntimeConfig('cpu', threads=1)))
    found = load_checkpoint(nano / CHECKPOINT)
    model = assemble(nano / 'clipseg', found.beats, found.audio_token, found.mask).eval()
    for shuffle in (False, True):
        scores = []
        for row in range(4):
            scene, sound = judges.scene(row), judges.waveform((row + shuffle) % 4)
            audio = AudioClip(0, RATE, sound, np.ones(len(sound), bool))
            frame = Frame.from_rgb(0, scene.image)
            heat = localiser.locate(localiser.encode([frame], 0), audio).heat_map
            scores.append(sample_score(list(scene.masks), [heat >= 0.5]))
        assert HeatMapScore(judges, 9, shuffle)(model) == pytest.approx(np.mean(scores))
        assert np.mean(scores) > 0 or shuffle
