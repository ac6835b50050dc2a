"""The stages that a bundle can name, and where their code is: built in, or of other packages.

Another package adds a stage by an entry point of the group ``cs3_ros.stages``. Its name is
``FAMILY.TYPE``, such as ``masker.watershed``; its value is a ``StageSpec``, such as
``my_masker:STAGE``. It is loaded when a bundle names that type, and not before.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from importlib.metadata import EntryPoint, entry_points

GROUP = 'cs3_ros.stages'
"""Group of the entry points by which other packages add stages."""


@dataclass(frozen=True)
class StageSpec:
    """Where the code of one type of stage is, and what it needs."""

    module: str
    """Module, imported when the stage is built."""
    cls: str
    """Name of its class, which is called with the settings."""
    config: str
    """Name of its settings, a frozen dataclass whose fields are declared by ``setting``."""
    networks: bool = False
    """Whether it has networks: its class then takes a ``Runtime`` after its settings."""
    packages: tuple[str, ...] = ()
    """Packages that it imports and that the base install of cs3_ros lacks, by their import name."""
    install: str = ''
    """What brings those packages; may be empty where ``cs3_ros.packages.PACKAGES`` knows them."""

    def load(self) -> tuple[type, type]:
        """Import its module; its class and the dataclass of its settings.

        Raises:
            ImportError: the module is not there, imports what is not there, or lacks a name.
            TypeError: the settings are no dataclass.
        """
        module = importlib.import_module(self.module)
        for name in (self.cls, self.config):
            if not hasattr(module, name):
                raise ImportError(f'module {self.module} has no {name}', name=self.module)
        cls, config = getattr(module, self.cls), getattr(module, self.config)
        if not (isinstance(config, type) and is_dataclass(config)):
            raise TypeError(f'{self.module}.{self.config}: expected a dataclass, got {config!r}')
        return cls, config


_TORCH = ('torch', 'torchaudio', 'transformers')

BUILT_IN: Mapping[str, Mapping[str, StageSpec]] = {
    'localiser': {
        'motion': StageSpec(
            'cs3_ros.localisers.motion', 'MotionLocaliser', 'MotionConfig', packages=('cv2',)
        ),
        'audio_visual': StageSpec(
            'cs3_ros.localisers.audio_visual',
            'AudioVisualLocaliser',
            'AudioVisualConfig',
            True,
            (*_TORCH, 'safetensors', 'cv2'),
        ),
        'zero_shot': StageSpec(
            'cs3_ros.localisers.zero_shot',
            'ZeroShotLocaliser',
            'ZeroShotConfig',
            True,
            (*_TORCH, 'cv2'),
        ),
    },
    'hands': {
        'mediapipe': StageSpec(
            'cs3_ros.hands.mediapipe',
            'MediaPipeHands',
            'MediaPipeConfig',
            packages=('mediapipe', 'cv2'),
        ),
        'detr': StageSpec(
            'cs3_ros.hands.detr', 'DetrHands', 'DetrConfig', True, ('torch', 'transformers')
        ),
        'hands23': StageSpec(
            'cs3_ros.hands.hands23',
            'Hands23Hands',
            'Hands23Config',
            True,
            ('torch', 'detectron2'),
        ),
        'hands23_json': StageSpec('cs3_ros.hands.hands23_json', 'Hands23Json', 'Hands23JsonConfig'),
    },
    'masker': {
        'grabcut': StageSpec(
            'cs3_ros.maskers.grabcut', 'GrabCutMasker', 'GrabCutConfig', packages=('cv2',)
        ),
        'sam2': StageSpec(
            'cs3_ros.maskers.sam2', 'Sam2Masker', 'Sam2Config', True, ('torch', 'sam2', 'cv2')
        ),
        'edgetam': StageSpec(
            'cs3_ros.maskers.edgetam',
            'EdgeTamMasker',
            'EdgeTamConfig',
            True,
            ('torch', 'torchvision', 'transformers', 'timm', 'cv2'),
        ),
    },
    'verifier': {
        'contact': StageSpec('cs3_ros.verification', 'ContactVerifier', 'ContactConfig'),
        'sounding': StageSpec(
            'cs3_ros.verifiers.sounding',
            'SoundingVerifier',
            'SoundingVerifierConfig',
            True,
            (*_TORCH, 'torchvision', 'safetensors', 'cv2'),
        ),
    },
    'tracker': {
        'flow': StageSpec('cs3_ros.trackers.flow', 'FlowTracker', 'FlowConfig', packages=('cv2',)),
        'sam2': StageSpec(
            'cs3_ros.trackers.sam2', 'Sam2Tracker', 'Sam2TrackerConfig', True, ('torch', 'sam2')
        ),
    },
    'objects': {
        'yolox': StageSpec(
            'cs3_ros.objects.yolox', 'YoloxObjects', 'YoloxConfig', packages=('cv2',)
        ),
        'detector': StageSpec(
            'cs3_ros.objects.detector',
            'DetectorObjects',
            'DetectorConfig',
            True,
            ('torch', 'torchvision', 'transformers', 'cv2'),
        ),
    },
}
"""Stage family -> type in the YAML -> the stage that comes with cs3_ros."""

FAMILIES = tuple(BUILT_IN)
"""The families of stages: the keys of a bundle that name one."""


@dataclass(frozen=True)
class InstalledStage:
    """A stage of another package, found by its entry point."""

    entry_point: EntryPoint
    """Not loaded yet."""

    @property
    def family(self) -> str:
        """Its family, as far as its name tells."""
        return self.entry_point.name.partition('.')[0]

    @property
    def type(self) -> str:
        """Its type in the YAML."""
        return self.entry_point.name.partition('.')[2]

    @property
    def distribution(self) -> str:
        """Name and version of the package that brought it."""
        dist = self.entry_point.dist
        return 'an unnamed distribution' if dist is None else f'{dist.name} {dist.version}'

    def __str__(self) -> str:
        return (
            f'stage {self.entry_point.name} of {self.distribution} (entry point '
            f'{self.entry_point.value})'
        )

    def load(self) -> StageSpec:
        """Load the entry point.

        Raises:
            ValueError: its name is wrong or taken, it cannot be loaded or is no ``StageSpec``; says
                which package brought it, what was expected and the fix.
        """
        if problem := _problem_of_name(self):
            raise ValueError(f'{self}: {problem}')
        try:
            spec = self.entry_point.load()
        except Exception as error:  # the code of somebody else may raise anything
            raise ValueError(
                f'{self} cannot be loaded ({type(error).__name__}: {error}): reinstall, upgrade or '
                'remove that package'
            ) from error
        if not isinstance(spec, StageSpec):
            raise ValueError(
                f'{self}: expected a cs3_ros.bundles.stages.StageSpec, got {spec!r}: correct the '
                'entry point of that package'
            )
        return spec


def installed_stages() -> list[InstalledStage]:
    """The stages of other packages, ordered by name; nothing is imported."""
    found = [InstalledStage(entry_point) for entry_point in entry_points(group=GROUP)]
    return sorted(found, key=lambda stage: (stage.entry_point.name, stage.distribution))


def stage_types(family: str) -> list[str]:
    """The types that a bundle may name in a family; nothing is imported."""
    added = {stage.type for stage in installed_stages() if stage.family == family and stage.type}
    return sorted({*BUILT_IN[family], *added})


def find_stage(family: str, type_name: str) -> StageSpec:
    """The stage that a bundle names.

    Args:
        family: one of ``FAMILIES``.
        type_name: one of ``stage_types(family)``.

    Raises:
        ValueError: there is none, several packages claim the name, or the one that does cannot be
            loaded; names the package.
    """
    for stage in installed_stages():
        if (stage.family, stage.type) == (family, type_name):
            return stage.load()
    if type_name not in BUILT_IN[family]:
        known = ', '.join(stage_types(family))
        raise ValueError(f'{family} type {type_name!r}: expected one of {known}')
    return BUILT_IN[family][type_name]


def _problem_of_name(stage: InstalledStage) -> str:
    """What is wrong with the name of an entry point; '' where nothing is."""
    name = stage.entry_point.name
    if stage.family not in FAMILIES or not stage.type:
        return (
            'expected a name FAMILY.TYPE with a family of '
            f'{", ".join(FAMILIES)}: rename the entry point in that package'
        )
    if stage.type in BUILT_IN[stage.family]:
        return (
            f'cs3_ros itself has a {stage.family} {stage.type!r}: rename the entry point in that '
            'package, or remove the package'
        )
    for other in installed_stages():
        if other.entry_point.name == name and other != stage:
            return f'{other.distribution} has one of the same name: remove one of the two'
    return ''
