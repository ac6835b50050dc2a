"""``cs3 fetch``: brings the weights of a bundle into the home folder, from the net or a folder.

A file is written beside its place as ``NAME.part``, checked for size and SHA-256, and only then
takes its name; what an interruption leaves is gone on with the next time. A file whose digest
nobody published is held against the one that it had when it was first fetched; the first time it
must at least be of the kind that its name says.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cs3_ros.bundles.address import Address, masked
from cs3_ros.bundles.bundle import Bundle, load_bundle
from cs3_ros.bundles.download import discard, download, size_of, version_file
from cs3_ros.bundles.from_folder import copy, find
from cs3_ros.bundles.kinds import check_kind, most_bytes
from cs3_ros.bundles.watched_http import BrokeOff, FetchError, Offline, Patience
from cs3_ros.bundles.weights import (
    SUMS,
    WeightFile,
    digest_of,
    home,
    record_digest,
    recorded_digests,
)
from cs3_ros.files.interrupts import interruptible
from cs3_ros.files.regular import one_line


def main(options: argparse.Namespace) -> int:
    """Bring what a bundle lacks; 0 when all of it is there."""
    bundle = load_bundle(options.bundle, as_written=True)
    if options.from_dir is not None and options.mirror:
        raise ValueError('--mirror and --from: expected only one of them')
    if lacking := bundle.lacking_weights:
        if options.from_dir is not None:
            copy_files(lacking, options.from_dir, bundle.weights)
        else:
            fetch_files(lacking, options.mirror)
    print(f'{bundle.name}: {_places(bundle)}; cs3 bundles tells what else it needs')
    return 0


def _places(bundle: Bundle) -> str:
    """Where its files are, all of which are there."""
    count = len(bundle.weights)
    beside = sum((bundle.folder / file.path).is_file() for file in bundle.weights)
    if not count:
        return 'no weights'
    if beside == count:
        return f'nothing to fetch, all {count} files lie beside it in {bundle.folder}'
    also = f' and {bundle.folder}' if beside else ''
    return f'all {count} files are in {home()}{also}'


def fetch_files(
    files: Sequence[WeightFile], mirror: str = '', patience: Patience = Patience()
) -> None:
    """Fetch files into the home folder.

    Args:
        files: what to fetch; those without a URL are only named.
        mirror: base URL of a server that has every file under its path below the home folder;
            ``user:password@`` and a query in it are sent along, and never shown.
        patience: when a server is given up.

    Raises:
        FetchError: some could not be brought, the message names each; the others are there.
        OSError: the home folder cannot be written or is too small.
        ValueError: the mirror is no URL.
    """
    if mirror:
        base = Address.parse(mirror, '--mirror')
        files = [replace(file, url=base.below(file.path)) for file in files]
    wanted = [file for file in files if file.url]
    failed: dict[str, str] = {}
    wasted_s: defaultdict[str, float] = defaultdict(float)  # by host
    with _home(wanted), interruptible():
        for number, file in enumerate(wanted):
            host, part, began = '', _part_path(file), time.monotonic()
            had = size_of(part)
            try:
                host = Address.parse(file.url, 'url').host
                if wasted_s[host] >= patience.stuck_s:
                    raise FetchError(f'{host} was given up')
                part.parent.mkdir(parents=True, exist_ok=True)
                download(
                    file.url,
                    part,
                    size=file.bytes,
                    checked_later=bool(file.sha256),
                    patience=_patience_for(file, patience),
                    title=file.path,
                )
                _finish(file, part)
            except Offline as error:
                failed |= dict.fromkeys((left.path for left in wanted[number:]), str(error))
                break
            except (FetchError, OSError, ValueError) as error:
                failed[file.path] = one_line(error)
                if isinstance(error, BrokeOff) and size_of(part) - had < patience.progress_bytes:
                    wasted_s[host] += time.monotonic() - began
    _raise_failures(files, failed)


def copy_files(
    files: Sequence[WeightFile], folder: Path, others: Sequence[WeightFile] = ()
) -> None:
    """Copy files from a folder into the home folder.

    Args:
        files: what to look for, by path or else by name anywhere below the folder.
        folder: what another machine brought; nothing in it is changed.
        others: all files of the bundle. Where one has the same name (every network has a
            config.json) the name alone is not enough, unless a digest tells whose file it is.

    Raises:
        FetchError: some were not found, are wrong or cannot be copied, the message names each; the
            others are there.
        OSError: it is no folder, or the home folder cannot be written or is too small.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f'--from {folder}: expected a folder')
    failed: dict[str, str] = {}
    paths = {file.path for file in (*files, *others)}
    with _home(files), interruptible():
        for file in files:
            try:
                source, part = find(file, folder, paths), _part_of(file)
                copy(source, part, file.bytes)
                _finish(file, part)
            except (FetchError, OSError, ValueError) as error:
                failed[file.path] = one_line(error)
    _raise_failures(files, failed)


def _patience_for(file: WeightFile, patience: Patience) -> Patience:
    return replace(patience, most_bytes=most_bytes(file.path, patience.most_bytes))


@contextlib.contextmanager
def _home(files: Sequence[WeightFile]) -> Iterator[None]:
    """The home folder with room for files, and nobody else who fetches into it."""
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f'{folder} cannot be made ({error}): set CS3_HOME to a folder that you may write'
        ) from error
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(folder / '.lock', flags, 0o666), 'rb') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError(f'another cs3 fetch is at work in {folder}: wait for it') from error
        needed = sum(max(file.bytes - size_of(_part_path(file)), 0) for file in files)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise OSError(
                f'{folder} has {free / 1e9:.2f} GB free, expected {needed / 1e9:.2f} GB: make '
                'room, or set CS3_HOME to a folder on a larger disk'
            )
        yield


def _finish(file: WeightFile, part: Path) -> None:
    """Check a part and give it its name."""
    size = size_of(part)
    if file.bytes and size != file.bytes:
        discard(part)
        raise FetchError(f'got {size} bytes, expected {file.bytes}; not kept')
    got = digest_of(part)
    expected = file.sha256 or recorded_digests().get(file.path, '')
    if expected and got != expected:
        discard(part)
        why = '' if file.sha256 else f', as {home() / SUMS} recorded it the first time'
        raise FetchError(f'got SHA-256 {got}, expected {expected}{why}; not kept')
    if not expected:
        try:
            check_kind(part, file.path)
        except ValueError as error:
            discard(part)
            raise FetchError(f'not what its name says: {error}; not kept') from error
    with part.open('rb') as whole:
        os.fsync(whole.fileno())  # else a name without content may outlive a power failure
    record_digest(file.path, got)
    part.replace(home() / file.path)
    version_file(part).unlink(missing_ok=True)
    known = 'as expected' if expected else f'recorded in {SUMS}: none was published'
    print(f'{file.path}: {size / 1e6:.1f} MB, SHA-256 {got} ({known})', flush=True)


def _raise_failures(files: Sequence[WeightFile], failed: dict[str, str]) -> None:
    """Raise for the files that are not there, with all that is needed to bring them by hand."""
    lines, previous = [], ''
    for file in files:
        path = home() / file.path
        if not path.is_file():
            why = failed.get(file.path, 'nobody offers it')
            lines += [f'  {why}:'] if why != previous else []
            lines += [f'    {path}', f'      from {masked(file.url) or file.origin}']
            previous = why
    if lines:
        raise FetchError(
            '\n'.join(
                [
                    'these files are still to be brought',
                    *lines,
                    'Put them there; or collect them in a folder, under their paths '
                    f'below {home()}, and give it with --from, which checks and copies them.',
                ]
            )
        )


def _part_path(file: WeightFile) -> Path:
    path = home() / file.path
    return path.with_name(f'{path.name}.part')


def _part_of(file: WeightFile) -> Path:
    """The part file of a file, in a folder that exists."""
    part = _part_path(file)
    part.parent.mkdir(parents=True, exist_ok=True)
    return part
