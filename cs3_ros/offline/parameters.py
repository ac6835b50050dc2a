"""The parameters of an offline command: of its parameter file, and over them those of ``--set``."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cs3_ros.settings import (
    SECTIONS,
    NodeConfig,
    Settings,
    field_of,
    load_parameters,
    parameter_names,
)

_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    bool: (lambda text: {'true': True, 'false': False}[text.lower()], 'true or false'),
    int: (int, 'a whole number'),
    float: (float, 'a number'),
    str: (str, 'a text'),
    tuple: (
        lambda text: tuple(map(int, text.strip('[]() ').replace(',', ' ').split())),
        'whole numbers such as [0, 1]',
    ),
}
"""Type of a parameter -> what reads it, and what is expected in words."""


def parameters(path: Path | None, texts: Sequence[str]) -> tuple[NodeConfig, Settings]:
    """The settings of a parameter file with some of them overruled.

    Args:
        path: a ROS parameter file; None takes the defaults.
        texts: ``NAME=VALUE`` with names as in ``config/cs3.yaml``; of one name the last one counts.

    Raises:
        ValueError: the file is refused, a text is none of that kind, a name is unknown or a value
            of the wrong type or out of range; says which, and what was expected.
    """
    node_config, settings = load_parameters(path) if path else (NodeConfig(), Settings())
    values = dict(map(parse, texts))
    own = {name: value for name, value in values.items() if '.' not in name}
    try:
        sections = {
            section: replace(getattr(settings, section), **_of_section(section, values))
            for section in SECTIONS
        }
        return replace(node_config, **own), replace(settings, **sections)
    except ValueError as error:
        raise ValueError(f'--set: {error}') from error


def parse(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` as the name and a value of the type that the parameter has.

    Raises:
        ValueError: no ``=``, an unknown name or a value of another type; says what was expected.
    """
    name, value = split(text, '--set', 'onset.threshold_db=12')
    field = field_of(name)
    if field is None:
        near = difflib.get_close_matches(name, parameter_names(), n=1, cutoff=0.5)
        advice = f'did you mean {near[0]}? ' if near else ''
        raise ValueError(
            f'--set {text}: unknown parameter {name!r}; {advice}config/cs3.yaml lists all of them'
        )
    read, expected = _READERS[type(field.default)]
    try:
        return name, read(value)
    except (ValueError, KeyError) as error:
        raise ValueError(f'--set {text}: expected {expected}, got {value!r}') from error


def split(text: str, option: str, example: str) -> tuple[str, str]:
    """``NAME=VALUE`` as two texts.

    Raises:
        ValueError: no ``=``; names option and example.
    """
    name, equals, value = text.partition('=')
    if not equals:
        raise ValueError(f'{option} {text}: expected NAME=VALUE, such as {example}')
    return name, value


def _of_section(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f'{section}.'
    return {n.removeprefix(prefix): value for n, value in values.items() if n.startswith(prefix)}
