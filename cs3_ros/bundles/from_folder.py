"""Files that were brought in a folder (``cs3 fetch --from``): found and copied."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Set
from pathlib import Path, PurePosixPath

from cs3_ros.bundles.download import discard
from cs3_ros.bundles.watched_http import FetchError
from cs3_ros.bundles.weights import WeightFile, digest_of


def find(file: WeightFile, folder: Path, paths: Set[str]) -> Path:
    """The one file below a folder that is meant.

    Args:
        file: what is looked for, by its path or else by its name anywhere.
        folder: where.
        paths: of all files of the bundle; a name that several of them have is not enough.

    Raises:
        FetchError: there is none, or several.
        OSError: one cannot be read.
    """
    if (exact := folder / file.path).is_file():
        return exact
    name = PurePosixPath(file.path).name
    found = sorted(path for path in folder.rglob('*') if path.name == name and path.is_file())
    if not file.sha256 and sum(PurePosixPath(path).name == name for path in paths) > 1:
        found = [path for path in found if path.as_posix().endswith(f'/{file.path}')]
        if not found:
            raise FetchError(
                f'not found: {folder} has no {file.path}; the bundle has other files of the name '
                f'{name}, so its folder must be there, too'
            )
    if not found:
        raise FetchError(f'not found: {folder} has neither {file.path} nor {name} anywhere')
    if len(found) > 1 and file.sha256:
        found = [path for path in found if digest_of(path) == file.sha256][:1] or found
    if len(found) > 1:
        names = ', '.join(str(path) for path in found)
        raise FetchError(f'{names}: expected one {name}, or {folder / file.path}')
    return found[0]


def copy(source: Path, part: Path, size: int) -> None:
    """Copy a regular file, or leave no part of it.

    Args:
        source: a file; a link is followed, only what it leads to must be a file.
        part: where to; what is there is replaced.
        size: that it should have, bytes; 0 where that is not known.

    Raises:
        FetchError: it is no file, has another size, or changes in the meantime.
        OSError: it cannot be read, or the part not be written.
    """
    discard(part)
    # a pipe would wait for a writer
    with open(os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), 'rb') as taken:
        before = os.fstat(taken.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise FetchError(f'{source}: expected a regular file')
        if size and before.st_size != size:
            raise FetchError(f'{source} has {before.st_size} bytes, expected {size}')
        free = shutil.disk_usage(part.parent).free
        if before.st_size > free:
            raise FetchError(
                f'{source} has {before.st_size} bytes, {part.parent} has room for {free}: make '
                'room, or set CS3_HOME to a folder on a larger disk'
            )
        try:
            with part.open('xb') as target:
                done = 0
                # no further than it reached at first: another program may be writing it
                while done < before.st_size and (
                    sent := os.sendfile(
                        target.fileno(), taken.fileno(), done, min(before.st_size - done, _PIECE)
                    )
                ):
                    done += sent
            after = os.fstat(taken.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise FetchError(f'{source} changed while it was copied: wait for who writes it')
        except OSError as error:
            discard(part)
            raise OSError(f'{source} cannot be copied to {part}: {error.strerror}') from error
        except BaseException:
            discard(part)
            raise


_PIECE = 1 << 26
"""Bytes that are copied between two looks for Ctrl-C."""
