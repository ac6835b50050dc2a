"""Files of weights: what is read, and what is refused without being executed."""

from __future__ import annotations

import needs

needs.networks()

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trap import Trap

from cs3_ros.networks.checkpoints import read_safetensors, read_torch

READERS = pytest.mark.parametrize('read', [read_torch, read_safetensors])


def test_what_torch_saved_is_read(tmp_path):
    torch.save({'model': {'weight': torch.arange(3)}, 'cfg': {'depth': 2}}, tmp_path / 'a.pt')
    data = read_torch(tmp_path / 'a.pt')
    assert data['cfg'] == {'depth': 2} and data['model']['weight'].tolist() == [0, 1, 2]


@pytest.mark.parametrize('metadata', [None, {'format': 'pt'}])
def test_tensors_and_metadata_are_read(tmp_path, metadata):
    save_file({'weight': torch.arange(3)}, tmp_path / 'a', metadata)
    tensors, found = read_safetensors(tmp_path / 'a')
    assert tensors['weight'].tolist() == [0, 1, 2] and found == (metadata or {})


@READERS
def test_a_pickle_that_does_something_is_refused(tmp_path, read):
    torch.save({'model': Trap(tmp_path / 'sprung')}, tmp_path / 'evil.pt')
    with pytest.raises(ValueError, match='evil.pt: refused') as caught:
        read(tmp_path / 'evil.pt')
    assert not (tmp_path / 'sprung').exists()
    assert 'weights_only' not in str(caught.value), 'nobody is told to load it nevertheless'
    torch.load(tmp_path / 'evil.pt', weights_only=False)
    assert (tmp_path / 'sprung').exists(), 'the trap is none'


@READERS
@pytest.mark.parametrize('content', [b'', b'no weights', b'PK\x03\x04broken'])
def test_a_damaged_file_is_refused(tmp_path: Path, read, content):
    (tmp_path / 'torn').write_bytes(content)
    with pytest.raises(ValueError, match='torn: refused'):
        read(tmp_path / 'torn')


@READERS
def test_a_file_that_is_not_there_is_an_os_error(tmp_path, read):
    with pytest.raises(OSError, match='nowhere'):
        read(tmp_path / 'nowhere')
