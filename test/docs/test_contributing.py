"""CONTRIBUTING.md: the changed line fails its test and is put back; commands and names exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import ROOT, code_blocks

PAGE = ROOT / 'CONTRIBUTING.md'


def blocks_with(word: str) -> list[str]:
    """The commands of the blocks in which a word stands."""
    return [
        line
        for block in code_blocks(PAGE)
        if block.language == 'bash' and word in block.text
        for line in block.text.splitlines()
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The code and the tests, without weights, as a repository of their own."""
    if shutil.which('git') is None:
        pytest.skip('git is not installed')
    for name in ('cs3_ros', 'test'):
        unneeded = shutil.ignore_patterns('__pycache__', '*.safetensors', '*.npz')
        shutil.copytree(ROOT / name, tmp_path / name, ignore=unneeded)
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    for arguments in ('init', 'add .', '-c user.name=a -c user.email=a@b.c commit -m a'):
        subprocess.run(['git', *arguments.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_the_changed_line_fails_its_test(checkout: Path) -> None:
    pytest.importorskip('ruff', reason='pip install ruff')
    lines = blocks_with('sed -i')
    told = [line.partition('# ')[2].partition(':')[0] for line in lines if 'pytest' in line]
    assert told == ['passes', 'fails']
    here = f'python() {{ \'{sys.executable}\' "$@"; }}; ruff() {{ python -m ruff "$@"; }}\n'
    environment = {k: v for k, v in os.environ.items() if not k.startswith('PYTEST_')}
    for line in lines:
        done = subprocess.run(
            ['bash', '-c', here + line],
            cwd=checkout,
            env=environment | {'PYTHONPATH': str(checkout)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode != 0) == ('# fails' in line), line + done.stdout + done.stderr
        for failing in re.findall(r'fails: (\w+)', line):
            assert f'::{failing}' in done.stdout
    left = subprocess.run(['git', 'diff', '--stat'], cwd=checkout, capture_output=True, text=True)
    assert left.stdout == ''


def test_the_tests_that_it_names_are_there() -> None:
    lines = [line.split('#')[0].strip() for line in blocks_with('test/trigger')]
    calls = [line for line in lines if line.startswith('python -m pytest -q ')]
    assert len(calls) == 3
    for call in calls:
        words = call.removeprefix('python -m pytest -q ')
        path, _, test = words.rpartition(' ')[2].partition('::')
        assert (ROOT / path).exists(), path
        assert f'def {test}(' in (ROOT / path).read_text('utf-8') if test else True
    assert any('overlap' in call for call in calls)


def test_what_pip_is_asked_for_is_pinned() -> None:
    (line,) = (line for line in blocks_with('git clone') if line.startswith('pip install'))
    pins = (ROOT / 'requirements' / 'constraints.txt').read_text('utf-8')
    asked = line.partition("'.[lite]' ")[2].split()
    assert 'pytest' in asked and 'ruff' in asked
    for name in asked:
        assert re.search(rf'^{name}==', pins, re.M), name


def test_the_rooms_that_it_names_are_there() -> None:
    table = PAGE.read_text('utf-8').partition('## The rooms')[2].partition('## Style')[0]
    names = re.findall(r'^\| (`.*?) \|', table, re.M)
    rooms = {name.rstrip('/') for row in names for name in re.findall(r'`([^`]+)`', row)}
    rooms.remove('training/cs3_training')
    assert rooms <= {path.name for path in (ROOT / 'cs3_ros').iterdir()}
    folders = {path.parent.name for path in (ROOT / 'cs3_ros').glob('*/__init__.py')}
    assert folders <= rooms, 'a room is not in the table'
