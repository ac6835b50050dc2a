"""Kills the extraction at random moments until it has come to its end, and compares the shards.

python test/training/data/killing.py 20            # the command with its workers
python test/training/data/killing.py 20 --ray      # a worker of a local Ray, or all of it
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from miniature import make_epic

from cs3_training.cli import main

TASK = 'ray::_make_shard_there'
"""How Ray names a process that makes a shard."""


def words(data: tuple[Path, Path], out: Path, *more: str, dataset: str = 'epic') -> list[str]:
    """The command for a miniature data set: its videos, its annotations."""
    videos, annotations = data
    first = ['extract', dataset, '--videos', str(videos), '--annotations', str(annotations)]
    return [*first, '--out', str(out), '--samples', '4', '--side', '0', '--workers', '1', *more]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all that a run leaves."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if not path.name.startswith('.')
    }


def begin(call: Sequence[str]) -> subprocess.Popen[bytes]:
    """The command as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, '-m', 'cs3_training.cli', *call],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_all(call: Sequence[str], after_s: float) -> bool:
    """Kill the command with all its processes after a while; False where it had ended by itself."""
    process = begin(call)
    try:
        process.wait(after_s)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def kill_task(call: Sequence[str], after_s: float) -> bool:
    """Kill one of Ray's processes while it makes a shard, and let the command come to its end.

    Args:
        call: of the command, with ``--ray local``.
        after_s: from the moment at which it has begun with the shard.

    Returns:
        Whether one was killed.
    """
    process = begin(call)
    killed = False
    while process.poll() is None and not killed:
        for worker in psutil.Process(process.pid).children(recursive=True):
            try:
                if worker.name().startswith(TASK[:15]) and TASK in worker.cmdline()[0]:
                    time.sleep(after_s)
                    worker.kill()
                    killed = True
                    break
            except (psutil.NoSuchProcess, IndexError):  # it has just ended
                continue
        time.sleep(0.05)
    assert process.wait(120) == 0
    return killed


def run(kills: int, ray: bool) -> None:
    """So many kills; raises AssertionError where the shards differ from those of a whole run."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_epic(folder / 'data')
        assert main(words(data, folder / 'whole')) == 0
        out, done, runs = folder / 'out', 0, 0
        more = ('--workers', '2', *(('--ray', 'local') if ray else ()))
        while done < kills:
            if ray and runs % 5:
                done += kill_task(words(data, out, *more), rng.uniform(0, 1))
            else:
                done += kill_all(words(data, out, *more), rng.uniform(0.5, 8 if ray else 3))
            runs += 1
            if (out / 'report.json').is_file():  # it came to its end
                assert digests(out) == digests(folder / 'whole')
                shutil.rmtree(out)
        assert main(words(data, out)) == 0
        assert digests(out) == digests(folder / 'whole')
        assert not list(out.glob('*.part.*'))
    print(f'{done} kills in {runs} runs: the same bytes each time')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('kills', type=int)
    parser.add_argument('--ray', action='store_true')
    options = parser.parse_args()
    run(options.kills, options.ray)
