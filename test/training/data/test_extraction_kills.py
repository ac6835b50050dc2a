"""What is killed goes on: the same shards, none of them written twice, no process left."""

from __future__ import annotations

import needs

needs.training()
needs.psutil()

import random
import tarfile
import time
from pathlib import Path

import psutil
import pytest
from killing import begin, digests, kill_all, kill_task, words
from miniature import make_epic

from cs3_training.cli import main
from cs3_training.data import pools
from cs3_training.data.jobs import SETTINGS, Job
from cs3_training.data.sampling import Cutting


@pytest.fixture(scope='module')
def epic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_epic(tmp_path_factory.mktemp('epic'))


@pytest.fixture(scope='module')
def whole(epic: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('whole') / 'shards'
    assert main(words(epic, out)) == 0
    return out


@pytest.mark.parametrize('seed', range(2))
def test_a_killed_run_goes_on(
    whole: Path, epic: tuple[Path, Path], tmp_path: Path, seed: int
) -> None:
    """kill -9 of the command and its workers; killing.py does it as often as you like."""
    rng, out = random.Random(seed), tmp_path / 'out'
    kept: dict[str, float] = {}
    for _ in range(3):
        if not kill_all(words(epic, out, '--workers', '2'), rng.uniform(0.8, 3.0)):
            break
        for path in out.glob('shard-??????.tar'):
            with tarfile.open(path) as tar:
                assert len(tar.getnames()) >= 0, 'a shard is whole as soon as it has its name'
            kept.setdefault(path.name, path.stat().st_mtime)
    assert main(words(epic, out)) == 0
    assert digests(out) == digests(whole)
    for name, written in kept.items():
        if out.joinpath(name).with_suffix('.json').is_file():
            assert (out / name).stat().st_mtime == written, 'nothing is written twice'
    assert not list(out.glob('*.part.*'))


def test_workers_end_with_a_killed_command(epic: tuple[Path, Path], tmp_path: Path) -> None:
    process = begin(words(epic, tmp_path / 'out', '--workers', '2'))
    workers: list[psutil.Process] = []
    while process.poll() is None and not workers:
        time.sleep(0.01)
        workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert workers and not psutil.wait_procs(workers, 20)[1]


def test_a_lost_worker_of_a_cluster_costs_nothing(
    whole: Path, epic: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip('ray', reason="pip install -c requirements/constraints.txt -e '.[cluster]'")
    call = words(epic, tmp_path / 'out', '--workers', '2', '--ray', 'local')
    assert kill_task(call, 0.2), 'one was killed in the middle'
    assert digests(tmp_path / 'out') == digests(whole)


def test_a_machine_that_lacks_a_folder_is_named(tmp_path: Path) -> None:
    """Else its videos would count as unreadable."""
    (tmp_path / SETTINGS).write_text('{}')
    job = Job(tmp_path, 0, (), {'P01_01': tmp_path / 'P01_01.MP4'}, Cutting())
    with pytest.raises(FileNotFoundError, match='P01_01.MP4: not there on .* every machine'):
        pools._make_shard_there(job)
