"""JSON files that commands leave behind where ``--json FILE`` asks for one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def prepare_json(path: Path | None) -> None:
    """Make the folder of a file that will be written after long work; None asks for no file.

    Raises:
        OSError: it could not be written there.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f'{path}: is a folder; expected the name of a JSON file')
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f'{path}: cannot be written; name a file in a folder of yours')


def write_json(path: Path | None, data: Any) -> None:
    """Write dicts, lists, strings and numbers; None asks for no file."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + '\n', 'utf-8')
