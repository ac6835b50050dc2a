"""Random weights: the same again by the same seed, complete, loaded by the bundles themselves."""

import needs

needs.networks()

import dataclasses
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import CLIPTokenizer, RobertaTokenizer

from cs3_ros.bench.events import random_event
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.random_weights import PARTS, random_home, write_random_weights
from cs3_ros.bundles.weights import missing
from cs3_ros.runtime import RuntimeConfig

CPU = RuntimeConfig('cpu', 'float32', threads=1)


@pytest.fixture(scope='module')
def tiny_home(tmp_path_factory):
    return write_random_weights(tmp_path_factory.mktemp('home'))


def _tensors(home):
    found = {}
    for path in sorted(home.rglob('*')):
        if path.suffix == '.safetensors':
            state = load_file(path)
        elif path.suffix == '.pth':
            state = torch.load(path, weights_only=True)['audio_proj']
        elif path.suffix == '.pt':
            state = torch.load(path, weights_only=True)['model']
        else:
            continue
        found |= {f'{path.relative_to(home)}: {name}': value for name, value in state.items()}
    return found


def test_equal_seeds_give_equal_weights_and_other_files(tiny_home, tmp_path):
    again = write_random_weights(tmp_path)
    first, second = _tensors(tiny_home), _tensors(again)
    assert first.keys() == second.keys() and len(first) > 100
    assert all(torch.equal(first[name], second[name]) for name in first)
    for path in tiny_home.rglob('*.json'):
        assert path.read_bytes() == (again / path.relative_to(tiny_home)).read_bytes()


def test_another_seed_gives_other_weights_and_leaves_the_callers_randomness_alone(
    tiny_home, tmp_path
):
    before = torch.random.get_rng_state()
    other = _tensors(write_random_weights(tmp_path, seed=1, parts=['cs3', 'beats']))
    assert torch.equal(before, torch.random.get_rng_state())
    first = _tensors(tiny_home)
    assert other.keys() == {name for name in first if name.startswith(('cs3', 'beats'))}
    name = 'cs3/audio_visual.safetensors: audio_token.fc1.weight'
    assert not torch.equal(first[name], other[name])


def test_parts_do_not_depend_on_each_other(tiny_home, tmp_path):
    alone = _tensors(write_random_weights(tmp_path, parts=['sam2']))
    together = _tensors(tiny_home)
    assert alone and all(torch.equal(value, together[name]) for name, value in alone.items())


@pytest.mark.parametrize('name', ['cs3', 'zero_shot', 'acl'])
def test_every_file_of_the_bundles_is_there(tiny_home, monkeypatch, name):
    monkeypatch.setenv('CS3_HOME', str(tiny_home))
    bundle = load_bundle(name)
    assert bundle.weights and missing(bundle.weights, bundle.folder) == []


@pytest.mark.parametrize('name', ['cs3', 'zero_shot', 'acl'])
def test_the_bundles_load_them(tiny_home, monkeypatch, name):
    monkeypatch.setenv('CS3_HOME', str(tiny_home))
    bundle = load_bundle(name)
    if name != 'cs3':  # MediaPipe's hands are no network of ours
        stages = {family: stage for family, stage in bundle.stages.items() if family != 'hands'}
        bundle = dataclasses.replace(bundle, stages=stages)
    pipeline = bundle.build(runtime=CPU)
    collision = pipeline(random_event(1, 96, 64, bundle.audio_s))
    assert collision.heat_map.shape == (64, 96)
    assert np.ptp(collision.heat_map) > 0
    assert collision.candidates[-1].label == 'audio_visual'


def test_a_wrong_name_is_told(tmp_path):
    for wrong in ({'size': 'huge'}, {'sam2': 'base+'}, {'parts': ['clip']}):
        with pytest.raises(ValueError, match=f'{next(iter(wrong))}: .*expected'):
            write_random_weights(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_random_home_is_taken_away_again(monkeypatch):
    bundle = load_bundle('cs3')
    monkeypatch.setenv('CS3_HOME', '/before')
    with random_home(bundle, 'tiny') as home:
        assert os.environ['CS3_HOME'] == str(home)
        assert {path.name for path in home.iterdir()} == set(PARTS) - {'clap-htsat-unfused', 'acl'}
    assert os.environ['CS3_HOME'] == '/before' and not home.exists()
    monkeypatch.delenv('CS3_HOME')
    with pytest.raises(KeyError, match='inside'), random_home(bundle, 'tiny'):
        raise KeyError('inside')
    assert 'CS3_HOME' not in os.environ


def test_random_home_has_what_stages_name_without_listing_it(tmp_path):
    (tmp_path / 'mine.yaml').write_text(
        'name: mine\nclip: {frames_before_s: 0.2}\nhands: {type: mediapipe}\n'
        'objects: {type: yolox, model: yolox/yolox_nano.onnx}\nmasker: {type: grabcut}\n'
    )
    with random_home(load_bundle(str(tmp_path / 'mine.yaml')), 'tiny') as home:
        assert [path.name for path in home.rglob('*.*')] == ['yolox_nano.onnx']


def test_the_prompt_has_a_token_for_each_word(tiny_home):
    tokenizer = CLIPTokenizer.from_pretrained(tiny_home / 'clipseg-rd64-refined')
    ids = tokenizer('A photo of a')['input_ids']
    assert tokenizer.convert_ids_to_tokens(ids) == [
        '<|startoftext|>', 'a</w>', 'photo</w>', 'of</w>', 'a</w>', '<|endoftext|>',
    ]  # fmt: skip
    assert max(ids) == ids[-1] == len(tokenizer) - 1


@settings(max_examples=50)
@given(text=st.text(st.characters(codec='utf-8', exclude_categories=['Cs']), max_size=30))
def test_any_text_can_be_spelled(tiny_home, text):
    tokenizer = RobertaTokenizer.from_pretrained(tiny_home / 'clap-htsat-unfused')
    ids = tokenizer(text, add_special_tokens=False)['input_ids']
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
