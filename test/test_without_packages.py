"""A machine without torch collects every test, skips those of networks and still runs the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = Path(__file__).parent

LACKING = "raise ModuleNotFoundError('not here', name=__name__)"
EAGER = """
import pytest
from _pytest.pathlib import import_path

def pytest_pycollect_makemodule(module_path, parent):
    import_path(module_path, root=parent.config.rootpath, consider_namespace_packages=False)
    return pytest.Module.from_parent(parent, path=module_path)
"""
"""A plugin that imports each module while its folder is collected, as launch_testing's does."""


@pytest.fixture
def collected(tmp_path):
    """What pytest collects in folders of test/ where torch, rclpy and cs3_training are lacking."""
    for name in ('torch', 'rclpy', 'cs3_training'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text(LACKING)
    (tmp_path / 'eager.py').write_text(EAGER)

    def collect(*arguments):
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '--co', '-q', '-p', 'no:cacheprovider', *arguments],
            env=os.environ | {'PYTHONPATH': os.pathsep.join([str(tmp_path), str(TEST.parent)])},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return collect


@pytest.mark.parametrize('plugins', [(), ('-p', 'eager')], ids=['', 'launch_testing'])
def test_what_lacks_a_package_is_skipped_alone(collected, plugins):
    names = ('localisers', 'networks', 'bundles/test_random_weights.py', 'ros', 'training')
    out = collected(*plugins, *(str(TEST / name) for name in names))
    for skipped in ('test_beats', 'test_random_weights', 'test_topics', 'test_losses'):
        assert f'{skipped}.py::' not in out
    for runs in ('localisers/test_vocabulary', 'ros/test_environment', 'ros/test_interfaces'):
        assert f'{runs}.py::' in out
    assert 'no torch: docs/bundles.md says how' in out and 'apt install ros-jazzy-ros-base' in out
