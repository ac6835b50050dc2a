"""JSON: read within bounds; a bad place for a new file is refused before the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.files.jsonfile import MAX_DEPTH, load_json, prepare_json, read_json, write_json


def test_the_folder_is_made_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'deep' / 'x.json'
    prepare_json(path)
    assert path.parent.is_dir() and not path.exists()
    write_json(path, {'größe': [1, 2.5, None]})
    assert json.loads(path.read_text('utf-8')) == {'größe': [1, 2.5, None]}
    prepare_json(path)
    write_json(path, [])
    assert path.read_text() == '[] \n'


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


def test_a_link_to_a_device_is_written_into(tmp_path: Path) -> None:
    link = tmp_path / 'out.json'
    link.symlink_to('/dev/null')
    write_json(link, [1])
    assert link.is_symlink() and not (tmp_path / 'out.json').is_file()


@pytest.mark.parametrize(
    'text', ['mine', '{}', '[]\n', '[\n 1\n]\n', '[1] \n', '{"a": 1}', '\udcff', ' \n', 'NaN']
)
def test_a_file_of_the_users_is_refused(tmp_path: Path, text: str) -> None:
    path, link, broken = tmp_path / 'a.json', tmp_path / 'link', tmp_path / 'broken'
    path.write_bytes(text.encode('utf-8', 'surrogateescape'))
    link.symlink_to(path)
    broken.symlink_to(tmp_path / 'nowhere')
    for place in (path, link, broken):
        with pytest.raises(FileExistsError, match=r'--force, which replaces it$'):
            prepare_json(place)
        prepare_json(place, force=True)
    write_json(link, [2])
    assert path.read_bytes() == text.encode('utf-8', 'surrogateescape') and not link.is_symlink()
    write_json(path, {'größe': [1.5, True, None, 'ä']})
    prepare_json(path)
    path.write_text(path.read_text().replace('1.5', '1.50'))
    with pytest.raises(FileExistsError):
        prepare_json(path)


def test_an_empty_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / 'made by mktemp').touch()
    prepare_json(tmp_path / 'made by mktemp')


def test_standard_output_is_not_replaced(tmp_path: Path) -> None:
    """Not even where it is a file, which the link in /dev leads to."""
    import subprocess
    import sys

    code = 'from pathlib import Path; from cs3_ros.files.jsonfile import *; '
    code += 'prepare_json(Path("/dev/fd/1")); write_json(Path("/dev/fd/1"), [1])'
    with (tmp_path / 'out').open('wb') as out:
        subprocess.run([sys.executable, '-c', code], stdout=out, check=True)
    assert (tmp_path / 'out').read_text() == '[\n 1\n] \n'


def test_what_cannot_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    write_json(path, [1])
    with pytest.raises(TypeError):
        write_json(path, [1, {2}])
    assert path.read_text() == '[\n 1\n] \n' and list(tmp_path.iterdir()) == [path]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_json_writes_is_read_back(value: object) -> None:
    assert load_json(json.dumps(value)) == value


def nested(levels: int) -> str:
    """Lists and objects in turn."""
    pairs, one = divmod(levels, 2)
    return '[{"a":' * pairs + '[]' * one + '1' * (1 - one) + '}]' * pairs


def test_depth_is_bounded() -> None:
    assert load_json(nested(MAX_DEPTH)) and load_json(nested(MAX_DEPTH - 1))
    for text in (nested(MAX_DEPTH + 1), nested(100_000), '[' * 100_000, '[1,' + '[' * 5000):
        with pytest.raises(ValueError):
            load_json(text)
    with pytest.raises(ValueError, match=f'nested too deeply: expected at most {MAX_DEPTH} levels'):
        load_json(nested(MAX_DEPTH + 1))


@given(st.text() | st.text('[]{}",:0123456789.eE+-ntrueflasNI \\', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        load_json(text)
    except ValueError:
        pass


def test_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text('{"größe": [1]}', 'utf-8')
    assert read_json(path, 'my file') == {'größe': [1]}
    assert read_json(path, 'my file', max_bytes=path.stat().st_size) == {'größe': [1]}
    with pytest.raises(ValueError, match='^my file is longer than the 15 bytes that are read'):
        read_json(path, 'my file', max_bytes=15)
    path.write_text('{')
    with pytest.raises(ValueError, match='^my file is not valid JSON: .*line 1'):
        read_json(path, 'my file')
    path.write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match='^my file cannot be read: .*codec'):
        read_json(path, 'my file')
    for other in (tmp_path, tmp_path / 'none.json'):
        with pytest.raises(ValueError, match='^my file cannot be read: '):
            read_json(other, 'my file')
