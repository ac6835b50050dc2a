"""MCAP files read within bounds, with every checksum verified on the way.

Takes the place of rosbags' reader, which unpacks chunks without a bound, loses chunks of which the
index says nothing, and looks at none of the checksums but those of chunks. Format:
https://mcap.dev/spec.
"""

from __future__ import annotations

import heapq
import struct
from binascii import crc32
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from cs3_ros.files.unpacking import unpacked
from cs3_ros.files.yamlfile import load_yaml

MAX_CHUNK = 512 << 20
"""Most bytes of the chunks that are held at one time. rosbag2 makes chunks of 1 MB, of one message
where that is larger; chunks that overlap in time are open together."""
MAX_RECORDS = 1 << 20
"""Most records of a chunk; each costs some 350 bytes while it waits for its time."""
MAX_SUMMARY = 256 << 20
"""Longest summary; that of an hour of pictures has some hundred kB."""

_MAGIC = b'\x89MCAP0\r\n'
_FOOTER = struct.Struct('<BQQQI8s')
_RECORD = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQQ')
_CHUNK = struct.Struct('<QQQI')
_HEADER, _SCHEMA, _CHANNEL, _A_MESSAGE, _A_CHUNK = 1, 3, 4, 5, 6
_CHUNK_INDEX, _STATISTICS, _DATA_END = 8, 11, 15


class _Chunk(NamedTuple):
    """Where a chunk is and what it holds."""

    start_ns: int
    end_ns: int
    offset: int
    """Of its record."""
    channels: frozenset[int]
    """Those of its messages; empty where that is not known."""
    compression: str
    compressed: int
    """Bytes in the file."""
    size: int
    """Bytes unpacked."""


class McapFile:
    """One MCAP file, as a storage of rosbags' reader.

    Args:
        path: the file.

    Attributes:
        connections: rosbags' connections, one for each channel, with their numbers of messages.
        metadata: rosbags' description of the whole.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        self.connections: list[Any] = []
        self.metadata = _metadata(0, 0, 0)
        self._file: BinaryIO | None = None
        self._chunks: list[_Chunk] = []
        self._data_start = self._data_end = self._held = 0

    def open(self) -> None:
        """Read what the file says of itself.

        Raises:
            ValueError: it is damaged or no MCAP file of ROS 2.
        """
        self._file = self.path.open('rb')
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def messages(
        self, connections: Collection[Any], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Any, int, bytes | memoryview]]:
        """Messages in log-time order.

        Args:
            connections: the wanted ones.
            start: first log time in nanoseconds.
            stop: log time behind the last one.

        Raises:
            ValueError: the file is damaged there, has too large chunks, or messages outside of
                chunks that are not in order.
        """
        wanted = {connection.id: connection for connection in connections}
        chunks = [c for c in self._chunks if not c.channels or c.channels & wanted.keys()]
        stored = (
            heapq.merge(*(self._in_chunk(chunk, wanted) for chunk in chunks))
            if self._chunks
            else self._loose(wanted)
        )
        for log_ns, place, _, channel, data in stored:
            if place < 0 or (start is not None and log_ns < start):
                continue
            if stop is not None and log_ns >= stop:
                break
            yield wanted[channel], log_ns, data

    def _open(self) -> None:
        if self._read(0, 8) != _MAGIC:
            raise ValueError('it does not begin as an MCAP file does')
        opcode, length = _RECORD.unpack(self._read(8, 9))
        header = _Fields(memoryview(self._read(17, _bounded(length, 1 << 20, 'header'))))
        if opcode != _HEADER or header.text() != 'ros2':
            raise ValueError('its MCAP profile is not ros2' if opcode == _HEADER else 'no header')
        self._data_start = 17 + length
        assert self._file is not None
        footer_at = self._file.seek(0, 2) - _FOOTER.size
        opcode, length, summary_at, _, crc, magic = _FOOTER.unpack(
            self._read(max(footer_at, 0), _FOOTER.size)
        )
        if magic != _MAGIC:
            raise ValueError('it does not end as an MCAP file does')
        if (opcode, length) != (2, 20) or footer_at < self._data_start:
            raise ValueError('its MCAP footer is damaged')
        if summary_at and not self._data_start <= summary_at <= footer_at:
            raise ValueError('its MCAP footer names a place outside of the file')
        self._data_end = summary_at or footer_at
        index = _Index()
        if summary_at:
            size = _bounded(footer_at - summary_at, MAX_SUMMARY, 'summary')
            summary = memoryview(self._read(summary_at, size + 25))
            if crc and crc32(summary) != crc:
                raise ValueError('the checksum of its MCAP summary is wrong')
            for opcode, body in _records(summary[:size]):
                index.add(opcode, body)
        if not index.complete:
            index = self._scanned()
        self._chunks = sorted(index.chunks, key=lambda chunk: (chunk.start_ns, chunk.offset))
        counts = index.counts or {}
        self.connections = [
            _connection(number, channel, index.schemas, counts.get(number, 0), self)
            for number, channel in index.channels.items()
        ]
        self.metadata = _metadata(index.message_count, index.start_ns, index.end_ns)

    def _scanned(self) -> _Index:
        """The index of a file that has none, from all of its records."""
        index = _Index(counts=Counter())
        for opcode, offset, body in self._data():
            if opcode != _A_CHUNK:
                index.add(opcode, body)
                continue
            content, chunk = self._unpacked(body, offset)
            channels = set()
            for inner, record in _records(memoryview(content)):
                index.add(inner, record)
                if inner == _A_MESSAGE:
                    channels.add(_message(record)[0])
            if channels:
                index.chunks.append(chunk._replace(channels=frozenset(channels)))
        return index

    def _data(self) -> Iterator[tuple[int, int, memoryview]]:
        """Opcode, place and content of the records of the data section, whose checksum is verified
        at its end."""
        place, state = self._data_start, crc32(self._read(0, self._data_start))
        while place < self._data_end:
            head = self._read(place, 9)
            opcode, length = _RECORD.unpack(head)
            if place + 9 + length > self._data_end:
                raise ValueError(f'record of {length} bytes at {place} goes past its end')
            body = self._read(place + 9, _bounded(length, MAX_CHUNK, f'record at {place}'))
            if opcode == _DATA_END:
                crc = _Fields(memoryview(body)).number('<I')
                if crc and crc != state:
                    raise ValueError('the checksum of its MCAP data is wrong')
                return
            state = crc32(body, crc32(head, state))
            yield opcode, place, memoryview(body)
            place += 9 + length

    def _loose(self, wanted: Collection[int]) -> Iterator[tuple[int, int, int, int, Any]]:
        """The messages of a file without chunks, in the order in which they are stored."""
        last_ns = 0
        for opcode, offset, body in self._data():
            if opcode == _A_MESSAGE:
                channel, log_ns, data = _message(body)
                if channel in wanted:
                    if log_ns < last_ns:
                        raise ValueError(
                            'its messages are neither in chunks nor in order; `mcap sort` mends it'
                        )
                    last_ns = log_ns
                    yield log_ns, offset, 0, channel, data

    def _in_chunk(
        self, chunk: _Chunk, wanted: Collection[int]
    ) -> Iterator[tuple[int, int, int, int, Any]]:
        """Log time, place, number, channel and content of the messages of a chunk, in order.

        The first is none (place -1): it keeps the chunk packed until its time has come.
        """
        yield chunk.start_ns, -1, 0, 0, b''
        self._held += chunk.size
        try:
            _bounded(self._held, MAX_CHUNK, 'sum of the chunks of one time')
            opcode, length = _RECORD.unpack(self._read(chunk.offset, 9))
            expected = 40 + len(chunk.compression) + chunk.compressed
            if opcode != _A_CHUNK or length != expected:
                raise ValueError(f'at {chunk.offset} is no chunk as its MCAP index says')
            body = memoryview(self._read(chunk.offset + 9, _bounded(length, MAX_CHUNK, 'chunk')))
            content, found = self._unpacked(body, chunk.offset)
            if found != chunk._replace(channels=frozenset()):
                raise ValueError(f'the chunk at {chunk.offset} is not as its MCAP index says')
            messages: list[tuple[int, int, int, int, Any]] = []
            for opcode, record in _records(memoryview(content)):
                if opcode == _A_MESSAGE:
                    channel, log_ns, data = _message(record)
                    if not chunk.start_ns <= log_ns <= chunk.end_ns:
                        raise ValueError(f'a message of the chunk at {chunk.offset} is not in it')
                    if channel in wanted:
                        messages.append((log_ns, chunk.offset, len(messages), channel, data))
            del body, content
            messages.sort(key=lambda message: message[0])
            yield from messages
        finally:
            self._held -= chunk.size

    @staticmethod
    def _unpacked(body: memoryview, offset: int) -> tuple[bytes | memoryview, _Chunk]:
        """The records of a chunk, and what its header says of it."""
        fields = _Fields(body)
        start_ns, end_ns, size, crc = fields.numbers(_CHUNK)
        compression = fields.text()
        packed = fields.rest(fields.number('<Q'))
        _bounded(size, MAX_CHUNK, f'chunk at {offset}')
        content = unpacked(packed, compression, size)
        if len(content) != size:
            raise ValueError(f'chunk at {offset} has {len(content)} bytes: it says {size}')
        if crc and crc32(content) != crc:
            raise ValueError(f'the checksum of the chunk at {offset} is wrong')
        chunk = _Chunk(start_ns, end_ns, offset, frozenset(), compression, len(packed), size)
        return content, chunk

    def _read(self, offset: int, size: int) -> bytes:
        assert self._file is not None
        self._file.seek(offset)
        data = self._file.read(size)
        if len(data) != size:
            raise ValueError(f'it ends after {len(data)} of {size} bytes at {offset}')
        return data


@dataclass
class _Channel:
    """A topic of one type."""

    schema: int
    topic: str
    encoding: str
    metadata: dict[str, str]


class _Index:
    """What the records of a summary, or of the whole file, say.

    Attributes:
        counts: channel -> number of messages; None until a record of statistics was seen, unless
            the messages are counted.
    """

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.schemas: dict[int, tuple[str, str, str]] = {}
        self.channels: dict[int, _Channel] = {}
        self.chunks: list[_Chunk] = []
        self.counts = counts
        self.message_count = self.end_ns = self.chunk_count = 0
        self.start_ns = 2**63 - 1

    @property
    def complete(self) -> bool:
        """Whether a summary says all that there is to say; a writer may leave out parts of it."""
        known = all(channel.schema in {0, *self.schemas} for channel in self.channels.values())
        counts = self.counts
        return (
            counts is not None
            and known
            and len(self.chunks) == self.chunk_count
            and self.channels.keys() >= counts.keys()
        )

    def add(self, opcode: int, body: memoryview) -> None:
        """Take a record in."""
        fields = _Fields(body)
        if opcode == _SCHEMA:
            number = fields.number('<H')
            self.schemas[number] = (fields.text(), fields.text(), fields.text())
        elif opcode == _CHANNEL:
            number = fields.number('<H')
            self.channels[number] = _Channel(
                fields.number('<H'), fields.text(), fields.text(), fields.texts()
            )
        elif opcode == _CHUNK_INDEX:
            start_ns, end_ns, offset, _ = fields.numbers(struct.Struct('<QQQQ'))
            offsets = fields.rest(fields.number('<I'))
            channels = frozenset(channel for channel, _ in struct.iter_unpack('<HQ', offsets))
            fields.number('<Q')
            compression = fields.text()
            compressed, size = fields.numbers(struct.Struct('<QQ'))
            self.chunks.append(
                _Chunk(start_ns, end_ns, offset, channels, compression, compressed, size)
            )
        elif opcode == _STATISTICS:
            values = fields.numbers(struct.Struct('<QHIIIIQQ'))
            self.message_count, *_, self.chunk_count, self.start_ns, self.end_ns = values
            self.counts = dict(struct.iter_unpack('<HQ', fields.rest(fields.number('<I'))))
        elif opcode == _A_MESSAGE and self.counts is not None:
            channel, log_ns, _ = _message(body)
            self.counts[channel] = self.counts.get(channel, 0) + 1
            self.message_count += 1
            self.start_ns, self.end_ns = min(self.start_ns, log_ns), max(self.end_ns, log_ns)


class _Fields:
    """The fields of a record, one after the other."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._place = 0

    def numbers(self, form: struct.Struct) -> Any:
        values = form.unpack_from(self._body, self._place)
        self._place += form.size
        return values

    def number(self, form: str) -> int:
        return int(self.numbers(struct.Struct(form))[0])

    def rest(self, size: int) -> memoryview:
        """So many bytes."""
        part = self._body[self._place : self._place + size]
        if len(part) != size:
            raise ValueError(f'field of {size} bytes in a record that has {len(part)}')
        self._place += size
        return part

    def text(self) -> str:
        return str(self.rest(self.number('<I')), 'utf-8')

    def texts(self) -> dict[str, str]:
        """A map of texts."""
        inner, values = _Fields(self.rest(self.number('<I'))), {}
        while inner._place < len(inner._body):
            key = inner.text()
            values[key] = inner.text()
        return values


def _records(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of the records that fill some bytes."""
    place, end, left = 0, len(content), MAX_RECORDS
    while place < end:
        if place + 9 > end or not left:
            raise ValueError(f'more than {MAX_RECORDS} records' if not left else 'half a record')
        opcode, length = _RECORD.unpack_from(content, place)
        left -= 1
        place += 9
        if place + length > end:
            raise ValueError(f'record of {length} bytes where {end - place} are left')
        yield opcode, content[place : place + length]
        place += length


def _message(body: memoryview) -> tuple[int, int, memoryview]:
    """Channel, log time and content of a message record."""
    channel, _, log_ns, _ = _MESSAGE.unpack_from(body)
    return channel, log_ns, body[_MESSAGE.size :]


def _bounded(size: int, most: int, what: str) -> int:
    if size > most:
        raise ValueError(f'{what} of {size} bytes: expected at most {most}')
    return size


def _connection(
    number: int,
    channel: _Channel,
    schemas: dict[int, tuple[str, str, str]],
    count: int,
    owner: McapFile,
) -> Any:
    from rosbags.interfaces import (
        Connection,
        ConnectionExtRosbag2,
        MessageDefinition,
        MessageDefinitionFormat,
    )
    from rosbags.rosbag2.metadata import parse_qos

    name, encoding, text = schemas.get(channel.schema, ('__schemaless__', '', ''))
    form = {
        'ros2msg': MessageDefinitionFormat.MSG,
        'ros2idl': MessageDefinitionFormat.IDL,
        'omgidl': MessageDefinitionFormat.IDL,
    }.get(encoding, MessageDefinitionFormat.NONE)
    qos = load_yaml(channel.metadata.get('offered_qos_profiles', ''))
    return Connection(
        number,
        channel.topic,
        name,
        MessageDefinition(form, text if form != MessageDefinitionFormat.NONE else ''),
        '',
        count,
        ConnectionExtRosbag2(channel.encoding, parse_qos(qos or [])),
        owner,
    )


def _metadata(count: int, start_ns: int, end_ns: int) -> Any:
    from rosbags.rosbag2.metadata import ReaderMetadata

    if not count:
        return ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
    duration = end_ns - start_ns + 1
    return ReaderMetadata(duration, start_ns, end_ns + 1, count, None, None, None, None)
