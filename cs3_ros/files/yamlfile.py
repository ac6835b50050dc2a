"""YAML that people hand to each other, read so that no file hangs or ends the program.

The one reader of the package: aliases are refused (a few nested ones stand for more text than
memory holds), and size, depth and the length of numbers are bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cs3_ros.files.regular import one_line

MAX_BYTES = 1 << 20
"""Longest YAML text that is read; those of people have some kilobytes."""
MAX_DEPTH = 32
"""Most lists and mappings inside of each other."""
MAX_DIGITS = 100
"""Longest number; YAML's numbers to the base of 60 take time with the square of their length."""

_NUMBERS = ('tag:yaml.org,2002:int', 'tag:yaml.org,2002:float')


class NoAliases(yaml.parser.Parser, yaml.composer.Composer):
    """Base of yaml's loaders that refuses aliases, deep nesting and endless numbers."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """yaml's own, for everything but an alias or what is nested too deeply."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f'alias *{event.anchor}: expected it written out', event.start_mark
            )
        if self._depth >= MAX_DEPTH and self.check_event(yaml.CollectionStartEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                f'nested too deeply: expected at most {MAX_DEPTH} levels',
                self.peek_event().start_mark,
            )
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """yaml's own, for everything but a number that is too long."""
        node = super().compose_scalar_node(anchor)
        if node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
            raise yaml.composer.ComposerError(
                None,
                None,
                f'number of {len(node.value)} characters: expected at most {MAX_DIGITS}',
                node.start_mark,
            )
        return node


class Plain(NoAliases, yaml.SafeLoader):
    """Plain values only: neither Python objects nor aliases."""


def load_yaml(text: str, loader: Any = Plain) -> Any:
    """The value of one document.

    Args:
        text: at most ``MAX_BYTES`` characters.
        loader: a class that derives from ``NoAliases`` and one of yaml's loaders.

    Raises:
        yaml.YAMLError: no such document, one with aliases, one that is nested too deeply or too
            long.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f'{len(text)} characters: expected at most {MAX_BYTES}')
    try:
        return yaml.load(text, loader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # of a value that is not what its tag says, yaml lets anything out
        raise yaml.YAMLError(f'a value cannot be read: {error!r}') from error


def read_yaml(path: Path, where: str, loader: Any = Plain) -> Any:
    """The value of a file of one document.

    Args:
        path: the file, UTF-8, at most ``MAX_BYTES`` long.
        where: what it is, as errors shall name it: ``training settings 'a.yaml'``.
        loader: as in ``load_yaml``.

    Raises:
        ValueError: it cannot be read or is not such a document; begins with ``where``.
    """
    try:
        with path.open('rb') as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(f'{where} is longer than the {MAX_BYTES} bytes that are read')
        return load_yaml(data.decode('utf-8'), loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{where} cannot be read: {error}') from error
    except yaml.YAMLError as error:
        raise ValueError(f'{where} is not valid YAML: {one_line(error)}') from error
