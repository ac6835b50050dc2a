"""Settings of the sounding objects; the defaults are those of the released code (method.md F)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cs3_ros.config import from_mapping, setting, validate
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.networks.slots import SlotsConfig
from cs3_ros.networks.sound_towers import AstSizes
from cs3_ros.networks.sounding import EMBEDDING
from cs3_training.loop import LoopConfig

STAGES = ('slots', 'align', 'refine', 'detect')
"""In their order. The released code begins with a SPOT trained on COCO in place of ``slots``."""
PAPER = Path(__file__).with_name('paper.yaml')
"""All settings as the paper has them."""
Stage = TypeVar('Stage', bound='StageConfig')


@dataclass(frozen=True)
class NetworkConfig:
    """What is built where nothing is loaded.

    Raises:
        ValueError: a setting is outside its range.
    """

    embedding: int = setting(EMBEDDING, 'Width of the joint space.', minimum=1)
    use_slots: bool = setting(
        True, 'Pool what the decoder of the slots wrote; without it the patches of the tower.'
    )
    slots: int = setting(7, 'Slots.', minimum=1)
    slot_width: int = setting(256, 'Width of a slot.', minimum=1)
    slot_hidden: int = setting(1024, 'Hidden width of the MLP that updates slots.', minimum=1)
    iterations: int = setting(3, 'Rounds of slot attention.', minimum=1)
    decoder_blocks: int = setting(4, 'Blocks of the decoder.', minimum=1)
    decoder_heads: int = setting(6, 'Heads of all attention in the decoder.', minimum=1)
    sound: str = setting('ast', 'Sound tower.', choices=('ast', 'beats'))
    train_sound: bool = setting(
        True, 'Train the sound tower; without it its head alone, and BEATs stays where it lies.'
    )
    ast_width: int = setting(768, 'Width of AST.', minimum=1)
    ast_hidden: int = setting(3072, 'Hidden width of its MLPs.', minimum=1)
    ast_layers: int = setting(12, 'Its blocks.', minimum=1)
    ast_heads: int = setting(12, 'Its heads of attention.', minimum=1)
    ast_frames: int = setting(150, 'Frames of 10 ms that it hears.', minimum=16)

    def __post_init__(self) -> None:
        validate(self)

    def slots_config(self, width: int, grid: int) -> SlotsConfig:
        """Sizes of the slots for a vision tower of so wide patches, n = grid along a side."""
        return SlotsConfig(
            width=width,
            grid=grid,
            slots=self.slots,
            slot_width=self.slot_width,
            slot_hidden=self.slot_hidden,
            iterations=self.iterations,
            blocks=self.decoder_blocks,
            heads=self.decoder_heads,
        )

    def ast_sizes(self) -> AstSizes:
        """Sizes of AST."""
        return AstSizes(
            width=self.ast_width,
            hidden=self.ast_hidden,
            layers=self.ast_layers,
            heads=self.ast_heads,
            frames=self.ast_frames,
        )


@dataclass(frozen=True)
class SampleConfig:
    """What is taken of a clip.

    Raises:
        ValueError: a setting is outside its range.
    """

    before_s: float = setting(
        0.5, 'Sound before the middle of the clip, where the action is, seconds.', minimum=0.0
    )
    after_s: float = setting(1.0, 'Sound after it, seconds.', minimum=0.1)
    objects: int = setting(
        2, 'Most object masks of a clip; 0 pools the whole picture instead.', minimum=0, maximum=8
    )
    others: int = setting(
        0,
        'Most masks of other things of the picture that detect takes as hard negatives, too; the '
        'released code has none.',
        minimum=0,
        maximum=32,
    )
    frame_step: int = setting(3, 'Every so many frames have masks.', minimum=1)
    text_length: int = setting(77, 'Tokens of a text, start and end included.', minimum=3)

    def __post_init__(self) -> None:
        validate(self)

    @property
    def window(self) -> tuple[float, float]:
        """As ``SoundingObjects`` takes it."""
        return self.before_s, self.after_s


@dataclass(frozen=True)
class StageConfig(LoopConfig):
    """What every stage has."""

    steps: int = setting(
        0, 'Steps of the optimiser; 0 makes them of the epochs, rounded up.', minimum=0
    )
    epochs: int = setting(1, 'Passes over the data, where steps is 0.', minimum=1)
    lr: float = setting(5e-5, 'Learning rate.', minimum=0.0)
    clip_norm: float = setting(
        1e9, 'Largest norm of the gradient; the released code cuts none.', minimum=1e-6
    )
    frames: int = setting(1, 'Pictures of a clip that are looked at.', minimum=1)

    def for_samples(self: Stage, count: int) -> Stage:
        """With the steps that so many samples make."""
        steps = self.steps or math.ceil(self.epochs * count / self.batch)
        return replace(self, steps=steps)


@dataclass(frozen=True)
class SlotsStageConfig(StageConfig):
    """Slot attention and decoder learn to write patches again (SPOT, its first training)."""

    epochs: int = setting(50, 'Passes over the data, where steps is 0.', minimum=1)
    batch: int = setting(64, 'Samples in a step, over all processes.', minimum=2)
    lr: float = setting(4e-4, 'Largest learning rate.', minimum=0.0)
    warm_up: int = setting(10_000, 'Steps in which it rises from zero.', minimum=0)
    schedule: str = setting('cosine', 'What it does afterwards.', choices=('constant', 'cosine'))
    clip_norm: float = setting(
        0.3, 'Largest norm of the gradient; SPOT bounds its largest number so.', minimum=1e-6
    )


@dataclass(frozen=True)
class AlignConfig(StageConfig):
    """Pictures, sounds and texts are contrasted, each with each."""

    epochs: int = setting(4, 'Passes over the data, where steps is 0.', minimum=1)
    frames: int = setting(4, 'Pictures of a clip that are looked at.', minimum=1)
    frozen_blocks: int = setting(4, 'First blocks of the sound tower that stay.', minimum=0)
    temperature: float = setting(0.2, 'Divisor of the cosines.', minimum=1e-3, maximum=10.0)
    exclude_empty: bool = setting(
        True, 'Samples without an object are negatives only (method.md G45).'
    )


@dataclass(frozen=True)
class RefineConfig(AlignConfig):
    """The same with the consensus term, and samples without an object count."""

    epochs: int = setting(5, 'Passes over the data, where steps is 0.', minimum=1)
    exclude_empty: bool = setting(
        False, 'Samples without an object are negatives only (method.md G45).'
    )
    consensus_weight: float = setting(0.5, 'Weight of the consensus term.', minimum=0.0)
    video_power: float = setting(
        0.5, 'Exponent of the similarities of sounds and pictures.', minimum=1e-3
    )
    text_power: float = setting(
        1.0, 'Exponent of the similarities of sounds and texts.', minimum=1e-3
    )


@dataclass(frozen=True)
class DetectConfig(StageConfig):
    """Pictures and sounds alone; what is not an object is a hard negative."""

    epochs: int = setting(6, 'Passes over the data, where steps is 0.', minimum=1)
    frozen_blocks: int = setting(0, 'First blocks of the sound tower that stay.', minimum=0)
    temperature: float = setting(0.2, 'Divisor of the cosines.', minimum=1e-3, maximum=10.0)
    exclude_empty: bool = setting(True, 'Samples without an object are negatives only.')
    background_share: float = setting(
        0.5, 'Share of the patches beside the objects that is pooled.', minimum=0.0, maximum=1.0
    )
    union_background: bool = setting(
        False,
        'Leave both objects out of the background; the released code leaves each out of its own '
        'only (method.md G43).',
    )


@dataclass(frozen=True)
class SoundingConfig:
    """The whole training."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    samples: SampleConfig = field(default_factory=SampleConfig)
    slots: SlotsStageConfig = field(default_factory=SlotsStageConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)

    def without(self, parts: Collection[str]) -> SoundingConfig:
        """The paper's comparisons: without ``slots`` patches of the tower are pooled, without
        ``masks`` whole pictures."""
        network, samples = self.network, self.samples
        if 'slots' in parts:
            network = replace(network, use_slots=False)
        if 'masks' in parts:
            samples = replace(samples, objects=0)
        return replace(self, network=network, samples=samples)

    def stage(self, name: str) -> StageConfig:
        """Settings of a stage, one of ``STAGES``."""
        found: StageConfig = getattr(self, name)
        return found


GROUPS: Mapping[str, type[Any]] = {
    'network': NetworkConfig,
    'samples': SampleConfig,
    'slots': SlotsStageConfig,
    'align': AlignConfig,
    'refine': RefineConfig,
    'detect': DetectConfig,
}
"""Field of ``SoundingConfig`` -> its class."""


def load_config(path: Path | str = PAPER) -> SoundingConfig:
    """Read a YAML file ``{network: {...}, align: {...}, ...}``; what it does not name is default.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'sounding settings {str(path)!r}'
    values = read_yaml(Path(path), where) or {}
    if not isinstance(values, dict):
        raise ValueError(f'{where}: expected a mapping of {", ".join(GROUPS)}, got {values!r}')
    parts = {
        name: from_mapping(GROUPS[name], part or {}, f'{where}, {name}')
        for name, part in values.items()
        if name in GROUPS
    }
    return from_mapping(SoundingConfig, {**values, **parts}, where)
