"""What all runs share: folders that mark what is finished, files that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def finished(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a finished stage left in ``done.json``; None where it is not finished.

    Raises:
        ValueError: it was run with other settings.
    """
    path = folder / 'done.json'
    if not path.is_file():
        return None
    done: dict[str, Any] = json.loads(path.read_text('utf-8'))
    if done['settings'] != json.loads(json.dumps(settings)):
        raise ValueError(
            f'{folder} was made with other settings or from other scenes: give another folder, or '
            'remove this one and what follows from it'
        )
    return done


def finish(folder: Path, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Mark a stage as finished."""
    done = {'settings': dict(settings), **facts}
    write_atomic(folder / 'done.json', json.dumps(done, indent=1) + '\n')
    return done


def write_atomic(path: Path, text: str) -> None:
    """Write a file that is either the old or the new one, whatever happens."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text, 'utf-8')
    os.replace(part, path)
