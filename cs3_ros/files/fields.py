"""Checks of the values that were read from a file; every refusal names the place, what was found
and what was expected there.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Collection, Mapping
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 60


def shown(value: Any) -> str:
    """A value as an error message shows it: on one line and short, however large it is."""
    text = _REPR.repr(value)
    return text if len(text) <= 100 else f'{text[:100]}...'


def expect(good: bool, where: str, value: Any, wanted: str) -> None:
    """Refuse a value that is not good.

    Args:
        good: whether it is.
        where: the place of the value, as errors shall name it: ``events[0].time_ns``.
        value: what was found there.
        wanted: what was expected, in words.

    Raises:
        ValueError: it is not; says where, what and what was expected.
    """
    if not good:
        raise ValueError(f'{where} = {shown(value)}: expected {wanted}')


def mapping(
    value: Any, where: str, needed: Collection[str] = (), others: Collection[str] | None = ()
) -> dict[str, Any]:
    """A mapping of names to values.

    Args:
        value: what was found.
        where: its place.
        needed: keys that it must have.
        others: keys that it may have, too; None allows any.

    Raises:
        ValueError: it is something else, lacks a key or has one that is not known.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f'{where}: expected a mapping of names to values, got {shown(value)}')
    if lacking := sorted(name for name in needed if name not in value):
        raise ValueError(
            f'{where}: missing {", ".join(lacking)}: expected {", ".join(sorted(needed))}'
        )
    if others is not None:
        known = {*needed, *others}
        if unknown := sorted(str(key)[:60] for key in value if key not in known):
            raise ValueError(
                f'{where}: unknown key(s) {", ".join(unknown)}; known: {", ".join(sorted(known))}'
            )
    return dict(value)


def items(value: Any, where: str, least: int = 0) -> list[Any]:
    """A list.

    Raises:
        ValueError: it is something else, or shorter than ``least``.
    """
    if not isinstance(value, list) or len(value) < least:
        length = f' of at least {least}' if least else ''
        raise ValueError(f'{where}: expected a list{length}, got {shown(value)}')
    return value


def text(value: Any, where: str, *, blank: bool = False) -> str:
    """A text, unless ``blank`` allows it one with more than spaces.

    Raises:
        ValueError: it is none.
    """
    good = isinstance(value, str) and (blank or bool(value.strip()))
    expect(good, where, value, 'a text')
    return str(value)


def one_of(value: Any, where: str, choices: Collection[str]) -> str:
    """One of some texts.

    Raises:
        ValueError: it is none of them.
    """
    expect(value in list(choices), where, value, f'one of {", ".join(choices)}')
    return str(value)


def whole(value: Any, where: str, low: int, high: int | None = None) -> int:
    """A whole number from ``low`` to ``high``; None has no upper end.

    Raises:
        ValueError: it is none, or out of that range.
    """
    # True and False are ints, too
    good = type(value) is int and low <= value and (high is None or value <= high)
    bounds = f'at least {low}' if high is None else f'{low} to {high}'
    expect(good, where, value, f'a whole number of {bounds}')
    return int(value)


def number(value: Any, where: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from ``low`` to ``high``.

    Raises:
        ValueError: it is none, or out of that range.
    """
    finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
    good = finite and low <= value <= high
    bounds = '' if (low, high) == (-math.inf, math.inf) else f' of {low} to {high}'
    expect(good, where, value, f'a number{bounds}')
    return float(value)
