"""One file over HTTP into a part file: goes on where it broke off, gives up what stalls."""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

CHUNK = 1 << 18


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


def check_url(url: str, where: str) -> None:
    """Refuse what is not http(s).

    Raises:
        ValueError: begins with ``where``.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.netloc:
        raise ValueError(f'{where}: {url!r}: expected a URL, https://...')


def download(
    url: str,
    part: Path,
    *,
    size: int = 0,
    checked_later: bool = False,
    patience: Patience = Patience(),
    title: str = '',
) -> None:
    """Make a part file whole.

    Args:
        url: http or https.
        part: the file that grows; what it holds is gone on with where the server tells that it is
            of the same version.
        size: bytes of the whole file; 0 where that is not known.
        checked_later: the caller knows the digest and would notice halves of two versions.
        patience: when the server is given up.
        title: of the progress bar.

    Raises:
        FetchError: the server does not have the file, or has one of another size.
        Offline: the server cannot be reached.
        BrokeOff: it stalls or breaks off again and again; the part is kept.
        OSError: the part cannot be written.
    """
    check_url(url, 'url')
    pauses, most = iter(patience.pauses_s), size_of(part)
    with tqdm(desc=title, unit='B', unit_scale=True, disable=None, leave=False) as bar:
        try:
            while True:
                try:
                    return _transfer(url, part, size, checked_later, patience.timeout_s, bar)
                except (Offline, BrokeOff) as error:
                    if size_of(part) > most:
                        most, pauses = size_of(part), iter(patience.pauses_s)
                    if (pause := next(pauses, None)) is None:
                        raise
                    bar.write(f'{error}; trying again in {pause:g} s', file=sys.stderr)
                time.sleep(pause)
        except KeyboardInterrupt:
            bar.write(
                f'interrupted: {size_of(part) / 1e6:.1f} MB of {title} are kept in {part}; the '
                'same command goes on from there',
                file=sys.stderr,
            )
            raise


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def discard(part: Path) -> None:
    """Remove a part file and what is known of its version."""
    part.unlink(missing_ok=True)
    version_file(part).unlink(missing_ok=True)


def version_file(part: Path) -> Path:
    """Beside a part: the server's mark (ETag) of the version that it is from."""
    return part.with_suffix('.etag')


def _transfer(
    url: str, part: Path, size: int, checked_later: bool, timeout_s: float, bar: Any
) -> None:
    """One request."""
    have, versions = size_of(part), version_file(part)
    if have and have == size:
        return
    headers = {'User-Agent': 'cs3_ros'}
    version = versions.read_text('utf-8') if versions.is_file() else ''
    if have and (version or checked_later):
        headers['Range'] = f'bytes={have}-'
        if version:
            headers['If-Range'] = version
    host = urllib.parse.urlsplit(url).netloc
    try:
        with _open(urllib.request.Request(url, headers=headers), timeout_s) as answer:
            _check_kind(answer)
            start, total = _extent(answer)
            if size and total is not None and total != size:
                raise FetchError(f'{url} has {total} bytes, expected {size}')
            if start not in (0, have):
                raise FetchError(f'{url} answered from byte {start}, asked from {have}')
            mark = answer.headers.get('ETag', '')
            # a weak mark does not promise equal bytes
            versions.write_text('' if mark.startswith('W/') else mark, 'utf-8')
            bar.reset(total)
            bar.update(start)
            with part.open('r+b' if start else 'wb') as target:
                target.seek(start)
                while chunk := answer.read1(CHUNK):  # not to lose what came before a stall
                    target.write(chunk)
                    bar.update(len(chunk))
                    if size and target.tell() > size:
                        raise FetchError(f'{url} sends more than {size} bytes')
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            discard(part)
            raise BrokeOff(f'{url} has no byte {have}: from the beginning') from error
        failure = f'{url}: HTTP status {error.code}, {error.reason}'
        if error.code >= 500 or error.code == http.client.TOO_MANY_REQUESTS:
            raise BrokeOff(failure) from error
        raise FetchError(failure) from error
    except urllib.error.URLError as error:
        raise Offline(f'{host} cannot be reached: {error.reason}') from error
    except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise BrokeOff(f'{host} broke off: {error or type(error).__name__}') from error
    if total is not None and size_of(part) < total:
        raise BrokeOff(f'{host} broke off after {size_of(part)} of {total} bytes')


def _check_kind(answer: Any) -> None:
    """Refuse what cannot be a file of weights as it lies on the server."""
    headers = answer.headers
    packed = headers.get('Content-Encoding', 'identity')
    empty = answer.status == http.client.NO_CONTENT or headers.get('Content-Length') == '0'
    if empty or packed.lower() != 'identity' or headers.get_content_type() == 'text/html':
        found = 'nothing' if empty else f'{headers.get_content_type()}, encoded {packed}'
        raise FetchError(
            f'{answer.url} answered with {found}: expected the file as it is; '
            'perhaps a proxy or a page to log in stands between'
        )


def _extent(answer: Any) -> tuple[int, int | None]:
    """First byte that an answer brings, and the size of the whole file where it is known."""
    if answer.status != http.client.PARTIAL_CONTENT:
        length = answer.headers.get('Content-Length', '')
        return 0, int(length) if length.isdecimal() else None
    content_range = answer.headers.get('Content-Range', '')
    extent, _, total = content_range.removeprefix('bytes ').partition('/')
    start = extent.partition('-')[0]
    if not start.isdecimal():
        raise FetchError(
            f'{answer.url}: Content-Range {content_range!r}: expected bytes FIRST-LAST/TOTAL'
        )
    return int(start), int(total) if total.isdecimal() else None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http(s) only, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = (urllib.parse.urlsplit(url).scheme for url in (req.full_url, newurl))
        if new not in ('http', 'https') or (old == 'https' and new == 'http'):
            raise FetchError(f'{req.full_url} leads to {newurl}: expected {old}://...')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request, timeout_s: float) -> Any:
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:  # urllib itself refuses other schemes and endless chains
            error.close()
            raise FetchError(f'{request.full_url}: {error.reason}') from error
        raise
