"""Finds the bundle nano as the package ships it."""

from pathlib import Path

import cs3_ros

FOLDER = Path(cs3_ros.__file__).parent / 'bundles' / 'nano'


def shipped_nano() -> Path:
    """Its folder."""
    return FOLDER
