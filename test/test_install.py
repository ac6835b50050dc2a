"""README's pip command resolves, from wheels alone, on both kinds of machine and both Pythons.

pip asks an index, and the machine that it runs on for environment markers: here it is told another
one. It downloads no package, only what they need, and takes 7 s for each machine.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TAGS = ('manylinux_2_28', 'manylinux_2_27', 'manylinux_2_17', 'manylinux2014', 'linux')
ELSEWHERE = """
import platform, sys
machine, python = sys.argv.pop(1), sys.argv.pop(1)
platform.machine = lambda: machine
platform.python_version = lambda: f'{python}.0'
platform.python_version_tuple = lambda: (*python.split('.'), '0')
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""Runs pip as on a machine of that processor with that Python."""


@pytest.fixture(scope='module')
def requirements(tmp_path_factory) -> Path:
    """What ``pip install .[lite]`` asks for."""
    captured: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr('setuptools.setup', captured.update)
        runpy.run_path('setup.py')
    path = tmp_path_factory.mktemp('install') / 'requirements.txt'
    path.write_text('\n'.join([*captured['install_requires'], *captured['extras_require']['lite']]))
    return path


@pytest.mark.skipif(not os.environ.get('CI'), reason='asks a package index for 28 s: set CI=true')
@pytest.mark.parametrize('python', ['3.11', '3.12'])
@pytest.mark.parametrize('machine, mediapipe', [('x86_64', '0.10.21'), ('aarch64', '0.10.18')])
def test_the_command_of_the_readme_resolves(requirements, tmp_path, machine, mediapipe, python):
    done = subprocess.run(
        [sys.executable, '-c', ELSEWHERE, machine, python]
        + ['install', '--dry-run', '--ignore-installed', '--disable-pip-version-check']
        + ['--target', str(tmp_path), '--only-binary=:all:', '--implementation', 'cp']
        + ['--python-version', python, *(f'--platform={tag}_{machine}' for tag in TAGS)]
        + ['-c', str(ROOT / 'requirements' / 'constraints.txt'), '-r', str(requirements)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode and 'connection broken by' in done.stderr:
        pytest.skip('no package index is reachable')
    assert done.returncode == 0, done.stdout + done.stderr
    (would,) = [line for line in done.stdout.splitlines() if line.startswith('Would install')]
    assert f'mediapipe-{mediapipe}' in would and 'opencv-contrib-python-4' in would
