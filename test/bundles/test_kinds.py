"""A file whose digest nobody told is at least what its name says."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from file_server import torch_like

from cs3_ros.bundles.kinds import check_kind, most_bytes


def safetensors(header: bytes, data: bytes = b'') -> bytes:
    return struct.pack('<Q', len(header)) + header + data


def header(*offsets: int) -> bytes:
    fact = {'dtype': 'U8', 'shape': [4], 'data_offsets': list(offsets)}
    return json.dumps({'__metadata__': {'a': 'b'}, 'x': fact}).encode()


TORCH = torch_like(bytes(5000))
OLD_TORCH = bytes.fromhex('80028a0a6cfc9c46f920') + b'j\xa8P\x19.'
HTML = b'\xef\xbb\xbf\n<!-- x --> <!DOCTYPE HTML><html></html>'
JSON = b'\n{"error": "no quota"}'


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('a.safetensors', safetensors(header(0, 4), b'1234')),
        ('a.safetensors', safetensors(b'{}')),
        ('a.pt', TORCH),
        ('a.pth', OLD_TORCH),
        ('config.json', JSON),
        ('merges.txt', '#version: 0.2\nü </w>'.encode()),
        ('hands.task', b'\0\1\2'),
    ],
)
def test_files_of_the_right_kind(tmp_path: Path, name, content):
    path = tmp_path / 'a.part'
    path.write_bytes(content)
    check_kind(path, name)


@pytest.mark.parametrize(
    ('name', 'content', 'told'),
    [
        *((f'a.{kind}', HTML, 'HTML') for kind in ('pt', 'safetensors', 'json', 'txt', 'task')),
        *((f'a.{kind}', b'', 'empty') for kind in ('pt', 'safetensors', 'json', 'txt', 'task')),
        *((f'a.{kind}', JSON, 'no torch file') for kind in ('pt', 'pth', 'ckpt')),
        ('a.safetensors', JSON, 'no safetensors file'),
        ('a.safetensors', safetensors(header(0, 4), b'123'), 'bytes, expected'),
        ('a.safetensors', safetensors(header(0, 4), b'12345'), 'bytes, expected'),
        ('a.safetensors', safetensors(b'[]'), 'no safetensors file'),
        ('a.safetensors', safetensors(b'{"x": 5}'), 'no safetensors file'),
        ('a.safetensors', safetensors(b'{"x": {"data_offsets": [0, 1e999]}}'), 'no safetensors'),
        ('a.safetensors', safetensors(b'{"x": {"data_offsets": [0, true]}}'), 'no safetensors'),
        ('a.safetensors', safetensors(b'[' * 100_000), 'no safetensors file'),
        ('a.safetensors', struct.pack('<Q', 1 << 62) + bytes(100), 'no safetensors file'),
        ('a.safetensors', b'12345', 'no safetensors file'),
        *(('a.pt', TORCH[:-cut], 'not whole') for cut in (1, 10, 30, 300, 5000)),
        ('a.pt', TORCH + b'x', 'not whole'),
        ('a.pt', TORCH.replace(b'data.pkl', b'data.txt'), 'no torch file'),
        ('a.pt', b'\x80\x04K\x01.', 'no torch file'),
        ('a.json', b'{"a": ', 'no JSON'),
        ('a.json', b'\xff\xfe{', 'no JSON'),
        ('a.json', b'[' * 100_000, 'no JSON'),
        ('a.txt', TORCH, 'no text'),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name, content, told):
    path = tmp_path / 'a.part'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told):
        check_kind(path, name)


def test_what_torch_and_safetensors_write_is_of_the_right_kind(tmp_path: Path):
    torch = pytest.importorskip('torch')
    save_file = pytest.importorskip('safetensors.torch').save_file
    tensors = {'a': torch.zeros(3, 4), 'b': torch.ones(5, dtype=torch.int64)}
    torch.save({'model': tensors}, tmp_path / 'new.pt')
    torch.save({'model': tensors}, tmp_path / 'old.pt', _use_new_zipfile_serialization=False)
    save_file(tensors, tmp_path / 'a.safetensors', metadata={'format': 'pt'})
    for name in ('new.pt', 'old.pt', 'a.safetensors'):
        check_kind(tmp_path / name, name)


def test_a_zip_with_fields_for_more_than_4_gb(tmp_path: Path):
    """Its small fields are all ones, the true ones stand before."""
    at = TORCH.rindex(b'PK\5\6')
    length, offset = struct.unpack_from('<II', TORCH, at + 12)
    record = struct.pack('<4sQHHIIQQQQ', b'PK\6\6', 44, 45, 45, 0, 0, 2, 2, length, offset)
    locator = struct.pack('<4sIQI', b'PK\6\7', 0, at, 1)
    end = struct.pack('<4sHHHHIIH', b'PK\5\6', 0, 0, 2, 2, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (tmp_path / 'a.pt').write_bytes(TORCH[:at] + record + locator + end)
    check_kind(tmp_path / 'a.pt', 'a.pt')


def test_texts_are_small():
    assert most_bytes('net/config.json', 1 << 40) == 1 << 26
    assert most_bytes('net/config.json', 100) == 100
    assert most_bytes('net/a.safetensors', 1 << 40) == 1 << 40
