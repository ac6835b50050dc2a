"""Scripts of colcon go on in the virtual environment of their workspace, or say what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cs3_ros.launcher import environment_of

ROOT = Path(__file__).resolve().parents[1]


def make_environment(path: Path, python: str = '#!/bin/sh\necho other "$0" "$@"\n') -> Path:
    (path / 'bin').mkdir(parents=True)
    (path / 'pyvenv.cfg').touch()
    (path / 'bin' / 'python').write_text(python)
    (path / 'bin' / 'python').chmod(0o755)
    return path


@pytest.fixture
def script(tmp_path) -> Path:
    """A script where colcon puts it, in a workspace with a folder of another kind."""
    (tmp_path / 'ws' / 'venv').mkdir(parents=True)
    path = tmp_path / 'ws' / 'install' / 'cs3_ros' / 'lib' / 'cs3_ros' / 'cs3_node'
    path.parent.mkdir(parents=True)
    path.write_text(
        'import sys\nfrom cs3_ros import cli, launcher\n'
        "cli.main = lambda: print('here', sys.argv[1:])\n"
        'launcher.NEEDED = tuple(sys.argv[1:])\nlauncher.cs3()\n'
    )
    return path


def run(script: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != 'VIRTUAL_ENV'}
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment | {'PYTHONPATH': str(ROOT)} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize('name', ['.venv', 'venv'])
def test_the_environment_of_the_workspace(script, tmp_path, name):
    (tmp_path / 'ws' / 'venv').rmdir()
    environment = make_environment(tmp_path / 'ws' / name)
    make_environment(tmp_path / '.venv')  # of a folder around the workspace
    assert environment_of(script, {}) == environment
    assert environment_of(script, {'VIRTUAL_ENV': '/mine'}) == Path('/mine')


def test_scripts_that_are_not_of_colcon_stay_where_they_are(tmp_path):
    bin_of_pip = make_environment(tmp_path / '.venv') / 'bin' / 'cs3'
    assert environment_of(bin_of_pip, {'VIRTUAL_ENV': '/mine'}) is None


def test_without_an_environment(script):
    assert environment_of(script, {'VIRTUAL_ENV': ''}) is None
    assert run(script).stdout == 'here []\n'


def test_it_goes_on_there_with_its_arguments(script, tmp_path):
    python = make_environment(tmp_path / 'ws' / '.venv') / 'bin' / 'python'
    assert run(script, 'a b', '--c').stdout == f'other {python} {script} a b --c\n'
    mine = make_environment(tmp_path / 'mine')
    assert run(script, VIRTUAL_ENV=str(mine)).stdout.startswith(f'other {mine}/bin/python')


def test_an_environment_that_is_gone_is_told(script):
    done = run(script, VIRTUAL_ENV='/gone/.venv')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'cs3_node: no Python in /gone/.venv/bin/python' in done.stderr


def test_in_its_environment_it_runs(script):
    assert run(script, VIRTUAL_ENV=sys.prefix).stdout == 'here []\n'


def test_what_is_lacking_is_told_with_the_fix(script):
    done = run(script, 'nobodys_box', 'sys')
    assert done.returncode == 1 and not done.stdout and 'Traceback' not in done.stderr
    assert f'cs3_node: {sys.executable} lacks nobodys_box: activate' in done.stderr
    assert 'source .venv/bin/activate' in done.stderr
