"""Files that strangers hand over, before a library opens them."""

from __future__ import annotations

import stat
from pathlib import Path

SHOWN_CHARS = 300
"""Of a text that a stranger may have written."""


def check_name(path: Path) -> None:
    """Refuse a name with bytes that are no text; it crashes libraries.

    Raises:
        ValueError: it is such a name.
    """
    try:
        str(path).encode('utf-8')
    except UnicodeEncodeError:
        raise ValueError(
            f'{ascii(str(path))}: the name has bytes that are no UTF-8: expected a name that is a '
            'text; rename it'
        ) from None


def check_regular(path: Path, what: str) -> None:
    """Refuse what is no regular file: reading a pipe may never end, nor a device.

    Args:
        path: the file; a link to a regular file is one.
        what: it is, as errors shall name it: ``video file``.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: its folder may not be looked into.
        ValueError: it is no regular file, or has a name that is no text, which crashes libraries.
    """
    check_name(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f'{path}: no such {what}') from None
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # a loop of links, too long a name, a NUL in it
        raise ValueError(f'{str(path)[:200]}: is no {what} ({one_line(error)})') from error
    if not stat.S_ISREG(mode):
        raise ValueError(f'{path}: is no regular file: expected no folder, pipe or device')


def one_line(said: object) -> str:
    """What an error or a stranger says, fit for a terminal and a log: printable, one line of at
    most ``SHOWN_CHARS``; an error's kind where it says nothing."""
    text = ''.join(mark if mark.isprintable() else ' ' for mark in str(said))
    text = ' '.join(text.split())
    text = text if len(text) <= SHOWN_CHARS else f'{text[: SHOWN_CHARS - 4]} ...'
    return text or (type(said).__name__ if isinstance(said, BaseException) else '')
