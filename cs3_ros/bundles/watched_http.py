"""One HTTP request whose answer is watched: heads, time, speed and waste are bounded."""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cs3_ros.bundles.address import Address


class FetchError(RuntimeError):
    """A file that could not be brought, or that is not the right one."""


class Offline(OSError):
    """The server cannot be reached at all."""


class BrokeOff(OSError):
    """A transfer that may be gone on with."""


@dataclass(frozen=True)
class Patience:
    """When a server is given up."""

    timeout_s: float = 30.0
    """Silence of a server that ends an attempt, seconds."""
    pauses_s: Sequence[float] = (1.0, 2.0, 4.0, 8.0)
    """Pauses before further attempts, seconds; begins anew when an attempt brought something."""
    head_s: float = 60.0
    """Longest wait for the head of the answer, redirects included, seconds: twice the silence."""
    head_bytes: int = 1 << 17
    """Most bytes of all heads of an attempt; those of the hubs have 2 to 8 kB."""
    redirects: int = 8
    """Most addresses that an attempt is led on to; hubs need one or two."""
    window_s: float = 30.0
    """Span over which the speed is taken, seconds."""
    bytes_per_s: float = 1000.0
    """Slowest speed: 600 MB would take a week."""
    progress_bytes: int = 1 << 16
    """What an attempt has to add to count as one that brought something: more than a server
    that is slower than ``bytes_per_s`` gets through in a window."""
    stuck_s: float = 120.0
    """Longest time without such an addition, over all attempts, seconds; room for four of them."""
    total_s: float = 24 * 3600.0
    """Longest time for one file, seconds; the next call goes on."""
    most_bytes: int = 1 << 32
    """Largest file of unknown size, bytes; the largest of a bundle here has 0.6 GB."""
    spare_bytes: int = 100_000_000
    """What is left free on the disk, bytes: a robot with a full one does not start again."""


@dataclass
class Watch:
    """What an attempt got so far, and when it is given up."""

    patience: Patience
    until: float
    """End of the whole file's time, seconds of ``time.monotonic``."""
    host: str
    """Who is watched, for messages."""
    useful: int = 0
    """Bytes of the file that came, kept by who reads the body."""
    received: int = 0
    """Bytes that came since the head began, or since the body did."""
    in_body: bool = False
    began: float = field(default_factory=time.monotonic)
    """When the attempt or the present window began."""
    useful_before: int = 0
    """``useful`` when the window began."""

    def begin_body(self) -> None:
        """The head is there and was accepted."""
        self.in_body, self.began, self.received = True, time.monotonic(), 0

    def next_wait_s(self) -> float:
        """How long the server may be silent now, seconds.

        Raises:
            BrokeOff: it is too slow.
            FetchError: it sends more than belongs to the file.
        """
        patience, now = self.patience, time.monotonic()
        end = self.until
        if not self.in_body:
            end = min(end, self.began + patience.head_s)
            if self.received > patience.head_bytes:
                raise FetchError(
                    f'{self.host} sends more than {patience.head_bytes} bytes as head of its answer'
                )
        else:
            if self.received - self.useful > 8 * self.useful + _SLACK_BYTES:
                raise FetchError(f'{self.host} sends mostly overhead: expected the bytes of a file')
            fast = self.useful - self.useful_before >= patience.bytes_per_s * patience.window_s
            if not fast:
                end = min(end, self.began + patience.window_s)
            elif now >= self.began + patience.window_s:
                self.began, self.useful_before = now, self.useful
        if now >= end:
            raise BrokeOff(f'{self.host} {self._why(now)}')
        return min(patience.timeout_s, end - now)

    def _why(self, now: float) -> str:
        if now >= self.until:
            return f'has not given all of it after {self.patience.total_s:g} s in all'
        if not self.in_body:
            return f'timed out: gives no head of an answer within {self.patience.head_s:g} s'
        return f'gives less than {self.patience.bytes_per_s:g} bytes/s'


_SLACK_BYTES = 1 << 19
"""What may be on its way between the socket and the file. Beyond that, chunks of one byte with
their lines come to eight times the file."""


def not_http(host: str, error: Exception) -> BrokeOff:
    """The error for an answer that ``http.client`` does not understand."""
    # some of its texts quote the answer, and that may quote the password
    quotes = isinstance(error, (http.client.BadStatusLine, http.client.UnknownProtocol))
    hidden = quotes and not isinstance(error, ConnectionError)
    why = f'its answer is not HTTP ({type(error).__name__})' if hidden else error
    return BrokeOff(f'{host} broke off: {why}')


class _WatchedSocket(io.RawIOBase):
    """Reads from a socket under a watch."""

    def __init__(self, raw: Any, sock: socket.socket, watch: Watch) -> None:
        self._raw, self._sock, self._watch = raw, sock, watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._watch.next_wait_s())
        try:
            count = self._raw.readinto(buffer) or 0
        except OSError as error:
            self._watch.next_wait_s()  # says what it was too slow for
            raise BrokeOff(f'{self._watch.host} broke off: {error}') from error
        self._watch.received += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Handler(urllib.request.HTTPSHandler):
    """http and https, each with a watched answer."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._connecting(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._connecting(http.client.HTTPSConnection), req)

    http_request = urllib.request.HTTPSHandler.https_request

    def _connecting(self, kind: type[http.client.HTTPConnection]) -> Any:
        def response(sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
            answer = http.client.HTTPResponse(sock, *args, **kwargs)
            answer.fp = io.BufferedReader(_WatchedSocket(answer.fp.detach(), sock, self._watch))
            return answer

        def connect(host: str, **arguments: Any) -> http.client.HTTPConnection:
            connection = kind(host, **arguments)
            connection.response_class = response  # type: ignore[assignment]
            return connection

        return connect


def ask(address: Address, headers: Mapping[str, str], watch: Watch) -> Any:
    """Send a request, follow redirects.

    Args:
        address: what is asked for.
        headers: of the request.
        watch: bounds head and body of the answer; its ``begin_body`` is left to the caller.

    Returns:
        The answer (``http.client.HTTPResponse``, to be closed), of any status but a redirect;
        its ``url`` has no user and password.

    Raises:
        FetchError: it leads on too often or to where it must not, or is far from HTTP.
        Offline: the server cannot be reached.
        BrokeOff: it breaks off, or is too slow.
    """
    opener = urllib.request.OpenerDirector()  # no handlers of files, ftp, errors or redirects
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(_Handler(watch))
    first = address
    for _ in range(watch.patience.redirects + 1):
        request = urllib.request.Request(address.url, headers=dict(headers))
        if address.authorization:
            request.add_unredirected_header('Authorization', address.authorization)
        try:
            answer = opener.open(request, timeout=watch.next_wait_s())
        except urllib.error.URLError as error:
            raise Offline(f'{address.host} cannot be reached: {error.reason}') from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise not_http(address.host, error) from error
        if answer.status not in (301, 302, 303, 307, 308):
            return answer
        location = answer.headers.get('Location', '')
        answer.close()  # its page is not read
        if not location:
            raise FetchError(f'{address.shown} leads on without saying where')
        try:
            address = address.redirected(location)
        except ValueError as error:
            raise FetchError(str(error)) from None
    raise FetchError(f'{first.shown} leads on more than {watch.patience.redirects} times')
