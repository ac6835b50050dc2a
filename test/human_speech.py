"""Human speech from a package of Debian's: installed, or fetched by apt into a test's folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGE = 'asterisk-prompt-es-co'
"""1 MB with ten minutes of a Colombian woman who speaks; the gate has not learned from it."""
INSTALLED = Path('/usr/share/asterisk/sounds/es')
TIMEOUT_S = 60


def human_speech(folder: Path) -> Path:
    """A folder with recordings; skips with the reason where there is no way to them.

    Args:
        folder: an empty folder for what apt brings; the system's own lists stay as they are.
    """
    if any(INSTALLED.glob('*.gsm')):
        return INSTALLED
    if not (shutil.which('apt-get') and shutil.which('dpkg-deb')):
        pytest.skip(f'no {INSTALLED} and no apt-get: install {PACKAGE}')
    (folder / 'lists' / 'partial').mkdir(parents=True)
    options = ['-o', f'Dir::State::lists={folder}/lists', '-o', f'Dir::Cache={folder}']
    options += ['-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Retries=0']
    options += ['-o', 'Acquire::http::Timeout=10']
    own = ['apt-get', *options]
    for command in (
        ['apt-get', 'download', PACKAGE],
        [*own, 'update'],
        [*own, 'download', PACKAGE],
    ):
        try:
            subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f'{" ".join(command)}: no answer within {TIMEOUT_S} s: install {PACKAGE}')
        found = sorted(folder.glob(f'{PACKAGE}_*.deb'))
        if found:
            subprocess.run(['dpkg-deb', '-x', str(found[0]), str(folder / 'x')], check=True)
            return folder / 'x'
    pytest.skip(f'no {INSTALLED}, and apt-get brings no {PACKAGE} here: install it')
