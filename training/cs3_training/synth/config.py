"""Settings of the world and the split of its seeds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from cs3_ros.config import setting, validate

Split = Literal['train', 'validation', 'test']

SPLITS: dict[str, tuple[int, int]] = {
    'test': (0, 1_000_000),
    'validation': (1_000_000, 2_000_000),
    'train': (2_000_000, 2_000_000_000),
}
"""First seed and first seed after each split; they do not overlap."""


def split_seed(split: Split, index: int) -> int:
    """The seed of a scene of a split.

    Raises:
        ValueError: unknown split, or an index beyond its seeds.
    """
    if split not in SPLITS:
        raise ValueError(f'split {split!r}: expected one of {", ".join(SPLITS)}')
    first, end = SPLITS[split]
    if not 0 <= index < end - first:
        raise ValueError(f'scene {index} of {split}: expected 0 to {end - first - 1}')
    return first + index


def split_seeds(split: Split, first: int, count: int) -> range:
    """The seeds of ``count`` scenes of a split, from number ``first`` on.

    Raises:
        ValueError: unknown split, no scenes, or some beyond its seeds.
    """
    if count < 1:
        raise ValueError(f'{count} scenes of {split}: expected at least 1')
    return range(split_seed(split, first), split_seed(split, first + count - 1) + 1)


@dataclass(frozen=True)
class WorldConfig:
    """Settings of scenes and clips; the defaults make the test set.

    Raises:
        ValueError: a setting is outside its range.
    """

    size: int = setting(352, 'Side of the square picture, pixels', minimum=96, maximum=1024)
    sample_rate: int = setting(16000, 'Samples of sound per second', minimum=8000, maximum=48000)
    seconds: float = setting(2.0, 'Length of the sound, seconds', minimum=0.5, maximum=10.0)
    jitter_s: float = setting(
        0.12, 'Largest distance of the collision from the middle of the sound, seconds',
        minimum=0.0, maximum=0.2,
    )  # fmt: skip
    pairs: float = setting(
        0.77, 'Share of scenes in which two objects collide; in the others one hits the table',
        minimum=0.0, maximum=1.0,
    )  # fmt: skip
    in_hand: float = setting(
        0.8, 'Share of scenes in which a hand holds a colliding object', minimum=0.0, maximum=1.0
    )
    hidden_hand: float = setting(
        0.14, 'Share of holding hands that are hidden below their object', minimum=0.0, maximum=1.0
    )
    same_material: float = setting(
        0.5, 'Share of scenes with a distractor of a colliding material', minimum=0.0, maximum=1.0
    )
    distractors_min: int = setting(3, 'Fewest objects that do not collide', minimum=3, maximum=12)
    distractors_max: int = setting(7, 'Most objects that do not collide', minimum=3, maximum=12)
    spread_x: float = setting(
        0.25,
        'Deviation of the place of the collision, share of the width',
        minimum=0.0,
        maximum=0.5,
    )
    spread_y: float = setting(
        0.2, 'Deviation of the place of the collision, share of the height',
        minimum=0.0, maximum=0.5,
    )  # fmt: skip
    object_scale: float = setting(1.0, 'Size of objects, 1 is usual', minimum=0.5, maximum=2.0)
    motion_blur: float = setting(
        0.4, 'Share of scenes in which moving objects are smeared', minimum=0.0, maximum=1.0
    )
    other_impacts: float = setting(
        0.45, 'Share of sounds with impacts of other things before or after', minimum=0.0,
        maximum=1.0,
    )  # fmt: skip
    background: float = setting(
        1.0, 'Level of noise, hum and babble; 0 leaves the impacts and their echo alone',
        minimum=0.0, maximum=4.0,
    )  # fmt: skip

    silent: float = setting(
        0.0, 'Share of scenes whose action makes no sound: other things, out of sight, are heard',
        minimum=0.0, maximum=1.0,
    )  # fmt: skip

    def __post_init__(self) -> None:
        validate(self)
        if self.distractors_max < self.distractors_min:
            raise ValueError(
                f'WorldConfig.distractors_max = {self.distractors_max}: expected at least '
                f'distractors_min = {self.distractors_min}'
            )

    def __repr__(self) -> str:
        facts = ', '.join(f'{name}={value!r}' for name, value in self.facts().items())
        return f'WorldConfig({facts})'

    def facts(self) -> dict[str, Any]:
        """The settings as JSON data; those that came later only where they say something.

        So what was written before them is still known as that of the same world.
        """
        facts = dataclasses.asdict(self)
        if not self.silent:
            del facts['silent']
        return facts
