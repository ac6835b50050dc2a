"""YAML that people hand to each other, read so that no file hangs or ends the program.

The one reader of the package: aliases are refused (a few nested ones stand for more text than
memory holds), size and depth are bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 20
"""Longest YAML text that is read; those of people have some kilobytes."""
MAX_DEPTH = 32
"""Deepest nesting that is read."""


class NoAliases(yaml.parser.Parser, yaml.composer.Composer):
    """Base of yaml's loaders that refuses aliases and counts the depth."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """yaml's own, for everything but an alias or what is nested too deeply."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f'alias *{event.anchor}: expected it written out', event.start_mark
            )
        if self._depth > MAX_DEPTH:
            raise yaml.YAMLError(f'nested too deeply: expected at most {MAX_DEPTH}')
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


class Plain(NoAliases, yaml.SafeLoader):
    """Plain values only: neither Python objects nor aliases."""


def load_yaml(text: str, loader: Any = Plain) -> Any:
    """The value of one document.

    Args:
        text: at most ``MAX_BYTES`` long.
        loader: a class that derives from ``NoAliases`` and one of yaml's loaders.

    Raises:
        yaml.YAMLError: no such document, one with aliases, one that is nested too deeply or too
            long.
    """
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f'{len(text)} characters: expected at most {MAX_BYTES}')
    try:
        return yaml.load(text, loader)
    except RecursionError as error:
        raise yaml.YAMLError('nested too deeply') from error


def read_yaml(path: Path, where: str) -> Any:
    """The value of a file of one document.

    Args:
        path: the file.
        where: what it is, as errors shall name it: ``training settings 'a.yaml'``.

    Raises:
        ValueError: it cannot be read or is not such a document; begins with ``where``.
    """
    try:
        with path.open('rb') as file:
            data = file.read(MAX_BYTES + 1)
        return load_yaml(data.decode('utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{where} cannot be read: {error}') from error
    except yaml.YAMLError as error:
        raise ValueError(f'{where} is not valid YAML: {error}') from error
