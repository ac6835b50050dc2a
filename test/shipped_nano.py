"""Finds the bundle nano as the package ships it."""

from pathlib import Path

import pytest

import cs3_ros

FOLDER = Path(cs3_ros.__file__).parent / 'bundles' / 'nano'


def shipped_nano() -> Path:
    """Its folder; a skip as long as the bundle is not in the package."""
    if not FOLDER.is_dir():
        pytest.skip(f'no {FOLDER}: the bundle nano is not in the package yet')
    return FOLDER
