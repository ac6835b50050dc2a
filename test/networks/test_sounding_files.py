"""Checkpoints of the sounding objects, the released ones and ours: round trips and refusals."""

from __future__ import annotations

import needs

needs.networks()

import argparse
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sounding_fakes import HEADS, released_shapes, released_state, tiny_beats, tiny_network
from trap import Trap

from cs3_ros.networks.checkpoints import read_safetensors
from cs3_ros.networks.sounding_checkpoint import load_sounding, save_sounding
from cs3_ros.networks.sounding_released import load_released


def same(first, second) -> bool:
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(v, second[k]) for k, v in first.items()
    )


def test_a_released_checkpoint_fills_everything(tmp_path):
    state = released_state()
    state['args'] = argparse.Namespace(lr=5e-5, exp_name='mine')  # as the authors keep it
    torch.save(state, tmp_path / 'a.pth')
    network = load_released(tmp_path / 'a.pth', HEADS)
    assert not any(value.is_meta for value in network.state_dict().values())
    assert not any(value.is_meta for value in network.buffers())
    given = sum(v.numel() for v in state['model_state_dict'].values())
    given += sum(v.numel() for v in state['aligner_state_dict'].values())
    masks, places, norms, heads = 2 * 81, 17, 4 * 12, 2 * (5 * 8 + 5)  # not used
    assert sum(p.numel() for p in network.parameters()) == given - masks - places - norms - heads
    trained = {n.split('.')[0] for n, p in network.named_parameters() if p.requires_grad}
    assert trained == {'slots', 'sound', 'aligner'}


def test_the_prefix_of_data_parallel_may_be_missing(tmp_path):
    state = released_state()
    torch.save(state, tmp_path / 'a.pth')
    bare = {k.removeprefix('module.'): v for k, v in state['model_state_dict'].items()}
    torch.save({**state, 'model_state_dict': bare}, tmp_path / 'b.pth')
    assert same(*(load_released(tmp_path / name, HEADS) for name in ('a.pth', 'b.pth')))


NAMES = [name for part in released_shapes() for name in part]
USED = [
    name
    for name in NAMES
    if not name.endswith(('self_attn_mask', 'position_ids', 'encoder.norm.weight'))
    and 'encoder.norm.bias' not in name
    and '.head' not in name
]


@pytest.mark.parametrize('name', USED[::7])
def test_a_lacking_tensor_is_refused(tmp_path, name):
    state = released_state()
    state['model_state_dict'].pop(f'module.{name}', None)
    state['aligner_state_dict'].pop(name, None)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'a\.pth: (lacks|its tensors do not tell)'):
        load_released(tmp_path / 'a.pth', HEADS)


@pytest.mark.parametrize('name', ['spot.extra.weight', 'vision.model.strange', 'ast_model.v.odd'])
def test_an_unknown_tensor_is_refused_by_name(tmp_path, name):
    state = released_state()
    state['model_state_dict'][f'module.{name}'] = torch.zeros(2)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=rf'1 unknown tensors, first .*{name.split(".")[-1]}'):
        load_released(tmp_path / 'a.pth', HEADS)


def test_a_wrong_shape_is_refused_by_name(tmp_path):
    state = released_state()
    state['model_state_dict']['module.spot.input_proj.0.weight'] = torch.zeros(12, 13)
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'input_proj.0.weight is \[12, 13\], expected \[12, 12\]'):
        load_released(tmp_path / 'a.pth', HEADS)


def test_what_does_more_than_hold_numbers_is_refused(tmp_path):
    torch.save({**released_state(), 'args': Trap(tmp_path / 'sprung')}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='refused'):
        load_released(tmp_path / 'a.pth', HEADS)
    assert not (tmp_path / 'sprung').exists()
    torch.save({'model': {}}, tmp_path / 'b.pth')
    with pytest.raises(ValueError, match='missing aligner_state_dict, model_state_dict'):
        load_released(tmp_path / 'b.pth', HEADS)


@pytest.mark.parametrize('sound', ['ast', 'beats'])
@pytest.mark.parametrize('slots', [True, False])
def test_ours_comes_back(tmp_path, sound, slots):
    network, path = tiny_network(sound, slots), tmp_path / 'sounding.safetensors'
    save_sounding(path, network, {'step': '3'})
    assert same(load_sounding(path, tiny_network().vision), network)
    metadata = read_safetensors(path)[1]
    assert metadata['step'] == '3' and json.loads(metadata['network'])['embedding'] == 10


def test_beats_may_lie_elsewhere(tmp_path):
    network, path = tiny_network('beats'), tmp_path / 'sounding.safetensors'
    save_sounding(path, network, with_beats=False)
    assert not any('beats' in name for name in load_file(path))
    vision = tiny_network().vision
    assert same(load_sounding(path, vision, tiny_beats()), network)
    with pytest.raises(ValueError, match='has no BEATs weights: name the BEATs'):
        load_sounding(path, vision)


def test_half_precision_is_read_as_float32(tmp_path):
    path = tmp_path / 'sounding.safetensors'
    save_sounding(path, tiny_network())
    tensors, metadata = read_safetensors(path)
    save_file({k: v.half() for k, v in tensors.items()}, path, metadata)
    found = load_sounding(path, tiny_network().vision)
    assert {p.dtype for p in found.parameters()} == {torch.float32}


def test_wrong_files_of_ours_are_refused(tmp_path):
    path, vision = tmp_path / 'sounding.safetensors', tiny_network().vision
    save_sounding(path, tiny_network())
    with pytest.raises(ValueError, match='patches of the slots|grid of the slots'):
        load_sounding(path, tiny_network(clipseg=True).vision)
    tensors, metadata = read_safetensors(path)
    facts = json.loads(metadata['network'])
    for change, reason in (
        ({'slots': {**facts['slots'], 'blocks': 3}}, 'lacks'),
        ({'slots': {**facts['slots'], 'blocks': 10**9}}, 'SlotsConfig.blocks'),
        ({'sound': {'type': 'radio', 'sizes': {}}}, 'expected one of ast, beats, head'),
        ({'embedding': 'ten'}, 'embedding'),
    ):
        save_file(tensors, path, {**metadata, 'network': json.dumps({**facts, **change})})
        with pytest.raises(ValueError, match=reason):
            load_sounding(path, vision)
    save_file({**tensors, 'more': torch.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match='1 unknown tensors, first more'):
        load_sounding(path, vision)
    save_file(tensors, path, {**metadata, 'format': 'other'})
    with pytest.raises(ValueError, match="format 'other': expected 'cs3-sounding-1'"):
        load_sounding(path, vision)
    shutil.copy(__file__, path)
    with pytest.raises(ValueError, match='refused'):
        load_sounding(path, vision)
