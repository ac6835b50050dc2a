"""What a folder says of its network is held against bounds before anything is built."""

from __future__ import annotations

import needs

needs.networks()

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from cs3_ros.hands.detr import load_network
from cs3_ros.networks.audio_token import AudioTokenConfig
from cs3_ros.networks.beats_format import BeatsConfig
from cs3_ros.networks.clap import load_clap
from cs3_ros.networks.clipseg import ClipSeg
from cs3_ros.networks.sizes import check_description

LOADERS: dict[str, Any] = {
    'clipseg-rd64-refined': ClipSeg.from_folder,
    'clap-htsat-unfused': load_clap,
    'cs3/hands': load_network,
}


@pytest.fixture
def spoilt(tiny_weights, tmp_path, monkeypatch):
    """Loads a network whose description has another value; the weights are never reached."""

    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError('the network was built')

    def load(name: str, place: str, value: Any, file: str = 'config.json') -> None:
        folder = tmp_path / 'folder'
        shutil.copytree(tiny_weights / name, folder)
        data = json.loads((folder / file).read_text())
        *parts, last = place.split('.')
        inside = data
        for part in parts:
            inside = inside[part]
        inside[last] = value
        (folder / file).write_text(json.dumps(data))
        monkeypatch.setattr(PreTrainedModel, 'from_pretrained', never)
        LOADERS[name](folder)

    return load


CLIPSEG, CLAP, HANDS = LOADERS


@pytest.mark.parametrize(
    ('name', 'place', 'value', 'range'),
    [
        (CLIPSEG, 'text_config.num_hidden_layers', 10**9, '-128 to 128'),
        (CLIPSEG, 'vision_config.hidden_size', 10**7, '65536'),
        (CLIPSEG, 'vision_config.image_size', 5000, '4096'),
        (CLIPSEG, 'text_config.vocab_size', 10**8, '1048576'),
        (CLIPSEG, 'text_config.max_position_embeddings', 10**30, '1048576'),
        (CLIPSEG, 'extract_layers', [1] * 2000, 'at most 1024 items'),
        (CLIPSEG, 'num_labels', 10**6, '128'),
        (CLAP, 'audio_config.depths', [100, 100, 100], 'at most 256 in all'),
        (CLAP, 'audio_config.spec_size', 10**5, '4096'),
        (CLAP, 'audio_config.window_size', 10**5, '4096'),
        (CLAP, 'text_config.intermediate_size', 1e12, '1048576'),
        (HANDS, 'backbone_config.hidden_sizes', [10**9] * 4, '65536'),
        (HANDS, 'decoder_layers', 10**6, '128'),
        (HANDS, 'decoder_n_points', 10**6, '128'),
        (HANDS, 'anchor_image_size', [10**5, 10**5], '4096'),
        (HANDS, 'd_model', float('inf'), '65536'),
    ],
)
def test_a_number_that_no_network_needs_is_named(spoilt, name, place, value, range):
    with pytest.raises(ValueError, match=rf'config.json: {place}.*{range}'):
        spoilt(name, place, value)


@pytest.mark.parametrize(
    'place', ['fft_window_size', 'feature_size', 'sampling_rate', 'hop_length']
)
def test_the_preparation_of_sound_has_bounds_too(spoilt, place):
    with pytest.raises(ValueError, match=f'preprocessor_config.json: {place} = 1000000000'):
        spoilt(CLAP, place, 10**9, 'preprocessor_config.json')


@pytest.mark.parametrize(
    ('name', 'place', 'value'),
    [
        (CLIPSEG, 'text_config.vocab_size', 10**6),
        (CLIPSEG, 'vision_config.hidden_size', 65_536),
        (CLAP, 'text_config.intermediate_size', 10**6),
        (CLAP, 'audio_config.patch_embeds_hidden_size', 60_000),
        (HANDS, 'encoder_ffn_dim', 65_536),
        (HANDS, 'backbone_config.hidden_sizes', [60_000] * 4),
    ],
)
def test_more_parameters_than_the_weights_hold_are_counted_not_made(spoilt, name, place, value):
    with pytest.raises(ValueError, match=r'config.json describes \d+ parameters: expected at most'):
        spoilt(name, place, value)


def test_a_small_file_of_the_older_format_is_not_believed(tiny_weights, tmp_path):
    folder = tmp_path / 'clap'
    shutil.copytree(tiny_weights / CLAP, folder)
    (folder / 'model.safetensors').unlink()
    torch.save({'weight': torch.zeros(3)}, folder / 'pytorch_model.bin')
    with pytest.raises(ValueError, match=r'describes \d+ parameters: .* bytes of weights'):
        load_clap(folder)


@pytest.mark.parametrize('name', LOADERS)
def test_the_networks_of_the_bundles_are_within_the_bounds(tiny_weights, name):
    LOADERS[name](tiny_weights / name)


def test_what_is_no_description_is_refused(tmp_path):
    path = Path(tmp_path / 'config.json')
    for text, words in (('[1]', 'a mapping'), ('{"a": ', 'not valid JSON'), ('', 'not valid JSON')):
        path.write_text(text)
        with pytest.raises(ValueError, match=f'config.json.*{words}'):
            check_description(path)


@pytest.mark.parametrize(
    ('name', 'value'), [('encoder_layers', 10**9), ('encoder_embed_dim', 1 << 40), ('conv_pos', 0)]
)
def test_sizes_of_beats_have_bounds(name, value):
    cfg = dict.fromkeys(
        ('input_patch_size', 'embed_dim', 'encoder_layers', 'encoder_embed_dim', 'conv_pos')
        + ('encoder_ffn_embed_dim', 'encoder_attention_heads', 'conv_pos_groups'),
        1,
    ) | {'deep_norm': True, 'num_buckets': 8, 'max_distance': 9}
    BeatsConfig.from_cfg(cfg)
    with pytest.raises(ValueError, match=rf'cfg.{name} = {value}: expected a whole number of 1 to'):
        BeatsConfig.from_cfg(cfg | {name: value})


def test_sizes_of_the_audio_token_have_bounds():
    for settings, words in (
        (dict(blocks=(1,) * 1000), '1 to 128 blocks'),
        (dict(blocks=(10**6,)), 'whole number of 1 to 128'),
        (dict(audio_width=10**9), '65536'),
        (dict(text_width=10**9), '65536'),
    ):
        with pytest.raises(ValueError, match=words):
            AudioTokenConfig(**settings)
