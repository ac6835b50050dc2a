"""Lets test modules import their shared helpers by name; no test depends on the clock."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
import needs

settings.register_profile('cs3', deadline=None)
settings.load_profile('cs3')


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """A module that skips itself takes nothing else along.

    The plugin of launch_testing, present on every robot, imports each module while its folder is
    collected: that skips the folder, and ``colcon test`` is green. Its own tests are left to it.
    """
    if module_path.name.endswith('_launch.py'):
        return None
    return pytest.Module.from_parent(parent, path=module_path)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none; keep SpeechBrain's modules lazy."""
    if item.get_closest_marker('gpu') is not None:
        torch = pytest.importorskip('torch')
        if not torch.cuda.is_available():
            pytest.skip('needs a CUDA GPU')
    # Hypothesis asks every module for its file, and some of these raise when they are loaded.
    for name in [name for name in sys.modules if name.startswith('speechbrain.')]:
        vars(sys.modules[name]).setdefault('__file__', None)


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with tiny random networks for every bundle, in the official formats."""
    needs.networks()
    from cs3_ros.bundles.random_weights import write_random_weights

    home = tmp_path_factory.mktemp('tiny_weights')
    write_random_weights(home, 'tiny')
    return home


@pytest.fixture
def cs3_home(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tiny_weights`` as the folder that bundles take weights from; for child processes, too."""
    monkeypatch.setenv('CS3_HOME', str(tiny_weights))
    return tiny_weights
