"""Whatever a server does: a fetch ends, with the right file or one line, and tells no secret."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import torch_like
from hostile_server import BEHAVIOURS, Behaviour, HostileServer, Talk, hostile

from cs3_ros.bundles.address import Address, masked
from cs3_ros.bundles.fetch import fetch_files
from cs3_ros.bundles.watched_http import FetchError, Patience
from cs3_ros.bundles.weights import WeightFile

CONTENT = torch_like(bytes(range(251)) * 800)
LITTLE = Patience(
    timeout_s=0.2,
    pauses_s=(0.0,),
    head_s=0.3,
    window_s=0.2,
    bytes_per_s=100_000.0,
    progress_bytes=50_000,
    total_s=2.0,
    most_bytes=1 << 20,
)
SOME = Patience(timeout_s=5.0, pauses_s=(0.0, 0.0), progress_bytes=50_000, most_bytes=1 << 20)
SECRETS = ('sesame', base64.b64encode(b'ali:open sesame').decode(), 'zauber', 'ali:')


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'home'


def weights(known: bool = False) -> WeightFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return WeightFile('net/a.pt', 'MIT', '', 'you', len(CONTENT) * known, digest * known)


def with_secrets(server: HostileServer) -> str:
    return f'http://ali:open%20sesame@{server.host}/files?token=zauber'


def client_sockets(port: int) -> int:
    """Open sockets of this process that lead to a port."""
    count = 0
    for name in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):
            if os.readlink(f'/proc/self/fd/{name}').startswith('socket:'):
                with socket.socket(fileno=os.dup(int(name))) as own:
                    count += own.family == socket.AF_INET and own.getpeername()[1] == port
    return count


@pytest.mark.parametrize('behaviour', BEHAVIOURS.values(), ids=BEHAVIOURS)
def test_a_hostile_server_is_survived(behaviour: Behaviour, home, capfd, caplog):
    threads = set(threading.enumerate())
    with hostile(behaviour.run, CONTENT) as server:
        told = ''
        try:
            fetch_files(
                [weights(behaviour.known)],
                with_secrets(server),
                LITTLE if behaviour.hasty else SOME,
            )
        except FetchError as error:
            told = str(error)
        assert not server.had_to_end, 'the client would have stayed for ever'
        assert not client_sockets(int(server.host.partition(':')[2]))
        assert 1 <= len(server.talks) <= 20
        for talk in server.talks:
            sent = talk.headers['authorization'].removeprefix('Basic ')
            assert base64.b64decode(sent) == b'ali:open sesame'
    assert set(threading.enumerate()) == threads
    file = home / 'net/a.pt'
    if behaviour.right:
        assert not told and file.read_bytes() == CONTENT
    else:
        assert not file.exists()
        head, why, place, source, *_ = told.split('\n')
        assert head.startswith('these files') and place.strip() == str(file)
        assert re.search(behaviour.message, why) and len(why) < 400 and why.isprintable()
        assert source.strip() == f'from http://***@{server.host}/files/net/a.pt?***'
    kept = [path.read_bytes().decode('latin-1') for path in home.rglob('*') if path.is_file()]
    assert sum(map(len, kept)) < 2 * LITTLE.most_bytes
    for text in (told, *capfd.readouterr(), caplog.text, *kept):
        assert not [secret for secret in SECRETS if secret in text]


def test_a_password_goes_to_its_host_alone(home):
    """A redirect elsewhere is followed without it, one on the same host with it."""

    def files(talk: Talk) -> None:
        talk.ranged()
        talk.send(CONTENT)

    with hostile(files, CONTENT) as elsewhere:

        def leads(talk: Talk) -> None:
            place = '/moved' if talk.number == 0 else f'{elsewhere.url}/x'
            talk.head('302 Found', f'Location: {place}')

        with hostile(leads, CONTENT) as server:
            fetch_files([weights()], with_secrets(server), SOME)
            paths = [talk.path for talk in server.talks]
            assert paths == ['/files/net/a.pt?token=zauber', '/moved']
            assert all('authorization' in talk.headers for talk in server.talks)
        (talk,) = elsewhere.talks
        assert b'authorization' not in talk.raw.lower() and b'zauber' not in talk.raw
    assert (home / 'net/a.pt').read_bytes() == CONTENT


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        ('https://ali:secret@host/x?token=secret#secret', 'https://***@host/x?***'),
        ('https://secret@host:80/x', 'https://***@host:80/x'),
        ('https://host:80/@scope/x', 'https://***@scope/x'),
        ('https://host/@scope/x', 'https://host/@scope/x'),
        ('https://ali:12/secret@host/x', 'https://***@host/x'),
        ('https://ali:se#cret@host/x?q=secret', 'https://***@host/x?***'),
        ('ali:secret@host/x', '***@host/x'),
        ('https://ali:secret@host:port/x', 'https://***@host:port/x'),
        ('ftp://ali:secret@host/x', 'ftp://***@host/x'),
        ('https://ali:secret@/x', 'https://***@/x'),
    ],
)
def test_an_address_is_shown_without_its_secrets(url, shown):
    assert masked(url) == shown
    try:
        assert 'secret' not in Address.parse(url, '--mirror').shown
    except ValueError as error:
        assert str(error) == f"--mirror: '{shown}': expected a URL, https://..."


def test_an_address_below_another_keeps_what_it_needs():
    base = Address.parse('https://a%3Ab:p%40ss@Höst:81/räume/?key=1', 'here')
    below = Address.parse(base.below('net/a b.pt'), 'here')
    assert below.url == 'https://xn--hst-sna:81/r%C3%A4ume/net/a%20b.pt?key=1'
    assert base64.b64decode(below.authorization.removeprefix('Basic ')) == b'a:b:p@ss'
    assert 'p@ss' not in repr(below)


def test_a_redirect_may_have_any_letters():
    """They come as Latin-1, whatever they were."""
    there = Address.parse('http://a/x', 'here').redirected('/r\xc3\xa4um e?q=\xc3\xa4%20')
    assert there.url == 'http://a/r%C3%A4um%20e?q=%C3%A4%20' and there.shown.endswith('?***')


@pytest.mark.parametrize(
    'patience',
    [
        replace(SOME, progress_bytes=1, total_s=0.2),
        replace(SOME, pauses_s=(0.0,) * 1_000_000, stuck_s=0.2),
    ],
    ids=['total_s', 'stuck_s'],
)
def test_a_file_has_only_so_much_time(home, patience):
    """Though every attempt brings a little more, or there are very many attempts."""

    def drops(talk: Talk) -> None:
        talk.ranged()
        talk.send(CONTENT[talk.start : talk.start + 10])

    with (
        hostile(drops, CONTENT) as server,
        pytest.raises(FetchError, match='broke off after|in all'),
    ):
        fetch_files([weights()], server.url, patience)
    assert len(server.talks) * 10 < len(CONTENT)


def test_a_server_that_gives_nothing_is_not_asked_for_every_file(home):
    """A bundle has a dozen files, each of which would take as long as the first."""
    names = [f'net/{letter}.pt' for letter in 'abcdef']
    files = [replace(weights(), path=name) for name in names]
    with hostile(BEHAVIOURS['silence'].run, CONTENT) as server:
        url = with_secrets(server)
        with pytest.raises(FetchError, match=rf'\n  {server.host} was given up:\n') as caught:
            fetch_files(files, url, replace(LITTLE, stuck_s=0.5))
        assert len(server.talks) <= 4, 'at most two files, two attempts each'
    assert all(str(home / name) in str(caught.value) for name in names)


def test_a_proxy_is_asked_and_does_not_get_the_password_in_the_address(home, monkeypatch):
    def files(talk: Talk) -> None:
        talk.ranged()
        talk.send(CONTENT)

    with hostile(files, CONTENT) as proxy:
        monkeypatch.setenv('http_proxy', f'http://me:proxyword@{proxy.host}')
        fetch_files([weights()], 'http://ali:open%20sesame@mirror.invalid/files', SOME)
        (talk,) = proxy.talks
        assert talk.path == 'http://mirror.invalid/files/net/a.pt'
        assert talk.headers['proxy-authorization'] == 'Basic bWU6cHJveHl3b3Jk'
    assert (home / 'net/a.pt').read_bytes() == CONTENT


def test_a_server_that_leads_away_from_the_proxy_does_not_learn_its_password(home, monkeypatch):
    def files(talk: Talk) -> None:
        talk.ranged()
        talk.send(CONTENT)

    with hostile(files, CONTENT) as elsewhere:

        def leads(talk: Talk) -> None:
            talk.head('302 Found', f'Location: {elsewhere.url}/x')

        with hostile(leads, CONTENT) as proxy:
            monkeypatch.setenv('http_proxy', f'http://me:proxyword@{proxy.host}')
            monkeypatch.setenv('no_proxy', '127.0.0.1')
            fetch_files([weights()], 'http://mirror.invalid', SOME)
        assert b'authorization' not in elsewhere.talks[0].raw.lower()
