"""A copy of nano that chooses by sound: it builds, lists its weights, tells what was done."""

from __future__ import annotations

import needs

needs.training()

import pytest
from safetensors.torch import load_file
from shipped_nano import FOLDER, shipped_nano

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.localisers.sounding import load_beats_of
from cs3_ros.networks.sounding_checkpoint import save_sounding
from cs3_ros.networks.towers import load_vision
from cs3_ros.runtime import RuntimeConfig
from cs3_ros.verifiers.sounding import SoundingVerifier, Weighing
from cs3_training.cli import main
from cs3_training.sounding.config import load_config
from cs3_training.sounding.model import assemble
from cs3_training.sounding.ship import add_strategy


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    shipped_nano()
    config = load_config('training/cs3_training/sounding/nano.yaml')
    towers = load_vision(FOLDER / 'clipseg'), load_beats_of(FOLDER / 'audio_visual.safetensors')
    network = assemble(config.network, *towers, None, config.samples.window)
    path = tmp_path_factory.mktemp('run') / 'sounding.safetensors'
    save_sounding(path, network, {'data': 'abc (colliding)'}, with_beats=False)
    return path


def test_a_bundle_gains_the_strategy(checkpoint, tmp_path, capsys):
    numbers = ['--gap', '0.3', '--reach', '80', '--lead', '0.1']
    command = ['sounding', 'ship', '--bundle', 'nano', '--checkpoint', str(checkpoint)]
    out = tmp_path / 'mine'
    assert main([*command, '--out', str(out), *numbers]) == 0
    assert capsys.readouterr().out.strip() == str(out / 'nano.yaml')
    bundle = load_bundle(str(out / 'nano.yaml'))
    pipeline = bundle.build(runtime=RuntimeConfig('cpu', threads=1))
    verifier = pipeline.verifier
    assert isinstance(verifier, SoundingVerifier)
    config = verifier.config
    assert (config.gap, config.reach, config.lead) == (0.3, 80.0, 0.1)
    assert 'sounding.safetensors' in {file.path for file in bundle.weights}
    assert bundle.clip == load_bundle('nano').clip
    kinds = {str(value.dtype) for value in load_file(out / 'sounding.safetensors').values()}
    assert kinds == {'torch.float16'}
    card = (out / 'MODEL_CARD.md').read_text('utf-8')
    assert card.count('## Which object sounded') == 1 and '`abc (colliding)`' in card
    again = add_strategy(str(out / 'nano.yaml'), checkpoint, Weighing(), tmp_path / 'again')
    assert (again.parent / 'MODEL_CARD.md').read_text('utf-8') == card, 'told once'


def test_what_cannot_be_shipped_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="bundle 'lite': expected a localiser audio_visual"):
        add_strategy('lite', checkpoint, Weighing(), tmp_path / 'a')
    (tmp_path / 'b').mkdir()
    with pytest.raises(FileExistsError):
        add_strategy('nano', checkpoint, Weighing(), tmp_path / 'b')
