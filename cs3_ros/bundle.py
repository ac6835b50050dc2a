"""A bundle names the stages, their settings and the sound they need: find, check, build."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cs3_ros.assembler import ClipConfig
from cs3_ros.config import from_mapping
from cs3_ros.pipeline import Pipeline
from cs3_ros.verification import VerificationConfig

STAGES: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    'localiser': {'motion': ('cs3_ros.localisers.motion', 'MotionLocaliser', 'MotionConfig')},
    'hands': {'mediapipe': ('cs3_ros.hands.mediapipe', 'MediaPipeHands', 'MediaPipeConfig')},
    'masker': {'grabcut': ('cs3_ros.maskers.grabcut', 'GrabCutMasker', 'GrabCutConfig')},
}
"""Stage family -> name in the YAML -> module, class, settings dataclass."""

_KEYS = {'name', 'description', 'clip', *STAGES}


class BundleError(ValueError):
    """A bundle that cannot be read, lacks something, or names what does not exist."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; ``build`` turns it into a pipeline."""

    name: str
    """Name, kept in every Collision."""
    description: str
    """What it is for and what it does not know, shown to users."""
    clip: ClipConfig
    """Frames and sound round the onset that its stages look at."""
    stages: Mapping[str, Mapping[str, Any]]
    """Stage family -> {'type': name, further settings}."""

    def build(self, verification: VerificationConfig = VerificationConfig()) -> Pipeline:
        """Load the stages.

        Raises:
            BundleError: a stage cannot be loaded; the message names the stage and the fix.
        """
        built = {family: self._build_stage(family) for family in self.stages}
        return Pipeline(
            self.name,
            masker=built['masker'],
            hands=built.get('hands'),
            localiser=built.get('localiser'),
            verification=verification,
        )

    def _build_stage(self, family: str) -> Any:
        values = dict(self.stages[family])
        module_name, class_name, config_name = STAGES[family][values.pop('type')]
        where = f'bundle {self.name!r}, {family}'
        try:
            module = importlib.import_module(module_name)
            config = from_mapping(getattr(module, config_name), values, where)
        except ImportError as error:
            raise BundleError(f'{where}: {error}') from error
        except ValueError as error:
            raise BundleError(str(error)) from error
        try:
            return getattr(module, class_name)(config)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise BundleError(f'{where}: {error}') from error


def bundle_names() -> list[str]:
    """Names of the bundles that come with the package."""
    folder = resources.files('cs3_ros') / 'bundles'
    names = [file.name for file in folder.iterdir()]
    return sorted(name.removesuffix('.yaml') for name in names if name.endswith('.yaml'))


def load_bundle(name: str) -> Bundle:
    """Read and check a bundle.

    Args:
        name: a name from ``bundle_names()`` or the path of a YAML file.

    Raises:
        BundleError: names the bundle, what was found, what was expected and the fix.
    """
    if name in bundle_names():
        text = (resources.files('cs3_ros') / 'bundles' / f'{name}.yaml').read_text('utf-8')
    elif name.endswith(('.yaml', '.yml')):
        try:
            text = Path(name).read_text('utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f'bundle file {name!r} cannot be read: {error}') from error
    else:
        raise BundleError(
            f'bundle {name!r} not found: expected one of {", ".join(bundle_names())} '
            'or the path of a .yaml file'
        )
    try:
        return _parse(yaml.safe_load(text), name)
    except yaml.YAMLError as error:
        raise BundleError(f'bundle {name!r} is not valid YAML: {error}') from error
    except ValueError as error:
        raise BundleError(str(error)) from error


def _parse(data: Any, where: str) -> Bundle:
    where = f'bundle {where!r}'
    if not isinstance(data, dict):
        raise ValueError(f'{where}: expected a mapping, got {type(data).__name__}')
    if unknown := sorted(str(key) for key in set(data) - _KEYS):
        raise ValueError(
            f'{where}: unknown key(s) {", ".join(unknown)}; known: {", ".join(sorted(_KEYS))}'
        )
    if missing := {'name', 'clip', 'masker'} - set(data):
        raise ValueError(f'{where}: missing {", ".join(sorted(missing))}')
    stages = {family: data[family] for family in STAGES if data.get(family) is not None}
    if not {'hands', 'localiser'} & set(stages):
        raise ValueError(f'{where}: expected hands, a localiser or both, got neither')
    for family, values in stages.items():
        known = ', '.join(sorted(STAGES[family]))
        if not isinstance(values, dict) or str(values.get('type')) not in STAGES[family]:
            raise ValueError(f'{where}: {family} = {values!r}: expected a type, one of {known}')
    clip = from_mapping(ClipConfig, data['clip'], f'{where}, clip')
    return Bundle(str(data['name']), str(data.get('description', '')).strip(), clip, stages)
