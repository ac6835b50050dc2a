"""What ``gpu.py`` takes along to a machine that has torch and little else.

Collected are whole packages that are Python alone, from the environment that runs ``--carry``; of
them only those are used there that are not installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARRY = ROOT / '.gpu_carry'
CARRIED = {
    'sam2': 'sam2', 'hydra-core': 'hydra', 'omegaconf': 'omegaconf',
    'antlr4-python3-runtime': 'antlr4', 'iopath': 'iopath', 'portalocker': 'portalocker',
    'tqdm': 'tqdm', 'pytest': 'pytest', 'iniconfig': 'iniconfig', 'pluggy': 'pluggy',
    'speechbrain': 'speechbrain', 'HyperPyYAML': 'hyperpyyaml', 'ruamel.yaml': 'ruamel.yaml',
}  # fmt: skip
"""Distribution -> what is imported of it: such as are Python alone, which run on any machine."""


def carry() -> int:
    """Copy what is Python alone from this environment to ``CARRY``; its size in bytes."""
    shutil.rmtree(CARRY, ignore_errors=True)
    for name in CARRIED:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            print(f'{name}: not installed here, left out')
            continue
        for file in files:
            source = Path(str(file.locate()))
            if '..' in file.parts or '__pycache__' in file.parts or not source.is_file():
                continue
            if source.suffix == '.so':
                raise SystemExit(f'gpu: {file} of {name} is compiled and runs on this Python alone')
            target = CARRY / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (CARRY / 'commit').write_text(commit() + '\n', 'utf-8')
    size = sum(file.stat().st_size for file in CARRY.rglob('*') if file.is_file())
    print(f'{CARRY}: {size / 2**20:.1f} MiB')
    return size


def carried() -> list[str]:
    """Folders for Python's path: of what is carried, what is not installed."""
    return [
        str(CARRY / name)
        for name, module in CARRIED.items()
        if (CARRY / name).is_dir() and not _installed(module)
    ]


def _installed(module: str) -> bool:
    code = 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)'
    done = subprocess.run([sys.executable, '-c', code, module], stderr=subprocess.DEVNULL)
    return done.returncode == 0


def commit() -> str:
    """Of this checkout, or of the one that ``carry`` ran in, where no git is here."""
    try:
        call = ['git', '-C', str(ROOT), 'describe', '--always', '--dirty']
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        told = CARRY / 'commit'
        return told.read_text('utf-8').strip() if told.is_file() else 'unknown'
