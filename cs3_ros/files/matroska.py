"""What a Matroska or WebM file says of itself, held against what is there: its size, its checksums
and the number of its blocks. FFmpeg passes over what is damaged or missing without a word.

Format: RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

RARE = 0.1
"""A writer puts several packets into nearly all blocks of a track or into none."""
MAX_READ = 256 << 20
"""Larger elements are not looked into; clusters have some MB."""

_EBML, _SEGMENT, _CLUSTER, _INFO, _TRACKS = (
    0x1A45DFA3,
    0x18538067,
    0x1F43B675,
    0x1549A966,
    0x1654AE6B,
)
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK, _CRC, _TRACK_ENTRY = 0xA3, 0xA0, 0xA1, 0xBF, 0xAE
_TRACK_TYPE, _CODEC_ID, _CODEC_PRIVATE, _CODEC_DELAY = 0x83, 0x86, 0x63A2, 0x56AA
_TRACK_NUMBER, _TIMESTAMP_SCALE, _DURATION = 0xD7, 0x2AD7B1, 0x4489
# SeekHead, Cues, Attachments, Chapters, Tags, Void
_IN_SEGMENT = {_CLUSTER, _INFO, _TRACKS, _CRC, 0xEC} | {
    0x114D9B74,
    0x1C53BB6B,
    0x1941A469,
    0x1043A770,
    0x1254C367,
}
_NUMBERS = {0xE7, 0xAB, 0xA7}  # Timestamp, PrevSize, Position
# SilentTracks, EncryptedBlock, Void
_IN_CLUSTER = {_SIMPLE_BLOCK, _BLOCK_GROUP, _CRC, 0x5854, 0xAF, 0xEC} | _NUMBERS


@dataclass
class Survey:
    """What was found."""

    problems: list[str] = field(default_factory=list)
    """What is not as it should be, a line each."""
    tracks: list[int] = field(default_factory=list)
    """Their numbers, in the order of FFmpeg's streams."""
    blocks: Counter[int] = field(default_factory=Counter)
    """Track number -> blocks."""
    laced: Counter[int] = field(default_factory=Counter)
    """Track number -> blocks with several packets, which are not counted."""
    duration_s: float = 0.0
    """Declared length, 0.0 where there is none."""


def survey(path: Path) -> Survey:
    """Look through a file; a damaged one is looked through as far as that is possible.

    Raises:
        OSError: it cannot be read.
    """
    found = Survey()
    with path.open('rb') as file:
        try:
            _segment(file, path.stat().st_size, found)
        except (ValueError, IndexError, struct.error) as error:
            found.problems.append(f'damaged: {error}')
    for track, count in found.laced.items():
        if count <= found.blocks[track] * RARE:
            found.problems.append(
                f'{count} of {found.blocks[track]} blocks of track {track} differ in their lacing'
            )
    return found


def _segment(file: BinaryIO, size: int, found: Survey) -> None:
    place, end = 0, size
    while place < end:
        file.seek(place)
        head = file.read(16)
        number, length, used = _head(head, 0, place)
        body = place + used
        if number == _EBML:
            place = body + (length or 0)
        elif number == _SEGMENT:
            if length is not None:
                end = body + length
                if end != size:
                    words = 'cut off' if end > size else 'longer than it says'
                    found.problems.append(f'{words}: {size} bytes, its header says {end}')
                end = min(end, size)
            place = body
        elif number == _CLUSTER and length is None:
            place = body  # its elements follow, up to the next cluster
        elif number not in _IN_SEGMENT | _IN_CLUSTER:
            raise ValueError(f'byte {place} begins no element of Matroska')
        elif length is None:
            raise ValueError(f'the element at byte {place} has no length')
        elif body + length > size:
            raise ValueError(f'the element at byte {place} goes past the end of the file')
        else:
            if length <= MAX_READ:
                file.seek(body)
                _element(number, file.read(length), body, found)
            place = body + length


def _element(number: int, body: bytes, place: int, found: Survey) -> None:
    """Look at an element of the segment, or of a cluster of unknown length."""
    if len(body) >= 6 and body[0] == _CRC and body[1] == 0x84:
        (said,) = struct.unpack_from('<I', body, 2)
        if said != crc32(body[6:]):
            found.problems.append(f'the checksum of the element at byte {place} is wrong')
    if number == _CLUSTER:
        for inner, content, at in _children(body, place):
            if inner not in _IN_CLUSTER:
                raise ValueError(f'byte {at} begins no element of a cluster')
            _in_cluster(inner, content, at, found)
    elif number in _IN_CLUSTER:
        _in_cluster(number, body, place, found)
    elif number == _TRACKS:
        for inner, content, at in _children(body, place):
            if inner == _TRACK_ENTRY:
                _track({n: c for n, c, _ in _children(content, at)}, found)
    elif number == _INFO:
        values = {n: content for n, content, _ in _children(body, place)}
        scale = _uint(values[_TIMESTAMP_SCALE]) if _TIMESTAMP_SCALE in values else 1_000_000
        if _DURATION in values:
            form = '>d' if len(values[_DURATION]) == 8 else '>f'
            found.duration_s = struct.unpack(form, values[_DURATION])[0] * scale / 1e9


def _track(entry: Mapping[int, bytes], found: Survey) -> None:
    if _TRACK_NUMBER in entry:
        found.tracks.append(_uint(entry[_TRACK_NUMBER]))
    kind, coder = _uint(entry.get(_TRACK_TYPE, b'')), entry.get(_CODEC_ID, b'')
    if coder[:2] != {1: b'V_', 2: b'A_'}.get(kind, coder[:2]) or not (kind and coder):
        found.problems.append(f'damaged: a track of kind {kind} has the coder {coder[:20]!r}')
    head = entry.get(_CODEC_PRIVATE, b'')
    if coder == b'A_OPUS' and _CODEC_DELAY in entry and head[:8] == b'OpusHead':
        (samples,) = struct.unpack_from('<H', head, 10)  # of 48 kHz, RFC 7845
        if abs(samples / 48_000 - _uint(entry[_CODEC_DELAY]) / 1e9) > 1e-4:
            found.problems.append('its coder of sound is said to be late by two different times')


def _in_cluster(number: int, content: bytes, place: int, found: Survey) -> None:
    if number == _BLOCK_GROUP:
        blocks = [(b, at) for inner, b, at in _children(content, place) if inner == _BLOCK]
        for block, at in blocks:
            _in_cluster(_BLOCK, block, at, found)
        if not blocks:
            found.problems.append(f'the group at byte {place} has no block')
    elif number in _NUMBERS and len(content) > 8:
        found.problems.append(f'the number at byte {place} has {len(content)} bytes')
    elif number in (_SIMPLE_BLOCK, _BLOCK):
        track, used = _vint(content, 0)
        if track is None or (found.tracks and track not in found.tracks):
            found.problems.append(f'the block at byte {place} is of no track')
            return
        found.blocks[track] += 1
        if content[used + 2] & 0x06:
            found.laced[track] += 1


def _children(body: bytes, place: int) -> Iterator[tuple[int, bytes, int]]:
    """Number, content and place of the elements of an element."""
    at = 0
    while at < len(body):
        number, length, used = _head(body, at, place)
        if length is None or at + used + length > len(body):
            raise ValueError(f'the element at byte {place + at} goes past the end of its parent')
        yield number, body[at + used : at + used + length], place + at
        at += used + length


def _head(data: bytes, at: int, place: int) -> tuple[int, int | None, int]:
    """Number and length of an element, and the bytes that these take."""
    first = data[at]
    size = 9 - first.bit_length()
    if size > 4:
        raise ValueError(f'byte {place + at} begins no element')
    number = int.from_bytes(data[at : at + size], 'big')
    length, used = _vint(data, at + size)
    return number, length, size + used


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """A number of variable length, None for "unknown", and its bytes."""
    first = data[at]
    size = 9 - first.bit_length()
    if size > 8:
        raise ValueError('a length of more than 8 bytes')
    value = int.from_bytes(data[at : at + size], 'big') - (1 << 7 * size)
    return (None if value == (1 << 7 * size) - 1 else value), size


def _uint(data: bytes) -> int:
    return int.from_bytes(data, 'big')
