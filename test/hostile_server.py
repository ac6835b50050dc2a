"""A server on raw sockets that breaks HTTP in every way that a test asks for.

Each of ``BEHAVIOURS`` answers one request; it may look at how many came before. What a client
should make of it is noted beside it: the right file, or an error.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

END_S = 15.0
"""A server of a test ends everything by itself after this, so that no client hangs for ever."""


@dataclass
class Talk:
    """One connection with its request."""

    server: HostileServer
    sock: socket.socket
    number: int
    """How many requests came before."""
    path: str = ''
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b''

    @property
    def content(self) -> bytes:
        return self.server.content

    @property
    def start(self) -> int:
        """First byte that is asked for."""
        found = re.fullmatch(r'bytes=(\d+)-', self.headers.get('range', ''))
        return int(found[1]) if found else 0

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self, status: str = '200 OK', *lines: str) -> None:
        self.send('\r\n'.join([f'HTTP/1.1 {status}', *lines, '', '']).encode('latin-1'))

    def ranged(self, *lines: str) -> None:
        """The right head for what was asked for, and more lines."""
        size, start = len(self.content), self.start
        told = [f'Content-Length: {size - start}', 'ETag: "one"', *lines]
        if start:
            self.head('206 Partial', f'Content-Range: bytes {start}-{size - 1}/{size}', *told)
        else:
            self.head('200 OK', *told)

    def repeat(self, data: bytes, pause_s: float = 0.0) -> None:
        """Send it again and again until the client or the server ends."""
        while not self.server.ended.wait(pause_s) if pause_s else not self.server.ended.is_set():
            self.send(data)

    def drip(self, data: bytes, pause_s: float = 0.05) -> None:
        """Byte by byte."""
        for at in range(len(data)):
            if self.server.ended.wait(pause_s):
                return
            self.send(data[at : at + 1])

    def hold(self) -> None:
        """Say nothing more, but stay."""
        self.server.ended.wait()


class HostileServer:
    """Answers every request with one behaviour; ``content`` is the right file."""

    def __init__(self, behaviour: Callable[[Talk], None], content: bytes) -> None:
        self.behaviour, self.content = behaviour, content
        self.talks: list[Talk] = []
        """Every request so far."""
        self.ended = threading.Event()
        self.had_to_end = False
        """Whether a client stayed until the server lost patience."""
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.host = f'127.0.0.1:{self._listener.getsockname()[1]}'
        """Name and port."""
        self._accepting = threading.Thread(target=self._accept)
        self._timer = threading.Timer(END_S, self._lose_patience)
        self._accepting.start()
        self._timer.start()

    @property
    def url(self) -> str:
        return f'http://{self.host}'

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(sock)
                self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
                self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            raw = b''
            while b'\r\n\r\n' not in raw:
                if not (more := sock.recv(65536)):
                    return
                raw += more
            first, *lines = raw.decode('latin-1').split('\r\n')
            headers = dict(line.lower().split(': ', 1) for line in lines if ': ' in line)
            for line in lines:  # the value as it is
                name, colon, value = line.partition(': ')
                if colon:
                    headers[name.lower()] = value
            with self._lock:
                talk = Talk(self, sock, len(self.talks), first.split(' ')[1], headers, raw)
                self.talks.append(talk)
            self.behaviour(talk)

    def _lose_patience(self) -> None:
        self.had_to_end = True
        self._end()

    def _end(self) -> None:
        self.ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._timer.cancel()
        self._end()
        for thread in (self._accepting, self._timer, *self._threads):
            thread.join()


@contextlib.contextmanager
def hostile(behaviour: Callable[[Talk], None], content: bytes) -> Iterator[HostileServer]:
    server = HostileServer(behaviour, content)
    try:
        yield server
    finally:
        server.close()


@dataclass(frozen=True)
class Behaviour:
    """One way to answer."""

    run: Callable[[Talk], None]
    right: bool
    """Whether the client should get the right file all the same."""
    known: bool
    """Whether the client knows size and digest."""
    message: str
    """What the error should have in it, a pattern."""
    hasty: bool
    """Whether the client has to lose its patience, and should have little of it."""


BEHAVIOURS: dict[str, Behaviour] = {}
GAVE_UP = 'broke off|timed out|gives less than|in all'


def _behaviour(
    message: str = '', *, right: bool = False, known: bool = False, hasty: bool = False
) -> Callable:
    def note(run: Callable[[Talk], None]) -> Callable[[Talk], None]:
        hurry = hasty or message.startswith(GAVE_UP)
        BEHAVIOURS[run.__name__] = Behaviour(run, right, known, message, hurry)
        return run

    return note


# --- heads ---


@_behaviour(GAVE_UP)
def silence(talk: Talk) -> None:
    talk.hold()


@_behaviour(GAVE_UP)
def closes_at_once(talk: Talk) -> None:
    pass


@_behaviour(GAVE_UP)
def resets(talk: Talk) -> None:
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


@_behaviour(GAVE_UP)
def status_line_drips(talk: Talk) -> None:
    talk.drip(b'HTTP/1.1 200 ' + b'O' * 10_000)


@_behaviour('status line')
def status_line_never_ends(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 200 ')
    talk.repeat(b'O' * 4096)


@_behaviour('header line')
def header_line_never_ends(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 200 OK\r\nX: ')
    talk.repeat(b'x' * 4096)


@_behaviour('100 headers')
def headers_never_end(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 200 OK\r\n')
    talk.repeat(b'X: y\r\n' * 20)


@_behaviour('bytes as head')
def ninety_long_headers(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 200 OK\r\n' + b''.join(b'X: %s\r\n' % (b'y' * 60_000) for _ in range(90)))
    talk.send(b'\r\n' + talk.content)


@_behaviour(GAVE_UP)
def headers_drip(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 200 OK\r\n')
    talk.drip(b'X: y\r\n' * 2000)


@_behaviour('bytes as head')
def continue_for_ever(talk: Talk) -> None:
    talk.repeat(b'HTTP/1.1 100 Continue\r\n\r\n')


@_behaviour(GAVE_UP)
def continue_now_and_then(talk: Talk) -> None:
    talk.repeat(b'HTTP/1.1 100 Continue\r\n\r\n', 0.05)


@_behaviour('HTTP status 10')
def processing_for_ever(talk: Talk) -> None:
    talk.repeat(b'HTTP/1.1 102 Processing\r\n\r\n', 0.02)


@_behaviour('HTTP status 10')
def switches_protocols(talk: Talk) -> None:
    talk.head('101 Switching', 'Upgrade: websocket')
    talk.repeat(b'\x81\x05hello')


@_behaviour('not HTTP')
def echoes_the_request(talk: Talk) -> None:
    talk.send(talk.raw)


@_behaviour('not HTTP')
def garbage(talk: Talk) -> None:
    talk.send(bytes(range(256)) * 16)


@_behaviour('not HTTP')
def body_without_head(talk: Talk) -> None:
    talk.send(talk.content)


@_behaviour('HTTP status 500')
def odd_reason(talk: Talk) -> None:
    talk.head('500 \x1b[2J\x07\x85' + 'no ' * 5000)


@_behaviour('HTTP status 404')
def missing_with_an_endless_page(talk: Talk) -> None:
    talk.head('404 Not Found')
    talk.repeat(b'<p>not here</p>' * 100)


@_behaviour('HTTP status 503')
def busy_for_a_year(talk: Talk) -> None:
    talk.head('503 Busy', 'Retry-After: 31536000', 'Content-Length: 0')


@_behaviour('HTTP status 401')
def asks_for_a_password(talk: Talk) -> None:
    talk.head('401 No', 'WWW-Authenticate: Basic realm="x"', 'Content-Length: 0')


# --- bodies ---


@_behaviour('more than')
def body_never_ends(talk: Talk) -> None:
    talk.head()
    talk.repeat(b'\0' * 65536)


@_behaviour('more than', known=True)
def body_never_ends_though_the_size_is_known(talk: Talk) -> None:
    talk.head()
    talk.send(talk.content[:1000])
    talk.repeat(b'\0' * 65536)


@_behaviour(GAVE_UP)
def body_drips(talk: Talk) -> None:
    talk.head()
    talk.drip(talk.content)


@_behaviour(GAVE_UP, known=True)
def body_drips_where_the_size_is_known(talk: Talk) -> None:
    talk.ranged()
    talk.drip(talk.content[talk.start :])


@_behaviour(GAVE_UP, known=True)
def one_byte_per_attempt(talk: Talk) -> None:
    talk.ranged()
    talk.send(talk.content[talk.start : talk.start + 1])


@_behaviour(GAVE_UP)
def some_hundred_bytes_per_attempt(talk: Talk) -> None:
    talk.ranged()
    talk.send(talk.content[talk.start : talk.start + 300])


@_behaviour(GAVE_UP)
def nothing_per_attempt(talk: Talk) -> None:
    talk.ranged()


@_behaviour('empty')
def empty_without_a_length(talk: Talk) -> None:
    talk.head()


@_behaviour('nothing')
def no_content(talk: Talk) -> None:
    talk.head('204 No Content')


@_behaviour('HTML')
def html_without_a_length(talk: Talk) -> None:
    talk.head('200 OK', 'Content-Type: application/octet-stream')
    talk.send(b'\n <!-- portal --><!DOCTYPE html><html><body>Log in</body></html>')


@_behaviour('HTML')
def html_of_a_length(talk: Talk) -> None:
    page = b'\xef\xbb\xbf<HTML><body>Log in</body></html>'
    talk.head('200 OK', f'Content-Length: {len(page)}')
    talk.send(page)


@_behaviour('torch file')
def json_in_place_of_weights(talk: Talk) -> None:
    page = b'{"error": "quota"}'
    talk.head('200 OK', f'Content-Length: {len(page)}', 'Content-Type: application/json')
    talk.send(page)


@_behaviour('torch file')
def ends_early_without_a_length(talk: Talk) -> None:
    talk.head()
    talk.send(talk.content[:-5000])


@_behaviour('encoded gzip')
def packed(talk: Talk) -> None:
    talk.head('200 OK', 'Content-Encoding: gzip', 'Content-Length: 20')
    talk.send(b'\x1f\x8b' + b'\0' * 18)


@_behaviour('encoded gzip')
def transferred_in_gzip(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: gzip, chunked')
    talk.send(b'14\r\n\x1f\x8b' + b'\0' * 18 + b'\r\n0\r\n\r\n')


# --- lengths ---


@_behaviour(GAVE_UP)
def length_too_long(talk: Talk) -> None:
    talk.head('200 OK', f'Content-Length: {len(talk.content) + 1000}')
    talk.send(talk.content)


@_behaviour('torch file')
def length_too_short(talk: Talk) -> None:
    talk.head('200 OK', f'Content-Length: {len(talk.content) - 1000}')
    talk.send(talk.content)


@_behaviour('Content-Length')
def length_negative(talk: Talk) -> None:
    talk.head('200 OK', 'Content-Length: -1')
    talk.send(talk.content)


@_behaviour('Content-Length')
def length_no_number(talk: Talk) -> None:
    talk.head('200 OK', 'Content-Length: 1_0')
    talk.send(talk.content)


@_behaviour('Content-Length')
def length_of_many_digits(talk: Talk) -> None:
    talk.head('200 OK', 'Content-Length: ' + '9' * 6000)
    talk.repeat(b'\0' * 65536)


@_behaviour('Content-Length')
def two_lengths(talk: Talk) -> None:
    size = len(talk.content)
    talk.head('200 OK', f'Content-Length: {size - 1000}', f'Content-Length: {size}')
    talk.send(talk.content)


@_behaviour('expected at most')
def ten_terabytes(talk: Talk) -> None:
    talk.head('200 OK', f'Content-Length: {10**13}')
    talk.repeat(b'\0' * 65536)


# --- chunks ---


def _chunk(data: bytes, extension: bytes = b'') -> bytes:
    return b'%x%s\r\n%s\r\n' % (len(data), extension, data)


@_behaviour('more than')
def chunks_never_end(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.repeat(_chunk(b'\0' * 65536))


@_behaviour('chunk size')
def chunk_extension_never_ends(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(b'5;x=')
    talk.repeat(b'x' * 4096)


@_behaviour(GAVE_UP)
def chunk_extension_drips(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.drip(b'5;x=' + b'x' * 10_000)


@_behaviour('overhead')
def small_chunks_with_long_extensions(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.repeat(_chunk(b'\0', b';x=' + b'x' * 30_000))


@_behaviour('overhead')
def trailers_never_end(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(_chunk(talk.content) + b'0\r\n')
    talk.repeat(b'X: y\r\n' * 100)


@_behaviour(GAVE_UP)
def chunks_drip(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.repeat(_chunk(b'\0'), 0.02)


@_behaviour('negative size')
def chunk_of_no_number(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(b'-5\r\nhello\r\n')
    talk.hold()


@_behaviour('more than')
def chunk_of_many_digits(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(b'f' * 60_000 + b'\r\n')
    talk.repeat(b'\0' * 65536)


@_behaviour(GAVE_UP)
def chunks_cut(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(_chunk(talk.content)[:-1000])


@_behaviour(GAVE_UP)
def chunks_without_an_end(talk: Talk) -> None:
    talk.head('200 OK', 'Transfer-Encoding: chunked')
    talk.send(_chunk(talk.content))


# --- redirects ---


@_behaviour('leads on')
def redirect_in_a_circle(talk: Talk) -> None:
    talk.head('302 Found', f'Location: {talk.path}', 'Content-Length: 0')


@_behaviour('leads on')
def redirect_without_end(talk: Talk) -> None:
    talk.head('301 Moved', f'Location: /{talk.number}', 'Content-Length: 0')


@_behaviour(GAVE_UP)
def redirect_slowly_without_end(talk: Talk) -> None:
    talk.server.ended.wait(0.15)
    talk.head('301 Moved', f'Location: /{talk.number}', 'Content-Length: 0')


@_behaviour('leads on')
def redirect_with_an_endless_page(talk: Talk) -> None:
    talk.head('302 Found', f'Location: {talk.path}')
    talk.repeat(b'<p>over there</p>' * 100)


@_behaviour('leads to')
def redirect_to_a_file(talk: Talk) -> None:
    talk.head('302 Found', 'Location: file:///etc/passwd', 'Content-Length: 0')


@_behaviour('leads to')
def redirect_to_ftp(talk: Talk) -> None:
    talk.head('302 Found', 'Location: ftp://127.0.0.1/x', 'Content-Length: 0')


@_behaviour('leads to')
def redirect_to_nonsense(talk: Talk) -> None:
    talk.head('302 Found', 'Location: http://[::1/\x1b[2J' + 'x' * 9000, 'Content-Length: 0')


@_behaviour('without saying where')
def redirect_to_nowhere(talk: Talk) -> None:
    talk.head('302 Found', 'Content-Length: 0')


@_behaviour('leads to')
def redirect_with_a_password(talk: Talk) -> None:
    talk.head('302 Found', f'Location: http://eve:evil@{talk.server.host}/', 'Content-Length: 0')


@_behaviour('HTTP status 304')
def not_modified(talk: Talk) -> None:
    talk.head('304 Not Modified')


# --- ranges ---


def _after_a_drop(talk: Talk) -> bool:
    """The first answer breaks off after 100 kB; whether this was that one."""
    if talk.number == 0:
        talk.ranged()
        talk.send(talk.content[:100_000])
    return talk.number == 0


@_behaviour(right=True)
def ranges_ignored(talk: Talk) -> None:
    if not _after_a_drop(talk):
        talk.head('200 OK', f'Content-Length: {len(talk.content)}', 'ETag: "one"')
        talk.send(talk.content)


@_behaviour(right=True)
def range_from_elsewhere(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    size = len(talk.content)
    if talk.start:
        talk.head('206 Partial', f'Content-Range: bytes 5-{size - 1}/{size}')
        talk.send(talk.content[5:])
    else:
        talk.ranged()
        talk.send(talk.content)


@_behaviour(right=True)
def range_of_another_version(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    size, other = len(talk.content), talk.content[::-1]
    if talk.start:
        span = f'{talk.start}-{size - 1}/{size}'
        talk.head('206 Partial', f'Content-Range: bytes {span}', 'ETag: "two"')
        talk.send(other[talk.start :])
    else:
        talk.ranged()
        talk.send(talk.content)


@_behaviour(right=True)
def range_of_another_size(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    size = len(talk.content)
    if talk.start:
        span = f'{talk.start}-{size - 2}/{size - 1}'
        talk.head('206 Partial', f'Content-Range: bytes {span}', 'ETag: "one"')
        talk.send(talk.content[talk.start : -1])
    else:
        talk.ranged()
        talk.send(talk.content)


@_behaviour(right=True)
def range_without_an_extent(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    if talk.start:
        talk.head('206 Partial', 'Content-Type: multipart/byteranges; boundary=x')
        talk.send(b'--x\r\n\r\n' + talk.content[talk.start :])
    else:
        talk.ranged()
        talk.send(talk.content)


@_behaviour(right=True)
def range_in_pieces(talk: Talk) -> None:
    """Each answer brings 60 kB, as it says."""
    size, start = len(talk.content), talk.start
    end = min(start + 60_000, size)
    told = (f'Content-Length: {end - start}', 'ETag: "one"')
    talk.head('206 Partial', f'Content-Range: bytes {start}-{end - 1}/{size}', *told)
    talk.send(talk.content[start:end])


@_behaviour(right=True)
def no_such_range(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    if talk.start:
        talk.head('416 Range Not Satisfiable', 'Content-Length: 0')
    else:
        talk.ranged()
        talk.send(talk.content)


@_behaviour('broke off after 100000 of')
def never_such_a_range(talk: Talk) -> None:
    if talk.start:
        talk.head('416 Range Not Satisfiable', 'Content-Length: 0')
    else:
        talk.ranged()
        talk.send(talk.content[:100_000])


@_behaviour(right=True)
def cut_range_of_an_unknown_total(talk: Talk) -> None:
    if _after_a_drop(talk):
        return
    size, start = len(talk.content), talk.start
    told = (f'Content-Range: bytes {start}-{size - 1}/*', f'Content-Length: {size - start}')
    talk.head('206 Partial', *told, 'ETag: "one"')
    talk.send(talk.content[start : start + 60_000])


@_behaviour('impossible Content-Range')
def range_and_length_disagree(talk: Talk) -> None:
    talk.head('206 Partial', 'Content-Range: bytes 0-99/100', 'Content-Length: 200')
    talk.send(b'x' * 200)


@_behaviour('more than|in all|expected at most')
def brings_ever_more(talk: Talk) -> None:
    """Each attempt brings something, and there is always more to come."""
    end = talk.start + 150_000
    told = (f'Content-Range: bytes {talk.start}-{end}/*', 'ETag: "one"')
    talk.head('206 Partial', *told)
    talk.send(b'x' * 149_000)


@_behaviour('answered from byte 7')
def unasked_range(talk: Talk) -> None:
    talk.head('206 Partial', 'Content-Range: bytes 7-9/10', 'Content-Length: 3')
    talk.send(b'abc')


# --- odd, but right ---


@_behaviour(right=True)
def plain(talk: Talk) -> None:
    talk.ranged()
    talk.send(talk.content)


@_behaviour(right=True)
def closed_at_the_end(talk: Talk) -> None:
    talk.send(b'HTTP/1.0 200\nx:y\n\n' + talk.content)


@_behaviour(right=True)
def good_chunks(talk: Talk) -> None:
    talk.send(b'HTTP/1.1 100 Continue\r\n\r\n')
    talk.head('200 OK', 'transfer-encoding: Chunked')
    for start in range(0, len(talk.content), 5000):
        talk.send(_chunk(talk.content[start : start + 5000], b';x'))
    talk.send(b'0\r\nX: y\r\n\r\n')


@_behaviour(right=True)
def stays_open_after_the_end(talk: Talk) -> None:
    talk.ranged()
    talk.send(talk.content)
    talk.hold()


@_behaviour(right=True, known=True, hasty=True)
def stays_open_without_a_length(talk: Talk) -> None:
    talk.head()
    talk.send(talk.content)
    talk.hold()


@_behaviour(right=True)
def mark_that_breaks_the_request(talk: Talk) -> None:
    size = len(talk.content)
    talk.head('200 OK', f'Content-Length: {size}', 'ETag: "\xfc\x0b\x1b' + 'e' * 3000 + '"')
    talk.send(talk.content if talk.number else talk.content[:100_000])


@_behaviour(right=True, known=True)
def many_drops(talk: Talk) -> None:
    talk.ranged()
    talk.send(talk.content[talk.start : talk.start + 70_000])


# --- secrets ---


@_behaviour('broke off after')
def gives_the_password_back_as_mark(talk: Talk) -> None:
    secret = talk.headers.get('authorization', '').removeprefix('Basic ')
    talk.head('200 OK', f'Content-Length: {len(talk.content)}', f'ETag: "{secret}"')
    talk.send(talk.content[:100_000])


@_behaviour('HTTP status 500')
def gives_the_password_back_as_reason(talk: Talk) -> None:
    talk.head(f'500 {talk.headers.get("authorization", "")} {talk.path}', 'Content-Length: 0')


@_behaviour('leads to')
def gives_the_password_back_as_place(talk: Talk) -> None:
    secret = talk.headers.get('authorization', '').removeprefix('Basic ')
    query = talk.path.partition('?')[2]
    talk.head('302 Found', f'Location: ftp://127.0.0.1/{secret}/{query}')


@_behaviour('answered with')
def gives_the_password_back_as_kind(talk: Talk) -> None:
    secret = talk.headers.get('authorization', '').removeprefix('Basic ')
    talk.head('200 OK', f'Content-Encoding: {secret}', 'Content-Length: 5')
    talk.send(b'hello')
