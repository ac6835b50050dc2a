"""The zero-shot localiser's vocabulary: what collisions sound like and what to look for then.

``collision_phrases.yaml`` beside this module is the one that is shipped, and describes the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cs3_ros.files.fields import expect, items, mapping, text
from cs3_ros.files.yamlfile import NoAliases, read_yaml


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
    """The phrases of a YAML file, in its order.

    Args:
        path: the file; '' reads the one that comes with the package.

    Raises:
        ValueError: no such file, no YAML, a key that is unknown or given twice, an entry of another
            kind than expected, an empty or repeated one; names the file and the entry.
    """
    # setup.py has zip_safe=False: the package's data are files
    shipped = Path(str(resources.files('cs3_ros'))) / 'localisers' / 'collision_phrases.yaml'
    where = f'vocabulary {path or shipped.name}'
    data = mapping(
        read_yaml(Path(path) if path else shipped, where, _Texts),
        where,
        ('collisions',),
        ('object_prompt',),
    )
    prompt = _words(data.get('object_prompt', '{}'), f'{where}, object_prompt')
    expect(prompt.count('{}') == 1, f'{where}, object_prompt', prompt, '{} in it once')
    phrases: list[Phrase] = []
    known: dict[str, str] = {}
    for materials, entries in _entries(data['collisions'], f'{where}, collisions').items():
        for sound, objects in _entries(entries, f'{where}, {materials!r}').items():
            here = f'{where}, {materials!r}, {sound!r}'
            sound = _words(sound, here)
            if sound in known:
                raise ValueError(f'{here}: stands under {known[sound]!r} already')
            known[sound] = materials
            things = [_words(thing, here) for thing in items(objects, here, least=1)]
            if len(set(things)) < len(things):
                raise ValueError(f'{here}: a thing is named twice in {things}')
            looked_for = tuple(prompt.replace('{}', thing) for thing in things)
            phrases.append(Phrase(materials, sound, looked_for))
    return tuple(phrases)


class _Texts(NoAliases, yaml.BaseLoader):
    """Reads texts, lists and mappings, nothing else: neither objects nor ``no`` as a boolean."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """YAML's own, but a key given twice, of which one would be lost, is an error."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        keys: set[Any] = set()
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.constructor.ConstructorError(
                    None, None, f'{key.value!r} is given twice', key.start_mark
                )
            keys.add(key.value)
        return found


def _entries(value: Any, where: str) -> dict[str, Any]:
    found = mapping(value, where, others=None)
    if not found:
        raise ValueError(f'{where}: expected a mapping with at least one entry, got {{}}')
    return found


def _words(value: Any, where: str) -> str:
    """A text whose spaces do not count."""
    return ' '.join(text(value, where).split())
