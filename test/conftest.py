"""Lets test modules import their shared helpers by name; no test depends on the clock."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

NETWORKS = {'torch', 'torchaudio', 'torchvision', 'transformers', 'safetensors', 'sam2'}
"""Packages of the extra ``models``; test modules that import what is not there are skipped."""

sys.path.insert(0, str(Path(__file__).parent))
settings.register_profile('cs3', deadline=None)
settings.load_profile('cs3')


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A machine without the networks' packages skips their tests instead of failing to collect."""
    report = yield
    failure = report.call.excinfo if report.call is not None else None
    cause = failure.value.__cause__ if failure is not None else None
    if isinstance(cause, ModuleNotFoundError) and str(cause.name).partition('.')[0] in NETWORKS:
        report.outcome = 'skipped'
        report.longrepr = (
            str(collector.path), 0, f'Skipped: {cause}: the extra models is not installed'
        )  # fmt: skip
    return report


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
    pytest.importorskip('sam2', reason='the extra models is not installed')
    from cs3_ros.bundles.random_weights import write_random_weights

    home = tmp_path_factory.mktemp('tiny_weights')
    write_random_weights(home, 'tiny')
    return home


@pytest.fixture
def cs3_home(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tiny_weights`` as the folder that bundles take weights from; for child processes, too."""
    monkeypatch.setenv('CS3_HOME', str(tiny_weights))
    return tiny_weights
