"""Settings dataclasses: what is accepted, and what the refusal says."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from cs3_ros.config import from_mapping, require, setting, validate


@dataclass(frozen=True)
class Example:
    size: float = setting(2.5, 'Size, metres.', minimum=0.0, maximum=10.0)
    count: int = setting(3, 'How many.', minimum=1)
    kind: str = setting('round', 'Shape.', choices=('round', 'square'))
    on: bool = setting(True, 'Whether.', hot=True)

    def __post_init__(self) -> None:
        validate(self)


def test_a_field_carries_its_documentation():
    size, count, kind, on = (field.metadata for field in fields(Example))
    assert size == dict(
        doc='Size, metres.', minimum=0.0, maximum=10.0, choices=(), hot=False, weights=False
    )
    assert (count['minimum'], count['maximum']) == (1, None)
    assert kind['choices'] == ('round', 'square') and on['hot']


def test_both_ends_of_a_range_belong_to_it():
    assert (Example(size=0.0).size, Example(size=10.0).size) == (0.0, 10.0)
    assert Example(count=1).count == 1 and Example(count=10**9).count == 10**9


def test_an_integer_is_taken_as_a_float():
    example = Example(size=4)
    assert type(example.size) is float and example.size == 4.0
    with pytest.raises(FrozenInstanceError):
        example.size = 5.0


@pytest.mark.parametrize(
    'values, words',
    [
        ({'size': -0.1}, r'Example.size = -0.1: expected a value in \[0.0, 10.0\]'),
        ({'size': 10.5}, 'Example.size = 10.5'),
        ({'size': float('nan')}, 'Example.size is NaN'),
        ({'size': float('inf')}, 'Example.size = inf'),
        ({'size': '3'}, "Example.size = '3': expected float, got str"),
        ({'size': True}, 'Example.size = True: expected float, got bool'),
        ({'count': 0}, 'Example.count = 0'),
        ({'count': 1.0}, 'Example.count = 1.0: expected int, got float'),
        ({'count': True}, 'Example.count = True: expected int, got bool'),
        ({'kind': 'oval'}, "Example.kind = 'oval': expected one of round, square"),
        ({'on': 1}, 'Example.on = 1: expected bool, got int'),
        ({'on': None}, 'Example.on = None'),
    ],
)
def test_what_is_wrong_is_named(values, words):
    with pytest.raises(ValueError, match=words):
        Example(**values)
    with pytest.raises(ValueError, match=f'the file: {words}'):
        from_mapping(Example, values, 'the file')


def test_unknown_keys_are_refused_with_those_that_are_known():
    with pytest.raises(
        ValueError, match=r'here: unknown key\(s\) colour, sise; known: count, kind'
    ):
        from_mapping(Example, {'sise': 1.0, 'colour': 2, 'count': 2}, 'here')
    assert from_mapping(Example, {'count': 2}, 'here') == Example(count=2)


@pytest.mark.parametrize('values', [3, None, [1], 'size'])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(ValueError, match='here: expected a mapping of names to values, got'):
        from_mapping(Example, values, 'here')


def test_keys_of_another_type_are_refused_too():
    with pytest.raises(ValueError, match='unknown key'):
        from_mapping(Example, {1: 2, 'sise': 3}, 'here')


def test_what_a_stage_cannot_do_without_is_asked_for():
    @dataclass(frozen=True)
    class Paths:
        model: str = setting('', 'Folder of the network.', weights=True)
        other: str = setting('', 'Not needed.', weights=True)

    require(Paths(model='/nets/one'), 'model')
    with pytest.raises(ValueError, match=r'Paths.model is empty: .*model: PATH. Folder of the net'):
        require(Paths(other='/nets/one'), 'model')
