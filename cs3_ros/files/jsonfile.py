"""JSON: what people or strangers wrote, read within bounds; what commands leave behind, written.

``--json FILE`` of a command goes through ``add_json``, ``prepare_json`` and ``write_json``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from cs3_ros.files.atomic import write_text

MAX_BYTES = 1 << 26
"""Longest JSON text that is read, where the caller does not say otherwise."""
MAX_DEPTH = 64
"""Most lists and objects inside of each other."""

END = ' \n'
"""Ends what ``write_json`` wrote: by this and its layout a command knows a file as one of ours."""

_TOO_DEEP = f'nested too deeply: expected at most {MAX_DEPTH} levels'


def load_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, or nested deeper than ``MAX_DEPTH``.
    """
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    layer = _containers([data])
    for _ in range(MAX_DEPTH):
        layer = [below for value in layer for below in _containers(value)]
    if layer:
        raise ValueError(_TOO_DEEP)
    return data


def _containers(value: dict[str, Any] | list[Any]) -> list[Any]:
    """The lists and objects directly inside of one."""
    inside = value.values() if isinstance(value, dict) else value
    return [below for below in inside if isinstance(below, (dict, list))]


def read_json(path: Path, where: str, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON file.

    Args:
        path: the file, UTF-8.
        where: what it is, as errors shall name it: ``truth file 'a.json'``.
        max_bytes: a longer file is refused.

    Raises:
        ValueError: it cannot be read, is too long or is not JSON; begins with ``where``.
    """
    try:
        with path.open('rb') as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise ValueError(f'{where} is longer than the {max_bytes} bytes that are read')
        text = data.decode('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{where} cannot be read: {error}') from error
    try:
        return load_json(text)
    except ValueError as error:
        raise ValueError(f'{where} is not valid JSON: {error}') from error


def add_json(parser: argparse._ActionsContainer, text: str) -> None:
    """Declare ``--json FILE``, with ``--force`` for a file that is not ours.

    Args:
        parser: of the command.
        text: the help of the option.
    """
    parser.add_argument('--json', type=Path, metavar='FILE', help=text)
    parser.add_argument(
        '--force', action='store_true', help='replace FILE even if no command of ours wrote it'
    )


def prepare_json(path: Path | None, force: bool = False) -> None:
    """Make the folder of a file that will be written after long work; None asks for no file.

    Args:
        path: the file; a device or a pipe is written into.
        force: accept a file that ``write_json`` has not written, or a link, to be replaced.

    Raises:
        FileExistsError: it is the user's.
        OSError: the file could not be written there.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f'{path}: is a folder; expected the name of a JSON file')
    if _is_stream(path):
        return
    if os.path.lexists(path) and not force and not _is_ours(path):
        raise FileExistsError(
            f'{path}: exists, and no command of ours left it so: name another file, or add '
            '--force, which replaces it'
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f'{path}: cannot be written; name a file in a folder of yours')


def write_json(path: Path | None, data: Any) -> None:
    """Write dicts, lists, strings and numbers, whole or not at all; None asks for no file.

    Raises:
        OSError: it cannot be written there.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=1) + END
        if _is_stream(path):
            path.write_text(text, 'utf-8')
        else:
            write_text(path, text)


def _is_stream(path: Path) -> bool:
    """True for /dev/stdout and the like, which are written into and never replaced."""
    return Path(os.path.abspath(path)).parts[1:2] in (('dev',), ('proc',)) or (
        path.exists() and not path.is_file()
    )


def _is_ours(path: Path) -> bool:
    """True for a file as ``write_json`` leaves it, and for an empty one, which holds nothing."""
    if path.is_symlink():
        return False
    try:
        if path.stat().st_size > MAX_BYTES:
            return False
        text = path.read_text('utf-8')
        return not text or text == json.dumps(load_json(text), indent=1) + END
    except (OSError, ValueError):
        return False
