"""Files that are whole or as they were: interruptions, links, several writers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cs3_ros.files.atomic import clear_parts, replacing, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / 'a.txt'
    write_text(path, 'größe\n')
    assert path.read_bytes() == 'größe\n'.encode()
    write_text(path, '')
    assert path.read_bytes() == b'' and names(tmp_path) == ['a.txt']


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(error), replacing(path) as part:
        part.write_text('half of the n')
        assert path.read_text() == 'old'
        raise error
    assert path.read_text() == 'old' and names(tmp_path) == ['a.txt']


def test_a_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(UnicodeEncodeError):
        write_text(path, 'a' * 100_000 + '\ud800')
    assert path.read_text() == 'old' and names(tmp_path) == ['a.txt']


def test_a_writer_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == 'old'


def test_two_writers_at_once_do_not_mix(tmp_path):
    path = tmp_path / 'a.txt'
    with replacing(path) as first, first.open('w') as file:
        file.write('one, ')
        file.flush()
        with replacing(path) as second:
            second.write_text('two')
            assert first.read_text() == 'one, ' and first != second
        assert path.read_text() == 'two'
        file.write('to the end')
    assert path.read_text() == 'one, to the end' and names(tmp_path) == ['a.txt']


def test_a_link_is_replaced_and_not_followed(tmp_path):
    kept, path = tmp_path / 'kept.txt', tmp_path / 'a.txt'
    kept.write_text('mine')
    path.symlink_to(kept)
    write_text(path, 'new')
    assert kept.read_text() == 'mine'
    assert not path.is_symlink() and path.read_text() == 'new'


def test_others_may_read_what_they_could_read_before(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / 'a.txt', 'x')
    finally:
        os.umask(before)
    assert (tmp_path / 'a.txt').stat().st_mode & 0o777 == 0o644


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path):
    for path in (tmp_path / 'none' / 'a.txt', tmp_path):
        with pytest.raises(OSError):
            write_text(path, 'x')
    assert names(tmp_path) == []


def test_parts_of_killed_writers_are_cleared(tmp_path):
    (tmp_path / 'folder.0123abcd.part').mkdir()
    for name in (
        'a.json',
        'a.0123abcd.part.json',
        'a.0123abcd.part',
        'a.part.json',
        'a.xyz.part.b',
    ):
        (tmp_path / name).write_text('x')
    clear_parts(tmp_path)
    left = ['a.json', 'a.part.json', 'a.xyz.part.b', 'folder.0123abcd.part']
    assert names(tmp_path) == left
