"""Griffe extension of mkdocs.yml: a field declared by ``setting`` is documented by what it says."""

from __future__ import annotations

import ast
from typing import Any

from griffe import Attribute, Docstring, Extension


class Settings(Extension):
    """Default and text of ``cs3_ros.config.setting`` become those of the attribute."""

    def on_attribute_instance(self, *, node: Any, attr: Attribute, **_: Any) -> None:
        """Called for every attribute, before dataclasses get their signatures."""
        call = getattr(node, 'value', None)
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == 'setting'):
            return
        default, text = call.args
        rest = [f'{word.arg}: `{ast.unparse(word.value)}`' for word in call.keywords]
        told = ' '.join([_plain(text), *([f'({", ".join(rest)})'] if rest else [])])
        attr.value = ast.unparse(default)
        attr.docstring = Docstring(told, parent=attr, lineno=call.lineno)


def _plain(text: ast.expr) -> str:
    """A string, or an f-string with the names of what would be put in."""
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    return ''.join(
        f'`{ast.unparse(part.value)}`'
        if isinstance(part, ast.FormattedValue)
        else str(ast.literal_eval(part))
        for part in parts
    )
