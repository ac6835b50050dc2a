"""Checks text files: no space at the end of a line, one line end at the end, YAML that parses.

``python tools/check_text.py FILE ...`` prints one line per problem and exits with 1; a hook of
``.pre-commit-config.yaml``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml


def problems(path: Path) -> Iterator[str]:
    """What is wrong with a file, one text per problem."""
    text = path.read_text('utf-8')
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r'[ \t]$', line):
            yield f'{path}:{number}: ends with a space'
    if text and (not text.endswith('\n') or text.endswith('\n\n')):
        yield f'{path}: expected exactly one line end at the end'
    if path.suffix in ('.yaml', '.yml', '.cff'):
        try:
            list(yaml.safe_load_all(text))
        except yaml.YAMLError as error:
            yield f'{path}: {error}'


if __name__ == '__main__':
    found = [problem for name in sys.argv[1:] for problem in problems(Path(name))]
    print('\n'.join(found), end='\n' if found else '')
    sys.exit(bool(found))
