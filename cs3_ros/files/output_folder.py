"""A folder that a command writes into: what lies in it and is not the command's own stays.

The folder is new, or empty, or carries the marker file of an earlier run. The marker lists what was
written, with its digest, so that a file that somebody changed or put there is known as theirs.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from cs3_ros.files.atomic import part_of, replacing
from cs3_ros.files.jsonfile import load_json

MARKER = '.cs3_output.jsonl'
"""Its first line says whose folder it is; each further one names a file, before it is there."""
FORMAT = 'cs3-output-1'
MAX_MARKER_BYTES = 1 << 26
"""A longer marker is none."""
MAX_TOLD = 5
"""So many names of a list are told."""

_MARKER_PART = re.compile(r'\.cs3_output\.[0-9a-f]{16}\.part\.jsonl')


class OutputFolder:
    """The outputs of one run of a command. Use it as a context manager.

    Entering makes the folder, locks it against other runs and removes what the earlier run left.
    After a kill the lock is gone, and the next run removes what the killed one wrote.

    Args:
        path: the folder; may be a link to one.
        command: whose outputs these are; the marker of another is not taken.
        patterns: regular expressions of the names that the command may write, relative, with
            ``/``; the folder part is literal. Removed in this order, so the file that names others
            comes first.
        force: replace files of these names that are not the command's own, too.
        kept: names in the folder that are no business of this class.
        source: what the command reads; never replaced.

    Raises:
        FileExistsError: the folder may not be taken; says why and what ``--force`` would replace.
        BlockingIOError: another run is writing into it.
        ValueError: the folder is a file, or an output would replace ``source``.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        patterns: Sequence[str],
        *,
        force: bool = False,
        kept: Sequence[str] = (),
        source: Path | None = None,
    ) -> None:
        self.path = path
        self._command, self._force, self._kept = command, force, kept
        self._patterns = [re.compile(pattern, re.ASCII) for pattern in patterns]
        parents = (pattern.rpartition('/')[0] for pattern in patterns)
        self._places = _with_parents(parents)
        self._token = secrets.token_hex(8)
        self._lock = self._marker = -1
        self._mine: dict[str, tuple[int, ...]] = {}
        if os.path.lexists(path) and not path.is_dir():
            raise ValueError(f'output {str(path)!r} is a file: expected a folder')
        if source is not None:
            self._spare(source)
        if path.is_dir():  # once now, before long work, and again when it begins
            try:
                self._take_lock(fcntl.LOCK_SH)
                self._survey()
            finally:
                self._close()

    def __enter__(self) -> OutputFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._take_lock(fcntl.LOCK_EX)
            self._clear(self._survey())
            first = {'format': FORMAT, 'command': self._command, 'token': self._token}
            with replacing(self.path / MARKER, self._token) as part:
                part.write_text(json.dumps(first) + '\n', 'utf-8')
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
            self._marker = os.open(self.path / MARKER, flags)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A file to write that takes its name in the folder when the block ends well.

        Args:
            name: relative, with ``/``; one of the patterns.

        Raises:
            FileExistsError: a file that is not this run's appeared under the name.
            OSError: it cannot be written.
        """
        if not self._is_known(name):
            raise ValueError(f'{name!r}: no output of {self._command}')
        path = self.path / name
        self._make_places(name)
        with replacing(path, self._token) as part:
            yield part
            self._note(name, _digest(part))
            if _identity(path) != self._mine.get(name):
                raise FileExistsError(
                    f'{path}: appeared, or was changed, while this run was writing; '
                    'it is left as it is: name another folder'
                )
            self._mine[name] = _identity(part) or ()
        # a rename changes nothing of what identifies the file

    def announce(self, *names: str) -> None:
        """Count files as this run's, whatever they hold, before somebody else writes them."""
        for name in names:
            if not self._is_known(name):
                raise ValueError(f'{name!r}: no output of {self._command}')
            self._note(name, None)

    def confirm(self, *names: str) -> None:
        """Note what announced files hold, now that they are complete."""
        for name in names:
            self._note(name, _digest(self.path / name))

    def _take_lock(self, kind: int) -> None:
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        _lock(self._lock, kind, self.path)

    def _close(self) -> None:
        for descriptor in (self._marker, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._marker = -1

    # ---- what lies there ----------------------------------------------------------------------

    def _survey(self) -> list[str]:
        """Names to remove before a run, in the order of the patterns.

        Raises:
            FileExistsError: the folder is not to be taken.
        """
        present = [name for name in os.listdir(self.path) if name not in self._kept]
        own = [name for name in present if _MARKER_PART.fullmatch(name)]  # of one that was killed
        if len(present) == len(own):
            return own
        foreign, reason = [], ''
        marker = None
        try:
            marker = self._read_marker()
            if marker is None:
                reason = 'is not empty, and no run has left its marker there'
        except ValueError as error:
            reason = f'{MARKER} in it {error}'
            foreign.append(MARKER)
        for name in self._found(marker.token if marker else None):
            if marker is not None and self._is_own(name, marker):
                own.append(name)
            else:
                foreign.append(name)
        if foreign and not reason:
            reason = f'holds what no run of {self._command} left as it is'
        if reason and not self._force:
            told = ', '.join(foreign[:MAX_TOLD]) or 'nothing that is there now'
            more = f' and {len(foreign) - MAX_TOLD} more' if len(foreign) > MAX_TOLD else ''
            raise FileExistsError(
                f'{self.path}: {reason}; expected a new or empty folder or one of an earlier '
                f'{self._command}: name another one, or add --force, which replaces {told}{more}'
            )
        return [name for name in (*foreign, *own) if name != MARKER]

    def _found(self, token: str | None) -> list[str]:
        """Names below the folder that the patterns allow, half-written ones of ``token`` too."""
        names = []
        for place in self._places:
            folder = self.path / place
            if not _is_real_folder(folder) and place:
                if os.path.lexists(folder) and not _blocked(self.path, place):
                    names.append(place)
                continue
            for entry in os.listdir(folder):
                name = f'{place}/{entry}' if place else entry
                if self._is_known(_without_token(name, token)):
                    names.append(name)
        return sorted(names, key=lambda name: (self._rank(_without_token(name, token)), name))

    def _is_own(self, name: str, marker: _Marker) -> bool:
        """True for a regular file with the content that the marker tells, and for its parts."""
        path = self.path / name
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        if _without_token(name, marker.token) != name:
            return True
        told = marker.files.get(name, [])
        if told and told[-1] is None:
            return True
        return bool(told) and _digest(path) in told[-2:]  # killed before or after the rename

    def _clear(self, names: Sequence[str]) -> None:
        for name in (MARKER, *names):  # all of them first
            if _is_real_folder(self.path / name):
                raise IsADirectoryError(
                    f'{self.path / name}: is a folder, which nothing here removes: move it'
                )
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        emptied = _with_parents(name.rpartition('/')[0] for name in names)
        for place in reversed(emptied[1:]):
            with suppress(OSError):  # somebody else's files lie in it
                (self.path / place).rmdir()

    def _read_marker(self) -> _Marker | None:
        path = self.path / MARKER
        if not os.path.lexists(path):
            return None
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError('is no file')
        with path.open('rb') as file:
            data = file.read(MAX_MARKER_BYTES + 1)
        try:
            if len(data) > MAX_MARKER_BYTES:
                raise ValueError('too long')
            # a line is written before its file is there: a torn last one means nothing
            lines = [load_json(line) for line in data.decode('utf-8').split('\n')[:-1]]
            marker = _Marker(**_fields(lines[0], format=str, command=str, token=str))
            if marker.format != FORMAT or not re.fullmatch('[0-9a-f]{16}', marker.token):
                raise ValueError('another format')
            if marker.command != self._command:
                raise ValueError(f'is of {marker.command[:40]!r}, not of {self._command}')
            for line in lines[1:]:
                entry = _fields(line, name=str, sha256=(str, type(None)))
                if not self._is_known(entry['name']):
                    raise ValueError('another name')
                marker.files.setdefault(entry['name'], []).append(entry['sha256'])
        except (ValueError, IndexError) as error:
            of_another = str(error).startswith('is of ')
            raise ValueError(str(error) if of_another else 'is damaged or foreign') from error
        return marker

    # ---- writing ------------------------------------------------------------------------------

    def _note(self, name: str, digest: str | None) -> None:
        line = (json.dumps({'name': name, 'sha256': digest}) + '\n').encode()
        size = os.fstat(self._marker).st_size
        written = os.write(self._marker, line)
        if written < len(line):  # the disk is full; half a line would spoil the next one
            os.ftruncate(self._marker, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / MARKER))

    def _make_places(self, name: str) -> None:
        for place in self._places:
            if place and name.startswith(f'{place}/'):
                folder = self.path / place
                with suppress(FileExistsError):
                    folder.mkdir()
                if not _is_real_folder(folder):
                    raise FileExistsError(f'{folder}: expected a folder that is no link')

    def _is_known(self, name: str) -> bool:
        return self._rank(name) < len(self._patterns)

    def _rank(self, name: str) -> int:
        matches = (k for k, pattern in enumerate(self._patterns) if pattern.fullmatch(name))
        return next(matches, len(self._patterns))

    def _spare(self, source: Path) -> None:
        """Refuse to write over, or into, what is read."""
        folder, real = self.path.resolve(), source.resolve()
        inside = real.is_relative_to(folder) and self._is_known(str(real.relative_to(folder)))
        named = source.parent.resolve() / source.name  # a link that is read keeps its name, too
        linked = named.is_relative_to(folder) and self._is_known(str(named.relative_to(folder)))
        if inside or linked or (real.is_dir() and folder.is_relative_to(real)):
            where = real if inside else named if linked else self.path
            raise ValueError(f'{where}: a run would overwrite the recording: give another folder')


def add_force(parser: argparse.ArgumentParser, *, replaces: bool = True) -> None:
    """Declare ``--force``: a folder that holds other things is taken, too.

    Args:
        parser: of the command.
        replaces: an ``OutputFolder`` replaces what has names of ours; ``claim`` replaces nothing.
    """
    text = (
        'write into a folder of other things, too, and replace those with names of ours'
        if replaces
        else 'work in a folder that holds other things, too'
    )
    parser.add_argument('--force', action='store_true', help=text)


def claim(path: Path, command: str, *, force: bool = False) -> None:
    """Mark a folder that a command goes on with, run after run: it is new, empty or marked so.

    Nothing in it is removed, and several processes may work there.

    Args:
        path: the folder, made where it does not exist.
        command: as ``OutputFolder``.
        force: mark a folder of other things, too.

    Raises:
        FileExistsError: it holds other things.
    """
    try:
        OutputFolder(path, command, ())
        if (path / MARKER).exists():
            return
    except FileExistsError:
        if not force:
            raise
    with OutputFolder(path, command, (), force=force):
        pass


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs out of a folder that was claimed, for commands that run there alone.

    Raises:
        BlockingIOError: another run is writing into it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, fcntl.LOCK_EX, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            f'{path}: another command is writing into it: wait for its end, or name another folder'
        ) from error
    except OSError as error:  # some network file systems lock no folders
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP):
            raise


@dataclass(frozen=True)
class _Marker:
    """What a marker file tells."""

    format: str
    """Of the marker."""
    command: str
    """That wrote it."""
    token: str
    """In the names of its half-written files."""
    files: dict[str, list[str | None]] = field(default_factory=dict)
    """Name -> SHA-256 of what was to take it, oldest first; None for anything."""


def _fields(data: Any, **kinds: Any) -> Mapping[str, Any]:
    """A JSON object with exactly these fields of these types."""
    if not isinstance(data, dict) or data.keys() != kinds.keys():
        raise ValueError('other fields')
    if not all(isinstance(data[name], kind) for name, kind in kinds.items()):
        raise ValueError('other types')
    return data


def _with_parents(places: Iterable[str]) -> list[str]:
    """Folders and the folders around them, from the outermost one, which is ''."""
    found = {''}
    for place in places:
        parts = place.split('/') if place else []
        found |= {'/'.join(parts[: k + 1]) for k in range(len(parts))}
    return sorted(found, key=lambda place: (place.count('/') + bool(place), place))


def _blocked(folder: Path, place: str) -> bool:
    """True where a folder around a place is none, so that the place itself is elsewhere."""
    above = place.rpartition('/')[0]
    return bool(above) and not _is_real_folder(folder / above)


def _without_token(name: str, token: str | None) -> str:
    """The name that a half-written file would have got; others as they are."""
    return name if token is None else part_of(name, token)


def _is_real_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _identity(path: Path) -> tuple[int, ...] | None:
    """What tells a file from another one or from a changed one; None where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _digest(path: Path) -> str:
    """SHA-256 of a regular file, hexadecimal; links are not followed."""
    digest = sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
