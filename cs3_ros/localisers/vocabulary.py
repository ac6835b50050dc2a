"""The zero-shot localiser's vocabulary: what collisions sound like and what to look for then.

``collision_phrases.yaml`` beside this module is the one that is shipped, and describes the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cs3_ros.files.yamlfile import NoAliases, load_yaml

_KEYS = {'object_prompt', 'collisions'}


@dataclass(frozen=True)
class Phrase:
    """One kind of collision in words."""

    materials: str
    """Heading that it stands under, such as ``metal-wood``."""
    sound: str
    """What it sounds like, for CLAP."""
    objects: tuple[str, ...]
    """The colliding things, at least one, as CLIPSeg is asked for them."""


def read_vocabulary(path: str = '') -> tuple[Phrase, ...]:
    """The phrases of a YAML file.

    Args:
        path: the file; '' reads the one that comes with the package.

    Raises:
        ValueError: no such file or not such a file; names the file and the entry.
    """
    shipped = resources.files('cs3_ros') / 'localisers' / 'collision_phrases.yaml'
    try:
        text = (Path(path) if path else shipped).read_text('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'vocabulary {path!r} cannot be read: {error}') from error
    return parse_vocabulary(text, f'vocabulary {path or "collision_phrases.yaml"}')


def parse_vocabulary(text: str, where: str) -> tuple[Phrase, ...]:
    """The phrases of a YAML text, in its order.

    Args:
        text: YAML as in ``collision_phrases.yaml``.
        where: what error messages begin with.

    Raises:
        ValueError: no YAML, a key that is unknown or given twice, an entry of another kind than
            expected, an empty or repeated one; names the entry.
    """
    try:
        data = load_yaml(text, _Texts)
    except yaml.YAMLError as error:
        raise ValueError(f'{where} is not valid YAML: {error}') from error
    data = _mapping(data, where)
    if unknown := sorted(set(data) - _KEYS):
        raise ValueError(
            f'{where}: unknown key(s) {", ".join(unknown)}; known: {", ".join(sorted(_KEYS))}'
        )
    prompt = _text(data.get('object_prompt', '{}'), f'{where}, object_prompt')
    if prompt.count('{}') != 1:
        raise ValueError(f'{where}, object_prompt = {prompt!r}: expected {{}} in it once')
    phrases: list[Phrase] = []
    known: dict[str, str] = {}
    for materials, entries in _mapping(data.get('collisions'), f'{where}, collisions').items():
        for sound, objects in _mapping(entries, f'{where}, {materials!r}').items():
            here = f'{where}, {materials!r}, {sound!r}'
            sound = _text(sound, here)
            if sound in known:
                raise ValueError(f'{here}: stands under {known[sound]!r} already')
            known[sound] = materials
            things = tuple(prompt.replace('{}', thing) for thing in _things(objects, here))
            phrases.append(Phrase(materials, sound, things))
    return tuple(phrases)


class _Texts(NoAliases, yaml.BaseLoader):
    """Reads texts, lists and mappings, nothing else: neither objects nor ``no`` as a boolean."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """YAML's own, but a key given twice, of which one would be lost, is an error."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next(key for key, _ in node.value if keys.count(key.value) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f'{twice.value!r} is given twice', twice.start_mark
            )
        return mapping


def _mapping(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict) or not data:
        raise ValueError(f'{where}: expected a mapping with at least one entry, got {data!r}')
    return data


def _things(data: Any, where: str) -> list[str]:
    if not isinstance(data, list) or not data:
        raise ValueError(f'{where}: expected a list of one or more things, got {data!r}')
    things = [_text(thing, where) for thing in data]
    if len(set(things)) < len(things):
        raise ValueError(f'{where}: a thing is named twice in {things}')
    return things


def _text(data: Any, where: str) -> str:
    text = ' '.join(data.split()) if isinstance(data, str) else ''
    if not text:
        raise ValueError(f'{where}: expected a text, got {data!r}')
    return text
