"""A bundle names the stages, their settings and the sound they need: find, check, build."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cs3_ros.bundles.needs import (
    PackageProblem,
    how_to_install,
    package_problems,
    refusal,
    with_fix,
)
from cs3_ros.bundles.stages import FAMILIES, StageSpec, find_stage, stage_types
from cs3_ros.bundles.weights import WeightFile, how_to_bring, locate, missing, parse
from cs3_ros.config import from_mapping
from cs3_ros.files.fields import mapping
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.packages import is_installed
from cs3_ros.pipeline import Masker, Pipeline, Tracker
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_ros.trigger.assembler import ClipConfig
from cs3_ros.verification import VerificationConfig

_KEYS = {'name', 'description', 'warning', 'clip', 'weights', 'fallback', *FAMILIES}


class BundleError(ValueError):
    """A bundle that cannot be read, lacks something, or names what does not exist."""


@dataclass(frozen=True)
class Bundle:
    """A checked bundle; ``build`` turns it into a pipeline."""

    name: str
    """Name, kept in every Collision."""
    description: str
    """What it is for and what it does not know, shown to users."""
    warning: str
    """What everybody who runs it has to know; empty where there is nothing of that kind."""
    clip: ClipConfig
    """Frames and sound round the onset that its stages look at."""
    stages: Mapping[str, Mapping[str, Any]]
    """Stage family -> {'type': name, further settings}."""
    weights: tuple[WeightFile, ...]
    """The files that its stages load."""
    folder: Path
    """Folder of its YAML file; weights may lie beside it."""
    fallback: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Stage family -> what takes its place where its packages or weights are absent."""

    @property
    def audio_s(self) -> float:
        """Length of the sound that its stages listen to, seconds."""
        return self.clip.audio_s

    @property
    def specs(self) -> dict[str, StageSpec]:
        """Stage family -> where its code is and what it needs.

        Raises:
            ValueError: a package that brought one of them was removed since the bundle was read.
        """
        return {name: find_stage(name, str(s['type'])) for name, s in self.stages.items()}

    @property
    def has_networks(self) -> bool:
        """Whether a stage runs on torch."""
        return any(spec.networks for spec in self.specs.values())

    @property
    def lacking_packages(self) -> dict[str, str]:
        """Packages that its stages import and that are not installed -> what brings them.

        None is imported.
        """
        return {
            name: how_to_install(name, spec)
            for spec in self.specs.values()
            for name in spec.packages
            if not is_installed(name)
        }

    @property
    def here(self) -> Bundle:
        """The bundle as it runs on this machine: what is absent and has a fallback is replaced.

        Its ``warning`` says so, and how to bring what is absent.
        """
        absent = {family: reason for family in self.fallback if (reason := self._absent(family))}
        told = [self.warning] if self.warning else []
        bundle = self
        for family, reason in absent.items():
            instead, written = self.fallback[family]['type'], self.stages[family]['type']
            told.append(f'{family} by {instead} instead of {written}, as {reason}')
            bundle = bundle.with_stage(family, self.fallback[family])
        return dataclasses.replace(bundle, warning='; '.join(told), fallback={})

    def with_stage(self, family: str, settings: Mapping[str, Any]) -> Bundle:
        """The bundle with another stage of a family, without the weights that only the old one had.

        Args:
            family: masker or hands, say.
            settings: type and settings of the new stage, as in a bundle's file.
        """
        stages = {**self.stages, family: settings}
        gone = set(self._weights_under(self.stages.get(family, {})))
        kept = {file for stage in stages.values() for file in self._weights_under(stage)}
        return dataclasses.replace(
            self,
            stages=stages,
            weights=tuple(file for file in self.weights if file not in gone - kept),
            fallback={k: stage for k, stage in self.fallback.items() if k != family},
        )

    def _absent(self, family: str) -> str:
        """What a stage lacks on this machine, with the fix; '' where nothing does."""
        spec = self.specs[family]
        for name in spec.packages:
            if not is_installed(name):
                return f'{name} is not installed: {how_to_install(name, spec)}'
        for file in missing(self._weights_under(self.stages[family]), self.folder):
            return f'{file.path} is absent: {how_to_bring(file, self.name)}'
        return ''

    def _weights_under(self, stage: Mapping[str, Any]) -> tuple[WeightFile, ...]:
        """The files that the settings of a stage name, or whose folder they name."""
        named = [value for value in stage.values() if isinstance(value, str) and value]
        return tuple(
            file
            for file in self.weights
            if any(file.path == name or file.path.startswith(f'{name}/') for name in named)
        )

    def package_problems(self) -> list[PackageProblem]:
        """Import what its stages need, without loading weights: those that do not work here.

        Heavy: torch, transformers and MediaPipe take seconds.
        """
        return package_problems(list(self.specs.values()))

    @property
    def lacking_weights(self) -> tuple[WeightFile, ...]:
        """Files of weights that are not on this machine."""
        return tuple(missing(self.weights, self.folder))

    def build(
        self,
        verification: VerificationConfig = VerificationConfig(),
        runtime: RuntimeConfig = RuntimeConfig(),
    ) -> Pipeline:
        """Load the stages.

        Args:
            verification: thresholds of CS3 section 4.3.
            runtime: what the networks run on; not looked at where there are none.

        Raises:
            BundleError: weights are missing or a stage cannot be loaded; the message names the
                file or stage and the fix.
        """
        if self.fallback:
            return self.here.build(verification, runtime)
        if lacking := self.lacking_weights:
            raise BundleError(
                f'bundle {self.name!r} lacks {len(lacking)} of {len(self.weights)} files of '
                f'weights, first {lacking[0].path}: {how_to_bring(lacking[0], self.name)}'
            )
        machine = self._machine(runtime) if self.has_networks else None
        built = {name: self._build_stage(name, spec, machine) for name, spec in self.specs.items()}
        pipeline = Pipeline(
            self.name,
            masker=built['masker'],
            hands=built.get('hands'),
            localiser=built.get('localiser'),
            verification=verification,
            verifier=built.get('verifier'),
            tracker=built.get('tracker'),
            objects=built.get('objects'),
            counts=None if machine is None else machine.counts,
        )
        if machine is not None and runtime.accelerated:
            pipeline.warm_up(self.audio_s)  # only there is anything compiled and recorded
        return pipeline

    def build_masker(self, runtime: RuntimeConfig = RuntimeConfig(), **settings: Any) -> Masker:
        """Load the masker alone, for a person who draws the prompts.

        Args:
            runtime: as for ``build``.
            settings: in place of the bundle's; what this masker has no setting of is left out.

        Raises:
            BundleError: as ``build``, of the masker.
        """
        spec = self.specs['masker']
        machine = self._machine(runtime) if spec.networks else None
        masker: Masker = self._build_stage('masker', spec, machine, settings)
        return masker

    def build_tracker(self, runtime: RuntimeConfig = RuntimeConfig()) -> Tracker | None:
        """Load the tracker alone; None where the bundle has none.

        Args:
            runtime: as for ``build``.

        Raises:
            BundleError: as ``build``, of the tracker.
        """
        if 'tracker' not in self.stages:
            return None
        spec = self.specs['tracker']
        machine = self._machine(runtime) if spec.networks else None
        tracker: Tracker = self._build_stage('tracker', spec, machine)
        return tracker

    def _machine(self, runtime: RuntimeConfig) -> Runtime:
        try:
            return Runtime(runtime)
        except (ImportError, RuntimeError) as error:
            raise BundleError(f'bundle {self.name!r}: {error}') from error

    def _build_stage(
        self,
        family: str,
        spec: StageSpec,
        machine: Runtime | None,
        settings: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        values = {name: value for name, value in self.stages[family].items() if name != 'type'}
        where = f'bundle {self.name!r}, {family}'
        try:
            cls, config_type = spec.load()
            names = {field.name for field in dataclasses.fields(config_type)}
            values |= {name: value for name, value in settings.items() if name in names}
            config: Any = from_mapping(config_type, values, where)
        except ImportError as error:
            raise BundleError(f'{where}: {with_fix(error, spec)}') from error
        except ValueError as error:
            raise BundleError(str(error)) from error
        except Exception as error:
            raise BundleError(f'{where}: {refusal(error, spec)}') from error
        try:
            config = dataclasses.replace(config, **self._weights_of(config))
            return cls(config, machine) if spec.networks else cls(config)
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            raise BundleError(f'{where}: {with_fix(error, spec)}') from error
        except Exception as error:  # the libraries that read a broken file raise anything
            weights = ', '.join(self._weights_of(config).values())
            raise BundleError(f'{where}: {refusal(error, spec, weights)}') from error

    def _weights_of(self, config: Any) -> dict[str, str]:
        """The absolute paths of the weights that a stage's settings name."""
        found = {}
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if field.metadata.get('weights') and value:
                path = locate(value, self.folder)
                if not path.exists():
                    raise ValueError(f'{field.name} = {value!r}: {path} does not exist')
                found[field.name] = str(path)
        return found


def bundle_names() -> list[str]:
    """Names of the bundles that come with the package."""
    return sorted(_shipped())


def _shipped() -> dict[str, Path]:
    """Name -> its file: bundles/NAME.yaml, or bundles/NAME/NAME.yaml with its weights beside it."""
    # setup.py has zip_safe=False: the package's data are files
    folder = Path(str(resources.files('cs3_ros') / 'bundles'))
    alone = {file.stem: file for file in folder.glob('*.yaml')}
    with_weights = {file.stem: file for file in folder.glob('*/*.yaml')}
    return alone | {k: file for k, file in with_weights.items() if file.parent.name == k}


def load_bundle(name: str, as_written: bool = False) -> Bundle:
    """Read and check a bundle, as it runs on this machine (``Bundle.here``).

    Args:
        name: a name from ``bundle_names()`` or the path of a YAML file.
        as_written: with the stages that are absent here, to bring them.

    Raises:
        BundleError: names the bundle, what was found, what was expected and the fix.
    """
    shipped = _shipped()
    if name in shipped:
        path = shipped[name]
    elif name.endswith(('.yaml', '.yml')):
        path = Path(name)
    else:
        raise BundleError(
            f'bundle {name!r} not found: expected one of {", ".join(sorted(shipped))} '
            'or the path of a .yaml file'
        )
    try:
        bundle = _parse(read_yaml(path, f'bundle {name!r}'), name, path.resolve().parent)
        return bundle if as_written else bundle.here
    except ValueError as error:
        raise BundleError(str(error)) from error


def _parse(data: Any, where: str, folder: Path) -> Bundle:
    where = f'bundle {where!r}'
    if not isinstance(data, dict):
        raise ValueError(f'{where}: expected a mapping, got {type(data).__name__}')
    if unknown := sorted(str(key) for key in set(data) - _KEYS):
        raise ValueError(
            f'{where}: unknown key(s) {", ".join(unknown)}; known: {", ".join(sorted(_KEYS))}'
        )
    if missing := {'name', 'clip', 'masker'} - set(data):
        raise ValueError(f'{where}: missing {", ".join(sorted(missing))}')
    stages = {family: data[family] for family in FAMILIES if data.get(family) is not None}
    if not {'hands', 'localiser'} & set(stages):
        raise ValueError(f'{where}: expected hands, a localiser or both, got neither')
    fallback = mapping(data.get('fallback') or {}, f'{where}, fallback', others=tuple(stages))
    for family, values in [*stages.items(), *fallback.items()]:
        _check_stage(family, values, where)
    clip = from_mapping(ClipConfig, data['clip'], f'{where}, clip')
    try:
        weights = parse(data.get('weights') or [])
    except ValueError as error:
        raise ValueError(f'{where}, {error}') from error
    description, warning = (str(data.get(key) or '').strip() for key in ('description', 'warning'))
    return Bundle(str(data['name']), description, warning, clip, stages, weights, folder, fallback)


def _check_stage(family: str, values: Any, where: str) -> None:
    known = stage_types(family)
    if not isinstance(values, dict) or str(values.get('type')) not in known:
        raise ValueError(
            f'{where}: {family} = {values!r}: expected a type, one of {", ".join(known)}'
        )
    try:
        find_stage(family, str(values['type']))
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
