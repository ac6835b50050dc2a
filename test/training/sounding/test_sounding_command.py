"""``cs3-train sounding``: from scenes to the checkpoint that the scorer loads, and its tables."""

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
from sounding_fakes import tiny_beats, tiny_clipseg

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.sounding import SoundingScorer, SoundingScorerConfig
from cs3_ros.networks.beats import beats_checkpoint
from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.networks.sounding import pool
from cs3_ros.networks.sounding_checkpoint import load_sounding
from cs3_ros.networks.towers import TextIds, load_text, load_vision
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.cli import main
from cs3_training.evaluation.sounding import discovery
from cs3_training.nano.tokens import write_tokenizer
from cs3_training.sounding.config import load_config
from cs3_training.sounding.data import Samples, SceneSet, object_patches
from cs3_training.sounding.frozen import Frozen
from cs3_training.sounding.model import Batch, SoundingTask, assemble
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import make_scenes, open_scenes

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


def test_without_slots_and_masks(data, towers, tmp_path):
    assert main(call(data, towers, tmp_path / 'run', '--without', 'slots', 'masks')) == 0
    assert sorted(path.parent.name for path in tmp_path.glob('run/*/state.pt')) == [
        'align', 'detect', 'refine',
    ]  # fmt: skip
    path = tmp_path / 'run' / 'detect' / 'sounding.safetensors'
    tensors, notes = read_safetensors(path)
    assert not any(name.startswith('slots.') for name in tensors)
    settings = json.loads(notes['settings'])
    assert settings['samples']['objects'] == 0 and not settings['network']['use_slots']


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


FROZEN = """
network: {embedding: 8, use_slots: false, sound: beats, train_sound: false}
samples: {before_s: 0.5, after_s: 0.5, text_length: 17}
detect: {steps: 3, batch: 2, lr: 0.01, save_every: 1, workers: 0}
"""


@pytest.fixture(scope='module')
def beats(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('beats') / 'beats.pt'
    torch.save(beats_checkpoint(tiny_beats()), path)
    return path


def frozen_call(data: Path, towers: Path, beats: Path, out: Path, *more: str) -> list[str]:
    settings = out.parent / 'frozen.yaml'
    settings.write_text(FROZEN)
    one = call(data, towers, out, '--stages', 'detect', '--beats', str(beats), *more)
    one[one.index('--settings') + 1] = str(settings)
    return one


def test_frozen_towers_that_ran_once_give_the_same_loss(data, towers, beats, tmp_path):
    run = tmp_path / 'run'
    assert main(frozen_call(data, towers, beats, run, '--freeze')) == 0
    config = load_config(tmp_path / 'frozen.yaml')
    left = [np.load(run / 'frozen' / f'{name}.npy') for name in ('patches', 'heard', 'done')]
    assert left[0].shape == (4, 16, 12) and left[2].all()
    tower = load_vision(towers)
    network = assemble(config.network, tower, tiny_beats(), None, config.samples.window)
    clips, ids = SceneSet(open_scenes(data / 'train')), TextIds(towers, 17)
    losses = []
    for frozen in (None, Frozen(left[0], left[1])):
        samples = Samples(clips, network, ids, config.samples, config.detect, frozen)
        parts = [samples[number] for number in range(4)]
        batch = Batch(**{name: torch.stack([one[name] for one in parts]) for name in parts[0]})
        torch.manual_seed(0)  # draws the patches of the background
        task = SoundingTask(network, 'detect', config.detect, False, frozen is not None)
        losses.append(float(task(batch)['total'].detach()))
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)  # patches are kept in 16 bits
    assert losses[0] > 0.1


def test_what_other_scenes_left_is_not_taken(data, towers, beats, tmp_path, capsys):
    one = frozen_call(data, towers, beats, tmp_path / 'run', '--freeze')
    assert main(one) == 0
    one[one.index('--scenes') + 1] = str(data / 'validation')
    assert main(one) == 1
    assert 'holds what other towers left, or of other scenes' in capsys.readouterr().err


@pytest.fixture(scope='module')
def judged(tmp_path_factory) -> Path:
    """Scenes of which some make no sound."""
    folder = tmp_path_factory.mktemp('judged')
    world = WorldConfig(size=96, seconds=1.0, silent=0.5)
    scenes = make_scenes(folder, world, split_seeds('validation', 8, 6))
    assert 0 < scenes.sounding.sum() < 6
    return folder


def judge(towers: Path, beats: Path, scenes: Path, out: Path, paths: list[Path], *more: str):
    """Rows of ``sounding evaluate``."""
    code = main([
        'sounding', 'evaluate', '--checkpoint', *map(str, paths), '--vision', str(towers),
        '--beats', str(beats), '--scenes', str(scenes), '--device', 'cpu', '--threads', '1',
        '--json', str(out), *more,
    ])  # fmt: skip
    assert code == 0
    return json.loads(out.read_text())


def test_the_tables_of_detection_and_discovery(data, towers, beats, judged, tmp_path, capsys):
    paths = []
    for name, more in (('one', ()), ('other', ('--without', 'masks'))):
        run = tmp_path / name / 'run'
        run.parent.mkdir()
        shared = '--freeze', str(tmp_path / 'shared')
        assert main(frozen_call(data, towers, beats, run, *shared, *more)) == 0
        paths.append(run / 'detect' / 'sounding.safetensors')
    capsys.readouterr()
    texts = '--text', str(towers)
    rows = judge(towers, beats, judged, tmp_path / 'rows.json', paths, *texts)
    scenes = open_scenes(judged)
    one, other = (str(path) for path in paths)
    assert set(rows) == {
        'random',
        'largest mask',
        one,
        other,
        *(f'{n}, shuffled' for n in (one, other)),
    }
    assert 0 < rows['random']['top_1'] < 100
    assert f'6 scenes, {scenes.sounding.sum()} actions sound' in capsys.readouterr().out

    network = load_sounding(paths[0], load_vision(towers), tiny_beats(), load_text(towers))
    fits = {'picture and sound': [], 'text and sound': [], 'picture and text': []}
    for row in range(6):
        sample = SceneSet(scenes).sample(row, 1, 2, np.random.default_rng(row))
        patches = network.embed_patches(
            network.vision.pictures(torch.tensor(sample.pictures[0])[None])
        )
        seen = pool(patches, object_patches(network, sample.masks, 2)).mean(1)
        heard = network.hear(torch.from_numpy(sample.sound)[None])
        said = network.embed_text(TextIds(towers, 17)([sample.text]))
        for name, pair in zip(fits, ((seen, heard), (said, heard), (seen, said)), strict=True):
            fits[name].append(torch.cosine_similarity(*pair).item())
    for name, scores in fits.items():
        expected = discovery(np.array(scores), scenes.sounding)
        found = rows[one]['discovery'][name]
        assert found['roc'] == pytest.approx(expected.roc)
        assert found['precision_recall'] == pytest.approx(expected.precision_recall)
        assert found['ci'][0] <= found['roc'] <= found['ci'][1]
    gap = rows[other]['over'][one]['mean']
    assert gap == pytest.approx(rows[other]['top_1'] - rows[one]['top_1'])
    assert set(rows[other]['over']) == {one, f'{other}, shuffled'} and not rows['random']['over']
    assert set(rows[other]['roc_over']) == {one} and not rows[f'{one}, shuffled']['discovery']

    kept = tmp_path / 'kept'
    frozen = judge(towers, beats, judged, tmp_path / 'frozen.json', paths, '--freeze', str(kept))
    assert frozen[one]['top_1'] == rows[one]['top_1'] and (kept / 'patches.npy').is_file()
    near = frozen[one]['discovery']['picture and sound']['roc']
    assert near == pytest.approx(rows[one]['discovery']['picture and sound']['roc'])


@pytest.mark.parametrize('numbers', [('1', '4'), ('0', '3'), ('0', '0'), ('-2', '4')])
def test_scenes_that_lend_each_other_no_sound_are_refused(numbers, capsys):
    first, count = numbers
    one = ['sounding', 'calibrate', '--bundle', 'nano', f'--first={first}', '--scenes', count]
    assert main(one) == 1
    assert 'expected even numbers' in capsys.readouterr().err
