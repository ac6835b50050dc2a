"""Files that are the old one or the new one, whatever happens: written beside, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path``, ``NAME.*.part``, that takes its name when the block ends well.

    Of several writers at once each has a part of its own, and the last to end stays. A link is
    replaced, never followed. Where the block raises, ``path`` stays as it was and the part is
    removed.

    Args:
        path: the file to write, in a folder that exists.

    Raises:
        OSError: the file cannot be written there, or the block wrote none.
    """
    part = path.with_name(f'{path.name}.{secrets.token_hex(4)}.part')
    try:
        yield part
        with part.open('rb') as file:
            os.fsync(file.fileno())  # else a name without content may outlive a power failure
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all.

    Raises:
        OSError: it cannot be written there.
    """
    with replacing(path) as part:
        part.write_text(text, 'utf-8')
