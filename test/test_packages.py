"""Packages of others: what is wrong with one is named, with its version."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from cs3_ros import packages
from cs3_ros.packages import (
    LITE,
    PACKAGES,
    Package,
    describe,
    explained,
    fix_of,
    is_installed,
    pip_install,
    problem_of,
)


@pytest.fixture
def box(tmp_path, monkeypatch) -> Path:
    """The folder of a package ``toolbox`` 3.1, known to need ``tools.saw`` and a file."""
    folder = tmp_path / 'toolbox'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'tools.py').write_text('class saw: pass\n')
    (folder / 'nails.bin').touch()
    info = tmp_path / 'the_toolbox-3.1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: the-toolbox\nVersion: 3.1\n')
    (info / 'top_level.txt').write_text('toolbox\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ('toolbox', 'toolbox.tools'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    needed = Package('a shop', ('tools.saw',), ('nails.bin',))
    monkeypatch.setattr(packages, 'PACKAGES', {'toolbox': needed})
    return folder


def test_a_package_that_has_all(box):
    assert problem_of('toolbox') == '' and is_installed('toolbox')
    assert describe('toolbox') == 'toolbox 3.1'


def test_a_package_that_is_not_there(box):
    assert problem_of('nobodys_box') == 'nobodys_box is not installed'
    assert not is_installed('nobodys_box') and describe('nobodys_box') == 'nobodys_box'


@pytest.mark.parametrize('line', ['import nobodys_box', "raise AttributeError('_ARRAY_API')"])
def test_a_package_that_is_broken(box, line):
    (box / '__init__.py').write_text(line)
    problem = problem_of('toolbox')
    assert problem.startswith('toolbox 3.1 cannot be imported (')
    assert 'nobodys_box' in problem or '_ARRAY_API' in problem


def test_a_package_that_lacks_a_name(box):
    (box / 'tools.py').write_text('')
    assert problem_of('toolbox') == 'toolbox 3.1 has no tools.saw'


def test_a_package_that_lacks_a_file(box):
    (box / 'nails.bin').unlink()
    assert problem_of('toolbox') == 'toolbox 3.1 comes without its file nails.bin'


@pytest.mark.parametrize('name', PACKAGES)
def test_what_is_installed_here_works(name):
    """With the pinned versions: what is reached for exists, so that its absence means something."""
    if not is_installed(name):
        pytest.skip(f'{name} is not installed')
    assert problem_of(name) == ''


def test_versions_come_from_the_distribution():
    assert describe('yaml') == f'yaml {importlib.metadata.version("PyYAML")}'


def test_an_extra_is_installed_from_a_clone():
    assert pip_install('lite').endswith("pip install -c requirements/constraints.txt -e '.[lite]'")
    assert pip_install().endswith('-e .')


@pytest.mark.parametrize(
    'library, fix',
    [
        ('libGL.so.1', 'apt install libgl1'),
        ('libgthread-2.0.so.0', 'apt install libglib2.0-0'),
        ('libnobody-3.so.7', 'apt install what `apt-file search libnobody-3.so.7` names'),
    ],
)
def test_a_library_of_the_system_comes_with_apt_not_pip(box, library, fix):
    """As of OpenCV on a slim image."""
    error = f'{library}: cannot open shared object file: No such file or directory'
    (box / '__init__.py').write_text(f'raise ImportError({error!r}, name="toolbox")')
    problem = problem_of('toolbox')
    assert problem.startswith('toolbox 3.1 cannot be imported (') and library in problem
    assert fix_of(problem, 'pip install toolbox') == fix
    assert fix_of('toolbox is not installed', 'pip install toolbox') == 'pip install toolbox'
    assert explained(ImportError(error, name='toolbox')) == f'{error}: {fix}'


def test_an_error_is_explained_once():
    missing = ModuleNotFoundError("No module named 'mediapipe'", name='mediapipe.python')
    assert explained(missing) == f"No module named 'mediapipe': {LITE}"
    assert explained(ImportError(explained(missing), name='mediapipe')) == explained(missing)
    assert explained(ValueError('mediapipe: 3 is too much')) == 'mediapipe: 3 is too much'
