"""Stages of other packages: found by their entry points, used in bundles, refused with a reason."""

from __future__ import annotations

import needs

needs.opencv()

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from fakes import click_sound
from tiny_media import write_media

from cs3_ros.bundles.bundle import BundleError, load_bundle
from cs3_ros.bundles.stages import (
    BUILT_IN,
    FAMILIES,
    StageSpec,
    find_stage,
    installed_stages,
    stage_types,
)

SETUP = """\
from setuptools import setup

points = ['localiser.middle = whole_frame:MIDDLE', 'masker.whole_box = whole_frame:BOX']
setup(
    name='whole-frame',
    version='1.2',
    packages=['whole_frame'],
    entry_points={'cs3_ros.stages': points},
)
"""
INIT = """\
from cs3_ros.bundles.stages import StageSpec

MIDDLE = StageSpec('whole_frame.stages', 'Middle', 'MiddleConfig')
BOX = StageSpec('whole_frame.stages', 'WholeBox', 'WholeBoxConfig', packages=('cv2',))
"""
STAGES = """\
from dataclasses import dataclass

import numpy as np

from cs3_ros.collision import Localisation
from cs3_ros.config import setting, validate


@dataclass(frozen=True)
class MiddleConfig:
    pass


class Middle:
    def __init__(self, config):
        self.config = config

    def encode(self, frames, index):
        return frames[index].image.shape[:2]

    def locate(self, encoded, audio):
        height, width = encoded
        box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
        return Localisation(np.ones(encoded, np.float32), box, 1.0)


@dataclass(frozen=True)
class WholeBoxConfig:
    margin: int = setting(0, 'Pixels left out at each side.', minimum=0, maximum=100)

    def __post_init__(self):
        validate(self)


class WholeBox:
    def __init__(self, config):
        self.config = config

    def encode(self, image):
        return image.shape[:2]

    def segment(self, encoded, prompts):
        masks = []
        for prompt in prompts:
            x0, y0, x1, y1 = map(int, prompt.box)
            k = self.config.margin
            mask = np.zeros(encoded, bool)
            mask[y0 + k : y1 - k, x0 + k : x1 - k] = True
            masks.append(mask)
        return masks
"""
BUNDLE = """\
name: mine
clip: {audio_after_s: 0.2}
localiser: {type: middle}
masker: {type: whole_box, margin: 3}
"""


@pytest.fixture(scope='module')
def package(tmp_path_factory) -> Path:
    """A folder into which pip has installed a package with two stages."""
    source, target = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('target')
    (source / 'whole_frame').mkdir()
    (source / 'setup.py').write_text(SETUP)
    (source / 'whole_frame' / '__init__.py').write_text(INIT)
    (source / 'whole_frame' / 'stages.py').write_text(STAGES)
    pip = [sys.executable, '-m', 'pip', 'install', '--no-index', '--no-deps', '--quiet']
    command = [*pip, '--no-build-isolation', '--target', str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target


def cs3(package: Path, *words: str) -> tuple[int, str]:
    """A command in a process of its own, beside the package; status and what it printed."""
    path = os.pathsep.join([str(package), *filter(None, [os.environ.get('PYTHONPATH')])])
    done = subprocess.run(
        [sys.executable, '-m', 'cs3_ros.cli', *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {'PYTHONPATH': path},
    )
    return done.returncode, done.stdout + done.stderr


def test_an_installed_stage_runs_in_a_bundle(package, tmp_path):
    sound = click_sound((0.4,), 0.8)[:, None]
    clip = write_media(tmp_path / 'clip.mkv', frames=24, sound=sound)
    (tmp_path / 'mine.yaml').write_text(BUNDLE)
    out = tmp_path / 'out'
    words = ('run', str(clip), '--bundle', str(tmp_path / 'mine.yaml'), '--out', str(out))
    status, printed = cs3(package, *words, '--no-overlay')
    assert status == 0, printed
    (entry,) = json.loads((out / 'events.json').read_text())
    (found,) = entry['objects']
    mask = cv2.imread(str(out / found['mask']), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (48, 64) and (mask > 0).sum() == (32 - 6) * (24 - 6)
    assert (mask[15:33, 19:45] > 0).all()


def test_a_wrong_name_is_told_with_the_stages_of_all_packages(package, tmp_path):
    (tmp_path / 'mine.yaml').write_text(BUNDLE.replace('whole_box', 'hole_box'))
    status, printed = cs3(package, 'run', 'x.mkv', '--bundle', str(tmp_path / 'mine.yaml'))
    assert status == 1 and 'x.mkv' in printed
    status, printed = cs3(package, 'fetch', str(tmp_path / 'mine.yaml'))
    assert status == 1 and 'expected a type, one of edgetam, grabcut, sam2, whole_box' in printed


def test_the_table_of_bundles_lists_it(package):
    status, printed = cs3(package, 'bundles')
    assert status == 0
    lines = printed.splitlines()
    assert any(line.split()[:3] == ['masker.whole_box', 'whole-frame', '1.2'] for line in lines)


# ---- what is wrong with an entry point ---------------------------------------------------------


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts distributions with given entry points on the path, as pip would."""
    site = tmp_path / 'site'
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name: str, *points: str) -> None:
        info = site / f'{name}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
        (info / 'entry_points.txt').write_text('\n'.join(['[cs3_ros.stages]', *points, '']))

    return add


def test_without_other_packages_there_are_the_built_in_stages():
    assert installed_stages() == []
    for family in FAMILIES:
        assert stage_types(family) == sorted(BUILT_IN[family])
        for name in BUILT_IN[family]:
            assert find_stage(family, name) == BUILT_IN[family][name]


def test_nothing_is_imported_before_a_bundle_names_it(install):
    install('broken', 'masker.broken = no_such_module:STAGE')
    assert 'broken' in stage_types('masker')
    assert load_bundle('lite').specs['masker'] == BUILT_IN['masker']['grabcut']


@pytest.mark.parametrize(
    'point, words',
    [
        (
            'masker.mine = no_such_module:STAGE',
            r'cannot be loaded \(ModuleNotFoundError.*no_such_mo',
        ),
        ('masker.mine = json:STAGE', r'cannot be loaded \(AttributeError: .*STAGE'),
        ('masker.mine = json:dumps', 'expected a cs3_ros.bundles.stages.StageSpec, got <function'),
    ],
)
def test_a_stage_that_cannot_be_loaded_names_its_package(install, tmp_path, point, words):
    install('my-masker', point)
    (tmp_path / 'mine.yaml').write_text(
        'name: mine\nclip: {}\nhands: {type: mediapipe}\nmasker: {type: mine}\n'
    )
    with pytest.raises(
        BundleError, match=f"mine.yaml': stage masker.mine of my-masker 1.0.*{words}"
    ):
        load_bundle(str(tmp_path / 'mine.yaml'))


def test_a_built_in_name_is_not_replaced(install):
    install('my-masker', 'masker.grabcut = json:dumps')
    with pytest.raises(BundleError, match="my-masker 1.0.*itself has a masker 'grabcut': rename"):
        load_bundle('lite')


def test_two_packages_with_one_name(install):
    install('one', 'masker.mine = json:dumps')
    install('two', 'masker.mine = json:loads')
    with pytest.raises(ValueError, match='of one 1.0 .*two 1.0 has one of the same name: remove'):
        find_stage('masker', 'mine')


@pytest.mark.parametrize('name', ['maskers.mine', 'masker', 'masker.'])
def test_a_name_that_is_none(install, name):
    install('my-masker', f'{name} = json:dumps')
    assert stage_types('masker') == ['edgetam', 'grabcut', 'sam2']
    load_bundle('lite')
    (stage,) = installed_stages()
    with pytest.raises(ValueError, match='expected a name FAMILY.TYPE.*localiser, hands, masker'):
        stage.load()


# ---- what a stage says of itself ---------------------------------------------------------------


def test_a_class_or_settings_that_are_not_there():
    with pytest.raises(ImportError, match='module json has no Masker'):
        StageSpec('json', 'Masker', 'Config').load()
    with pytest.raises(TypeError, match='json.dumps: expected a dataclass'):
        StageSpec('json', 'loads', 'dumps').load()
