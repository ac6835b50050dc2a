"""Whether a file is of the kind that its name says, where nobody told its digest.

No more than a look: enough to notice a page to log in, an error text, or half a file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cs3_ros.files.fields import whole
from cs3_ros.files.jsonfile import MAX_BYTES, load_json, read_json

TEXT_BYTES = MAX_BYTES
"""Largest text (JSON, YAML, words) that is taken; vocabularies have a few MB."""
HEADER_BYTES = 100_000_000
"""Largest header of a safetensors file, as its own library has it."""
DIRECTORY_BYTES = 1 << 26
"""Largest list of contents of a torch file; a network with 10 000 tensors has 1 MB."""

_TEXTS = ('.json', '.txt', '.yaml', '.yml', '.csv', '.md')


def most_bytes(name: str, otherwise: int) -> int:
    """Largest size of a file of this name, bytes; ``otherwise`` where its kind has no bound."""
    return min(TEXT_BYTES, otherwise) if PurePosixPath(name).suffix in _TEXTS else otherwise


def check_kind(path: Path, name: str) -> None:
    """Look at a file.

    Args:
        path: where it lies now.
        name: its name; the suffix tells the kind. Of an unknown one it must only be no page of
            HTML, and not empty.

    Raises:
        ValueError: it is of another kind, or not whole.
        OSError: it cannot be read.
    """
    suffix = PurePosixPath(name).suffix
    with path.open('rb') as file:
        start = file.read(1024)
        if not start:
            raise ValueError('it is empty')
        if _is_html(start):
            raise ValueError('it is a page of HTML; perhaps a proxy or a log-in stands between')
        if suffix in _CHECKS:
            _CHECKS[suffix](file, file.seek(0, os.SEEK_END))
    if suffix == '.json':
        try:
            read_json(path, 'it', TEXT_BYTES)
        except ValueError as error:
            raise ValueError(f'it is no JSON ({error})') from error
    elif suffix in _TEXTS and b'\0' in start:
        raise ValueError('it is no text')


def _is_html(start: bytes) -> bool:
    text = start.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    while text.startswith(b'<!--') and b'-->' in text:
        text = text.partition(b'-->')[2].lstrip()
    return text.startswith((b'<!doctype', b'<html', b'<head', b'<body', b'<?xml', b'<!--'))


def _check_safetensors(file: BinaryIO, size: int) -> None:
    """Eight bytes of length, a header in JSON, and tensors up to the end that it tells."""
    file.seek(0)
    length = int.from_bytes(file.read(8), 'little')
    if not 2 <= length <= min(HEADER_BYTES, size - 8):
        raise ValueError('it is no safetensors file')
    try:
        header = load_json(file.read(length).decode('utf-8'))
        facts = [value for key, value in header.items() if key != '__metadata__']
        end = max((whole(fact['data_offsets'][1], 'end', 0) for fact in facts), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError('it is no safetensors file') from error
    if size != 8 + length + end:
        raise ValueError(f'it has {size} bytes, expected {8 + length + end} by its header')


def _check_torch(file: BinaryIO, size: int) -> None:
    """A zip with ``data.pkl`` in it, whole up to its end; or torch's form before version 1.6."""
    file.seek(0)
    start = file.read(len(_OLD_TORCH))
    if start == _OLD_TORCH:
        return
    if not start.startswith(b'PK\x03\x04'):
        raise ValueError('it is no torch file')
    not_whole = ValueError('it is no torch file, or not whole')
    tail_at = max(size - (1 << 16) - 100, 0)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b'PK\x05\x06')
    if at < 0 or len(tail) - at < 22:
        raise not_whole
    length, offset, comment = struct.unpack_from('<IIH', tail, at + 12)
    before = tail[max(at - 76, 0) : at]  # of a zip of more than 4 GB: PK66, 56 bytes; PK67, 20
    if 0xFFFFFFFF in (length, offset) and before.startswith(b'PK\x06\x06') and len(before) == 76:
        length, offset = struct.unpack_from('<QQ', before, 40)
    if at + 22 + comment != len(tail) or offset + length > size or length > DIRECTORY_BYTES:
        raise not_whole
    file.seek(offset)
    listing = file.read(length)
    if not listing.startswith(b'PK\x01\x02') or b'data.pkl' not in listing:
        raise not_whole


_OLD_TORCH = bytes.fromhex('80028a0a6cfc9c46f920')
"""Beginning of what ``torch.save`` wrote before there were zips."""

_CHECKS: dict[str, Callable[[BinaryIO, int], None]] = {
    '.safetensors': _check_safetensors,
    '.pt': _check_torch,
    '.pth': _check_torch,
    '.ckpt': _check_torch,
}
