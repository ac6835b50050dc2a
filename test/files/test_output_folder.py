"""A folder of outputs: what is a user's stays as it is, or the folder is refused."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from cs3_ros.files import output_folder
from cs3_ros.files.output_folder import MARKER, OutputFolder, claim

PATTERNS = (r'list\.json', r'video\.mp4', r'a/\d+\.png', r'a/b/\d+\.jpg')
NAMES = ('list.json', 'video.mp4', 'a/1.png', 'a/b/2.jpg')


def open_folder(path: Path, **options) -> OutputFolder:
    return OutputFolder(path, 'test', PATTERNS, **options)


def run(path: Path, text: str = 'ours', names=NAMES, **options) -> None:
    with open_folder(path, **options) as output:
        for name in names:
            with output.replacing(name) as part:
                part.write_text(text)


def files(path: Path) -> list[str]:
    found = (p.relative_to(path) for p in path.rglob('*') if not p.is_dir() or p.is_symlink())
    return sorted(str(p) for p in found if str(p) != MARKER)


def state(path: Path) -> dict[str, tuple]:
    """All below a folder: kind, inode, links, content."""
    found = {}
    for place in sorted([path, *path.rglob('*')]):
        info = place.lstat()
        content = place.read_bytes() if place.is_file() and not place.is_symlink() else b''
        target = os.readlink(place) if place.is_symlink() else ''
        found[str(place)] = (info.st_mode, info.st_ino, info.st_nlink, content, target)
    return found


@pytest.mark.parametrize('there', [False, True])
def test_a_new_or_empty_folder_is_taken(tmp_path, there):
    out = tmp_path / 'deep' / 'out'
    if there:
        out.mkdir(parents=True)
    run(out)
    assert files(out) == sorted(NAMES)


def test_a_second_run_removes_what_the_first_wrote_and_nothing_else(tmp_path):
    run(tmp_path)
    for name in ('notes.txt', 'a/notes.txt', 'a/b/list.json', 'a/x.png', '.hidden', 'video.mp4~'):
        (tmp_path / name).write_text('mine')
    before = state(tmp_path)
    run(tmp_path, 'new', ('list.json',))
    left = ['.hidden', 'a/b/list.json', 'a/notes.txt', 'a/x.png', 'list.json', 'notes.txt']
    assert files(tmp_path) == [*left, 'video.mp4~']
    after = state(tmp_path)
    for name in ('notes.txt', 'a/notes.txt', 'a/b/list.json', 'a/x.png'):
        assert after[str(tmp_path / name)] == before[str(tmp_path / name)]


def plant(path: Path, kind: str, other: Path) -> None:
    """Put something of the user's at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == 'file':
        path.write_text('mine')
    elif kind == 'folder':
        path.mkdir()
        (path / 'inside').write_text('mine')
    elif kind == 'link':
        path.symlink_to(other)
    elif kind == 'broken link':
        path.symlink_to(other.with_name('nowhere'))
    elif kind == 'hard link':
        path.hardlink_to(other)
    elif kind == 'pipe':
        os.mkfifo(path)


KINDS = ('file', 'folder', 'link', 'broken link', 'hard link', 'pipe')


@pytest.mark.parametrize('after_a_run', [False, True])
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', [*NAMES, 'a/7.png', MARKER])
def test_what_a_user_put_under_a_name_of_ours_is_refused(tmp_path, name, kind, after_a_run):
    out, other = tmp_path / 'out', tmp_path / 'other'
    other.write_text('mine')
    if after_a_run:
        run(out)
    plant(out / name, kind, other)
    before = state(tmp_path)
    with pytest.raises(FileExistsError, match='--force'):
        open_folder(out)
    with pytest.raises(FileExistsError, match='--force'):
        run(out)
    assert state(tmp_path) == before


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', [*NAMES, MARKER])
def test_force_replaces_names_of_ours_and_follows_no_link(tmp_path, name, kind):
    out, other = tmp_path / 'out', tmp_path / 'other'
    other.write_text('mine')
    plant(out / name, kind, other)
    (out / 'notes.txt').write_text('mine')
    inode = other.stat().st_ino
    if kind == 'folder':
        before = state(tmp_path)
        with pytest.raises(OSError, match='folder'):
            run(out, force=True)
        assert state(tmp_path) == before
        return
    with pytest.raises(FileExistsError, match=f'replaces {re.escape(name)}$'):
        open_folder(out)
    run(out, force=True)
    assert (other.read_text(), other.stat().st_ino, other.stat().st_nlink) == ('mine', inode, 1)
    assert files(out) == sorted([*NAMES, 'notes.txt']) and (out / 'notes.txt').read_text() == 'mine'
    assert all((out / each).read_text() == 'ours' for each in NAMES)
    run(out)  # it is an own folder now


@pytest.mark.parametrize('place', ['a', 'a/b'])
def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path, place):
    out, users = tmp_path / 'out', tmp_path / 'users'
    users.mkdir()
    run(out, names=('list.json',))
    (out / place).parent.mkdir(exist_ok=True)
    (out / place).symlink_to(users)
    for name in ('1.png', '2.jpg'):
        (users / name).write_text('mine')
    before = state(tmp_path)
    with pytest.raises(FileExistsError, match=f'replaces {place}$'):
        run(out)
    assert state(tmp_path) == before
    run(out, force=True)
    assert files(users) == ['1.png', '2.jpg'] and (users / '1.png').read_text() == 'mine'
    assert not (out / place).is_symlink() and files(out) == sorted(NAMES)


def test_a_changed_output_is_the_users(tmp_path):
    run(tmp_path)
    (tmp_path / 'list.json').write_text('ours, and my remarks')
    with pytest.raises(FileExistsError, match=r'left as it is.*replaces list\.json$'):
        open_folder(tmp_path)


def test_a_link_to_an_output_keeps_it(tmp_path):
    run(tmp_path / 'out')
    (tmp_path / 'kept.mp4').hardlink_to(tmp_path / 'out' / 'video.mp4')
    run(tmp_path / 'out', 'new')
    assert (tmp_path / 'kept.mp4').read_text() == 'ours'
    assert (tmp_path / 'out' / 'video.mp4').read_text() == 'new'


def test_a_copied_folder_is_still_own(tmp_path):
    import shutil

    run(tmp_path / 'out')
    shutil.copytree(tmp_path / 'out', tmp_path / 'copy')
    run(tmp_path / 'copy', 'new', ('list.json',))
    assert files(tmp_path / 'copy') == ['list.json']


FIRST = {'format': 'cs3-output-1', 'command': 'test', 'token': '0' * 16}


def lines(*values) -> str:
    return ''.join(json.dumps(value) + '\n' for value in values)


@pytest.mark.parametrize(
    'text',
    [
        '', 'null\n', '[]\n', '\n', 'x', '{', '\0' * 9, lines(FIRST)[:-1],
        lines(FIRST | {'format': 'cs3-output-2'}), lines(FIRST | {'command': 'demo'}),
        lines(FIRST | {'token': '*'}), lines(FIRST | {'token': '0' * 15 + '/'}),
        lines(FIRST | {'more': 1}), lines(FIRST | {'token': 1}), lines(FIRST, 7),
        lines(FIRST, {'name': '../precious', 'sha256': None}),
        lines(FIRST, {'name': 'a/../../precious', 'sha256': None}),
        lines(FIRST, {'name': 'notes.txt', 'sha256': None}),
        lines(FIRST, {'name': 'video.mp4\n', 'sha256': None}),
        lines(FIRST, {'name': 'a/١.png', 'sha256': None}),
        lines(FIRST, {'name': 'list.json'}), lines(FIRST, {'name': None, 'sha256': None}),
        lines(FIRST, {'name': 'list.json', 'sha256': 5}), '[' * 100_000 + '\n',
    ],
)  # fmt: skip
def test_a_forged_or_damaged_marker_removes_nothing(tmp_path, text):
    out = tmp_path / 'out'
    out.mkdir()
    for place in (tmp_path / 'precious', out / 'notes.txt', out / 'list.json'):
        place.write_text('mine')
    (out / MARKER).write_text(text)
    before = state(tmp_path)
    for _ in range(2):
        with pytest.raises(FileExistsError) as caught:
            run(out)
        assert '\n' not in str(caught.value) and '--force' in str(caught.value)
    assert state(tmp_path) == before


def test_a_marker_that_tells_another_digest_removes_nothing(tmp_path):
    (tmp_path / 'video.mp4').write_text('mine')
    (tmp_path / MARKER).write_text(lines(FIRST, {'name': 'video.mp4', 'sha256': '0' * 64}))
    with pytest.raises(FileExistsError, match=r'video\.mp4'):
        run(tmp_path)
    assert (tmp_path / 'video.mp4').read_text() == 'mine'


def test_a_marker_too_long_is_none(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(output_folder, 'MAX_MARKER_BYTES', 200)
    with pytest.raises(FileExistsError, match='damaged'):
        run(tmp_path)


def test_a_folder_of_another_command_is_named(tmp_path):
    run(tmp_path)
    with pytest.raises(FileExistsError, match="is of 'test', not of demo"):
        OutputFolder(tmp_path, 'demo', PATTERNS)


def test_a_second_run_at_once_is_refused(tmp_path):
    with open_folder(tmp_path) as output:
        with output.replacing('list.json') as part:
            part.write_text('first')
        with pytest.raises(BlockingIOError, match='another command is writing into it'):
            run(tmp_path, force=True)
        assert (tmp_path / 'list.json').read_text() == 'first'
    run(tmp_path)


def test_what_appears_in_the_middle_of_a_run_is_left(tmp_path):
    with open_folder(tmp_path) as output:
        (tmp_path / 'video.mp4').write_text('mine')
        with pytest.raises(FileExistsError, match='appeared, or was changed'):
            with output.replacing('video.mp4') as part:
                part.write_text('ours')
        for text in ('1', '2'):
            with output.replacing('list.json') as part:
                part.write_text(text)
        (tmp_path / 'list.json').write_text('and my remarks')
        with pytest.raises(FileExistsError, match='appeared, or was changed'):
            with output.replacing('list.json') as part:
                part.write_text('3')
    assert (tmp_path / 'video.mp4').read_text() == 'mine'
    assert (tmp_path / 'list.json').read_text() == 'and my remarks'


def test_no_other_name_can_be_written(tmp_path):
    with open_folder(tmp_path) as output:
        for name in ('notes.txt', '../list.json', 'a/../list.json', '/list.json', MARKER):
            with pytest.raises(ValueError, match='no output of test'):
                with output.replacing(name):
                    pass


def test_a_killed_run_is_cleared_by_the_next(tmp_path):
    """Half-written files and those that were renamed just before or after the kill."""
    run(tmp_path)
    token = json.loads((tmp_path / MARKER).read_text().split('\n')[0])['token']
    (tmp_path / f'video.{token}.part.mp4').write_text('half')
    (tmp_path / 'a' / f'5.{token}.part.png').write_text('')
    (tmp_path / f'.cs3_output.{"0" * 16}.part.jsonl').write_text('')
    (tmp_path / f'video.{"0" * 16}.part.mp4').write_text('not of that run')
    with (tmp_path / MARKER).open('a') as marker:
        marker.write(lines({'name': 'list.json', 'sha256': '1' * 64}))  # and then it was killed
        marker.write('{"name": "video.mp4", "sha2')
    run(tmp_path, 'new', ('list.json',))
    assert files(tmp_path) == ['list.json', f'video.{"0" * 16}.part.mp4']


def test_a_run_killed_before_its_marker_blocks_nothing(tmp_path):
    (tmp_path / f'.cs3_output.{"0" * 16}.part.jsonl').write_text('{"form')
    run(tmp_path)
    assert files(tmp_path) == sorted(NAMES)


def test_announced_files_are_own_whatever_they_hold(tmp_path):
    with open_folder(tmp_path) as output:
        output.announce('a/1.png', 'a/2.png')
        assert files(tmp_path) == []
        (tmp_path / 'a').mkdir()
        (tmp_path / 'a' / '1.png').write_text('anything')
        (tmp_path / 'a' / '2.png').write_text('complete')
        output.confirm('a/2.png')
    (tmp_path / 'a' / '1.png').write_text('something else')
    run(tmp_path)
    with open_folder(tmp_path) as output:
        output.announce('a/2.png')
        (tmp_path / 'a').mkdir()
        (tmp_path / 'a' / '2.png').write_text('complete')
        output.confirm('a/2.png')
    (tmp_path / 'a' / '2.png').write_text('changed')
    with pytest.raises(FileExistsError, match='a/2.png'):
        run(tmp_path)


def test_what_is_read_is_not_written_over(tmp_path):
    video = tmp_path / 'video.mp4'
    video.write_text('recording')
    (tmp_path / 'link.mp4').symlink_to(video)
    for source in (video, tmp_path / 'link.mp4', tmp_path / 'x' / '..' / 'video.mp4', tmp_path):
        with pytest.raises(ValueError, match='would overwrite the recording'):
            open_folder(tmp_path, source=source, force=True)
    run(tmp_path, source=tmp_path / 'other.mp4', force=True)


def test_a_full_disk_spoils_no_marker(tmp_path, monkeypatch):
    write, room = os.write, 30
    with open_folder(tmp_path) as output:
        monkeypatch.setattr(os, 'write', lambda file, data: write(file, data[:room]))
        with pytest.raises(OSError) as caught:
            with output.replacing('list.json') as part:
                part.write_text('x')
        assert caught.value.errno == errno.ENOSPC and not (tmp_path / 'list.json').exists()
        monkeypatch.undo()
        with output.replacing('video.mp4') as part:
            part.write_text('ours')
    run(tmp_path)


def test_a_file_is_refused(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='is a file: expected a folder'):
        open_folder(tmp_path / 'file')


def test_a_claimed_folder_is_gone_on_with(tmp_path):
    out, users = tmp_path / 'out', tmp_path / 'users'
    for _ in range(2):
        claim(out, 'train')
        (out / 'state.pt').write_text('ours')
    users.mkdir()
    (users / 'state.pt').write_text('mine')
    for place, command in ((users, 'train'), (out, 'other')):
        before = state(place)
        with pytest.raises(
            FileExistsError, match='--force, which replaces (nothing that is|.cs3_output.jsonl)'
        ):
            claim(place, command)
        assert state(place) == before
        claim(place, command, force=True)
        claim(place, command)
    assert (users / 'state.pt').read_text() == 'mine' and (out / 'state.pt').exists()
