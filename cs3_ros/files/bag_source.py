"""The files of a bag, opened with care: only regular files of its own folder, nothing unpacked
without a bound, and whatever the parsers raise turned into one line that names the bag.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

import apsw
import yaml
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from cs3_ros.files.fields import items, mapping, text
from cs3_ros.files.mcap import McapFile
from cs3_ros.files.regular import check_name, check_regular, one_line
from cs3_ros.files.unpacking import unpack_file, unpacked
from cs3_ros.files.yamlfile import load_yaml, read_yaml

log = logging.getLogger(__name__)

METADATA = 'metadata.yaml'
"""File of a bag's folder that says what the other files are."""

MAX_MESSAGE = 256 << 20
"""Longest message in bytes; a raw picture of 50 megapixels has 150 MB."""
MAX_UNPACKED = 1 << 30
"""Bytes that a zstd file of a bag may always unfold to."""
MAX_RATIO = 100
"""Beyond them, at most this many times its size; raw video of a camera shrinks to a tenth."""

_STEPS = 100_000
_STEPS_PER_BYTE = 4
"""Steps of SQLite per byte of the file; a row takes some tens, and a row has tens of bytes. Pages
that name each other can make endless rows of a small file."""


class BagSource:
    """What a bag is read from.

    Args:
        path: folder of the bag, or a single .mcap or .db3 file. A folder without metadata.yaml, as
            an interrupted recording leaves it, is read where it has one such file.

    Raises:
        FileNotFoundError: there is no such bag.
        OSError: its files cannot be unpacked, for example because the disk is full.
        ValueError: its files are not regular files of its folder, or its metadata is no metadata.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packed_messages = False
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        check_name(path)
        with _naming(path):
            self._place = self._checked()
            files = self._place.iterdir() if self._place.is_dir() else [self._place]
            for file in files:
                if file.suffix == '.db3':
                    check_regular(file, 'file')
                    _check_database(file)

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """The opened rosbags reader; errors name the bag."""
        with _naming(self.path):
            reader = _Reader(self._place)
            reader.open()
            with closing(reader):
                metadata: Any = reader.storage.metadata
                if metadata.compression_mode == 'message':  # unpacked here, within a bound
                    self._packed_messages = True
                    reader.storage.metadata = metadata._replace(compression_mode=None)
                yield reader

    @staticmethod
    def stored(reader: Any) -> Counter[tuple[str, str]]:
        """Topic and type -> messages, as the files of a folder say; empty for a single file."""
        found = Counter[tuple[str, str]]()
        for storage in getattr(reader.storage, 'storages', []):
            for connection in storage.connections:
                found[connection.topic, connection.msgtype] += connection.msgcount
        return found

    def message(self, data: Any) -> bytes:
        """A stored message as it was before it was packed.

        Raises:
            ValueError: it is damaged or longer than ``MAX_MESSAGE``; names the bag.
        """
        if not self._packed_messages and len(data) <= MAX_MESSAGE:
            return bytes(data)
        with _naming(self.path):
            if self._packed_messages:
                data = unpacked(data, 'zstd', MAX_MESSAGE)
            if len(data) > MAX_MESSAGE:
                raise ValueError(f'message of {len(data)} bytes: expected at most {MAX_MESSAGE}')
            return bytes(data)

    def _checked(self) -> Path:
        """What rosbags can open: a file, a folder, or the only file of one without metadata."""
        if not self.path.is_dir():
            check_regular(self.path, 'bag')
            return self.path
        if not (self.path / METADATA).exists():
            return self._only_file()
        check_regular(self.path / METADATA, 'file')
        names, metadata = _described(self.path / METADATA)
        for name in names:
            check_regular(self.path / name, 'file')
        if str(metadata.get('compression_mode', '')).lower() != 'file':
            return self.path
        return self._unpacked(names, metadata)

    def _only_file(self) -> Path:
        files = sorted(file for file in self.path.iterdir() if file.suffix in ('.mcap', '.db3'))
        if len(files) > 1:
            raise ValueError(
                f'{self.path}: has {", ".join(file.name for file in files)} and no {METADATA} that '
                f'says how they belong together; `ros2 bag reindex {self.path}` writes it, or name '
                'one of the files'
            )
        if not files:
            raise ValueError(f'it has neither {METADATA} nor a file of a bag')
        check_regular(files[0], 'file')
        log.warning('%s: has no %s; its only file, %s, is read', self.path, METADATA, files[0].name)
        return files[0]

    def _unpacked(self, names: list[str], metadata: dict[str, Any]) -> Path:
        """A folder with the bag's files unpacked; it goes when this object does."""
        if metadata.get('compression_format') != 'zstd':
            found = metadata.get('compression_format')
            raise ValueError(f'compression_format {found!r}: expected zstd')
        self._scratch = tempfile.TemporaryDirectory(prefix='cs3_bag_')
        folder = Path(self._scratch.name)
        for name in names:
            source = self.path / name
            most = max(MAX_UNPACKED, MAX_RATIO * source.stat().st_size)
            unpack_file(source, folder / source.stem, most)
        metadata = metadata | {
            'relative_file_paths': [PurePath(name).stem for name in names],
            'compression_mode': '',
            'compression_format': '',
        }
        described = yaml.safe_dump({'rosbag2_bagfile_information': metadata})
        (folder / METADATA).write_text(described, 'utf-8')
        return folder


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """The one place that turns what a parser raises into a ValueError that names the bag."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a damaged file makes the parsers raise anything
        if isinstance(error, ValueError) and str(error).startswith((f'{path}: ', f'{path}/')):
            raise
        if isinstance(error, OSError) and error.errno:  # a full disk, not a damaged file
            raise OSError(error.errno, f'{path}: cannot be read: {error.strerror}') from error
        raise ValueError(
            f'{path}: cannot be read as a bag ({one_line(error)}); expected a rosbag2 folder with '
            f'{METADATA}, an .mcap or a .db3 file; a recording that was cut off is mended by `ros2 '
            'bag reindex` or `mcap recover`'
        ) from error


def _described(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Names of the bag's files, and all that its metadata says."""
    whole = mapping(read_yaml(path, METADATA), METADATA, others=None)
    key = 'rosbag2_bagfile_information'
    metadata = mapping(mapping(whole, METADATA, [key], None)[key], key, others=None)
    names = []
    for name in items(metadata.get('relative_file_paths'), 'relative_file_paths', 1):
        place = PurePath(text(name, 'relative_file_paths'))
        if place.is_absolute() or '..' in place.parts:
            raise ValueError(f'{METADATA} names {str(place)!r}: expected files of the folder alone')
        if place.name in names:
            raise ValueError(f'{METADATA} names {place.name!r} twice')
        names.append(place.name)  # before version 4 they begin with the folder of the bag
    for topic in items(metadata.get('topics_with_message_count'), 'topics_with_message_count'):
        described = mapping(topic, 'a topic', ['topic_metadata'], None)['topic_metadata']
        profiles = mapping(described, 'a topic', others=None).get('offered_qos_profiles')
        if isinstance(profiles, str):
            load_yaml(profiles)  # rosbags reads it again, but without bounds
    return names, metadata


class _Database(Sqlite3Reader):
    """rosbags' reader of .db3 files, with an end to rows, texts and blobs."""

    def __init__(self, path: Any) -> None:
        super().__init__(Path(quote(str(path))))  # it becomes a part of an URI

    def _open(self) -> None:
        assert self.dbconn is not None
        _bound(self.dbconn)
        super()._open()


def _bound(database: apsw.Connection) -> None:
    """Set the most bytes of a value, and the most steps that reading may take."""
    size = Path(database.filename).stat().st_size
    left = 1_000 + size * _STEPS_PER_BYTE // _STEPS

    def too_long() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    database.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_MESSAGE + 1_000)
    database.set_progress_handler(too_long, _STEPS)


def _check_database(path: Path) -> None:
    """Refuse a .db3 file with rows without end, or with YAML that would have none.

    Raises:
        apsw.Error: it is damaged.
        yaml.YAMLError: its profiles are no YAML within bounds.
    """
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    database = apsw.Connection(f'file:{quote(str(path))}?immutable=1', flags=flags)
    try:
        _bound(database)
        # sum() is counted row by row, in steps; COUNT, which rosbags takes, is one step
        database.execute('SELECT sum(timestamp != 0) FROM messages').fetchall()
        columns = {row[1] for row in database.execute('PRAGMA table_info(topics)')}
        if 'offered_qos_profiles' in columns:  # YAML that rosbags reads without bounds
            for (profiles,) in database.execute('SELECT offered_qos_profiles FROM topics'):
                load_yaml(str(profiles))
    finally:
        database.close()


class _Folder(DirectoryReader):
    STORAGE_PLUGINS: Any = {'mcap': McapFile, 'sqlite3': _Database}


class _Reader(Reader):
    STORAGE_PLUGINS: Any = {'dir': _Folder, '.mcap': McapFile, '.db3': _Database}
