"""JSON files of the commands: their folder is made, and a bad place is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cs3_ros.files.jsonfile import prepare_json, write_json


def test_the_folder_is_made_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'deep' / 'x.json'
    prepare_json(path)
    assert path.parent.is_dir() and not path.exists()
    write_json(path, {'größe': [1, 2.5, None]})
    assert json.loads(path.read_text('utf-8')) == {'größe': [1, 2.5, None]}
    prepare_json(path)
    write_json(path, [])
    assert path.read_text() == '[]\n'


def test_no_file_is_asked_for() -> None:
    prepare_json(None)
    write_json(None, {})


def test_a_bad_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match='is a folder'):
        prepare_json(tmp_path)
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        prepare_json(tmp_path / 'file' / 'x.json')
    if Path('/proc/version').exists():  # nobody, not even root, may write there
        with pytest.raises(OSError):
            prepare_json(Path('/proc/version/x.json'))
