"""Hook of mkdocs.yml: which pages the site has, and where their links lead.

The pages are written for GitHub: their links are relative to where they lie in the repository. On
the site a link to a page leads to that page, one to a room to its reference, and one to any other
file of the repository to a copy of that file.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

OUTSIDE_DOCS = {
    'index.md': 'README.md',
    'contributing.md': 'CONTRIBUTING.md',
    'security.md': 'SECURITY.md',
    'training.md': 'training/README.md',
}
"""Page of the site -> its file in the repository, for those that do not lie in docs/."""

LINK = re.compile(r'(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)')
"""The path of a link to a file, without its anchor."""


def pages() -> dict[str, str]:
    """Page of the site -> its file in the repository."""
    return {path.name: f'docs/{path.name}' for path in ROOT.glob('docs/*.md')} | OUTSIDE_DOCS


def references() -> dict[str, str]:
    """Page of the site -> the package whose modules it describes, by its path."""
    rooms = {f'api/{room.name}.md': room for room in _rooms(ROOT / 'cs3_ros')}
    training = ROOT / 'training' / 'cs3_training'
    rooms |= {f'api/training_{room.name}.md': room for room in _rooms(training)}
    rooms |= {'api/cs3_ros.md': ROOT / 'cs3_ros', 'api/cs3_training.md': training}
    return {page: room.relative_to(ROOT).as_posix() for page, room in rooms.items()}


def _rooms(package: Path) -> list[Path]:
    return sorted(path.parent for path in package.glob('*/__init__.py'))


def reference(package: str) -> str:
    """The Markdown of a reference page: what the room is for, then its modules."""
    folder = ROOT / package
    prefix = package.removeprefix('training/').replace('/', '.')
    text = ast.get_docstring(ast.parse((folder / '__init__.py').read_text('utf-8'))) or ''
    modules = sorted(path.stem for path in folder.glob('*.py') if path.stem != '__init__')
    return '\n\n'.join([f'# {prefix}', text, *(f'::: {prefix}.{module}' for module in modules)])


def targets(markdown: str, source: str) -> Iterator[str]:
    """What the links of a page lead to, as paths in the repository."""
    for link in LINK.findall(markdown):
        yield posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def place(target: str) -> str:
    """Where on the site a file or room of the repository is."""
    known = {path: page for page, path in (pages() | references()).items()}
    if target in known:
        return known[target]
    if target.startswith('docs/'):
        return target.removeprefix('docs/')
    return f'repository/{target}'


def led(markdown: str, page: str, source: str) -> str:
    """The Markdown of a page with links that lead to places on the site."""
    found = targets(markdown, source)
    start = posixpath.dirname(page) or '.'
    return LINK.sub(lambda _: posixpath.relpath(place(next(found)), start), markdown)


# ---- what MkDocs calls --------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Headings get the anchors that they have on GitHub."""
    from pymdownx.slugs import slugify

    config.mdx_configs['toc'] = {'permalink': True, 'slugify': slugify(case='lower')}
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what does not lie in docs/: pages, references, and files that links lead to."""
    from mkdocs.structure.files import File

    for page, source in OUTSIDE_DOCS.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text('utf-8')))
    for page, package in references().items():
        files.append(File.generated(config, page, content=reference(package)))
    for source in pages().values():
        for target in targets((ROOT / source).read_text('utf-8'), source):
            copy = place(target)
            if (ROOT / target).is_file() and files.get_file_from_path(copy) is None:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead the links of a page."""
    source = pages().get(page.file.src_uri)
    return markdown if source is None else led(markdown, page.file.src_uri, source)
