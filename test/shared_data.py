"""Finds the data that may lie beside the checkout; tests skip, with the reason, without it."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / 'shared' / 'data'


def shared_data(name: str) -> Path:
    """The folder ``name`` of the shared test data, or a skip."""
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f'no {name} at {folder}: local check data that is not part of the repository')
    return folder
