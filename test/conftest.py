"""Lets test modules import their shared helpers by name; no test depends on the clock."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile('cs3', deadline=None)
settings.load_profile('cs3')


def pytest_runtest_setup() -> None:
    """Keep hypothesis, which asks every module for its file, from loading SpeechBrain's lazy ones.

    They redirect to packages that are not installed, and raise.
    """
    for name in [name for name in sys.modules if name.startswith('speechbrain.')]:
        vars(sys.modules[name]).setdefault('__file__', None)


@pytest.fixture(scope='session')
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of weights with tiny random networks for every bundle, in the official formats."""
    pytest.importorskip('sam2', reason='pip install "cs3_ros[models]"')
    from cs3_ros.bench.random_weights import write_random_weights

    home = tmp_path_factory.mktemp('tiny_weights')
    write_random_weights(home, 'tiny')
    return home


@pytest.fixture
def cs3_home(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tiny_weights`` as the folder that bundles take weights from; for child processes, too."""
    monkeypatch.setenv('CS3_HOME', str(tiny_weights))
    return tiny_weights
