"""Finds the video files of a data set, in whatever folders a lab keeps them."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

ENDINGS = ('.mp4', '.mkv', '.mov', '.avi', '.webm')
"""Of video files, in small or capital letters."""


def find_videos(folder: Path, names: Collection[str] | None) -> dict[str, Path]:
    """Where the videos of these names lie: ``P01/videos/P01_01.MP4``, ``full_scale/UID.mp4``.

    Args:
        folder: searched with all folders below; links to folders are not followed.
        names: of files, without their ending; None for all that are there.

    Returns:
        Name -> file, for those that are there.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are several files of one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder of videos')
    wanted = None if names is None else set(names)
    found = dict[str, Path]()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(place, file)
            asked = wanted is None or path.stem in wanted
            if not asked or file.startswith('.') or path.suffix.lower() not in ENDINGS:
                continue
            if path.stem in found:
                raise ValueError(
                    f'{path} and {found[path.stem]}: two videos of one name; name the folder that '
                    'holds one of them with --videos'
                )
            found[path.stem] = path
    return found
