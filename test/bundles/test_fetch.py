"""Weights come into the home folder whole and checked, or the message tells what to do."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import needs
import pytest
from file_server import FileServer, serving, torch_like

from cs3_ros.bundles import fetch as fetch_module
from cs3_ros.bundles import inventory
from cs3_ros.bundles.address import Address
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.fetch import copy_files, fetch_files
from cs3_ros.bundles.watched_http import FetchError, Patience
from cs3_ros.bundles.weights import SUMS, WeightFile, recorded_digests
from cs3_ros.packages import LITE

BIG = torch_like(bytes(range(256)) * 4096)
OTHER = torch_like(bytes(range(256))[::-1] * 4096)
SMALL = b'{"a": 1}'
HASTE = Patience(timeout_s=5.0, pauses_s=(0.0, 0.0))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server():
    with serving() as server:
        server.files = {'/net/big.pt': BIG, '/net/config.json': SMALL}
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'home'


@pytest.fixture
def big(server) -> WeightFile:
    """A file of known size and digest."""
    return WeightFile('net/big.pt', 'MIT', f'{server.url}/net/big.pt', '', len(BIG), sha256(BIG))


def unknown(file: WeightFile) -> WeightFile:
    """The same file, of which nobody published size and digest."""
    return replace(file, bytes=0, sha256='')


def names(folder: Path) -> set[str]:
    """Every file below a folder, but for the lock."""
    found = {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}
    return found - {'.lock'}


def test_files_arrive_whole_and_checked(server, big, home, capsys):
    config = WeightFile('net/config.json', 'MIT', f'{server.url}/net/config.json')
    fetch_files([big, config], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG
    assert (home / 'net/config.json').read_bytes() == SMALL
    assert names(home) == {'net/big.pt', 'net/config.json', SUMS}
    assert recorded_digests() == {'net/big.pt': sha256(BIG), 'net/config.json': sha256(SMALL)}
    first, second = capsys.readouterr().out.splitlines()
    assert first == f'net/big.pt: 1.0 MB, SHA-256 {sha256(BIG)} (as expected)'
    assert second.endswith(f'{sha256(SMALL)} (recorded in {SUMS}: none was published)')


@pytest.mark.parametrize('known', [True, False])
def test_what_broke_off_is_gone_on_with(server, big, home, known):
    server.mishaps['/net/big.pt'] = [('drop', 300_000), ('drop', 200_000)]
    fetch_files([big if known else unknown(big)], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG
    asked = [asked for _, asked in server.requests]
    assert asked == ['', 'bytes=300000-', 'bytes=500000-']


def test_the_next_call_goes_on_too(server, big, home):
    server.mishaps['/net/big.pt'] = [('drop', 300_000), *[('status', 503)] * 2]
    with pytest.raises(FetchError, match='HTTP status 503'):
        fetch_files([big], patience=HASTE)
    assert names(home) == {'net/big.pt.part', 'net/big.pt.etag'}
    server.requests.clear()
    fetch_files([big], patience=HASTE)
    assert [asked for _, asked in server.requests] == ['bytes=300000-']
    assert names(home) == {'net/big.pt', SUMS}


def test_halves_of_two_versions_are_not_joined(server, big, home):
    """The server has another version when the transfer goes on: it sends all of that."""
    server.mishaps['/net/big.pt'] = [('drop', 300_000), *[('status', 503)] * 2]
    with pytest.raises(FetchError):
        fetch_files([unknown(big)], patience=HASTE)
    server.files['/net/big.pt'] = OTHER
    fetch_files([unknown(big)], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == OTHER


def test_without_a_mark_of_the_version_and_a_digest_it_begins_again(server, big, home):
    server.etags = False
    server.mishaps['/net/big.pt'] = [('drop', 300_000)]
    fetch_files([unknown(big)], patience=HASTE)
    assert [asked for _, asked in server.requests] == ['', '']
    assert (home / 'net/big.pt').read_bytes() == BIG
    shutil.rmtree(home)
    server.requests.clear()
    server.mishaps['/net/big.pt'] = [('drop', 300_000)]
    fetch_files([big], patience=HASTE)
    assert [asked for _, asked in server.requests] == ['', 'bytes=300000-']


def test_a_server_that_knows_no_ranges(server, big, home):
    server.ranges = False
    server.mishaps['/net/big.pt'] = [('drop', 300_000)]
    fetch_files([big], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG


def test_a_part_that_is_longer_than_the_file_is_dropped(server, big, home):
    (home / 'net').mkdir(parents=True)
    (home / 'net/big.pt.part').write_bytes(BIG + b'more')
    fetch_files([big], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG


def test_a_part_that_is_whole_is_only_checked(server, big, home):
    (home / 'net').mkdir(parents=True)
    (home / 'net/big.pt.part').write_bytes(BIG)
    fetch_files([big], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG and not server.requests


def test_a_server_that_stalls_is_given_up_and_tried_again(server, big, home, capsys):
    server.mishaps['/net/big.pt'] = [('stall', 300_000)]
    fetch_files([big], patience=Patience(timeout_s=0.2, pauses_s=(0.0,)))
    assert (home / 'net/big.pt').read_bytes() == BIG
    assert 'timed out; trying again in 0 s' in capsys.readouterr().err


def test_little_that_came_before_a_stall_is_kept(server, big, home):
    server.mishaps['/net/big.pt'] = [('stall', 1000)]
    fetch_files([big], patience=Patience(timeout_s=0.2, pauses_s=(0.0,)))
    assert [asked for _, asked in server.requests] == ['', 'bytes=1000-']


@pytest.mark.parametrize(
    'headers',
    [
        {'Content-Encoding': 'gzip'},
        {'Content-Type': 'text/html; charset=utf-8'},
        {'Content-Length': '0'},
    ],
)
def test_an_answer_that_is_no_file_is_not_taken_for_one(server, big, home, headers):
    """Where no digest is known nothing else would notice, and its own would be recorded."""
    server.mishaps['/net/big.pt'] = [('headers', headers)]
    with pytest.raises(FetchError, match='big.pt answered with .*expected the file as it is'):
        fetch_files([unknown(big)], patience=HASTE)
    assert names(home) == set()


@pytest.mark.parametrize(
    'mishap',
    [('redirect', 'http://[::1/x'), ('headers', {'Content-Length': '9' * 5000})],
)
def test_a_nonsensical_answer_does_not_stop_the_others(server, big, home, mishap):
    other = WeightFile('net/config.json', 'MIT', f'{server.url}/net/config.json')
    part = home / 'net/big.pt.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG[:10])
    server.mishaps['/net/big.pt'] = [mishap]
    with pytest.raises(FetchError, match='net/big.pt'):
        fetch_files([big, other], patience=HASTE)
    assert (home / 'net/config.json').read_bytes() == SMALL


def test_attempts_that_bring_nothing_new_come_to_an_end(server, big, home):
    server.mishaps['/net/big.pt'] = [('drop', 1000), *[('drop', 0)] * 50]
    with pytest.raises(FetchError, match=f'broke off after 1000 of {len(BIG)} bytes'):
        fetch_files([big], patience=HASTE)
    assert len(server.requests) == 1 + len(HASTE.pauses_s)


def test_a_wrong_digest_is_told_and_nothing_is_left(server, big, home):
    server.files['/net/big.pt'] = OTHER
    with pytest.raises(FetchError) as caught:
        fetch_files([big], patience=HASTE)
    assert f'got SHA-256 {sha256(OTHER)}, expected {sha256(BIG)}' in str(caught.value)
    assert names(home) == set()


@pytest.mark.parametrize('length', [str(len(BIG) - 5), ''])
def test_a_wrong_size_is_told_and_nothing_is_left(server, big, home, length):
    server.files['/net/big.pt'] = BIG[:-5]
    server.mishaps['/net/big.pt'] = [('headers', {'Content-Length': length})]
    with pytest.raises(FetchError, match=f'{len(BIG) - 5} bytes, expected {len(BIG)}'):
        fetch_files([big], patience=HASTE)
    assert 'net/big.pt' not in names(home)


def test_more_than_was_told_is_not_taken(server, big, home):
    server.files['/net/big.pt'] = BIG * 4
    server.mishaps['/net/big.pt'] = [('headers', {'Content-Length': ''})]
    with pytest.raises(FetchError, match=f'sends more than {len(BIG)} bytes'):
        fetch_files([big], patience=HASTE)
    assert names(home) == set()


def test_an_unpublished_digest_must_stay_what_it_was(server, big, home):
    fetch_files([unknown(big)], patience=HASTE)
    (home / 'net/big.pt').unlink()
    server.files['/net/big.pt'] = OTHER
    with pytest.raises(FetchError, match=f'{SUMS} recorded it the first time'):
        fetch_files([unknown(big)], patience=HASTE)
    assert names(home) == {SUMS}


def test_one_file_that_is_not_there_does_not_stop_the_others(server, big, home):
    gone = WeightFile('net/gone.pt', 'MIT', f'{server.url}/net/gone.pt')
    own = WeightFile('own/a.pt', 'mine', origin='your training run')
    with pytest.raises(FetchError) as caught:
        fetch_files([gone, own, big], patience=HASTE)
    told = str(caught.value)
    assert f'{gone.url}: HTTP status 404' in told and 'net/big.pt' not in told
    assert f'nobody offers it:\n    {home}/own/a.pt\n      from your training run' in told
    assert (home / 'net/big.pt').read_bytes() == BIG
    assert [path for path, _ in server.requests].count('/net/gone.pt') == 1, '404 is final'


def test_offline_every_file_is_named_with_its_place(big, home):
    with serving() as server:
        closed = server.url  # nobody listens there any more
    files = [replace(big, path=f'net/{name}', url=f'{closed}/{name}') for name in ('a.pt', 'b.pt')]
    with pytest.raises(FetchError) as caught:
        fetch_files(files, patience=HASTE)
    told = str(caught.value)
    assert told.count('cannot be reached: [Errno 111] Connection refused:\n') == 1
    for file in files:
        assert f'    {home / file.path}\n      from {file.url}\n' in told
    assert '--from' in told


def test_a_mirror_has_the_files_under_their_paths(server, big, home):
    server.files = {'/mirror/net/a%20b.pt': BIG}
    file = replace(big, path='net/a b.pt', url='http://127.0.0.1:9/elsewhere')
    fetch_files([file], f'{server.url}/mirror/', HASTE)
    assert (home / 'net/a b.pt').read_bytes() == BIG


@pytest.mark.parametrize('mirror', ['file:///etc', 'host/path', 'https:///x', 'ftp://host/x'])
def test_a_mirror_that_is_no_url(big, home, mirror):
    with pytest.raises(ValueError, match='--mirror: .*expected a URL'):
        fetch_files([big], mirror, HASTE)
    assert not home.exists()


def test_redirects_are_followed(server, big, home):
    server.files['/elsewhere'] = BIG
    server.mishaps['/net/big.pt'] = [('redirect', '/elsewhere'), ('redirect', '/elsewhere')]
    server.mishaps['/elsewhere'] = [('drop', 1000)]
    fetch_files([big], patience=HASTE)
    assert (home / 'net/big.pt').read_bytes() == BIG
    assert server.requests[-1] == ('/elsewhere', 'bytes=1000-')


@pytest.mark.parametrize('target', ['file:///etc/passwd', 'ftp://127.0.0.1/x', 'data:,x'])
def test_redirects_to_other_schemes_are_refused(server, big, home, target):
    server.mishaps['/net/big.pt'] = [('redirect', target)]
    with pytest.raises(FetchError, match='(?s)still to be brought.*(not allowed|leads to)'):
        fetch_files([unknown(big)], patience=HASTE)
    assert names(home) == set() and len(server.requests) == 1


def test_redirects_from_https_to_http_are_refused():
    secure = Address.parse('https://a/x', 'here')
    with pytest.raises(ValueError, match='https://a/x leads to .http://b/y.: expected https'):
        secure.redirected('http://b/y')
    assert Address.parse('http://a/x', 'here').redirected('https://b/y').url == 'https://b/y'


def test_a_redirect_in_a_circle_ends(server, big):
    server.mishaps['/net/big.pt'] = [('redirect', '/net/big.pt')] * 50
    with pytest.raises(FetchError, match='leads on more than 8 times'):
        fetch_files([big], patience=HASTE)


def test_a_full_disk_is_told_before_anything_is_fetched(server, big, home, monkeypatch):
    usage = shutil.disk_usage('/')._replace(free=1000)
    monkeypatch.setattr(fetch_module.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match=r'0.00 GB free, expected 0.00 GB: .*CS3_HOME'):
        fetch_files([big], patience=HASTE)
    assert not server.requests


def test_a_home_that_is_no_folder_is_told_with_the_fix(big, home):
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_bytes(b'')
    with pytest.raises(OSError, match=f'{home} cannot be made .*: set CS3_HOME to a folder'):
        fetch_files([big], patience=HASTE)


def test_two_at_a_time_do_not_write_the_same_files(big, home):
    home.mkdir(parents=True, exist_ok=True)
    with (home / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match='another cs3 fetch'):
            fetch_files([big], patience=HASTE)


def test_files_from_a_folder(big, home, tmp_path):
    """By their path below it, or by their name anywhere; they stay where they are."""
    source = tmp_path / 'stick'
    (source / 'net').mkdir(parents=True)
    (source / 'deep' / 'er').mkdir(parents=True)
    (source / 'net' / 'big.pt').write_bytes(BIG)
    (source / 'deep' / 'er' / 'config.json').write_bytes(SMALL)
    before = names(source)
    copy_files([big, WeightFile('net/config.json', 'MIT', 'https://host/x')], source)
    assert (home / 'net/big.pt').read_bytes() == BIG
    assert (home / 'net/config.json').read_bytes() == SMALL
    assert names(source) == before and names(home) == {'net/big.pt', 'net/config.json', SUMS}


def test_a_folder_with_two_files_of_the_name(big, home, tmp_path):
    for folder, content in (('a', BIG), ('b', SMALL)):
        (tmp_path / 'stick' / folder).mkdir(parents=True)
        (tmp_path / 'stick' / folder / 'big.pt').write_bytes(content)
    with pytest.raises(FetchError, match='a/big.pt, .*b/big.pt: expected one big.pt, or .*net/big'):
        copy_files([unknown(big)], tmp_path / 'stick')
    assert names(home) == set()
    copy_files([big], tmp_path / 'stick')
    assert (home / 'net/big.pt').read_bytes() == BIG, 'the digest tells which one is meant'


def test_a_name_that_several_networks_have_is_not_enough(home, tmp_path):
    """A stick with CLIPSeg alone must not give the detector of hands CLIPSeg's weights."""
    files = [WeightFile(f'{name}/config.json', 'MIT', origin='you') for name in ('one', 'two/net')]
    stick = tmp_path / 'stick'
    (stick / 'deep/one').mkdir(parents=True)
    (stick / 'deep/one/config.json').write_bytes(SMALL)
    for lacking in (files, files[1:]):
        with pytest.raises(FetchError, match='stick has no two/net/config.json; .*other files'):
            copy_files(lacking, stick, files)
    assert names(home) == {'one/config.json', SUMS}
    (stick / 'two/net').mkdir(parents=True)
    (stick / 'two/net/config.json').write_bytes(b'[2]')
    copy_files(files[1:], stick, files)
    assert (home / 'two/net/config.json').read_bytes() == b'[2]'


def test_a_folder_with_wrong_or_without_files(big, home, tmp_path):
    stick = tmp_path / 'stick'
    with pytest.raises(NotADirectoryError, match='--from .*stick: expected a folder'):
        copy_files([big], stick)
    stick.mkdir()
    with pytest.raises(FetchError, match='not found: .*stick has neither net/big.pt nor big.pt'):
        copy_files([big], stick)
    (stick / 'big.pt').write_bytes(OTHER)
    with pytest.raises(FetchError, match='got SHA-256'):
        copy_files([big], stick)
    assert names(home) == set() and names(stick) == {'big.pt'}


@pytest.fixture
def stick(tmp_path) -> Path:
    (tmp_path / 'stick').mkdir()
    return tmp_path / 'stick'


def test_links_are_followed_to_files_only(big, home, stick):
    """As the hubs' own caches have them."""
    (stick / 'blob').write_bytes(BIG)
    (stick / 'big.pt').symlink_to('blob')
    copy_files([big], stick)
    assert (home / 'net/big.pt').read_bytes() == BIG and not (home / 'net/big.pt').is_symlink()
    (home / 'net/big.pt').unlink()
    for place in ('/dev/zero', '/dev/null', 'nowhere', 'big.pt', '.'):
        (stick / 'big.pt').unlink()
        (stick / 'big.pt').symlink_to(place)
        with pytest.raises(FetchError, match='not found'):
            copy_files([unknown(big)], stick)
    (stick / 'big.pt').unlink()
    os.mkfifo(stick / 'big.pt')
    with pytest.raises(FetchError, match='not found'):
        copy_files([unknown(big)], stick)
    assert names(home) == {SUMS}


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(big, home, stick, monkeypatch):
    os.mkfifo(stick / 'big.pt')
    monkeypatch.setattr(fetch_module, 'find', lambda *arguments: stick / 'big.pt')
    with pytest.raises(FetchError, match='big.pt: expected a regular file'):
        copy_files([unknown(big)], stick)


def test_links_in_the_place_of_parts_and_files_are_replaced(server, big, home, stick, tmp_path):
    """Nothing is written to where they lead."""
    own = tmp_path / 'own.txt'
    (stick / 'big.pt').write_bytes(BIG)
    for bring in (lambda: copy_files([big], stick), lambda: fetch_files([big], patience=HASTE)):
        own.write_bytes(b'mine')
        shutil.rmtree(home, ignore_errors=True)
        (home / 'net').mkdir(parents=True)
        for name in ('big.pt', 'big.pt.part', 'big.pt.etag'):
            (home / 'net' / name).symlink_to(own)
        (home / SUMS).symlink_to(tmp_path / 'nowhere')
        server.mishaps['/net/big.pt'] = [('drop', 1000)]
        bring()
        assert own.read_bytes() == b'mine' and names(home) == {'net/big.pt', SUMS}
        assert (home / 'net/big.pt').read_bytes() == BIG


@pytest.mark.parametrize('known', [True, False])
def test_a_file_that_grows_while_it_is_copied(big, home, stick, monkeypatch, known):
    (stick / 'big.pt').write_bytes(BIG)
    send = os.sendfile

    def grow(target: int, source: int, start: int, count: int) -> int:
        with (stick / 'big.pt').open('ab') as file:
            file.write(bytes(1000))
        return send(target, source, start, min(count, 300_000))

    monkeypatch.setattr(fetch_module.os, 'sendfile', grow)
    with pytest.raises(FetchError, match='big.pt changed while it was copied'):
        copy_files([big if known else unknown(big)], stick)
    assert names(home) == set()


def test_a_file_that_is_too_large_is_not_copied(big, home, stick, monkeypatch):
    with (stick / 'big.pt').open('wb') as file:
        file.truncate(1 << 33)
    with pytest.raises(FetchError, match=f'big.pt has {1 << 33} bytes, expected {len(BIG)}'):
        copy_files([big], stick)
    usage = shutil.disk_usage('/')._replace(free=1 << 32)
    monkeypatch.setattr(fetch_module.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(FetchError, match=f'big.pt has {1 << 33} bytes, .* room for {1 << 32}'):
        copy_files([unknown(big)], stick)
    assert names(home) == set()


def test_a_disk_that_fills_up_leaves_nothing_half(server, big, home, stick):
    """The others are tried, and what came over the net can be gone on with."""
    (stick / 'big.pt').write_bytes(BIG)
    (stick / 'config.json').write_bytes(SMALL)
    child = subprocess.run(
        [sys.executable, '-c', FULL, str(stick), server.url, str(len(BIG)), sha256(BIG)],
        capture_output=True,
        text=True,
        env=os.environ | {'CS3_HOME': str(home)},
    )
    assert child.returncode == 0, child.stderr
    copied, fetched = child.stdout.split('---')
    assert 'big.pt cannot be copied to' in copied and 'File too large' in copied
    assert 'big.pt.part cannot be written: File too large' in fetched
    assert names(home) == {'net/config.json', 'net/big.pt.part', 'net/big.pt.etag', SUMS}
    fetch_files([big], patience=HASTE)
    assert server.requests[-1][1] == 'bytes=300000-'
    assert (home / 'net/big.pt').read_bytes() == BIG


FULL = """
import resource, signal, sys
from pathlib import Path
from cs3_ros.bundles.fetch import copy_files, fetch_files
from cs3_ros.bundles.weights import WeightFile
stick, url, size, digest = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
files = [
    WeightFile('net/big.pt', 'MIT', f'{url}/net/big.pt', '', int(size), digest),
    WeightFile('net/config.json', 'MIT', f'{url}/net/config.json'),
]
try:
    copy_files(files, Path(stick))
except RuntimeError as error:
    print(error)
print('---')
try:
    fetch_files(files[:1])
except RuntimeError as error:
    print(error)
"""


BUNDLE = """\
name: mine
clip: {{}}
hands: {{type: mediapipe}}
masker: {{type: grabcut}}
weights:
  - folder: net
    licence: MIT
    source: {url}/net
    files: {{big.pt: {{bytes: {size}, sha256: {digest}}}, config.json: {{}}}}
"""


@pytest.fixture
def bundle(server, tmp_path) -> str:
    path = tmp_path / 'mine.yaml'
    path.write_text(BUNDLE.format(url=server.url, size=len(BIG), digest=sha256(BIG)))
    return str(path)


def options(bundle: str, mirror: str = '', from_dir: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(bundle=bundle, mirror=mirror, from_dir=from_dir)


def test_the_command_fetches_what_is_missing_and_no_more(server, bundle, home, capsys):
    (home / 'net').mkdir(parents=True)
    (home / 'net/config.json').write_bytes(b'my own')
    assert fetch_module.main(options(bundle)) == 0
    assert [path for path, _ in server.requests] == ['/net/big.pt']
    assert (home / 'net/config.json').read_bytes() == b'my own'
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .startswith(f'mine: all 2 files are in {home}; cs3 bundles')
    )
    assert fetch_module.main(options(bundle)) == 0 and len(server.requests) == 1
    assert not load_bundle(bundle).lacking_weights


def test_the_command_has_one_source(bundle, tmp_path):
    with pytest.raises(ValueError, match='--mirror and --from'):
        fetch_module.main(options(bundle, 'https://host', tmp_path))


def test_acl_of_a_mirror_with_files_of_the_right_names_and_wrong_digests(server, home, tmp_path):
    """Nobody published the digest of ACL-SSL's checkpoint: it must be a torch file, and stay."""
    shipped = load_bundle('acl')
    path = tmp_path / 'acl.yaml'  # of unknown sizes, for the digests to be looked at
    text = (shipped.folder / 'acl.yaml').read_text('utf-8')
    path.write_text(re.sub(r'\n +bytes: \d+', '', text))
    server.files = {f'/mirror/{file.path}': torch_like(b'wrong') for file in shipped.weights}
    checkpoint = '/mirror/acl/Param_best.pth'
    server.files[checkpoint] = b'<!DOCTYPE html><title>Log in</title>'
    with pytest.raises(FetchError, match='not what its name says: it is a page of HTML') as caught:
        fetch_module.main(options(str(path), f'{server.url}/mirror'))
    digests = [file.sha256 for file in shipped.weights if file.sha256]
    assert len(digests) == len(shipped.weights) - 1
    assert all(f'expected {digest}; not kept' in str(caught.value) for digest in digests)
    assert names(home) == set()
    server.files[checkpoint] = BIG
    with pytest.raises(FetchError, match='still to be brought'):
        fetch_module.main(options(str(path), f'{server.url}/mirror'))
    assert names(home) == {'acl/Param_best.pth', SUMS}
    (home / 'acl/Param_best.pth').unlink()
    server.files[checkpoint] = OTHER
    with pytest.raises(FetchError, match='recorded it the first time; not kept'):
        fetch_module.main(options(str(path), f'{server.url}/mirror'))
    assert names(home) == {SUMS}


def test_acl_takes_no_file_of_another_size(server, home):
    shipped = load_bundle('acl')
    server.files = {f'/mirror/{file.path}': BIG for file in shipped.weights}
    with pytest.raises(FetchError, match='expected 603049496') as caught:
        fetch_module.main(options('acl', f'{server.url}/mirror'))
    assert 'acl/Param_best.pth' not in str(caught.value)
    assert names(home) == {'acl/Param_best.pth', SUMS}


def test_a_bundle_without_weights_needs_nothing(capsys):
    assert fetch_module.main(options('lite')) == 0
    assert capsys.readouterr().out.startswith('lite: no weights')


def test_weights_beside_the_bundle_need_no_fetching(server, bundle, home, tmp_path, capsys):
    (tmp_path / 'net').mkdir()
    (tmp_path / 'net/big.pt').write_bytes(BIG)
    fetch_module.main(options(bundle))
    assert f'all 2 files are in {home} and {tmp_path};' in capsys.readouterr().out
    (tmp_path / 'net/config.json').write_bytes(SMALL)
    server.requests.clear()
    assert fetch_module.main(options(bundle)) == 0 and not server.requests
    told = f'mine: nothing to fetch, all 2 files lie beside it in {tmp_path};'
    assert capsys.readouterr().out.startswith(told)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_keeps_the_part_and_says_so(server: FileServer, bundle, home, number):
    """Ctrl-C, or the end of a session, in a process of its own; the worst end cannot say it."""
    server.mishaps['/net/big.pt'] = [('stall', 300_000)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'cs3_ros.cli', 'fetch', bundle],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {'CS3_HOME': str(home)},
        # a job in the background ignores SIGINT, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    part, until = home / 'net/big.pt.part', time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        ends = {signal.SIGINT: 130, signal.SIGTERM: 143}
        assert process.returncode == ends[number] and 'Traceback' not in told
        assert 'MB of net/big.pt are kept' in told and 'goes on from there' in told
    assert 0 < part.stat().st_size <= 300_000
    server.requests.clear()
    fetch_files(load_bundle(bundle).lacking_weights, patience=HASTE)
    assert server.requests[0][1].startswith('bytes=')
    assert (home / 'net/big.pt').read_bytes() == BIG


@pytest.fixture
def table(bundle, monkeypatch, tmp_path, capsys):
    """What ``cs3 bundles`` prints and writes of this bundle alone."""
    monkeypatch.setattr(inventory, 'bundle_names', lambda: [bundle])

    def run(check: bool = False) -> tuple[int, str, dict]:
        path = tmp_path / 'table.json'
        status = inventory.main(argparse.Namespace(check=check, json=path, force=False))
        (row,) = json.loads(path.read_text())
        return status, capsys.readouterr().out, row

    return run


def test_the_table_tells_what_is_missing_and_how_it_comes(table, bundle, home):
    needs.hands()
    status, printed, row = table()
    assert status == 0 and not row['ready'] and row['missing'] == ['net/big.pt', 'net/config.json']
    assert 'missing 2 of 2 files' in printed and 'weights: MIT' in printed
    assert '-> cs3 fetch mine' in printed and str(home) in printed
    fetch_module.main(options(bundle))
    status, printed, row = table(check=True)
    assert status == 0 and row['ready'] and 'ready' in printed and '->' not in printed


@pytest.mark.parametrize('name', ['big.pt', 'config.json'])
def test_the_check_finds_what_was_changed(table, bundle, home, name):
    """Against the bundle's digest, or the one recorded when it was fetched."""
    fetch_module.main(options(bundle))
    (home / 'net' / name).write_bytes(b'something else')
    assert table()[0] == 0, 'files are read on demand only'
    status, printed, row = table(check=True)
    assert status == 1 and row['damaged'] == [str(home / 'net' / name)] and not row['ready']
    assert (
        '1 file(s) with a wrong SHA-256' in printed and 'remove it, then cs3 fetch mine' in printed
    )


def test_what_nobody_offers_is_not_to_be_fetched(table, bundle, tmp_path):
    path = tmp_path / 'net' / 'big.pt'
    path.parent.mkdir()
    text = Path(bundle).read_text()
    head, _, rest = text.partition('    source: ')
    Path(bundle).write_text(f'{head}    origin: my attic\n{rest.partition(chr(10))[2]}')
    path.write_bytes(b'something else')
    (tmp_path / 'net' / 'config.json').write_bytes(SMALL)
    status, printed, row = table(check=True)
    assert status == 1 and row['damaged'] == [str(path)]
    assert 'remove it, it comes from my attic' in printed and 'cs3 fetch' not in printed


def test_the_table_shows_a_warning(table, bundle):
    assert '!!' not in table()[1]
    with Path(bundle).open('a') as file:
        file.write('warning: it is blind\n')
    _, printed, row = table()
    assert row['warning'] == 'it is blind' and '  !! it is blind\n' in printed


def test_the_table_names_packages_that_are_not_installed(table, monkeypatch):
    needs.opencv()
    monkeypatch.setitem(sys.modules, 'mediapipe', None)  # as if it were not there
    monkeypatch.setattr('cs3_ros.packages.is_installed', lambda name: name != 'mediapipe')
    _, printed, row = table()
    assert row['packages'] == ['mediapipe'] and 'not installed: mediapipe' in printed
    assert f'-> {LITE}' in printed


def test_the_table_names_packages_that_lack_something(table, monkeypatch):
    """As mediapipe 1.x does."""
    needs.hands()
    monkeypatch.setitem(sys.modules, 'mediapipe', ModuleType('mediapipe'))
    _, printed, row = table()
    assert row['packages'] == ['mediapipe'] and not row['ready']
    assert re.search(r'mediapipe \S+ has no solutions.hands.Hands', printed)
    assert f'-> {LITE}' in printed
