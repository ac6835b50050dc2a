"""What an MP4 or QuickTime file says of itself, held against what is there: its size and the tables
of its samples. FFmpeg passes over what does not fit without a word.

Format: ISO/IEC 14496-12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_MOOV = 256 << 20
"""Longest description of the tracks; that of an hour has some MB."""
MAX_SAMPLES = 1 << 23
"""Most frames of a track, 77 hours at 30 frames per second: FFmpeg keeps some tens of bytes of
each that a few bytes of a table claim."""
BEHIND_S = 0.1
"""An edit list may go past the end of its track by some frames."""
MAX_FOREIGN = 1000
"""Most boxes of unknown kind at the beginning of a file."""

_FIRST = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'moof', b'sidx', b'pnot', b'udta')
_PARENTS = (b'moov', b'trak', b'mdia', b'minf', b'stbl', b'edts')


@dataclass
class _Box:
    """A box with the boxes in it."""

    kind: bytes
    body: memoryview
    inside: dict[bytes, list[_Box]]

    def find(self, *kinds: bytes) -> memoryview:
        """The content of the first box down a path; empty where there is none."""
        box = self
        for kind in kinds:
            if kind not in box.inside:
                return memoryview(b'')
            box = box.inside[kind][0]
        return box.body


def is_movie(path: Path) -> bool:
    """Whether one of the first boxes is of a kind that only these files have.

    FFmpeg passes over boxes that it does not know, so a damaged first one does not keep it away.
    """
    size, place = path.stat().st_size, 0
    with path.open('rb') as file:
        for _ in range(MAX_FOREIGN):
            file.seek(place)
            head = file.read(16)
            if len(head) < 8:
                return False
            length, kind = struct.unpack_from('>I4s', head)
            if kind in _FIRST:
                return True
            if length == 1 and len(head) == 16:
                (length,) = struct.unpack_from('>Q', head, 8)
            if length < 8 or place + length >= size:
                return False
            place += length
    return False


class Movie:
    """The description of a file's tracks.

    Args:
        path: the file.

    Attributes:
        problems: what does not fit, a line each.
        duration_s: declared length, 0.0 where there is none.
        frames: stream -> packets, of tracks of pictures that are shown as a whole.

    Raises:
        OSError: it cannot be read.
        ValueError: it claims more samples than ``MAX_SAMPLES``.
    """

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self.duration_s = 0.0
        self.frames: dict[int, int] = {}
        self._scale = 0.0
        self._size = path.stat().st_size
        with path.open('rb') as file:
            place = 0
            while place + 8 <= self._size:
                file.seek(place)
                length, kind = struct.unpack('>I4s', file.read(8))
                used = 8
                if length == 1 and place + 16 <= self._size:
                    (length,) = struct.unpack('>Q', file.read(8))
                    used = 16
                length = self._size - place if length == 0 else length
                if length < used or not kind.isascii():
                    self.problems.append(f'damaged: byte {place} begins no box')
                    break
                if place + length > self._size:
                    name = kind.decode()
                    self.problems.append(
                        f'cut off: {self._size} bytes, its {name!r} ends at {place + length}'
                    )
                if kind == b'moov' and length <= MAX_MOOV:
                    try:
                        self._moov(memoryview(file.read(length - used)))
                    except (struct.error, IndexError) as error:
                        self.problems.append(f'damaged: its description cannot be read ({error})')
                place += length

    def _moov(self, body: memoryview) -> None:
        moov = _Box(b'moov', body, self._inside(body))
        ticks, self.duration_s = _duration(moov.find(b'mvhd'))
        self._scale = ticks / self.duration_s if ticks else 0.0
        for kind, content in self._boxes(body):
            if kind != b'trak' and content[4:8] == b'tkhd':
                self.problems.append(f'damaged: a track is called {kind!r}')
        for number, track in enumerate(moov.inside.get(b'trak', [])):
            self._track(number, track)

    def _inside(self, body: memoryview) -> dict[bytes, list[_Box]]:
        boxes: dict[bytes, list[_Box]] = {}
        for kind, content in self._boxes(body):
            inside = self._inside(content) if kind in _PARENTS else {}
            boxes.setdefault(kind, []).append(_Box(kind, content, inside))
        return boxes

    def _boxes(self, body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        place = 0
        while place + 8 <= len(body):
            length, kind = struct.unpack_from('>I4s', body, place)
            if length < 8 or place + length > len(body):
                self.problems.append(f'damaged: a box of {length} bytes where none can be')
                return
            yield kind, body[place + 8 : place + length]
            place += length

    def _track(self, number: int, track: _Box) -> None:
        name, table = f'track {number}', (b'mdia', b'minf', b'stbl')
        kind = bytes(track.find(b'mdia', b'hdlr')[8:12])
        headed = {b'vmhd': b'vide', b'smhd': b'soun'}
        expected = [headed[box] for box in headed if track.find(b'mdia', b'minf', box)]
        if not kind or expected not in ([], [kind]):
            self.problems.append(f'damaged: {name} is of kind {kind!r}')
        if kind not in headed.values():
            return
        sizes = track.find(*table, b'stsz')
        if len(sizes) < 12:
            if not track.find(*table, b'stz2'):
                self.problems.append(f'{name} has no sizes of its samples')
            return
        size, count = struct.unpack_from('>II', sizes, 4)
        if count > MAX_SAMPLES and not (
            kind == b'soun' and size and count * size <= 2 * self._size
        ):
            raise ValueError(f'{name} claims {count} samples: expected at most {MAX_SAMPLES}')
        if not count:
            return  # its samples are in fragments
        self._check_edits(name, track)
        if kind == b'vide' and self._untrimmed(name, track):
            self.frames[number] = count
        lengths = np.full(count, size, np.int64) if size else _table(sizes[4:], '>u4', 1)[:, 0]
        if len(lengths) != count:
            self.problems.append(f'{name} has sizes of {len(lengths)} of its {count} samples')
            return
        steps = _table(track.find(*table, b'stts'), '>u4', 2)
        offsets = track.find(*table, b'stco')
        chunks = _table(offsets, '>u4', 1) if offsets else self._long_offsets(track, table)
        runs = _table(track.find(*table, b'stsc'), '>u4', 3)
        self._check(name, track, lengths, steps, chunks[:, 0], runs)

    def _untrimmed(self, name: str, track: _Box) -> bool:
        """Whether a track is shown as a whole; tells an edit list that does not fit."""
        edits = _edits(track)
        header = track.find(b'tkhd')
        place = 28 if header[:1] == b'\1' else 20
        (shown,) = struct.unpack_from('>Q' if place == 28 else '>I', header, place)
        if edits and abs(sum(length for length, _ in edits) - shown) > 2:
            self.problems.append(f'{name} has an edit list that is not as long as it says')
        edits = [edit for edit in edits if edit[1] >= 0]
        if not edits:
            return True
        length, start = edits[0]
        ticks, seconds = _duration(track.find(b'mdia', b'mdhd'))
        steps = _table(track.find(b'mdia', b'minf', b'stbl', b'stts'), '>u4', 2)
        if len(edits) > 1 or not len(steps) or not seconds or not self._scale:
            return False
        played = start + length / self._scale * ticks / seconds
        return start <= _early(track) and played >= ticks - int(steps[-1, 1]) / 2

    def _check_edits(self, name: str, track: _Box) -> None:
        """Tell an edit list that shows what lies behind the end of its track."""
        ticks, seconds = _duration(track.find(b'mdia', b'mdhd'))
        if not seconds or not self._scale:
            return
        first_s = _early(track) / ticks * seconds
        ends_s = [
            start / ticks * seconds - first_s + length / self._scale
            for length, start in _edits(track)
        ]
        if max(ends_s, default=0.0) > seconds + BEHIND_S:
            self.problems.append(f'{name} has an edit list that goes past its end')

    @staticmethod
    def _long_offsets(track: _Box, table: tuple[bytes, ...]) -> NDArray[np.int64]:
        return _table(track.find(*table, b'co64'), '>u8', 1)

    def _check(
        self,
        name: str,
        track: _Box,
        lengths: NDArray[np.int64],
        steps: NDArray[np.int64],
        chunks: NDArray[np.int64],
        runs: NDArray[np.int64],
    ) -> None:
        """Hold the tables of a track against each other.

        Args:
            name: of the track.
            track: its box.
            lengths: bytes of each sample [S].
            steps: runs of samples and the time that each takes [R, 2].
            chunks: places in the file [C].
            runs: first chunk from 1, samples in each chunk, and description [Q, 3].
        """
        if (timed := int(steps[:, 0].sum())) != len(lengths):
            self.problems.append(f'{name} has times of {timed} of its {len(lengths)} samples')
        ticks, _ = _duration(track.find(b'mdia', b'mdhd'))
        played, step = int((steps[:, 0] * steps[:, 1]).sum()), int(steps[:, 1].max(initial=0))
        if abs(played - ticks) > step:
            self.problems.append(f'{name} takes {played} ticks, but says {ticks}')
        first = runs[:, 0] - 1
        until = np.append(first[1:], len(chunks))
        if len(first) == 0 or first[0] != 0 or (until <= first).any() or until.max() > len(chunks):
            self.problems.append(f'{name} has chunks that are not in order')
            return
        kinds = track.find(b'mdia', b'minf', b'stbl', b'stsd')
        (descriptions,) = struct.unpack_from('>I', kinds, 4) if len(kinds) >= 8 else (0,)
        if not ((runs[:, 2] >= 1) & (runs[:, 2] <= descriptions)).all():
            self.problems.append(f'{name} has chunks of a kind that is not described')
        per_chunk = np.repeat(runs[:, 1], until - first)
        if int(per_chunk.sum()) != len(lengths):
            self.problems.append(f'{name} has {per_chunk.sum()} of its {len(lengths)} samples')
            return
        totals = np.concatenate([[0], lengths.cumsum()])
        ends = per_chunk.cumsum()
        last = chunks + totals[ends] - totals[ends - per_chunk]
        if outside := int((last > self._size).sum()):
            self.problems.append(f'{name} has {outside} of {len(chunks)} chunks behind its end')


def _edits(track: _Box) -> list[tuple[int, int]]:
    """Length in ticks of the movie, and start in ticks of the track or -1 for nothing, of the
    stretches that an edit list shows; at most 1000."""
    body = track.find(b'edts', b'elst')
    if len(body) < 8:
        return []
    form = struct.Struct('>QqI' if body[0] == 1 else '>IiI')
    (count,) = struct.unpack_from('>I', body, 4)
    count = min(count, (len(body) - 8) // form.size, 1000)
    return [form.unpack_from(body, 8 + k * form.size)[:2] for k in range(count)]


def _early(track: _Box) -> int:
    """Ticks by which the first frame is shown after it is decoded."""
    reordered = _table(track.find(b'mdia', b'minf', b'stbl', b'ctts'), '>i4', 2)
    return int(reordered[0, 1]) if len(reordered) else 0


def _table(body: memoryview, kind: str, columns: int) -> NDArray[np.int64]:
    """Rows of a table that begins with its version and number of rows; at most those there are."""
    if len(body) < 8:
        return np.zeros((0, columns), np.int64)
    (count,) = struct.unpack_from('>I', body, 4)
    width = np.dtype(kind).itemsize * columns
    rows = min(count, (len(body) - 8) // width)
    values = np.frombuffer(body[8 : 8 + rows * width], kind)
    return values.reshape(rows, columns).astype(np.int64)


def _duration(body: memoryview) -> tuple[int, float]:
    """Length in ticks and in seconds, from a movie's or a track's header; 0 where there is none."""
    if len(body) < 20:
        return 0, 0.0
    form, place = ('>IQ', 20) if body[0] == 1 else ('>II', 12)
    scale, ticks = struct.unpack_from(form, body, place)
    return ticks, ticks / scale if scale else 0.0
