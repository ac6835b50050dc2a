"""docs/add_a_stage.md from an empty folder to masks: its files are written, its commands run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import needs
import numpy as np
import pytest
from documents import ROOT, code_blocks

from cs3_ros.files.images import load_image

OFFLINE = {
    'PIP_TARGET': 'installed',
    'PIP_NO_INDEX': '1',
    'PIP_NO_DEPS': '1',
    'PIP_NO_BUILD_ISOLATION': '0',  # pip turns the word round: this is --no-build-isolation
    'PIP_DISABLE_PIP_VERSION_CHECK': '1',
}
"""``pip install`` takes setuptools and cs3_ros as they are here, and writes nowhere else."""

HERE = f"""set -eu
pip() {{ '{sys.executable}' -m pip "$@"; }}
cs3() {{ '{sys.executable}' -m cs3_ros.cli "$@"; }}
python() {{ '{sys.executable}' -P "$@"; }}
"""
"""The programs that the page calls, of this Python whatever the PATH is."""


def test_the_page_works_from_an_empty_folder(short_clip: Path, tmp_path: Path) -> None:
    needs.hands()
    if not list(distributions(name='pip')):  # to look for the module would disturb setuptools
        pytest.skip('this Python has no pip')
    shutil.copy(short_clip, tmp_path / 'clip.mp4')
    paths = [str(tmp_path / 'installed'), str(ROOT), os.environ.get('PYTHONPATH', '')]
    environment = os.environ | OFFLINE | {'PYTHONPATH': os.pathsep.join(paths)}
    blocks = code_blocks(ROOT / 'docs' / 'add_a_stage.md')
    assert sum(block.language == 'bash' for block in blocks) == 3
    output = ''
    for block in blocks:
        if block.title:
            (tmp_path / block.title).write_text(block.text, 'utf-8')
            continue
        assert block.language == 'bash', 'every block is a file or a command'
        done = subprocess.run(
            ['bash', '-c', HERE + block.text],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        output += done.stdout
        assert done.returncode == 0, output
    assert '1 passed' in output
    (event,) = json.loads((tmp_path / 'out' / 'events.json').read_text('utf-8'))
    assert event['bundle'] == 'watershed' and event['frame_index'] == 27
    labels = load_image(tmp_path / 'out' / event['label_image'])[..., 0]
    assert 0.01 < np.mean(labels == 1) < 0.3


def test_the_masker_has_forty_lines_of_code() -> None:
    (text,) = (
        block.text
        for block in code_blocks(ROOT / 'docs' / 'add_a_stage.md')
        if block.title.endswith('/masker.py')
    )
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 40
