"""Settings of the nano recipe, stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.files.yamlfile import read_yaml

STAGES = ('scenes', 'clip', 'clipseg', 'audio', 'hands', 'masks', 'weak', 'bundle')
"""In the order in which they are run; clip, audio, hands and masks need the scenes alone."""


def _steps(count: int) -> Any:
    return setting(count, 'Steps of the optimiser.', minimum=1)


def _batch(count: int) -> Any:
    return setting(count, 'Samples in a step.', minimum=1)


def _lr(value: float) -> Any:
    return setting(value, 'Largest learning rate.', minimum=0.0)


@dataclass(frozen=True)
class SceneConfig:
    """How many scenes are made; seeds of the splits train and validation.

    Raises:
        ValueError: a setting is outside its range.
    """

    pretrain: int = setting(14_000, 'Scenes with truth, for all stages but the last.', minimum=8)
    pairs: int = setting(
        6_000, 'Further scenes, of which only picture and sound are used.', minimum=8
    )
    validation: int = setting(
        400, 'Scenes on the first of which stages are judged, each on 48 or more.', minimum=4
    )
    size: int = setting(352, 'Side of the pictures, pixels.', minimum=96, maximum=1024)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class PretrainConfig:
    """What every training has; warm-up, then a cosine to a hundredth.

    Raises:
        ValueError: a setting is outside its range.
    """

    steps: int = _steps(1)
    batch: int = _batch(1)
    lr: float = _lr(1e-3)
    warm_up: int = setting(100, 'Steps in which the learning rate rises.', minimum=1)
    weight_decay: float = setting(0.05, 'Weight decay of AdamW.', minimum=0.0)
    clip_norm: float = setting(1.0, 'Largest norm of the gradient.', minimum=1e-6)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class ClipStageConfig(PretrainConfig):
    """Image-text contrast, and the sizes of CLIP."""

    steps: int = _steps(2_500)
    batch: int = _batch(16)
    lr: float = _lr(1e-3)
    masked: int = setting(16, 'Pictures cut down to one or two objects in a step.', minimum=2)
    extra_texts: int = setting(40, 'Further captions that they are told from.', minimum=0)
    dense_weight: float = setting(6.0, 'Weight of the patch-text loss.', minimum=0.0)
    image_size: int = setting(256, 'Side of the pictures, pixels.', minimum=32, maximum=1024)
    patch: int = setting(16, 'Side of a patch, pixels.', minimum=8, maximum=32)
    vision_width: int = setting(192, 'Width of the vision tower.', minimum=16)
    vision_layers: int = setting(6, 'Blocks of the vision tower.', minimum=3)
    text_width: int = setting(192, 'Width of the text tower.', minimum=16)
    text_layers: int = setting(3, 'Blocks of the text tower.', minimum=1)
    heads: int = setting(3, 'Heads of attention of both towers.', minimum=1)
    projection: int = setting(128, 'Width of the joint space.', minimum=16)
    reduce: int = setting(48, 'Width of the decoder of CLIPSeg.', minimum=8)


@dataclass(frozen=True)
class ClipSegConfig(PretrainConfig):
    """Masks of what a text names."""

    steps: int = _steps(1_000)
    batch: int = _batch(8)
    lr: float = _lr(1e-3)
    tower_lr: float = setting(
        0.1, 'Learning rate of the towers as a share of that of the decoder.', minimum=0.0
    )
    queries: int = setting(12, 'Texts that every picture of a step is asked for.', minimum=1)
    dense_weight: float = setting(
        3.0, 'Weight of the patch-text loss, which keeps the towers together.', minimum=0.0
    )


@dataclass(frozen=True)
class AudioStageConfig(PretrainConfig):
    """Materials by sound, and the sizes of BEATs."""

    steps: int = _steps(1_500)
    batch: int = _batch(48)
    lr: float = _lr(7e-4)
    width: int = setting(192, 'Width of the transformer.', minimum=32)
    layers: int = setting(6, 'Blocks of the transformer.', minimum=3)
    heads: int = setting(6, 'Heads of attention.', minimum=1)


@dataclass(frozen=True)
class HandsConfig(PretrainConfig):
    """Boxes of hands and of what they hold, and the sizes of RT-DETRv2."""

    steps: int = _steps(3_600)
    batch: int = _batch(16)
    lr: float = _lr(1e-3)
    weight_decay: float = setting(1e-4, 'Weight decay of AdamW.', minimum=0.0)
    clip_norm: float = setting(0.5, 'Largest norm of the gradient.', minimum=1e-6)
    image_size: int = setting(256, 'Side of the pictures, pixels.', minimum=64, maximum=1024)
    width: int = setting(64, 'Width of encoder and decoder.', minimum=16)
    decoder_layers: int = setting(2, 'Layers of the decoder.', minimum=1)
    queries: int = setting(30, 'Boxes that are proposed.', minimum=4)
    backbone: int = setting(16, 'Width of the first of four stages of the ResNet.', minimum=4)


@dataclass(frozen=True)
class MasksConfig(PretrainConfig):
    """Masks of what a box or points show, and the sizes of SAM 2."""

    steps: int = _steps(3_000)
    batch: int = _batch(4)
    lr: float = _lr(3e-3)
    trunk_lr: float = setting(
        0.5, 'Learning rate of the trunk as a share of that of the others.', minimum=0.0
    )
    warm_up: int = setting(20, 'Steps in which the learning rate rises.', minimum=1)
    blind: int = setting(
        120,
        'First steps, a quarter of all at most, in which prompts are learned without picture.',
        minimum=0,
    )
    prompts: int = setting(
        16, 'Prompts on every picture of a step; the encoder is the cost.', minimum=1
    )
    image_size: int = setting(256, 'Side of the pictures, pixels.', minimum=64, maximum=1024)
    embed: int = setting(32, 'Width of the first of four stages of the trunk.', minimum=8)
    width: int = setting(64, 'Width of neck and decoder.', minimum=32)


@dataclass(frozen=True)
class WeakConfig:
    """The weakly supervised training; its other settings are those of ``TrainConfig``.

    Raises:
        ValueError: a setting is outside its range.
    """

    steps: int = _steps(150)
    batch: int = _batch(16)
    lr: float = setting(3e-5, 'Learning rate of BEATs.', minimum=0.0)
    lr_token: float = setting(6e-4, 'Learning rate of the audio token.', minimum=0.0)
    lr_mask: float = setting(0.02, 'Learning rate of scale and bias of the mask.', minimum=0.0)
    mask_bias: float = setting(
        2.5,
        'Bias of the mask at the start, beside a scale of 10; with more (method.md A5 has 14), '
        'uninformative sounds light up whole objects here.',
    )
    area_weight: float = setting(10.0, 'Weight of the area loss.', minimum=0.0)
    area_positive: float = setting(
        0.07,
        'Share of the picture that a mask should cover; colliding objects cover 0.065.',
        minimum=0.0,
        maximum=1.0,
    )
    listen_least_s: float = setting(
        0.1, 'As in ``TrainConfig``: sounds end at random, from here on.', minimum=0.0, maximum=1.0
    )
    wait_s: float = setting(
        0.25,
        'Seconds of sound after the onset that the checkpoint is judged with and the bundle waits '
        'for.',
        minimum=0.05,
        maximum=1.0,
    )
    columns: int = setting(
        2, 'Sounds that are decoded at once; few suit the caches of a CPU.', minimum=1
    )
    validations: int = setting(3, 'How often the checkpoint is judged.', minimum=1)
    judged: int = setting(300, 'Labelled validation scenes that it is judged on.', minimum=1)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class FurtherConfig:
    """Stage weak where it goes on from a bundle (``localiser/shorter.py``), instead of ``weak``'s.

    Raises:
        ValueError: a setting is outside its range.
    """

    steps: int = _steps(150)
    batch: int = _batch(32)
    lr: float = setting(1e-4, 'Learning rate of BEATs and of the audio token.', minimum=0.0)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class NanoConfig:
    """The whole recipe; the defaults take some four hours on 2 CPU cores."""

    seed: int = setting(0, 'Of weights, samples, augmentation and noise.', minimum=0)
    scenes: SceneConfig = field(default_factory=SceneConfig)
    clip: ClipStageConfig = field(default_factory=ClipStageConfig)
    clipseg: ClipSegConfig = field(default_factory=ClipSegConfig)
    audio: AudioStageConfig = field(default_factory=AudioStageConfig)
    hands: HandsConfig = field(default_factory=HandsConfig)
    masks: MasksConfig = field(default_factory=MasksConfig)
    weak: WeakConfig = field(default_factory=WeakConfig)
    further: FurtherConfig = field(default_factory=FurtherConfig)

    def __post_init__(self) -> None:
        validate(self)

    def scaled(self, scale: float) -> NanoConfig:
        """The recipe with so many times the steps in every training.

        Raises:
            ValueError: not above 0.
        """
        if not scale > 0:
            raise ValueError(f'scale = {scale}: expected a factor above 0')
        parts = {}
        for name in GROUPS:
            part = getattr(self, name)
            if hasattr(part, 'steps'):
                part = dataclasses.replace(part, steps=max(1, round(part.steps * scale)))
            parts[name] = part
        return dataclasses.replace(self, **parts)


GROUPS: Mapping[str, type[Any]] = {
    'scenes': SceneConfig,
    'clip': ClipStageConfig,
    'clipseg': ClipSegConfig,
    'audio': AudioStageConfig,
    'hands': HandsConfig,
    'masks': MasksConfig,
    'weak': WeakConfig,
    'further': FurtherConfig,
}
"""Stage -> its settings."""

SMOKE: Mapping[str, Any] = {
    'scenes': {'pretrain': 12, 'pairs': 8, 'validation': 4, 'size': 96},
    'clip': {
        'steps': 3, 'batch': 2, 'masked': 4, 'extra_texts': 2, 'image_size': 64, 'vision_width': 32,
        'vision_layers': 3, 'text_width': 32, 'text_layers': 1, 'heads': 2, 'projection': 32,
        'reduce': 16,
    },
    'clipseg': {'steps': 3, 'batch': 2, 'queries': 3},
    'audio': {'steps': 3, 'batch': 2, 'width': 32, 'layers': 3, 'heads': 2},
    'hands': {
        'steps': 3, 'batch': 2, 'image_size': 64, 'width': 32, 'queries': 8, 'backbone': 8,
    },
    'masks': {'steps': 3, 'batch': 2, 'prompts': 2, 'image_size': 64, 'embed': 8, 'width': 32},
    'weak': {'steps': 2, 'batch': 2, 'validations': 1, 'judged': 2},
    'further': {'steps': 2, 'batch': 2},
}  # fmt: skip
"""For tests: everything happens, nothing is learned."""

PRESETS: Mapping[str, Mapping[str, Any]] = {'default': {}, 'smoke': SMOKE}


def make_config(preset: str = 'default', path: Path | None = None) -> NanoConfig:
    """Settings of a preset, changed by a YAML file ``{seed: ..., clip: {steps: ...}, ...}``.

    Raises:
        ValueError: unknown preset, no such file, unknown names or values out of range.
    """
    if preset not in PRESETS:
        raise ValueError(f'preset {preset!r}: expected one of {", ".join(PRESETS)}')
    where = f'preset {preset!r}'
    given: Any = {}
    if path is not None:
        where = f'nano settings {str(path)!r}'
        given = read_yaml(path, where) or {}
    if not isinstance(given, dict):
        raise ValueError(f'{where}: expected a mapping of stages to settings, got {given!r}')
    values = dict(given)
    for name, cls in GROUPS.items():
        part = given.get(name) or {}
        if not isinstance(part, dict):
            raise ValueError(f'{where}, {name}: expected a mapping, got {part!r}')
        merged = {**PRESETS[preset].get(name, {}), **part}
        values[name] = from_mapping(cls, merged, f'{where}, {name}')
    return from_mapping(NanoConfig, values, where)
