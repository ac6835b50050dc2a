"""The README tells the truth: its commands parse, its files, targets and links exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from cs3_ros import cli

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def commands(program: str) -> list[str]:
    """Every call of a program in the code blocks of the documents, without its comment."""
    found = []
    for document in DOCUMENTS:
        blocks = re.findall(
            r'```\w*\n(.*?)```|\n((?:    \S.*\n)+)', document.read_text('utf-8'), re.S
        )
        for line in '\n'.join(''.join(block) for block in blocks).splitlines():
            for call in re.split(r'&&|&|;', line.split('#')[0]):
                words = [word for word in call.split() if '=' not in word.split('/')[0]]
                if words[:1] == [program]:
                    found.append(' '.join(words))
    assert found, f'no call of {program} in the documents'
    return sorted(set(found))


@pytest.mark.parametrize('command', commands('cs3'))
def test_cs3_commands_parse(command: str) -> None:
    arguments = shlex.split(command)[1:]
    if arguments[0] == 'bench':
        module = importlib.import_module(cli.BENCHES[arguments[1]])
        parser = cli.argparse.ArgumentParser()
        module.add_arguments(parser)
        parser.parse_args(arguments[2:])
    else:
        cli._parser().parse_args(arguments)


@pytest.mark.parametrize('command', commands('make'))
def test_make_targets_exist(command: str) -> None:
    target = command.split()[1]
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M)


@pytest.mark.parametrize('command', commands('ros2'))
def test_launch_files_exist(command: str) -> None:
    _, verb, package, file = command.split()[:4]
    assert (verb, package) == ('launch', 'cs3_ros') and (ROOT / 'launch' / file).is_file()


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r'\]\((?!https?:)([^)#]+)', document.read_text('utf-8')):
        assert (document.parent / target).exists(), target
