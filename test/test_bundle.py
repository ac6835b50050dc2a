"""Bundles: found, checked, built; whatever is wrong is named."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from cs3_ros import bundle as bundle_module
from cs3_ros.bundle import STAGES, BundleError, bundle_names, load_bundle
from cs3_ros.verification import VerificationConfig

GOOD = """\
name: mine
description: a test
clip: {audio_after_s: 0.5}
hands: {type: mediapipe}
masker: {type: grabcut}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    return str(path)


def test_the_shipped_bundles_load_under_their_names():
    assert 'lite' in bundle_names()
    for name in bundle_names():
        bundle = load_bundle(name)
        assert bundle.name == name and len(bundle.description) > 20
        assert 'masker' in bundle.stages and set(bundle.stages) <= set(STAGES)


def test_a_file_of_ones_own(tmp_path):
    bundle = load_bundle(write(tmp_path, GOOD))
    assert (bundle.name, bundle.description) == ('mine', 'a test')
    assert bundle.clip.audio_after_s == 0.5 and bundle.clip.audio_before_s == 0.0
    assert set(bundle.stages) == {'hands', 'masker'}


def test_a_stage_that_is_null_is_left_out(tmp_path):
    bundle = load_bundle(write(tmp_path, GOOD + 'localiser:\n'))
    assert set(bundle.stages) == {'hands', 'masker'}


@pytest.mark.parametrize(
    'old, new, words',
    [
        ('name: mine\n', '', 'missing name'),
        ('masker: {type: grabcut}\n', '', 'missing masker'),
        ('hands: {type: mediapipe}\n', '', 'expected hands, a localiser or both, got neither'),
        ('grabcut', 'scissors', "masker = {'type': 'scissors'}: expected a type, one of grabcut"),
        ('{type: grabcut}', 'grabcut', "masker = 'grabcut': expected a type"),
        ('{type: grabcut}', '{type: [grabcut]}', 'masker = .*: expected a type'),
        ('{type: grabcut}', '{}', 'expected a type'),
        ('description', 'descripton', r'unknown key\(s\) descripton; known: .*description'),
        ('{audio_after_s: 0.5}', '{audio_after_s: -1}', r'clip: ClipConfig.audio_after_s = -1'),
        ('{audio_after_s: 0.5}', '{sound_s: 1}', r'clip: unknown key\(s\) sound_s'),
        ('{audio_after_s: 0.5}', '3', 'clip: expected a mapping of names to values, got 3'),
        ('name: mine', '? [a, b]\n: 3\nname: mine', 'not valid YAML'),
        ('name: mine', '3: 4\nname: mine', r'unknown key\(s\) 3'),
        (GOOD, '- a\n', 'expected a mapping, got list'),
        (GOOD, '', 'expected a mapping, got NoneType'),
        (GOOD, 'name: [', 'not valid YAML'),
        (GOOD, '\x07', 'not valid YAML'),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(BundleError, match=f'mine.yaml.*{words}'):
        load_bundle(write(tmp_path, GOOD.replace(old, new)))


def test_a_bundle_that_nobody_ships():
    with pytest.raises(
        BundleError, match=r"'light' not found: expected one of .*lite.*\.yaml file"
    ):
        load_bundle('light')


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / 'folder.yaml').mkdir()
    (tmp_path / 'bytes.yml').write_bytes(b'\xff\xfe')
    for name in ('missing.yaml', 'folder.yaml', 'bytes.yml'):
        with pytest.raises(BundleError, match=f'{re.escape(name)}.*cannot be read'):
            load_bundle(str(tmp_path / name))


def stage(config=None, error: Exception | None = None):
    """A module with a stage that needs nothing, or one that cannot be loaded."""

    def make(config):
        if error is not None:
            raise error
        return SimpleNamespace(config=config)

    return make


@pytest.fixture
def modules(monkeypatch):
    """Module name -> what is imported for it; an exception is raised instead."""
    from cs3_ros.assembler import ClipConfig  # any settings dataclass will do

    found: dict[str, object] = {}

    def fake(class_name: str, config_name: str, **keywords):
        return SimpleNamespace(**{class_name: stage(**keywords), config_name: ClipConfig})

    for family, kinds in STAGES.items():
        for module, class_name, config_name in kinds.values():
            found[module] = fake(class_name, config_name)
            found[f'{family} fails'] = lambda error, c=class_name, n=config_name: fake(
                c, n, error=error
            )

    real = importlib.import_module

    def load(name: str, package: str | None = None):
        if name not in found:
            return real(name, package)
        if isinstance(found[name], Exception):
            raise found[name]
        return found[name]

    monkeypatch.setattr(bundle_module.importlib, 'import_module', load)
    return found


def test_build_hands_the_settings_to_the_stages(tmp_path, modules):
    text = GOOD.replace('{type: grabcut}', '{type: grabcut, audio_after_s: 2}')
    text += 'localiser: {type: motion}\n'
    pipeline = load_bundle(write(tmp_path, text)).build(VerificationConfig(beta=3.0))
    assert pipeline.name == 'mine' and pipeline.verification.beta == 3.0
    assert pipeline.masker.config.audio_after_s == 2.0
    assert pipeline.hands is not None and pipeline.localiser is not None


@pytest.mark.parametrize(
    'error',
    [
        ImportError("No module named 'mediapipe': pip install"),
        FileNotFoundError('weights hands.task'),
        ValueError('hands.task: checksum differs'),
        RuntimeError('hands.task: not a flatbuffer'),
    ],
)
def test_a_stage_that_cannot_be_loaded_is_a_bundle_error(tmp_path, modules, error):
    modules['cs3_ros.hands.mediapipe'] = modules['hands fails'](error)
    with pytest.raises(BundleError, match="'mine', hands: .*" + re.escape(str(error)[:12])):
        load_bundle(write(tmp_path, GOOD)).build()


def test_a_missing_module_is_a_bundle_error(tmp_path, modules):
    modules['cs3_ros.maskers.grabcut'] = ImportError("No module named 'cv2'")
    with pytest.raises(BundleError, match="'mine', masker: No module named 'cv2'"):
        load_bundle(write(tmp_path, GOOD)).build()


def test_a_wrong_setting_of_a_stage_is_a_bundle_error(tmp_path, modules):
    text = GOOD.replace('{type: grabcut}', '{type: grabcut, iterations: 2}')
    with pytest.raises(BundleError, match="'mine', masker: unknown key"):
        load_bundle(write(tmp_path, text)).build()
