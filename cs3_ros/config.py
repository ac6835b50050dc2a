"""Settings: frozen dataclasses whose fields carry their own documentation and range.

One declaration serves the library (validation in ``__post_init__``), the ROS node (parameter
descriptors) and the YAML files, so that a default, a range or a text is written once.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar('T')


def setting(
    default: Any,
    doc: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    hot: bool = False,
    weights: bool = False,
) -> Any:
    """Declare one documented dataclass field.

    What is declared is checked by ``validate``, which a dataclass calls in ``__post_init__``.

    Args:
        default: the default value; its type is the type of the setting, a tuple is one of whole
            numbers and may be given as a list.
        doc: one sentence with the unit.
        minimum: smallest allowed value (inclusive).
        maximum: largest allowed value (inclusive).
        choices: the allowed strings; empty means any.
        hot: True where a running node may change it.
        weights: True where it is the path of a file or folder of weights; a bundle resolves it
            (``weights.locate``), so that a stage gets an absolute path, or '' where none is named.
    """
    metadata = dict(
        doc=doc, minimum=minimum, maximum=maximum, choices=choices, hot=hot, weights=weights
    )
    return dataclasses.field(default=default, metadata=metadata)


def validate(config: Any) -> None:
    """Check every ``setting`` of a dataclass instance against its type, range and choices.

    Raises:
        ValueError: names the field, the value given and what was expected.
    """
    for field in dataclasses.fields(config):
        value, meta = getattr(config, field.name), field.metadata
        if 'doc' not in meta:
            continue  # not a setting: a group of settings that checks itself
        name = f'{type(config).__name__}.{field.name}'
        expected = type(field.default)
        if expected is tuple:
            object.__setattr__(config, field.name, _whole_numbers(name, value, meta))
            continue
        if expected is float and type(value) is int:
            value = float(value)
            object.__setattr__(config, field.name, value)
        if type(value) is not expected:
            raise ValueError(
                f'{name} = {value!r}: expected {expected.__name__}, got {type(value).__name__}'
            )
        low, high, choices = meta.get('minimum'), meta.get('maximum'), meta.get('choices')
        if expected is float and value != value:
            raise ValueError(f'{name} is NaN: expected a finite number')
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f'{name} = {value!r}: expected a value in [{low}, {high}]')
        if choices and value not in choices:
            raise ValueError(f'{name} = {value!r}: expected one of {", ".join(choices)}')


def _whole_numbers(name: str, value: Any, meta: Mapping[str, Any]) -> tuple[int, ...]:
    """A list of whole numbers, each within the range of the setting."""
    low, high = meta.get('minimum'), meta.get('maximum')
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    numbers = tuple(value) if isinstance(value, (list, tuple)) else (None,)
    if any(type(number) is not int or not low <= number <= high for number in numbers):
        raise ValueError(f'{name} = {value!r}: expected a list of whole numbers in [{low}, {high}]')
    return numbers


def require(config: Any, *names: str) -> None:
    """Check that settings without which a stage cannot be built are given.

    Args:
        config: a dataclass of settings.
        names: of its settings; '' counts as not given.

    Raises:
        ValueError: names the first that is not given and says what belongs there.
    """
    for field in dataclasses.fields(config):
        if field.name in names and getattr(config, field.name) == '':
            raise ValueError(
                f'{type(config).__name__}.{field.name} is empty: name it in the bundle, '
                f'{field.name}: PATH. {field.metadata["doc"]}'
            )


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a settings dataclass from a mapping, refusing unknown keys.

    Args:
        cls: the dataclass; checks its values itself, with ``validate``.
        values: name of a field -> its value; what is not named keeps its default.
        where: what the mapping is, as errors shall name it.

    Raises:
        ValueError: no mapping, an unknown key or a bad value; the message begins with ``where``.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f'{where}: expected a mapping of names to values, got {values!r}')
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in set(values) - known)
    if unknown:
        raise ValueError(
            f'{where}: unknown key(s) {", ".join(unknown)}; known: {", ".join(sorted(known))}'
        )
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
