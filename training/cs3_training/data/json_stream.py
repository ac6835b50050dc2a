"""The entries of a long list in a JSON file, one after the other: the file is never held whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from cs3_ros.files.jsonfile import load_json
from cs3_ros.files.regular import check_regular

ENTRY_BYTES = 1 << 26
"""Longest entry of the list, and longest other value beside it."""
_BLOCK = 1 << 18


def entries(path: Path, name: str) -> Iterator[tuple[int, Any]]:
    """Number and value of each entry of the list ``name`` of the object in a JSON file.

    Args:
        path: the file, UTF-8.
        name: key of the list in the outermost object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no JSON, no such list, or an entry is longer than ``ENTRY_BYTES``.
    """
    check_regular(path, 'annotation file')
    with path.open('rb') as file:
        text = _Text(file)
        try:
            text.expect('{')
            while True:
                key = text.value()
                text.expect(':')
                if key == name:
                    break
                text.value()
                text.expect(',', f'the list {name!r}')
            text.expect('[')
            for number in range(ENTRY_BYTES):
                if text.peek() == ']':
                    return
                if number:
                    text.expect(',')
                yield number, text.value()
        except ValueError as error:
            raise ValueError(f'{path}, byte {text.place}: {error}') from error


class _Text:
    """What is left of a text, read as far as it is needed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left, self.place = file, b'', 0
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is no space, '' at the end."""
        while not (left := self._left.lstrip(b' \t\r\n')) and self._more():
            pass
        self.place += len(self._left) - len(left)
        self._left = left
        return chr(left[0]) if left else ''

    def expect(self, mark: str, wanted: str = '') -> None:
        """Pass over a character that has to be there."""
        if self.peek() != mark:
            found = self._left[:20].decode('utf-8', 'replace') or 'the end'
            raise ValueError(f'{found!r}: expected {wanted or repr(mark)}')
        self._left, self.place = self._left[1:], self.place + 1

    def value(self) -> Any:
        """The next value."""
        self.peek()
        size = _BLOCK
        while True:
            while len(self._left) < size and self._more():
                pass
            whole = len(self._left) < size  # the file has no more
            try:
                text = self._left.decode('utf-8', 'strict' if whole else 'ignore')
                _, end = self._decoder.raw_decode(text)
                # a number may go on in what was not read yet
                if whole or end < len(text):
                    value = load_json(text[:end])
                    length = len(text[:end].encode())
                    self._left, self.place = self._left[length:], self.place + length
                    return value
            except RecursionError as error:
                raise ValueError('nested too deeply') from error
            except ValueError as error:
                if whole:
                    raise ValueError(f'no JSON ({error})') from error
            if size >= ENTRY_BYTES:
                raise ValueError(f'a value of more than {ENTRY_BYTES} bytes, or no JSON')
            size *= 2

    def _more(self) -> bool:
        block = self._file.read(_BLOCK)
        self._left += block
        return bool(block)
