"""A machine without torch collects every test, skips those of networks and still runs the rest."""

import os
import subprocess
import sys
from pathlib import Path

TEST = Path(__file__).parent


def test_modules_of_networks_are_skipped_where_torch_is_missing(tmp_path):
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch' / '__init__.py').write_text(
        "raise ModuleNotFoundError('not here', name='torch')"
    )
    names = ('localisers', 'maskers', 'networks', 'bundles/test_random_weights.py')
    folders = [str(TEST / name) for name in names]
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '--co', '-q', '-p', 'no:cacheprovider', *folders],
        env=os.environ | {'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'test_motion.py::' in done.stdout and 'test_beats.py::' not in done.stdout
