"""The bundle nano comes with the package: whole, small, honest, and without MediaPipe."""

from __future__ import annotations

import argparse
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from setuptools import Distribution
from shipped_nano import FOLDER, shipped_nano

from cs3_ros.bundles import fetch
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.bundles.inventory import look
from cs3_ros.settings import NodeConfig

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 25_000_000


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """An empty folder of weights."""
    shipped_nano()
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    return tmp_path


def files() -> set[str]:
    return {str(file.relative_to(FOLDER)) for file in FOLDER.rglob('*') if file.is_file()}


def test_it_is_found_by_its_name_with_its_weights_beside_it():
    bundle = load_bundle('nano')
    assert (bundle.name, bundle.folder) == ('nano', FOLDER) and bundle.weights
    row = look(bundle, check=True)
    assert not row.missing and not row.damaged and row.licences == ('Apache-2.0',)
    assert NodeConfig().bundle == 'lite', "a robot's bundle sees real images"


def test_it_chooses_by_contact_and_sound():
    verifier = load_bundle('nano').stages['verifier']
    assert verifier['type'] == 'sounding' and verifier['beats'] == 'audio_visual.safetensors'
    assert 0 < verifier['gap'] < 1 and verifier['reach'] > 0 and 0 < verifier['lead'] < 1
    assert 'Which object sounded' in (FOLDER / 'MODEL_CARD.md').read_text('utf-8')


def test_it_says_that_it_knows_only_the_synthetic_world():
    bundle = load_bundle('nano')
    assert 'ONLY the synthetic world' in bundle.description
    assert 'ONLY the synthetic world' in bundle.warning and 'use lite' in bundle.warning
    assert 'only the synthetic world' in (FOLDER / 'MODEL_CARD.md').read_text('utf-8')


def test_nothing_is_fetched_for_it(home, capsys):
    assert fetch.main(argparse.Namespace(bundle='nano', mirror='', from_dir=None)) == 0
    count = len(load_bundle('nano').weights)
    told = f'nano: nothing to fetch, all {count} files lie beside it'
    assert capsys.readouterr().out.startswith(told)
    assert not list(home.iterdir())


def test_the_folder_holds_what_the_bundle_names_and_is_small():
    listed = {file.path for file in load_bundle('nano').weights}
    assert files() == listed | {'nano.yaml', 'MODEL_CARD.md'}
    assert sum((FOLDER / name).stat().st_size for name in files()) <= MOST_BYTES


def test_the_whole_folder_is_installed(monkeypatch):
    """Wheels and colcon copy what build_py lists."""
    arguments: dict[str, object] = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('setuptools.setup', arguments.update)
    runpy.run_path('setup.py')
    command = Distribution(arguments).get_command_obj('build_py')
    command.ensure_finalized()
    (data,) = (entry for entry in command.data_files if entry[0] == 'cs3_ros')
    installed = {Path(name) for name in data[3]}
    assert {Path('bundles/nano') / name for name in files()} <= installed
    assert Path('bundles/lite.yaml') in installed


def test_its_weights_are_in_half_precision():
    safe = pytest.importorskip('safetensors', reason='the extra models is not installed')
    for name in files():
        if name.endswith('.safetensors'):
            with safe.safe_open(FOLDER / name, 'np') as file:
                kinds = {file.get_slice(key).get_dtype() for key in file.keys()}
            assert 'F16' in kinds and not kinds & {'F32', 'F64', 'BF16'}, name


RUN = """
from cs3_ros.bench.events import random_event
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.runtime import RuntimeConfig

bundle = load_bundle('nano')
pipeline = bundle.build(runtime=RuntimeConfig(device='cpu', threads=1))
print(pipeline(random_event(1, 128, 96, bundle.audio_s)).label_image().shape)
"""


def test_it_runs_where_mediapipe_is_missing(tmp_path):
    for name in ('torch', 'transformers', 'sam2'):
        pytest.importorskip(name, reason='the extra models is not installed')
    (tmp_path / 'mediapipe.py').write_text("raise ModuleNotFoundError('no', name='mediapipe')")
    done = subprocess.run(
        [sys.executable, '-c', RUN],
        env=os.environ | {'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '(96, 128)\n'
