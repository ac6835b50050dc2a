import needs

needs.networks()

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapModel, RobertaTokenizer
from trap import Trap

from cs3_ros.networks.clap import (
    CHUNK,
    AudioTower,
    LogMel,
    embed_sounds,
    load_clap,
    tokenize,
)

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def folder(tiny_weights):
    return tiny_weights / 'clap-htsat-unfused'


@pytest.fixture(scope='module')
def clap(folder):
    return load_clap(str(folder))


@pytest.fixture
def own_folder(folder, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(folder, tmp_path / 'clap')


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


@pytest.mark.parametrize('count', [1, 1000, 96_000, 160_001, 240_000, 300_000, 480_000])
def test_the_log_mel_is_that_of_the_feature_extractor(clap, count):
    sound = noise(count)
    expected = clap.extractor(sound, sampling_rate=48_000, return_tensors='pt')['input_features']
    mel = LogMel(clap.extractor, CPU)(torch.from_numpy(sound))
    assert mel.dtype == torch.float32
    assert mel.shape == expected.shape == (1, 1, 1001, 64)
    assert (mel - expected).abs().max() < 1e-3


def test_silence_lies_at_the_floor(clap):
    mel = LogMel(clap.extractor, CPU)(torch.zeros(100))
    assert torch.equal(mel, torch.full_like(mel, -100.0))


def test_of_long_sound_the_middle_is_heard(clap):
    sound = torch.from_numpy(noise(600_000))
    log_mel = LogMel(clap.extractor, CPU)
    assert torch.equal(log_mel(sound), log_mel(sound[60_000:540_000]))


def test_the_towers_embed_as_transformers_does(clap, folder):
    reference = ClapModel.from_pretrained(folder, local_files_only=True)
    mel = torch.randn(2, 1, 1001, 64) * 20 - 40
    texts = [f'a photo of {number}' for number in range(CHUNK + 3)]  # of several lengths
    tokens = RobertaTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors='pt')
    with torch.inference_mode():
        sounds = reference.get_audio_features(input_features=mel).pooler_output
        words = reference.get_text_features(**tokens).pooler_output
        torch.testing.assert_close(AudioTower(clap.model)(mel), sounds)
        torch.testing.assert_close(embed_sounds(clap, texts), words)


def test_a_text_that_is_too_long_is_named(clap):
    assert tokenize(clap.tokenizer, ['ab'], 4)['input_ids'].shape == (1, 4)
    with pytest.raises(ValueError, match="'abc': 5 tokens, expected at most 4"):
        tokenize(clap.tokenizer, ['ab', 'abc'], 4)
    with pytest.raises(ValueError, match='expected at most 512'):
        embed_sounds(clap, ['x' * 511])


def test_the_older_file_format_is_read(clap, own_folder):
    weights = load_file(own_folder / 'model.safetensors')
    (own_folder / 'model.safetensors').unlink()
    torch.save(weights, own_folder / 'pytorch_model.bin')
    read = load_clap(str(own_folder)).model.state_dict()
    assert all(torch.equal(value, read[key]) for key, value in clap.model.state_dict().items())


@pytest.mark.parametrize('zipped', [True, False])
def test_a_malicious_pickle_is_refused_and_not_executed(own_folder, tmp_path, zipped):
    (own_folder / 'model.safetensors').unlink()
    proof = tmp_path / 'executed'
    if zipped:
        torch.save({'logit_scale_a': Trap(proof)}, own_folder / 'pytorch_model.bin')
    else:
        content = pickle.dumps({'a': Trap(proof)}, protocol=2)
        (own_folder / 'pytorch_model.bin').write_bytes(content)
    with pytest.raises(ValueError, match='pytorch_model.bin .* was not loaded') as caught:
        load_clap(str(own_folder))
    assert not proof.exists()
    assert 'weights_only' not in str(caught.value)
    pickle.loads(pickle.dumps(Trap(proof)))  # the trap works
    assert proof.exists()


def test_incomplete_weights_are_refused(own_folder):
    weights = load_file(own_folder / 'model.safetensors')
    computed = [key for key in weights if key.endswith(('position_ids', 'position_index'))]
    assert computed
    rest = {key: value for key, value in weights.items() if key not in computed}
    save_file(rest, own_folder / 'model.safetensors', {'format': 'pt'})
    whole = load_clap(str(own_folder)).model.state_dict()
    assert all(torch.equal(whole[key], weights[key]) for key in computed)
    del rest['logit_scale_a']
    save_file(rest, own_folder / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(ValueError, match='lack 1 tensors .* first logit_scale_a'):
        load_clap(str(own_folder))


@pytest.mark.parametrize(
    'name, content',
    [
        ('config.json', None),
        ('config.json', '{'),
        ('model.safetensors', None),
        ('model.safetensors', '{'),
        ('vocab.json', None),
        ('vocab.json', '{'),
        ('merges.txt', None),
        ('merges.txt', '{'),
        ('preprocessor_config.json', None),
        ('preprocessor_config.json', '{'),
    ],
)
def test_missing_and_damaged_files_are_refused(own_folder, name, content):
    (own_folder / name).unlink()
    if content is not None:
        (own_folder / name).write_text(content)
    with pytest.raises(ValueError, match=f'CLAP folder {own_folder}'):
        load_clap(str(own_folder))


def test_a_tokenizer_of_another_model_is_refused(own_folder):
    vocabulary = json.loads((own_folder / 'vocab.json').read_text())
    vocabulary['another'] = len(vocabulary)
    (own_folder / 'vocab.json').write_text(json.dumps(vocabulary))
    with pytest.raises(ValueError, match='vocab.json has .* tokens, config.json .* at most'):
        load_clap(str(own_folder))


def test_a_fused_clap_is_refused(own_folder):
    for name, change in (
        ('preprocessor_config.json', lambda data: data.update(truncation='fusion')),
        ('config.json', lambda data: data['audio_config'].update(enable_fusion=True)),
    ):
        data = json.loads((own_folder / name).read_text())
        change(data)
        (own_folder / name).write_text(json.dumps(data))
        with pytest.raises(ValueError, match='unfused'):
            load_clap(str(own_folder))
