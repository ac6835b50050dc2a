"""What the documents promise: the commands and anchors that their tests look up."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
    ROOT / 'training' / 'README.md',
    *sorted((ROOT / 'docs').glob('*.md')),
]


def text_files() -> list[Path]:
    """The text files of the repository, or a skip where this is no checkout."""
    if shutil.which('git') is None or not (ROOT / '.git').exists():
        pytest.skip('not a git checkout')
    command = ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split(b'\0')
    paths = [ROOT / name.decode() for name in listed if name]
    # of a picture or of weights the first bytes hold a zero
    return [path for path in paths if path.is_file() and b'\0' not in path.read_bytes()[:4096]]


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of a document."""

    language: str
    """The word behind its fence; '' where there is none."""
    title: str
    """The file that it is to be written to, ``title="..."`` behind its fence; '' where none is."""
    text: str
    """Its lines."""


def code_blocks(document: Path) -> list[CodeBlock]:
    """The fenced blocks of a document, from top to bottom."""
    fence = r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$'
    found = re.findall(fence, document.read_text('utf-8'), re.S | re.M)
    assert found, f'{document} has no block of code'
    return [CodeBlock(*block) for block in found]


def commands(program: str) -> list[str]:
    """Every call of a program in the documents, without its folder and its comment.

    Calls stand in code blocks, or with options in code within the text.
    """
    found = []
    for document in DOCUMENTS:
        text = document.read_text('utf-8')
        blocks = re.findall(r'```[^\n`]*\n(.*?)```|\n((?:    \S.*\n)+)', text, re.S)
        lines = '\n'.join(''.join(block) for block in blocks).splitlines()
        within = [code for code in re.findall(r'`([^`\n]+)`', text) if ' --' in code]
        for line in lines + within:
            for call in re.split(r'&&|&|;', line.split('#')[0]):
                words = call.split()
                while words and '=' in words[0].split('/')[0]:  # variables of the environment
                    del words[0]
                if program == 'make':  # its variables may stand anywhere
                    words = [word for word in words if '=' not in word]
                if words and words[0].rsplit('/')[-1] == program:
                    found.append(' '.join([program, *words[1:]]))
    assert found, f'no call of {program} in the documents'
    return sorted(set(found))


def anchors(document: Path) -> set[str]:
    """What a link can name in a Markdown file: its headings, as GitHub writes them."""
    text = re.sub(r'```.*?```', '', document.read_text('utf-8'), flags=re.S)
    headings = re.findall(r'^#+ +(.+?) *$', text, re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}
