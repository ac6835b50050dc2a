"""No loader that a bundle reaches executes what a file of weights tells it to."""

from __future__ import annotations

import needs

needs.networks()

import contextlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from trap import Trap

from cs3_ros.bundles.bundle import BundleError, bundle_names, load_bundle
from cs3_ros.runtime import RuntimeConfig

BEATS = 'beats/BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt'
SAM2 = 'sam2/sam2.1_hiera_base_plus.pt'


PHRASES = """\
object_prompt: 'a photo of {}'
collisions:
  wood-only:
    a knock on wood: [a door]
"""


def plain_pickle(path: Path, trap: Trap) -> None:
    """As files were before torch 1.6."""
    path.write_bytes(pickle.dumps({'cfg': {}, 'model': trap}, protocol=2))


def torch_archive(path: Path, trap: Trap) -> None:
    """The zip file of today."""
    torch.save({'cfg': {}, 'model': {'weight': torch.zeros(2)}, 'more': trap}, path)


FORMS = [plain_pickle, torch_archive]


@pytest.fixture
def home(tiny_weights, tmp_path, monkeypatch) -> Path:
    """Sound weights, for a test to spoil."""
    shutil.copytree(tiny_weights, tmp_path / 'home')
    monkeypatch.setenv('CS3_HOME', str(tmp_path / 'home'))
    return tmp_path / 'home'


@pytest.fixture
def sprung(tmp_path) -> Path:
    return tmp_path / 'sprung'


def build(name: str, family: str, folder: Path) -> None:
    """One stage of a shipped bundle, beside stages that need no weights.

    The list of weights is left out: files that are too many or too few get as far as the loader.
    """
    shipped = load_bundle(name)
    stages = {'localiser': {'type': 'motion'}, 'masker': {'type': 'grabcut'}}
    stages[family] = dict(shipped.stages[family])
    if stages[family]['type'] == 'zero_shot':  # few phrases are soon embedded
        (folder / 'phrases.yaml').write_text(PHRASES)
        stages[family]['vocabulary'] = 'phrases.yaml'
    path = folder / 'one_stage.yaml'
    path.write_text(yaml.safe_dump({'name': 'one_stage', 'clip': {}, **stages}))
    load_bundle(str(path)).build(runtime=RuntimeConfig(device='cpu'))


@pytest.mark.parametrize('form', FORMS, ids=lambda form: form.__name__)
def test_the_trap_springs_where_it_is_unpickled(tmp_path, sprung, form):
    form(tmp_path / 'file', Trap(sprung))
    with contextlib.suppress(RuntimeError):  # it is no file of torch; by then it is too late
        torch.load(tmp_path / 'file', weights_only=False)
    assert sprung.exists()


@pytest.mark.parametrize(
    'name, family', [('cs3', 'localiser'), ('cs3', 'hands'), ('cs3', 'masker')]
    + [('zero_shot', 'localiser'), ('zero_shot', 'masker'), ('acl', 'localiser')]
)  # fmt: skip
def test_sound_weights_are_loaded(home, tmp_path, name, family):
    build(name, family, tmp_path)


@pytest.mark.parametrize('form', FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(
    'name, family, file',
    [
        ('cs3', 'localiser', BEATS),
        ('cs3', 'localiser', 'cs3/audio_visual.safetensors'),
        ('cs3', 'localiser', 'clipseg-rd64-refined/model.safetensors'),
        ('cs3', 'localiser', 'clipseg-rd64-refined/pytorch_model.bin'),
        ('cs3', 'hands', 'cs3/hands/model.safetensors'),
        ('cs3', 'hands', 'cs3/hands/pytorch_model.bin'),
        ('cs3', 'masker', SAM2),
        ('zero_shot', 'localiser', 'clap-htsat-unfused/model.safetensors'),
        ('zero_shot', 'localiser', 'clap-htsat-unfused/pytorch_model.bin'),
        ('acl', 'localiser', 'acl/Param_best.pth'),
    ],
)
def test_a_malicious_pickle_is_refused_and_not_executed(
    home, tmp_path, sprung, name, family, file, form
):
    if file.endswith('.bin'):  # loaders that take either would take the sound one
        (home / file).with_name('model.safetensors').unlink()
    form(home / file, Trap(sprung))
    with pytest.raises(BundleError, match=f"'one_stage', {family}") as caught:
        build(name, family, tmp_path)
    assert not sprung.exists()
    assert 'weights_only=False' not in str(caught.value), 'nobody is told to load it nevertheless'
    assert Path(file).parent.name in str(caught.value), 'the file or its folder is named'


@pytest.mark.parametrize('form', FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize('file', ['sounding.safetensors', 'audio_visual.safetensors'])
def test_the_verifier_that_hears_executes_no_pickle(tmp_path, sprung, file, form):
    shipped = load_bundle('nano')
    folder = tmp_path / 'nano'
    shutil.copytree(shipped.folder, folder)
    kept = {'localiser': {'type': 'motion'}, 'masker': {'type': 'grabcut'}}
    stages = {**kept, 'verifier': dict(shipped.stages['verifier'])}
    (folder / 'one_stage.yaml').write_text(
        yaml.safe_dump({'name': 'one_stage', 'clip': {}, **stages})
    )
    load_bundle(str(folder / 'one_stage.yaml')).build(runtime=RuntimeConfig(device='cpu'))
    form(folder / file, Trap(sprung))
    with pytest.raises(BundleError, match="'one_stage', verifier"):
        load_bundle(str(folder / 'one_stage.yaml')).build(runtime=RuntimeConfig(device='cpu'))
    assert not sprung.exists()


@pytest.mark.parametrize(
    'name, family, folder',
    [
        ('cs3', 'hands', 'cs3/hands'),
        ('cs3', 'localiser', 'clipseg-rd64-refined'),
        ('zero_shot', 'localiser', 'clap-htsat-unfused'),
    ],
)
def test_code_in_a_folder_of_weights_is_not_executed(
    home, tmp_path, sprung, monkeypatch, name, family, folder
):
    """A config.json may name Python files beside it; nobody is asked whether to trust them."""
    asked: list[str] = []
    monkeypatch.setattr('builtins.input', lambda question='': asked.append(question) or 'y')
    (home / folder / 'trap.py').write_text(
        f'from pathlib import Path\nPath({str(sprung)!r}).touch()\n'
        'class Model: pass\nclass Config: pass\n'
    )
    path = home / folder / 'config.json'
    config = json.loads(path.read_text()) | {
        'auto_map': {
            'AutoConfig': 'trap.Config',
            'AutoModel': 'trap.Model',
            'AutoModelForObjectDetection': 'trap.Model',
        }
    }
    for kind in (config['model_type'], 'something_new'):
        path.write_text(json.dumps(config | {'model_type': kind}))
        with contextlib.suppress(BundleError):  # to refuse it is fine, too
            build(name, family, tmp_path)
        assert not sprung.exists() and not asked


@pytest.mark.parametrize(
    'name, family, folder',
    [
        ('cs3', 'hands', 'cs3/hands'),
        ('cs3', 'localiser', 'clipseg-rd64-refined'),
        ('zero_shot', 'localiser', 'clap-htsat-unfused'),
    ],
)
def test_no_kernel_of_a_hub_is_asked_for(home, tmp_path, name, family, folder):
    """A config.json may name a repository whose code computes attention."""
    path = home / folder / 'config.json'
    config = json.loads(path.read_text())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part is config or 'model_type' in part:
            part['_attn_implementation'] = part['attn_implementation'] = 'owner/kernel'
    path.write_text(json.dumps(config))
    build(name, family, tmp_path)


def test_every_stage_of_a_bundle_with_networks_is_looked_at_here():
    def kinds(names):
        stages = [stage for name in names for stage in load_bundle(name).stages.items()]
        return {(family, values['type']) for family, values in stages}

    with_networks = [name for name in bundle_names() if load_bundle(name).has_networks]
    looked_at = kinds(['cs3', 'zero_shot', 'acl']) | {('verifier', 'sounding')}
    assert kinds(with_networks) == looked_at
