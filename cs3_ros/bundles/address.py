"""Where a file is fetched from: an address, the secrets in it, and how they are hidden."""

from __future__ import annotations

import base64
import string
import urllib.parse
from dataclasses import dataclass, field

from cs3_ros.files.regular import one_line

HIDDEN = '***'
"""Stands for a secret in whatever people or files get to see."""


@dataclass(frozen=True)
class Address:
    """One http(s) address, taken apart."""

    url: str
    """What is asked for: without user, password and fragment; the query is still in it."""
    shown: str
    """The same with its secrets masked, for messages."""
    credentials: str = field(default='', repr=False)
    """``user:password``, empty where there is none; for this host alone."""

    @classmethod
    def parse(cls, url: str, where: str) -> Address:
        """Take an address apart.

        Raises:
            ValueError: not http(s) or not well formed; begins with ``where``, shows no secret.
        """
        refused = f'{where}: {masked(url)!r}: expected a URL, https://...'
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname or '', parts.port
        except ValueError:
            raise ValueError(refused) from None  # its text may hold a piece of the password
        good = parts.scheme in ('http', 'https') and host and url.isprintable() and ' ' not in url
        if not good:
            raise ValueError(refused)
        try:
            name = f'[{host}]' if ':' in host else host.encode('idna').decode()
        except UnicodeError:
            raise ValueError(refused) from None
        place = name if port is None else f'{name}:{port}'
        path, query = (urllib.parse.quote(part, _QUOTED) for part in (parts.path, parts.query))
        login = parts.netloc.rpartition('@')[0]
        credentials = urllib.parse.unquote(login if ':' in login else f'{login}:') if login else ''
        plain = urllib.parse.urlunsplit((parts.scheme, place, path or '/', query, ''))
        return cls(plain, masked(url), credentials)

    @property
    def host(self) -> str:
        """Name and port."""
        return urllib.parse.urlsplit(self.url).netloc

    @property
    def authorization(self) -> str:
        """The header that gives the credentials, empty where there are none."""
        if not self.credentials:
            return ''
        return f'Basic {base64.b64encode(self.credentials.encode()).decode()}'

    def below(self, path: str) -> str:
        """The URL of a file below this one, credentials and query included.

        Args:
            path: with forward slashes, not quoted.
        """
        parts = urllib.parse.urlsplit(self.url)
        user, colon, password = self.credentials.partition(':')
        login = urllib.parse.quote(user, '') + colon + urllib.parse.quote(password, '')
        place = f'{login}@{parts.netloc}' if self.credentials else parts.netloc
        whole = f'{parts.path.rstrip("/")}/{urllib.parse.quote(path)}'
        return urllib.parse.urlunsplit((parts.scheme, place, whole, parts.query, ''))

    def redirected(self, location: str) -> Address:
        """Where a redirect leads; the credentials go along to the same scheme, host and port only.

        Raises:
            ValueError: to something else than http(s), from https to http, or with a password.
        """
        scheme = urllib.parse.urlsplit(self.url).scheme
        # http.client gives the bytes of a header as Latin-1
        location = urllib.parse.quote(location, string.punctuation, encoding='iso-8859-1')
        try:
            there = Address.parse(urllib.parse.urljoin(self.url, location), 'redirect')
        except ValueError:
            there = None
        if there is None or there.credentials or (scheme == 'https' and there.url[:6] != 'https:'):
            raise ValueError(
                f'{self.shown} leads to {masked(location)!r}: expected {scheme}://... '
                'without user and password'
            )
        same = there.url.split('/')[:3] == self.url.split('/')[:3]
        return Address(there.url, there.shown, self.credentials if same else '')

    def scrub(self, text: str) -> str:
        """A text without the secrets of this address, in one line of bounded length."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return one_line(text)

    def _secrets(self) -> set[str]:
        """Every form in which a server may give back what it was sent."""
        query = urllib.parse.urlsplit(self.url).query
        password = self.credentials.partition(':')[2]
        found = {self.credentials, password, self.authorization.removeprefix('Basic '), query}
        found |= {value for _, value in urllib.parse.parse_qsl(query)}
        found |= {urllib.parse.quote(text, '') for text in found}
        return {text for text in found if len(text) > 3}  # shorter ones are in every other word


_QUOTED = "%/:=&?~#+!$,;'@()*[]"
"""What stays as it is in a path or query that may be quoted already."""


def masked(url: str) -> str:
    """An address as people may see it, well formed or not: no user, password or query."""
    try:
        parts = urllib.parse.urlsplit(url)
        good = bool(parts.scheme and parts.hostname)
        _ = parts.port
    except ValueError:
        good = False
    # with a slash in the password the host seems to end there: http://user:pass/word@host
    if good and ('@' in parts.netloc or '@' not in parts.path or ':' not in parts.netloc):
        _, at, place = parts.netloc.rpartition('@')
        text = f'{parts.scheme}://{HIDDEN + at if at else ""}{place}{parts.path}'
        query = parts.query
    else:
        head, at, tail = url.rpartition('@')
        scheme, slashes, _ = head.partition('//')
        text = f'{scheme + slashes if slashes else ""}{HIDDEN}@{tail}' if at else url
        text, _, query = text.partition('?')
    return one_line(f'{text}?{HIDDEN}' if query else text)
