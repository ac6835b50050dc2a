"""YAML that people hand to each other, read so that no file hangs or ends the program."""

from __future__ import annotations

from typing import Any

import yaml


class NoAliases(yaml.parser.Parser, yaml.composer.Composer):
    """Base of yaml's loaders: a few nested aliases stand for more text than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """yaml's own, for everything but an alias."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f'alias *{event.anchor}: expected it written out', event.start_mark
            )
        return super().compose_node(parent, index)


class Plain(NoAliases, yaml.SafeLoader):
    """Plain values only: neither Python objects nor aliases."""


def load_yaml(text: str, loader: Any = Plain) -> Any:
    """The value of one document.

    Raises:
        yaml.YAMLError: no such document, or one that is nested too deeply.
    """
    try:
        return yaml.load(text, loader)
    except RecursionError as error:
        raise yaml.YAMLError('nested too deeply') from error
