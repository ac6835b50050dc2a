"""Files that are the old one or the new one, whatever happens: written beside, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path``, ``NAME.part``, that takes its name when the block ends well.

    A link is replaced, never followed. Where the block raises, ``path`` stays as it was and the
    part is removed.

    Raises:
        OSError: the file cannot be written there.
    """
    part = path.with_name(f'{path.name}.part')
    try:
        part.unlink(missing_ok=True)
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, 'utf-8')
