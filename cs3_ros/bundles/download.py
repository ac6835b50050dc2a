"""One file over HTTP into a part file: goes on where it broke off, gives up what stalls."""

from __future__ import annotations

import http
import http.client
import os
import re
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cs3_ros.bundles.address import Address
from cs3_ros.bundles.watched_http import (
    BrokeOff,
    FetchError,
    Offline,
    Patience,
    Watch,
    ask,
    not_http,
)
from cs3_ros.files.progress import QuietBar

CHUNK = 1 << 18


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
        url: http or https; ``user:password@`` in it goes to that host alone.
        part: the file that grows; what it holds is gone on with where the server tells that it is
            of the same version.
        size: bytes of the whole file; 0 where that is not known.
        checked_later: the caller knows the digest and would notice halves of two versions.
        patience: when the server is given up.
        title: of the progress bar.

    Raises:
        FetchError: the server does not have the file, or has one of another size, or one that
            is too large.
        Offline: the server cannot be reached.
        BrokeOff: it stalls, is too slow or breaks off again and again; the part is kept.
        OSError: the part cannot be written.
        ValueError: no such URL. (No text of these shows the URL's password or query.)
    """
    address = Address.parse(url, 'url')
    until = time.monotonic() + patience.total_s
    transfer = _Transfer(address, part, size, checked_later, patience, until)
    pauses, most, since = iter(patience.pauses_s), size_of(part), time.monotonic()
    with QuietBar(desc=title, unit='B', unit_scale=True, disable=None, leave=False) as bar:
        try:
            while True:
                try:
                    return transfer.attempt(bar)
                except FetchError as error:
                    raise FetchError(address.scrub(str(error))) from None
                except (Offline, BrokeOff) as error:
                    told = type(error)(address.scrub(str(error)))
                    if size_of(part) >= most + patience.progress_bytes:
                        most, pauses = size_of(part), iter(patience.pauses_s)
                        since = time.monotonic()
                    pause = next(pauses, None)
                    end = min(until, since + patience.stuck_s)
                    if pause is None or time.monotonic() + pause >= end:
                        raise told from None
                    bar.write(f'{told}; trying again in {pause:g} s', file=sys.stderr)
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


_MARK = re.compile(r'"[!#-~]{1,200}"')
"""A mark that promises equal bytes (no ``W/``) and can be sent back as it is."""


@dataclass
class _Transfer:
    """A file on its way, over as many attempts as it takes."""

    address: Address
    part: Path
    size: int
    checked_later: bool
    patience: Patience
    until: float
    total: int | None = None
    """Size that the server told before."""
    ranges: bool = True
    """Whether it may be asked for the rest; not when it once gave another piece."""

    def attempt(self, bar: Any) -> None:
        """One request."""
        part, host = self.part, self.address.host
        if part.is_symlink() or (part.exists() and not stat.S_ISREG(part.stat().st_mode)):
            part.unlink()  # never what it leads to
        have = size_of(part)
        if self.size and have > self.size:
            discard(part)
            have = 0
        if have and have == self.size:
            return
        version = self._version() if have else ''
        asked = have if self.ranges and (version or self.checked_later) else 0
        headers = {'User-Agent': 'cs3_ros'}
        if asked:
            headers['Range'] = f'bytes={asked}-'
            if version:
                headers['If-Range'] = version
        watch = Watch(self.patience, self.until, host)
        try:
            with ask(self.address, headers, watch) as answer:
                self._check_status(answer, asked)
                start, least, total = self._extent(answer, asked, version)
                most = self._most(start, total)
                bar.reset(total)
                bar.update(start)
                watch.begin_body()
                self._receive(answer, start, most, watch, bar)
        except (ConnectionError, http.client.HTTPException) as error:
            raise not_http(host, error) from error
        if size_of(part) < least:
            raise BrokeOff(f'{host} broke off after {size_of(part)} of {least} bytes')

    def _version(self) -> str:
        """The mark of the part, empty where none is known."""
        try:
            mark = version_file(self.part).read_text('ascii')
        except (OSError, UnicodeDecodeError):
            return ''
        return mark if _MARK.fullmatch(mark) else ''

    def _check_status(self, answer: Any, asked: int) -> None:
        """Refuse what brings no file of weights as it lies on the server."""
        status, shown, headers = answer.status, self.address.shown, answer.headers
        if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and asked:
            raise self._other_piece(f'has no byte {asked}')
        if status not in (200, 204, 206):
            known = {item.value: item.phrase for item in http.HTTPStatus}
            failure = f'{shown}: HTTP status {status}, {known.get(status, "unknown")}'
            if status >= 500 or status in (408, 429):
                raise BrokeOff(failure)
            if status in (401, 403):
                failure += '; https://USER:PASSWORD@HOST/... gives a user and password'
            raise FetchError(failure)
        packed = [*headers.get_all('Content-Encoding', ()), *_transfers(answer)]
        packed = [name for name in packed if name.lower() not in ('identity', 'chunked')]
        empty = status == 204 or headers.get('Content-Length') == '0'
        if empty or packed or headers.get_content_type() == 'text/html':
            found = f'{headers.get_content_type()}, encoded {", ".join(packed) or "identity"}'
            raise FetchError(
                f'{shown} answered with {"nothing" if empty else found}: expected the file as it '
                'is; perhaps a proxy or a page to log in stands between'
            )

    def _extent(self, answer: Any, asked: int, version: str) -> tuple[int, int, int | None]:
        """What an answer brings.

        Returns:
            Its first byte; the bytes that the part has to come to have; the size of the whole
            file where that is told.
        """
        shown, headers = self.address.shown, answer.headers
        told = set() if answer.chunked else set(headers.get_all('Content-Length', ()))
        if any(not re.fullmatch(r'[0-9]{1,18}', length) for length in told) or len(told) > 1:
            raise FetchError(f'{shown}: Content-Length {_list(told)}: expected one whole number')
        length = int(told.pop()) if told else None
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            start, least, total = 0, length or 0, length
        else:
            given = headers.get('Content-Range', '')
            found = re.fullmatch(r'bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)', given)
            if found is None:
                wrong = f'answered with Content-Range {_list([given])}'
                if asked:
                    raise self._other_piece(wrong)
                raise FetchError(f'{shown} {wrong}: expected bytes FIRST-LAST/TOTAL')
            start, last = int(found[1]), int(found[2])
            total = int(found[3]) if found[3] != '*' else None
            least = last + 1 if total is None else total
            if not start <= last < least or length not in (None, last + 1 - start):
                raise FetchError(f'{shown} answered with an impossible Content-Range {given}')
            if start not in (0, asked):
                if asked:
                    raise self._other_piece(f'answered from byte {start}, asked from {asked}')
                raise FetchError(f'{shown} answered from byte {start}, asked for all of it')
            mark = headers.get('ETag', version)
            if start and version and mark != version:
                raise self._other_piece('answered with a piece of another version')
        if self.size and total is not None and total != self.size:
            raise FetchError(f'{shown} has {total} bytes, expected {self.size}')
        if start and total is not None and self.total not in (None, total):
            raise self._other_piece(f'has {total} bytes, had {self.total} before')
        self.total = total if total is not None else self.total
        return start, least, total

    def _other_piece(self, what: str) -> BrokeOff:
        """What it is asked for comes in no useful way: all of it is asked for the next time."""
        self.ranges = False
        return BrokeOff(f'{self.address.host} {what}: from the beginning')

    def _most(self, start: int, total: int | None) -> int:
        """Most bytes that the file may come to have.

        Raises:
            FetchError: the server has more than that.
        """
        if self.size:
            return self.size
        free = shutil.disk_usage(self.part.parent).free + (size_of(self.part) if not start else 0)
        most = min(self.patience.most_bytes, max(start + free - self.patience.spare_bytes, 0))
        if total is not None and total > most:
            raise FetchError(
                f'{self.address.shown} has {total} bytes: expected at most {most}, of '
                f'{free / 1e9:.2f} GB free in {self.part.parent}'
            )
        return most

    def _receive(self, answer: Any, start: int, most: int, watch: Watch, bar: Any) -> None:
        """Write what comes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        number = os.open(self.part, flags if start else flags | os.O_TRUNC, 0o666)
        with os.fdopen(number, 'wb', buffering=0) as target:
            target.seek(start)
            if not start:  # only now that the old part is gone: never a new mark on old bytes
                self._note_version(answer.headers.get('ETag', ''))
            while chunk := answer.read1(CHUNK):  # not to lose what came before a stall
                if answer.chunked and (answer.chunk_left or 0) < 0:
                    raise BrokeOff(f'{self.address.host} broke off: a chunk of negative size')
                try:
                    _write_all(target, chunk)
                except OSError as error:  # has no name in its text
                    raise OSError(f'{self.part} cannot be written: {error.strerror}') from error
                watch.useful += len(chunk)
                bar.update(len(chunk))
                if target.tell() > most:
                    discard(self.part)
                    raise FetchError(f'{self.address.shown} sends more than {most} bytes')

    def _note_version(self, mark: str) -> None:
        note = version_file(self.part)
        note.unlink(missing_ok=True)
        if _MARK.fullmatch(mark) and self.address.scrub(mark) == mark:
            note.write_text(mark, 'ascii')


def _transfers(answer: Any) -> list[str]:
    return list(answer.headers.get_all('Transfer-Encoding', ()))


def _list(values: Any) -> str:
    """Values of a header, shortened."""
    return ' and '.join(repr(value[:40]) for value in sorted(values))


def _write_all(target: Any, data: bytes) -> None:
    """Write bytes to an unbuffered file, which may take them in pieces."""
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]
