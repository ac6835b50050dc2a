"""MCAP files: the order of messages, checksums, and bounds on what a file claims."""

import struct

import numpy as np
import pytest
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from cs3_ros.files import bag_source, mcap
from cs3_ros.files.bags import RAW, Bag, typestore
from cs3_ros.files.unpacking import unpacked, zstd


def record(opcode, body):
    return struct.pack('<BQ', opcode, len(body)) + body


def text(value):
    return struct.pack('<I', len(value)) + value.encode()


def message(log_ns, data=b'\0\1\0\0'):
    return record(5, struct.pack('<HIQQ', 1, 0, log_ns, log_ns) + data)


def write_mcap(path, chunks, *, summary=True, loose=b'', count=1, data_crc=0):
    """A file of chunks (start, end, compression, content, size that it says)."""
    out = b'\x89MCAP0\r\n' + record(1, text('ros2') + text('test'))
    described = record(3, struct.pack('<H', 1) + text(RAW) + text('ros2msg') + text(''))
    described += record(4, struct.pack('<HH', 1, 1) + text('/i') + text('cdr') + bytes(4))
    out += b'' if summary else described
    index = b''
    for start, end, compression, content, size in chunks:
        body = struct.pack('<QQQI', start, end, size, 0) + text(compression)
        chunk = record(6, body + struct.pack('<Q', len(content)) + content)
        index += record(
            8,
            struct.pack('<QQQQ', start, end, len(out), len(chunk))
            + struct.pack('<IHQQ', 10, 1, 0, 0)
            + text(compression)
            + struct.pack('<QQ', len(content), size),
        )
        out += chunk
    out += loose + record(15, struct.pack('<I', data_crc))
    statistics = struct.pack('<QHIIIIQQIHQ', count, 1, 1, 0, 0, len(chunks), 1, 99, 10, 1, count)
    start = len(out) if summary else 0
    out += described + index + record(11, statistics) if summary else b''
    path.write_bytes(out + record(2, struct.pack('<QQI', start, 0, 0)) + b'\x89MCAP0\r\n')
    return path


@pytest.mark.parametrize('summary', [True, False])
def test_chunks_that_overlap_are_merged_in_time(tmp_path, summary):
    first, second = message(10) + message(40), message(30) + message(20)
    path = write_mcap(
        tmp_path / 'a.mcap',
        [(20, 30, '', second, len(second)), (10, 40, 'zstd', zstd().compress(first), len(first))],
        summary=summary,
        count=4,
    )
    bag = Bag(path)
    assert [m.log_ns for m in bag.messages()] == [10, 20, 30, 40] and bag.problems == []


def test_many_chunks_are_read_as_rosbags_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / 'bag'
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = [writer.add_connection(f'/{k}', RAW, typestore=typestore()) for k in range(3)]
        for log_ns in rng.integers(1, 500, 60):
            writer.write(topics[log_ns % 3], int(log_ns), rng.bytes(100_000))
    with Reader(path) as reader:
        expected = [(c.topic, t, bytes(d)) for c, t, d in reader.messages()]
    assert [(m.topic.name, m.log_ns, m.data) for m in Bag(path).messages()] == expected


def test_a_wrong_checksum_is_refused(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', [], loose=message(5), data_crc=1, summary=False)
    with pytest.raises(ValueError, match='a.mcap: .*checksum of its MCAP data is wrong'):
        Bag(path)


@pytest.mark.parametrize('summary', [True, False])
@pytest.mark.parametrize('compression', ['zstd', 'lz4'])
def test_a_chunk_that_unfolds_beyond_what_it_says_is_refused(tmp_path, summary, compression):
    if compression == 'zstd':
        packed = zstd().compress(bytes(1 << 24))
    else:
        packed = pytest.importorskip('lz4.frame').compress(bytes(1 << 24))
    path = write_mcap(tmp_path / 'a.mcap', [(1, 9, compression, packed, 1000)], summary=summary)
    with pytest.raises(ValueError, match='unfolds to more than 1000 bytes'):
        list(Bag(path).messages())


def test_a_chunk_larger_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mcap, 'MAX_CHUNK', 1 << 20)
    content = message(5, bytes(1 << 20))
    packed = zstd().compress(content)
    path = write_mcap(tmp_path / 'a.mcap', [(5, 5, 'zstd', packed, len(content))])
    with pytest.raises(ValueError, match='expected at most 1048576'):
        list(Bag(path).messages())


def test_empty_records_without_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mcap, 'MAX_RECORDS', 1000)
    path = write_mcap(tmp_path / 'a.mcap', [(1, 9, '', bytes(9 * 2000), 9 * 2000)])
    with pytest.raises(ValueError, match='more than 1000 records'):
        list(Bag(path).messages())


def test_a_message_larger_than_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bag_source, 'MAX_MESSAGE', 1000)
    content = message(5, bytes(1001))
    path = write_mcap(tmp_path / 'a.mcap', [(5, 5, '', content, len(content))])
    with pytest.raises(ValueError, match='message of 1001 bytes: expected at most 1000'):
        list(Bag(path).messages())


def test_messages_that_are_not_there_are_told(tmp_path, caplog):
    content = message(5)
    bag = Bag(write_mcap(tmp_path / 'a.mcap', [(5, 5, '', content, len(content))], count=3))
    assert len(list(bag.messages())) == 1
    assert bag.problems == ['ends early: 1 of 3 messages of /i']
    assert caplog.messages == [f'{bag.path}: ends early: 1 of 3 messages of /i']


def test_several_frames_and_what_is_cut_off():
    pair = zstd().compress(b'ab') + zstd().compress(b'cd')
    assert unpacked(pair, 'zstd', 4) == b'abcd'
    with pytest.raises(ValueError, match='more than 3 bytes'):
        unpacked(pair, 'zstd', 3)
    with pytest.raises(ValueError, match='cut off'):
        unpacked(pair[:-1], 'zstd', 4)
    with pytest.raises(ValueError, match="compression 'xz': expected zstd"):
        unpacked(pair, 'xz', 4)
