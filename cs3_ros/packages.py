"""Packages of others: do they work here, and what brings them.

``PACKAGES`` names what is reached for in a package, where importing it alone tells too little: a
later version may import well and lack it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


def pip_install(extra: str = '') -> str:
    """The command that brings what setup.py asks for; cs3_ros itself is on no package index."""
    what = f"'.[{extra}]'" if extra else '.'
    pip = 'pip install -c requirements/constraints.txt'
    if extra in ('models', 'train'):  # sam2 is built from source, and imports torch to do so
        first = f'{pip} torch torchvision torchaudio setuptools, then SAM2_BUILD_CUDA=0 '
        pip = f'{first}{pip} --no-build-isolation'
    return f'in a clone of cs3_ros: {pip} -e {what}'


BASE, LITE, MODELS = pip_install(), pip_install('lite'), pip_install('models')


@dataclass(frozen=True)
class Package:
    """A package that some stages need."""

    install: str
    """What brings it, or a version of it that works."""
    reached: tuple[str, ...] = ()
    """Dotted names that the stages reach for in it."""
    files: tuple[str, ...] = ()
    """Files in its folder that the stages load."""


PACKAGES: Mapping[str, Package] = {
    'av': Package(BASE),
    'rosbags': Package(BASE),
    'cv2': Package(f'apt install python3-opencv, or {LITE}'),
    'mediapipe': Package(
        LITE,
        ('solutions.hands.Hands',),  # both gone from 0.10.30 on
        (
            'modules/palm_detection/palm_detection_full.tflite',
            'modules/hand_landmark/hand_landmark_full.tflite',
        ),
    ),
    'torch': Package(MODELS),
    'torchaudio': Package(MODELS, ('compliance.kaldi.get_mel_banks', 'transforms.Resample')),
    'torchvision': Package(MODELS),
    'transformers': Package(MODELS),
    'safetensors': Package(MODELS),
    'timm': Package(MODELS),
    'sam2': Package(MODELS),
    'detectron2': Package('see https://detectron2.readthedocs.io/en/latest/tutorials/install.html'),
}
"""Name that is imported -> what is known of the package."""


SYSTEM_LIBRARIES: Mapping[str, str] = {
    'libGL.so.1': 'libgl1',
    'libEGL.so.1': 'libegl1',
    'libGLESv2.so.2': 'libgles2',
    'libglib-2.0.so.0': 'libglib2.0-0',
    'libgthread-2.0.so.0': 'libglib2.0-0',
    'libgomp.so.1': 'libgomp1',
    'libportaudio.so.2': 'libportaudio2',
}
"""Library of the system that a slim image lacks -> what brings it with apt."""


def fix_of(problem: str, install: str) -> str:
    """What brings a package that works.

    Args:
        problem: why it does not, as Python says it.
        install: what brings the package; no help where a library of the system is lacking.
    """
    lacking = re.search(r'\b(lib[\w.+-]+?\.so[.\d]*): cannot open shared object file', problem)
    if lacking is None:
        return install
    library = lacking[1]
    if library in SYSTEM_LIBRARIES:
        return f'apt install {SYSTEM_LIBRARIES[library]}'
    return f'apt install what `apt-file search {library}` names'


def explained(error: Exception) -> str:
    """The text of an error, with what brings the package or the library that it says is lacking."""
    told = str(error)
    name = str(error.name) if isinstance(error, ImportError) else ''
    known = PACKAGES.get(name.partition('.')[0])
    fix = fix_of(told, known.install if known is not None else '')
    return told if fix in told else f'{told}: {fix}'


def is_installed(name: str) -> bool:
    """Whether a package is there; it is not imported."""
    return find_spec(name) is not None


def not_installed(name: str) -> str:
    """What ``problem_of`` says of a package that is not there."""
    return f'{name} is not installed'


def describe(name: str) -> str:
    """A package as ``name version``, with the version of the distribution that brought it."""
    distributions = importlib.metadata.packages_distributions().get(name, ())
    versions = {importlib.metadata.version(distribution) for distribution in distributions}
    return ' '.join((name, *sorted(versions)))


def problem_of(name: str) -> str:
    """Import a package and reach for what the stages need of it, without loading weights.

    Returns:
        What is wrong, with name and version; '' where all of it is there.
    """
    stay_offline()
    try:
        module = importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            return not_installed(name)
        return f'{describe(name)} cannot be imported ({type(error).__name__}: {error})'
    package = PACKAGES.get(name, Package(''))
    for dotted in package.reached:
        try:
            _reach(module, dotted)
        except (AttributeError, ModuleNotFoundError):
            return f'{describe(name)} has no {dotted}'
        except Exception as error:
            return f'{describe(name)}: {dotted} fails ({type(error).__name__}: {error})'
    for file in package.files:
        if not (Path(str(module.__file__)).parent / file).is_file():
            return f'{describe(name)} comes without its file {file}'
    return ''


def _reach(module: object, dotted: str) -> object:
    """``a.b.c`` in a module; submodules that it does not import by itself are imported."""

    def step(found: object, name: str) -> object:
        if not hasattr(found, name) and hasattr(found, '__path__'):
            importlib.import_module(f'{found.__name__}.{name}')  # type: ignore[attr-defined]
        return getattr(found, name)

    return functools.reduce(step, dotted.split('.'), module)


def stay_offline() -> None:
    """Weights come from files alone, and quietly; transformers reads this when it is imported."""
    os.environ.setdefault('HF_HUB_OFFLINE', '1')
    os.environ.setdefault('HF_HUB_DISABLE_PROGRESS_BARS', '1')
