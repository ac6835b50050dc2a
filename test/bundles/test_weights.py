"""The list of weights in a bundle, where the files are looked for, and their digests."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.bundles.weights import (
    SUMS,
    WeightFile,
    digest_of,
    home,
    how_to_bring,
    locate,
    missing,
    parse,
    record_digest,
    recorded_digests,
)

ENTRY = {
    'folder': 'net',
    'licence': 'MIT',
    'source': 'https://host/path/',
    'files': {'model.pt': {'bytes': 7, 'sha256': 'a' * 64}, 'config.json': None},
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    (tmp_path / 'home').mkdir()
    return tmp_path / 'home'


def test_an_entry_describes_the_files_of_a_folder():
    model, config = parse([ENTRY])
    assert model == WeightFile(
        'net/model.pt', 'MIT', 'https://host/path/model.pt', bytes=7, sha256='a' * 64
    )
    assert (config.path, config.bytes, config.sha256) == ('net/config.json', 0, '')


def test_the_folder_may_be_the_home_folder_and_names_are_quoted_in_urls():
    (file,) = parse({**ENTRY, 'folder': '.', 'files': {'a b#1.pt': {}}})
    assert (file.path, file.url) == ('a b#1.pt', 'https://host/path/a%20b%231.pt')


def test_files_that_nobody_offers_have_an_origin():
    entry = {key: value for key, value in ENTRY.items() if key != 'source'} | {'origin': 'a friend'}
    assert [(file.url, file.origin) for file in parse([entry])] == [('', 'a friend')] * 2


@pytest.mark.parametrize(
    'change, words',
    [
        ({'files': 3}, r'weights\[0\].files: expected a mapping of names to values, got 3'),
        (
            {'files': {'a': 3}},
            r'weights\[0\].files.a: expected a mapping of names to values, got 3',
        ),
        ({'files': {'a': {'size': 3}}}, r'unknown key\(s\) size; known: bytes, sha256'),
        (
            {'files': {'a': {'bytes': -1}}},
            r'files.a.bytes = -1: expected a whole number of at least 0',
        ),
        ({'files': {'a': {'bytes': True}}}, r'files.a.bytes = True'),
        ({'files': {'a': {'sha256': 'AB'}}}, r"files.a.sha256 = 'AB': expected 64 hex"),
        ({'origin': 'a friend'}, r'expected either source \(a URL\) or origin'),
        ({'source': ''}, r'expected either source \(a URL\) or origin'),
        ({'source': 'file:///etc'}, r"source = 'file:///etc': expected a URL"),
        ({'source': 'ftp://host'}, r'expected a URL'),
        ({'folder': '/etc'}, r'/etc/model.pt leaves the folder of weights'),
        ({'folder': 'a/../../b'}, r'leaves the folder of weights'),
        ({'folder': '~'}, r'~/model.pt leaves the folder'),
        ({'folder': '~root/x'}, r'leaves the folder'),
        ({'files': {'/etc/passwd': {}}}, r'/etc/passwd leaves the folder'),
        ({'files': {'../x': {}}}, r'leaves the folder'),
        ({'folder': '.', 'files': {'.': {}}}, r'cannot be the name of a file'),
        ({'folder': '.', 'files': {SUMS: {}}}, r'cannot be the name of a file'),
        ({'files': {'x.part': {}}}, r'cannot be the name of a file'),
        ({'files': {'a\nb': {}}}, r"'net/a\\nb' cannot be the name of a file"),
        ({'licens': 'MIT'}, r'weights\[0\]: unknown key\(s\) licens'),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        parse([{**ENTRY, **change}])


def test_a_file_listed_twice_is_refused():
    with pytest.raises(ValueError, match='listed twice: net/config.json, net/model.pt'):
        parse([ENTRY, {**ENTRY, 'folder': 'net/.'}])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(['folder', 'licence', 'source', 'origin', 'files', 'bytes', 'sha256'])
            | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_anything_is_read_or_refused_with_a_value_error(data):
    try:
        files = parse(data)
    except ValueError as error:
        assert str(error).startswith('weights')
    else:
        assert all(isinstance(file, WeightFile) for file in files)


@given(folder=st.text(max_size=12), name=st.text(max_size=12))
def test_no_file_leaves_the_home_folder(folder, name):
    try:
        (file,) = parse([{**ENTRY, 'folder': folder, 'files': {name: {}}}])
    except ValueError:
        return
    place = locate(file.path, Path('/nowhere'))
    assert place == home() / file.path and place != home()
    assert '..' not in PurePosixPath(file.path).parts


@given(st.text('abc/. ~#%?', min_size=1, max_size=20))
def test_what_yaml_brings_back_is_the_same(name):
    entry = {**ENTRY, 'files': {name: {'bytes': 1}}}
    try:
        expected = parse([entry])
    except ValueError:
        return
    assert parse(yaml.safe_load(yaml.safe_dump([entry]))) == expected


def test_where_a_file_is_looked_for(tmp_path, own_home):
    assert locate('net/a.pt', tmp_path) == own_home / 'net' / 'a.pt'
    (tmp_path / 'net').mkdir()
    (tmp_path / 'net' / 'a.pt').touch()
    assert locate('net/a.pt', tmp_path) == tmp_path / 'net' / 'a.pt'
    assert locate('/x/a.pt', tmp_path) == Path('/x/a.pt')
    assert locate('~/a.pt', tmp_path) == Path.home() / 'a.pt'


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('CS3_HOME', '~/weights')
    assert home() == Path.home() / 'weights'
    monkeypatch.setenv('CS3_HOME', '')
    assert home() == Path.home() / '.cache' / 'cs3_ros'


def test_missing_and_how_to_bring_it(own_home, tmp_path):
    files = parse([ENTRY])
    (own_home / 'net').mkdir()
    (own_home / 'net' / 'config.json').touch()
    (file,) = missing(files, tmp_path)
    assert file.path == 'net/model.pt'
    words = how_to_bring(file, 'mine')
    assert all(word in words for word in ('cs3 fetch mine', file.url, str(own_home / file.path)))
    own = WeightFile('net/b.pt', 'mine', origin='the attic')
    assert how_to_bring(own, 'mine') == f'{own_home}/net/b.pt comes from the attic'


def test_digests_are_recorded_in_a_form_that_sha256sum_reads(own_home):
    assert recorded_digests() == {}
    for name, content in (('b b.pt', b'2'), ('a.pt', b'1'), ('a.pt', b'3')):
        (own_home / name).write_bytes(content)
        record_digest(name, digest_of(own_home / name))
    assert recorded_digests() == {
        'a.pt': hashlib.sha256(b'3').hexdigest(),
        'b b.pt': hashlib.sha256(b'2').hexdigest(),
    }
    checked = subprocess.run(
        ['sha256sum', '--strict', '-c', SUMS], cwd=own_home, capture_output=True, text=True
    )
    assert checked.returncode == 0 and re.findall(r'(.*): OK', checked.stdout) == ['a.pt', 'b b.pt']
    assert sorted(path.name for path in own_home.iterdir()) == [SUMS, 'a.pt', 'b b.pt']


def test_a_damaged_list_of_digests_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    (tmp_path / 'SHA256SUMS').write_bytes(b'\xff\x00')
    with pytest.raises(ValueError, match='SHA256SUMS is damaged .*: remove it'):
        recorded_digests()
