"""Bundles: found, checked, built; whatever is wrong is named."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import needs
import pytest

from cs3_ros.bundles import bundle as bundle_module
from cs3_ros.bundles.bundle import BundleError, bundle_names, load_bundle
from cs3_ros.bundles.stages import BUILT_IN, FAMILIES
from cs3_ros.config import setting, validate
from cs3_ros.packages import PACKAGES, describe
from cs3_ros.runtime import RuntimeConfig
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
    assert {'lite', 'zero_shot', 'cs3'} <= set(bundle_names())
    for name in bundle_names():
        bundle = load_bundle(name, as_written=True)
        assert bundle.name == name and len(bundle.description) > 20
        assert 'masker' in bundle.stages and set(bundle.stages) <= set(FAMILIES)
        assert bundle.has_networks == bool(bundle.weights) == (name != 'lite')


def test_the_shipped_bundles_agree_on_files_that_they_share():
    files = [file for name in bundle_names() for file in load_bundle(name).weights]
    assert len(set(files)) == len({file.path for file in files}) < len(files)
    for file in files:
        assert file.licence and (not file.url or file.url.startswith('https://'))
        assert not file.url or file.sha256 or file.path.endswith(('.safetensors', '.json')), (
            f'{file.path}: a pickle without a digest'
        )


def test_the_settings_of_the_shipped_bundles_name_weights_that_they_list():
    for name in bundle_names():
        bundle = load_bundle(name, as_written=True)
        listed = {file.path for file in bundle.weights}
        folders = {str(Path(path).parent) for path in listed}
        named = [
            value
            for family in bundle.stages.values()
            for key, value in family.items()
            if key in ('clipseg', 'clap', 'beats', 'checkpoint', 'model')
        ]
        assert set(named) <= listed | folders and bool(named) == bundle.has_networks


def test_how_every_package_of_a_stage_is_installed_is_known():
    named = {
        name for kinds in BUILT_IN.values() for kind in kinds.values() for name in kind.packages
    }
    assert named <= set(PACKAGES)


def test_a_file_of_ones_own(tmp_path):
    bundle = load_bundle(write(tmp_path, GOOD))
    assert (bundle.name, bundle.description) == ('mine', 'a test')
    assert bundle.clip.audio_after_s == 0.5 and bundle.clip.audio_before_s == 0.0
    assert set(bundle.stages) == {'hands', 'masker'}


def test_a_warning_of_a_file_is_kept(tmp_path):
    assert load_bundle(write(tmp_path, GOOD)).warning == ''
    assert load_bundle(write(tmp_path, GOOD + 'warning:\n')).warning == ''
    assert load_bundle(write(tmp_path, GOOD + 'warning: it is blind\n')).warning == 'it is blind'


def test_a_bundle_may_have_a_folder_for_its_weights(tmp_path, monkeypatch):
    for name in ('alone.yaml', 'mine/mine.yaml', 'mine/other.yaml', 'mine.part/mine.yaml'):
        (tmp_path / 'bundles' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'bundles' / name).write_text(GOOD)
    monkeypatch.setattr(bundle_module.resources, 'files', lambda package: tmp_path)
    assert bundle_names() == ['alone', 'mine']
    assert load_bundle('alone').folder == tmp_path / 'bundles'
    assert load_bundle('mine').folder == tmp_path / 'bundles' / 'mine'


DOCS = Path(__file__).parents[2] / 'docs' / 'bundles.md'


def test_the_examples_of_the_documentation_are_read(tmp_path):
    examples = re.findall(r'```yaml\n(.*?)```', DOCS.read_text('utf-8'), re.DOTALL)
    assert len(examples) == 3
    for number, text in enumerate(examples):
        if not text.startswith('name:'):
            text = GOOD.replace('hands: {type: mediapipe}\n', text)
        path = tmp_path / f'{number}.yaml'
        path.write_text(text)
        bundle = load_bundle(str(path))
        for family, values in bundle.stages.items():
            kind = BUILT_IN[family][values['type']]
            config = getattr(pytest.importorskip(kind.module), kind.config)
            config(**{name: value for name, value in values.items() if name != 'type'})


def test_the_documentation_names_every_file_and_stage():
    text = DOCS.read_text('utf-8')
    for name in bundle_names():
        assert f'\n## {name}\n' in text
        for file in load_bundle(name).weights:
            assert file.path in text or f'{Path(file.path).parent}/' in text
    for kinds in BUILT_IN.values():
        assert all(f'`{kind}`' in text for kind in kinds)


def test_a_stage_that_is_null_is_left_out(tmp_path):
    bundle = load_bundle(write(tmp_path, GOOD + 'localiser:\n'))
    assert set(bundle.stages) == {'hands', 'masker'}


@pytest.mark.parametrize(
    'old, new, words',
    [
        ('name: mine\n', '', 'missing name'),
        ('masker: {type: grabcut}\n', '', 'missing masker'),
        ('hands: {type: mediapipe}\n', '', 'expected hands, a localiser or both, got neither'),
        (
            'grabcut',
            'scissors',
            "masker = {'type': 'scissors'}: expected a type, one of edgetam, grabcut",
        ),
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


@dataclass(frozen=True)
class Config:
    """Settings that any stage might have."""

    level: float = setting(0.0, 'A level, dB.')
    model: str = setting('', 'A file.', weights=True)

    def __post_init__(self) -> None:
        validate(self)


def stage(error: Exception | None = None):
    """A stage that needs nothing, or one that cannot be loaded."""

    def make(config, runtime=None):
        if error is not None:
            raise error
        return SimpleNamespace(config=config, runtime=runtime)

    return make


@pytest.fixture
def modules(monkeypatch):
    """Module name -> what is imported for it; an exception is raised instead."""
    found: dict[str, object] = {}

    def fake(kind, error: Exception | None = None):
        return SimpleNamespace(**{kind.cls: stage(error), kind.config: Config})

    for family, kinds in BUILT_IN.items():
        for kind in kinds.values():
            found[kind.module] = fake(kind)
        found[f'{family} fails'] = lambda error, kind=next(iter(kinds.values())): fake(kind, error)

    real = importlib.import_module

    def load(name: str, package: str | None = None):
        if name not in found:
            return real(name, package)
        if isinstance(found[name], Exception):
            raise found[name]
        return found[name]

    monkeypatch.setattr(importlib, 'import_module', load)
    return found


def test_build_hands_the_settings_to_the_stages(tmp_path, modules):
    text = GOOD.replace('{type: grabcut}', '{type: grabcut, level: 2}')
    text += 'localiser: {type: motion}\n'
    pipeline = load_bundle(write(tmp_path, text)).build(VerificationConfig(beta=3.0))
    assert pipeline.name == 'mine' and pipeline.verification.beta == 3.0
    assert pipeline.masker.config.level == 2.0 and pipeline.masker.runtime is None
    assert pipeline.hands is not None and pipeline.localiser is not None


def test_a_bundle_names_how_candidates_are_chosen(tmp_path, modules):
    assert load_bundle(write(tmp_path, GOOD)).build().verifier is not None
    chosen = load_bundle(write(tmp_path, GOOD + 'verifier: {type: contact, level: 4}\n')).build()
    assert chosen.verifier.config.level == 4.0
    with pytest.raises(BundleError, match='verifier = .*expected a type, one of contact, sounding'):
        load_bundle(write(tmp_path, GOOD + 'verifier: {type: ears}\n'))


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


def test_whatever_a_broken_file_provokes_is_a_bundle_error(tmp_path, modules):
    """Libraries raise errors of their own kinds, such as SafetensorError and UnpicklingError."""
    needs.hands()

    class LibraryError(Exception):
        pass

    (tmp_path / 'a.pt').touch()
    modules['cs3_ros.hands.mediapipe'] = modules['hands fails'](LibraryError('load it unsafely!'))
    text = GOOD.replace('{type: mediapipe}', '{type: mediapipe, model: a.pt}')
    with pytest.raises(BundleError, match=r"'mine', hands: .*a.pt: refused") as caught:
        load_bundle(write(tmp_path, text)).build()
    assert 'LibraryError' in str(caught.value) and 'unsafely' not in str(caught.value)


def test_a_missing_module_is_a_bundle_error(tmp_path, modules):
    modules['cs3_ros.maskers.grabcut'] = ImportError("No module named 'cv2'")
    with pytest.raises(BundleError, match="'mine', masker: No module named 'cv2'"):
        load_bundle(write(tmp_path, GOOD)).build()


def test_a_wrong_setting_of_a_stage_is_a_bundle_error(tmp_path, modules):
    text = GOOD.replace('{type: grabcut}', '{type: grabcut, iterations: 2}')
    with pytest.raises(BundleError, match="'mine', masker: unknown key"):
        load_bundle(write(tmp_path, text)).build()


WITH_WEIGHTS = (
    GOOD.replace('{type: grabcut}', '{type: sam2, model: nets/big.pt}')
    + """\
weights:
  - {folder: nets, licence: MIT, source: 'https://host/a', files: {big.pt: {bytes: 5}}}
  - {folder: nets, licence: mine, origin: my shelf, files: {small.pt: {}}}
"""
)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    (tmp_path / 'home' / 'nets').mkdir(parents=True)
    return tmp_path / 'home'


def test_missing_weights_are_told_with_place_and_fix(tmp_path, modules, home):
    bundle = load_bundle(write(tmp_path, WITH_WEIGHTS))
    with pytest.raises(BundleError, match='lacks 2 of 2 files') as caught:
        bundle.build()
    for words in ('cs3 fetch mine', 'https://host/a/big.pt', str(home / 'nets' / 'big.pt')):
        assert words in str(caught.value)
    (home / 'nets' / 'big.pt').write_bytes(b'12345')
    assert [file.path for file in bundle.lacking_weights] == ['nets/small.pt']
    with pytest.raises(BundleError, match=r'lacks 1 of 2 files.*small.pt comes from my shelf'):
        bundle.build()


def test_a_stage_gets_absolute_paths_and_the_runtime(tmp_path, modules, home):
    pytest.importorskip('torch')
    for name in ('big.pt', 'small.pt'):
        (home / 'nets' / name).touch()
    bundle = load_bundle(write(tmp_path, WITH_WEIGHTS))
    pipeline = bundle.build(runtime=RuntimeConfig(device='cpu'))
    assert pipeline.masker.config.model == str(home / 'nets' / 'big.pt')
    assert pipeline.masker.runtime.device.type == 'cpu'
    (tmp_path / 'nets').mkdir()
    beside = tmp_path / 'nets' / 'big.pt'
    beside.touch()
    assert bundle.build().masker.config.model == str(beside), 'what lies beside the YAML is first'


def test_weights_that_are_named_but_not_there(tmp_path, modules, home):
    text = GOOD.replace('{type: grabcut}', '{type: grabcut, model: nets/none.pt}')
    with pytest.raises(BundleError, match="'mine', masker: model = 'nets/none.pt': .*not exist"):
        load_bundle(write(tmp_path, text)).build()


@pytest.mark.parametrize('package', ['sam2', 'transformers', 'detectron2.engine', 'cv2'])
def test_a_package_that_is_not_installed_is_told_with_the_command(tmp_path, modules, package):
    modules['cs3_ros.maskers.grabcut'] = ModuleNotFoundError(
        f'No module named {package!r}', name=package
    )
    fix = re.escape(PACKAGES[package.partition('.')[0]].install)
    named = f"No module named '{package}'.*"
    with pytest.raises(BundleError, match=f'masker: {named}: {fix}'):
        load_bundle(write(tmp_path, GOOD)).build()


def test_what_is_not_installed_is_found_without_importing(tmp_path, monkeypatch):
    asked = []

    def is_installed(name):
        asked.append(name)
        return name != 'cv2'

    monkeypatch.setattr(bundle_module, 'is_installed', is_installed)
    bundle = load_bundle(write(tmp_path, GOOD))
    assert bundle.lacking_packages == {'cv2': PACKAGES['cv2'].install}
    assert set(asked) == {'mediapipe', 'cv2'}


def test_an_error_of_an_api_is_not_a_damaged_file(tmp_path, modules):
    """As a later version of a package provokes."""
    needs.hands()
    modules['cs3_ros.hands.mediapipe'] = modules['hands fails'](
        AttributeError("module 'mediapipe' has no attribute 'solutions'")
    )
    with pytest.raises(BundleError) as caught:
        load_bundle(write(tmp_path, GOOD)).build()
    told = str(caught.value)
    assert told.startswith("bundle 'mine', hands: AttributeError: module 'mediapipe' has no")
    assert 'refused' not in told and 'damaged' not in told
    assert describe('mediapipe') in told and describe('cv2') in told
    assert PACKAGES['mediapipe'].install in told


@pytest.mark.parametrize('name', ['cv2', None])
def test_a_library_of_the_system_is_no_matter_of_pip(tmp_path, modules, name):
    """As OpenCV and MediaPipe say it on a slim image."""
    needs.hands()
    error = 'libGL.so.1: cannot open shared object file: No such file or directory'
    modules['cs3_ros.hands.mediapipe'] = modules['hands fails'](ImportError(error, name=name))
    with pytest.raises(BundleError, match=': apt install libgl1$') as caught:
        load_bundle(write(tmp_path, GOOD)).build()
    assert 'pip' not in str(caught.value)


@needs.with_opencv
def test_a_package_without_what_a_stage_reaches_for_is_named(tmp_path, modules, monkeypatch):
    """mediapipe 1.x imports well, and has no ``solutions``."""
    modules['mediapipe'] = ModuleType('mediapipe')
    modules['cs3_ros.hands.mediapipe'] = modules['hands fails'](AttributeError('solutions'))
    bundle = load_bundle(write(tmp_path, GOOD))
    with pytest.raises(BundleError) as caught:
        bundle.build()
    told = str(caught.value)
    assert f'hands: {describe("mediapipe")} has no solutions.hands.Hands' in told
    assert told.endswith(f': {PACKAGES["mediapipe"].install}')
    (problem,) = bundle.package_problems()
    assert problem.package == 'mediapipe' and str(problem) in told


@pytest.mark.parametrize(
    'weights, words',
    [
        ('weights: 3', r'weights\[0\]: expected a mapping of names to values, got 3'),
        ('weights: [{folder: a}]', r'weights\[0\]: missing files, licence'),
    ],
)
def test_a_wrong_list_of_weights_is_a_bundle_error(tmp_path, weights, words):
    with pytest.raises(BundleError, match=f"mine.yaml', {words}"):
        load_bundle(write(tmp_path, GOOD + weights))


def test_a_masker_is_built_alone_with_settings_of_its_own(monkeypatch):
    needs.opencv()
    bundle = load_bundle('lite')
    monkeypatch.setitem(sys.modules, 'mediapipe', None)  # nothing else is loaded
    masker = bundle.build_masker(points_in_box=True, core=0.5)
    assert type(masker).__name__ == 'GrabCutMasker' and masker.config.core == 0.5
    with pytest.raises(BundleError, match='core = 7'):
        bundle.build_masker(core=7.0)
