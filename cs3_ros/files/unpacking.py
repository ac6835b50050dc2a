"""Compressed data unpacked against a bound: a few kilobytes may stand for any number of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

PIECE = 1 << 20
"""Bytes that are unpacked at a time."""


def unpacked(data: Any, compression: str, most: int) -> bytes | memoryview:
    """What some bytes stand for.

    Args:
        data: the bytes.
        compression: ``zstd``, ``lz4`` or empty, as MCAP names them.
        most: more bytes than these are refused as soon as they appear.

    Raises:
        ValueError: damaged, cut off, of another compression or longer than ``most``.
    """
    if not compression:
        return memoryview(data)
    whole, rest = bytearray(), data
    while rest:
        unpacker = _unpacker(compression)
        piece = unpacker.decompress(rest, max_length=max(most - len(whole), 0) + 1)
        if not unpacker.eof and len(whole) + len(piece) <= most:
            raise ValueError(f'{compression} data is cut off')
        if not whole and not unpacker.unused_data and len(piece) <= most:
            return bytes(piece)  # one frame, as almost always: not copied again
        whole += piece
        if len(whole) > most:
            raise ValueError(f'{compression} data unfolds to more than {most} bytes')
        rest = unpacker.unused_data
    return bytes(whole)


def _unpacker(compression: str) -> Any:
    if compression == 'zstd':
        return zstd().ZstdDecompressor()
    if compression == 'lz4':
        return importlib.import_module('lz4.frame').LZ4FrameDecompressor()
    raise ValueError(f'compression {compression!r}: expected zstd, lz4 or none')


def zstd() -> Any:
    """Python's own module, or the one that rosbags brings along before Python 3.14."""
    own = sys.version_info >= (3, 14)
    return importlib.import_module('compression.zstd' if own else 'backports.zstd')


def unpack_file(source: Path, target: Path, most: int) -> None:
    """Unpack a zstd file.

    Args:
        source: the packed file.
        target: the new file.
        most: more bytes than these are refused as soon as they appear.

    Raises:
        OSError: the target cannot be written.
        ValueError: damaged, cut off or longer than ``most``.
    """
    size = 0
    with source.open('rb') as packed, target.open('wb') as out:
        with zstd().open(packed, 'rb') as stream:
            while piece := stream.read(PIECE):
                size += len(piece)
                if size > most:
                    raise ValueError(
                        f'{source.name} unfolds to more than {most} bytes; unpack it with `zstd '
                        '-d` if it is what you expect'
                    )
                out.write(piece)
