"""Field checks: what fits is handed on, anything else is refused with its place, short."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cs3_ros.files.fields import expect, items, mapping, number, one_of, shown, text, whole

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=80) | st.integers(), inner),
)


def test_what_fits_is_handed_on():
    assert mapping({'a': 1, 'b': 2}, 'here', ['a'], ['b', 'c']) == {'a': 1, 'b': 2}
    assert mapping({'a': 1, 3: 2}, 'here', ['a'], None) == {'a': 1, 3: 2}
    assert items([1, 'x'], 'here', least=2) == [1, 'x'] and items([], 'here') == []
    assert text(' a ', 'here') == ' a ' and text('', 'here', blank=True) == ''
    assert one_of('b', 'here', ['a', 'b']) == 'b'
    assert [whole(k, 'here', -1, 4) for k in (-1, 4)] == [-1, 4] and whole(10**30, 'here', 0) > 0
    assert [number(x, 'here', 0, 1) for x in (0, 1, 0.5)] == [0.0, 1.0, 0.5]
    assert number(-1e300, 'here') == -1e300 and type(number(3, 'here')) is float
    expect(True, 'here', 3, 'anything')


@pytest.mark.parametrize(
    'check, value, message',
    [
        (mapping, [], 'here: expected a mapping of names to values, got []'),
        (partial(mapping, needed=['b', 'a']), {'c': 1}, 'here: missing a, b: expected a, b'),
        (mapping, {'c': 1, 3: 1}, 'here: unknown key(s) 3, c; known: '),
        (partial(mapping, needed=['a'], others=['b']), {'a': 1, 'c': 1}, 'c; known: a, b'),
        (items, {}, 'here: expected a list, got {}'),
        (items, 'ab', "here: expected a list, got 'ab'"),
        (partial(items, least=2), [1], 'here: expected a list of at least 2, got [1]'),
        (text, 3, 'here = 3: expected a text'),
        (text, ' \n', "here = ' \\n': expected a text"),
        (partial(text, blank=True), None, 'here = None: expected a text'),
        (partial(one_of, choices=['a', 'b']), 'c', "here = 'c': expected one of a, b"),
        (partial(one_of, choices=['a', 'b']), ['a'], "here = ['a']: expected one of a, b"),
        (partial(whole, low=0), -1, 'here = -1: expected a whole number of at least 0'),
        (partial(whole, low=0, high=9), 10, 'here = 10: expected a whole number of 0 to 9'),
        (partial(whole, low=0, high=9), True, 'here = True: expected a whole number'),
        (partial(whole, low=0, high=9), 3.0, 'here = 3.0: expected a whole number'),
        (partial(number, low=0, high=1), 1.5, 'here = 1.5: expected a number of 0 to 1'),
        (number, '3', "here = '3': expected a number"),
        (number, True, 'here = True: expected a number'),
        (number, math.nan, 'here = nan: expected a number'),
        (number, -math.inf, 'here = -inf: expected a number'),
        (number, 10**400, 'expected a number'),
    ],
)
def test_anything_else_is_refused_with_its_place(check, value, message):
    with pytest.raises(ValueError) as refused:
        check(value, 'here')
    assert message in str(refused.value)


@given(ANYTHING)
def test_every_value_is_shown_on_one_short_line(value):
    assert len(shown(value)) <= 103 and '\n' not in shown(value)


@given(ANYTHING)
def test_every_value_is_taken_or_refused_with_a_value_error(value):
    for check in (
        partial(mapping, needed=['a']),
        partial(items, least=1),
        text,
        partial(one_of, choices=['a']),
        partial(whole, low=0, high=9),
        partial(number, low=0, high=1),
    ):
        try:
            check(value, 'here')
        except ValueError as error:
            assert str(error).startswith('here')


def test_what_is_large_is_shown_short():
    assert shown(['x' * 10**6] * 10**6).endswith('...')
    assert shown({'type': 'scissors'}) == "{'type': 'scissors'}"
