"""Files that are the old one or the new one, whatever happens: written beside, then renamed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, token: str = '') -> Iterator[Path]:
    """A file beside ``path``, ``NAME.TOKEN.part.ENDING``, that takes its name when all went well.

    Of several writers at once each has a part of its own, and the last to end stays. A link is
    replaced, never followed. Where the block raises, ``path`` stays as it was and the part is
    removed.

    Args:
        path: the file to write, in a folder that exists.
        token: names the part; empty takes a random one.

    Raises:
        OSError: the file cannot be written there, or the block wrote none.
    """
    part = path.with_name(f'{path.stem}.{token or secrets.token_hex(4)}.part{path.suffix}')
    try:
        yield part
        with part.open('rb') as file:
            os.fsync(file.fileno())  # else a name without content may outlive a power failure
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def clear_parts(folder: Path) -> None:
    """Remove what writers that were killed left half-written in a folder; nobody else writes there.

    Parts of a writer with a token of its own stay.
    """
    for path in folder.iterdir():
        if path.is_file() and re.search(r'\.[0-9a-f]{8}\.part(\.[^./]*)?$', path.name):
            path.unlink()


def part_of(name: str, token: str) -> str:
    """The name that a part with this token was to take; a name that is no such part as it is.

    A part of the part, which a writer of its own left, counts as well.
    """
    return re.sub(rf'\.{re.escape(token)}\.part(\.[0-9a-f]{{8}}\.part)?(?=(\.[^./]*)?$)', '', name)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    with replacing(path) as part:
        part.write_text(text, 'utf-8')
