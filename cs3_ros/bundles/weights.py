"""The files of weights that a bundle needs: listed in its YAML, found on this machine.

They lie in the home folder, ``CS3_HOME`` or ``~/.cache/cs3_ros``, or beside the bundle's YAML.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cs3_ros.bundles.address import masked
from cs3_ros.files.atomic import write_text
from cs3_ros.files.fields import expect, mapping, whole

SUMS = 'SHA256SUMS'
"""File in the home folder that holds the digests of what was fetched; ``sha256sum -c`` reads it."""


@dataclass(frozen=True)
class WeightFile:
    """One file of weights or of what belongs to them (configuration, tokenizer)."""

    path: str
    """Where it lies below the home folder, with forward slashes."""
    licence: str
    """Its terms, a licence's short name where it has one."""
    url: str = ''
    """Where ``cs3 fetch`` gets it; empty for files that nobody offers."""
    origin: str = ''
    """Where it comes from when there is no URL."""
    bytes: int = 0
    """Its size; 0 where that is not known."""
    sha256: str = ''
    """Its SHA-256 in hexadecimal; empty where that is not known."""


def home() -> Path:
    """The folder of fetched weights: environment variable CS3_HOME, or ~/.cache/cs3_ros."""
    return Path(os.environ.get('CS3_HOME') or Path.home() / '.cache' / 'cs3_ros').expanduser()


def locate(path: str, beside: Path) -> Path:
    """Where a path from a bundle leads; it need not exist.

    Args:
        path: absolute (``~`` too), or relative to the bundle's YAML or to the home folder.
        beside: folder of the bundle's YAML; what exists there is taken before the home folder.
    """
    given = Path(path).expanduser()
    if given.is_absolute():
        return given
    return beside / given if (beside / given).exists() else home() / given


def missing(files: tuple[WeightFile, ...], beside: Path) -> list[WeightFile]:
    """Those that do not exist."""
    return [file for file in files if not locate(file.path, beside).is_file()]


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def recorded_digests() -> dict[str, str]:
    """Path below the home folder -> SHA-256 that it had when it was fetched.

    Raises:
        OSError: the list of them cannot be read.
        ValueError: it is no text.
    """
    try:
        lines = (home() / SUMS).read_text('utf-8').splitlines()
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ValueError(f'{home() / SUMS} is damaged ({error}): remove it') from error
    pairs = (line.split('  ', 1) for line in lines)
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def record_digest(path: str, digest: str) -> None:
    """Keep the SHA-256 of a fetched file, in place of an earlier one.

    Args:
        path: of the file below the home folder.
        digest: its SHA-256 in hexadecimal.

    Raises:
        OSError: the list of them cannot be read or written.
        ValueError: it is no text.
    """
    digests = recorded_digests() | {path: digest}
    text = ''.join(f'{value}  {name}\n' for name, value in sorted(digests.items()))
    write_text(home() / SUMS, text)


def how_to_bring(file: WeightFile, bundle: str) -> str:
    """One sentence: how this file gets to its place."""
    path = home() / file.path
    if not file.url:
        return f'{path} comes from {file.origin}'
    return (
        f'`cs3 fetch {bundle}` brings it; on a machine without internet bring {masked(file.url)} '
        f'as {path}'
    )


def parse(data: Any) -> tuple[WeightFile, ...]:
    """The list below ``weights:`` of a bundle.

    Each entry describes the files of one folder (``.`` for the home folder itself)::

        - folder: clipseg-rd64-refined
          licence: Apache-2.0
          source: https://host/path        # each file is source/NAME; or origin: in words
          files:
            model.safetensors: {bytes: 603000000, sha256: ...}
            config.json: {}

    Raises:
        ValueError: not such a list; names the entry and what was expected.
    """
    files: list[WeightFile] = []
    for number, entry in enumerate(data if isinstance(data, list) else [data]):
        where = f'weights[{number}]'
        entry = mapping(entry, where, ('folder', 'licence', 'files'), ('source', 'origin'))
        source, origin = str(entry.get('source', '')), str(entry.get('origin', ''))
        if bool(source) == bool(origin):
            raise ValueError(f'{where}: expected either source (a URL) or origin (words)')
        good = not source or re.match(r'https?://', source) is not None
        expect(good, f'{where}.source', masked(source), 'a URL, https://...')
        for name, facts in mapping(entry['files'], f'{where}.files', others=None).items():
            here = f'{where}.files.{name}'
            facts = mapping(facts or {}, here, others=('bytes', 'sha256'))
            path = PurePosixPath(str(entry['folder']), str(name))
            _check_path(path, here)
            size, digest = whole(facts.get('bytes', 0), f'{here}.bytes', 0), facts.get('sha256', '')
            good = digest == '' or re.fullmatch(r'[0-9a-f]{64}', str(digest)) is not None
            expect(good, f'{here}.sha256', digest, '64 hexadecimal digits')
            url = f'{source.rstrip("/")}/{urllib.parse.quote(str(name))}' if source else ''
            licence = str(entry['licence'])
            files.append(WeightFile(str(path), licence, url, origin, size, str(digest)))
    paths = [file.path for file in files]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise ValueError(f'weights: listed twice: {", ".join(twice)}')
    return tuple(files)


def _check_path(path: PurePosixPath, where: str) -> None:
    """Refuse what is no file below the home folder, or one that ``cs3 fetch`` keeps there."""
    parts = path.parts
    if path.is_absolute() or '..' in parts or (parts and parts[0].startswith('~')):
        raise ValueError(f'{where}: {path} leaves the folder of weights')
    kept = path.suffix in ('.part', '.etag') or str(path) == SUMS
    if not parts or kept or not str(path).isprintable():
        raise ValueError(f'{where}: {str(path)!r} cannot be the name of a file of weights')
