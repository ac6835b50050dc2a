"""Files that strangers hand over, before a library opens them."""

from __future__ import annotations

import stat
from pathlib import Path


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


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 300 characters; its kind where it says nothing."""
    said = ' '.join(str(error).split())
    said = said if len(said) <= 300 else f'{said[:300]}...'
    return said or type(error).__name__
