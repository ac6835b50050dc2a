"""Tables of text, read row by row within bounds; what is wrong with a row names file, line, column
and value."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.fields import expect, shown
from cs3_ros.files.regular import check_regular, one_line

LINE_BYTES = 1 << 16
"""Longest line that is read."""
MOST_ROWS = 5_000_000
"""Longest table that is read."""
TOLD = 5
"""So many bad rows are told; the others are counted."""
LONGEST_S = 300.0
"""Longest segment; the longest of EPIC-CS3 has 82 s."""
LATEST_S = 100 * 3600.0
"""No time in a video is later than this."""


class Named(Protocol):
    """A record that has an identifier."""

    @property
    def id(self) -> str:
        """Unique in its file."""


T = TypeVar('T', bound=Named)


class Row:
    """One row: the texts of its columns, each asked for in the form that it has to have.

    Every method raises a ValueError that names column, value and what was expected.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __contains__(self, column: str) -> bool:
        return column in self._texts

    def text(self, column: str, pattern: str = '', wanted: str = '', most: int = 200) -> str:
        """The text of a column, of 1 to ``most`` printable characters.

        Args:
            column: its name.
            pattern: a regular expression that all of it must match; '' takes any text.
            wanted: what that is, in words.
            most: characters.
        """
        text = self._texts[column].strip()
        good = 0 < len(text) <= most and text.isprintable()
        expect(good, column, text, f'a printable text of 1 to {most} characters')
        expect(
            not pattern or re.fullmatch(pattern, text, re.ASCII) is not None, column, text, wanted
        )
        return text

    def words(self, column: str) -> str:
        """What people wrote, on one line and short; '' where the column is empty or not there."""
        text = self._texts.get(column, '').strip()
        return one_line(text) if text else ''

    def clock_ns(self, column: str) -> int:
        """A time ``HH:MM:SS.mmm`` in nanoseconds."""
        text = self._texts[column].strip()
        parts = re.fullmatch(r'(\d{2,3}):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?', text, re.ASCII)
        expect(parts is not None, column, text, 'a time HH:MM:SS.mmm')
        assert parts is not None
        hours, minutes, seconds, decimals = parts.groups(default='0')
        whole = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
        expect(whole <= LATEST_S, column, text, f'at most {LATEST_S / 3600:g} hours')
        return whole * NS_PER_S + int(decimals.ljust(9, '0'))

    def number(self, column: str, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        text = self._texts[column].strip()
        decimal = r'[+-]?(\d{1,20}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?'
        good = re.fullmatch(decimal, text, re.ASCII) is not None
        expect(
            good and low <= float(text) <= high, column, text, f'a number of {low:g} to {high:g}'
        )
        return float(text)

    def seconds_ns(self, column: str) -> int:
        """A time in seconds, in nanoseconds."""
        return round(self.number(column, 0, LATEST_S) * NS_PER_S)

    def flag(self, column: str) -> bool:
        """True for true and numbers from 0.5 on; False for false, smaller ones and nothing."""
        text = self._texts[column].strip().lower()
        if text in ('true', 'false', ''):
            return text == 'true'
        return self.number(column, 0, 1) >= 0.5


def span_ns(row: Row, start: int, stop: int, column: str) -> tuple[int, int]:
    """Begin and end of a segment, checked against each other.

    Args:
        row: that they are of.
        start: begin, nanoseconds.
        stop: end, nanoseconds.
        column: of the end.
    """
    good = 0 < stop - start <= LONGEST_S * NS_PER_S
    expect(good, column, row.text(column), f'a time after the begin, at most {LONGEST_S:g} s later')
    return start, stop


def header(path: Path, delimiter: str = ',') -> list[str]:
    """The names of the columns of a table.

    Raises:
        ValueError: they cannot be read; names the file.
    """
    rows = _rows(path, delimiter)
    names = [name.strip() for name in next(rows, (0, []))[1]]
    expect(bool(names), f'{path}', '', 'a table whose first line names its columns')
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f'{path}, line 1: column(s) {shown(twice)} twice: expected each once')
    return names


def read_table(
    path: Path, needed: Collection[str], parse: Callable[[Row], T], delimiter: str = ','
) -> list[T]:
    """The records of a table, in its order.

    Args:
        path: the file, UTF-8, a header and a row for each record.
        needed: columns that it must have; others are left alone.
        parse: makes a record of a row.
        delimiter: between the columns.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, or rows are bad: says how many and shows the first few.
    """
    names = header(path, delimiter)
    if lacking := [name for name in needed if name not in names]:
        raise ValueError(
            f'{path}, line 1: column(s) {", ".join(lacking)} missing: expected '
            f'{", ".join(needed)}; got {shown(", ".join(names))}'
        )
    records: list[T] = []
    lines: dict[str, int] = {}
    told: list[str] = []
    bad = 0
    rows = _rows(path, delimiter)
    next(rows)
    for line, fields in rows:
        try:
            if len(fields) != len(names):
                raise ValueError(f'{len(fields)} fields: expected {len(names)}, as in line 1')
            record = parse(Row(dict(zip(names, fields, strict=True))))
            first = lines.setdefault(record.id, line)
            expect(first == line, 'id', record.id, f'one that line {first} does not have')
            records.append(record)
        except ValueError as error:
            bad += 1
            if len(told) < TOLD:
                told.append(f'line {line}, {error}')
    if bad:
        more = f'; and {bad - TOLD} more' if bad > TOLD else ''
        raise ValueError(f'{path}: {bad} bad row(s): {"; ".join(told)}{more}')
    if not records:
        raise ValueError(f'{path}: no rows below its header: expected at least one')
    return records


def _rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line and fields of every row that is not empty."""
    reader: Any = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    line = 1
    try:
        for count, fields in enumerate(reader):
            expect(count <= MOST_ROWS, f'{path}', count, f'at most {MOST_ROWS} rows')
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f'{path}, line {line}: no row of a table ({error})') from error


def _lines(path: Path) -> Iterator[str]:
    check_regular(path, 'annotation file')
    with path.open('rb') as file:
        number = 0
        while line := file.readline(LINE_BYTES + 1):
            number += 1
            if len(line) > LINE_BYTES:
                raise ValueError(f'{path}, line {number}: longer than the {LINE_BYTES} bytes read')
            try:
                yield line.decode('utf-8-sig' if number == 1 else 'utf-8')
            except UnicodeDecodeError as error:
                raise ValueError(f'{path}, line {number}: no UTF-8 text ({error})') from error
