"""Clips to learn from: pictures, masks of the objects in hand, sound and text.

``SceneSet`` reads the synthetic world, ``clips.ClipSet`` folders in the released layout; any other
set that is a ``SoundingSet`` will do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cs3_ros.collision import Image
from cs3_ros.networks.sounding import SoundingObjects
from cs3_training.loop import Epochs
from cs3_training.sounding.config import SampleConfig, StageConfig
from cs3_training.sounding.frozen import Frozen
from cs3_training.synth.store import ARMS, COLLIDING, COLOUR, HAND, MATERIAL, SHAPE, Scenes
from cs3_training.synth.vocabulary import (
    COLOURS,
    MATERIAL_WORDS,
    MATERIALS,
    SCENE_PHRASES,
    SHAPES,
    name,
)

STAND_INS = 8
"""Clips in a row that may be damaged."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sample:
    """What is learned from a clip."""

    pictures: Sequence[Image]
    """T of them, RGB uint8 [H, W, 3]."""
    masks: NDArray[np.bool_]
    """Of the objects, at most as many as asked for, [T, O, H, W]."""
    sound: NDArray[np.float32]
    """[samples] at 16 kHz; the action is in the middle."""
    text: str
    """What is done."""
    others: NDArray[np.bool_] | None = None
    """Of other things in the pictures, [T, P, H, W]; None where the set knows none."""


class SoundingSet(Protocol):
    """Clips by number."""

    digest: str
    """SHA-256 of the data, for the metadata of what is trained on it."""

    def __len__(self) -> int:
        """Number of clips."""

    def sample(self, index: int, frames: int, objects: int, rng: np.random.Generator) -> Sample:
        """A clip.

        Args:
            index: which.
            frames: pictures that are wanted; a set of single pictures gives one.
            objects: most masks.
            rng: chooses the pictures.
        """


class SceneSet:
    """Scenes of the synthetic world, one picture each.

    Args:
        scenes: the scenes.
        masks: of the objects in hands, as a detector of hands would find them, whether they
            collide or not; or of the colliding objects, which no detector knows.
        others: whether samples tell what else is in the picture.
    """

    def __init__(
        self,
        scenes: Scenes,
        masks: Literal['held', 'colliding'] = 'held',
        others: bool = False,
    ) -> None:
        self.scenes, self.masks, self._with_others = scenes, masks, others
        self.digest = f'{scenes.digest} ({masks})'

    def __len__(self) -> int:
        return len(self.scenes)

    def sample(self, index: int, frames: int, objects: int, rng: np.random.Generator) -> Sample:
        """As ``SoundingSet``; the text names what collides."""
        image, sound = self.scenes[index][0], self.scenes.centred(index)
        column = HAND if self.masks == 'held' else COLLIDING
        rows = np.flatnonzero(self.scenes.objects[index, :, column] > 0)[:objects]
        numbers = self.scenes.numbers[index]
        found = [numbers == row + 1 for row in rows]
        masks = np.stack(found) if found else np.zeros((0, *numbers.shape), bool)  # [O, H, W]
        others = self._others(index, column) if self._with_others else None
        return Sample([image], masks[None], sound, narration(self.scenes, index, rng), others)

    def _others(self, index: int, column: int) -> NDArray[np.bool_]:
        """Things and hands that are seen and not among the objects, [1, P, H, W]."""
        numbers, table = self.scenes.numbers[index], self.scenes.objects[index]
        objects = {int(row) + 1 for row in np.flatnonzero(table[:, column] > 0)}
        seen = {int(number) for number in np.unique(numbers)} - objects - {0, *ARMS}
        found = [numbers == number for number in sorted(seen)]
        return np.stack(found)[None] if found else np.zeros((1, 0, *numbers.shape), bool)


def narration(scenes: Scenes, row: int, rng: np.random.Generator) -> str:
    """What happens in a scene, in words of the world: 'a tan wooden spoon hits a red metal pan'."""
    table = scenes.objects[row]
    names = [
        name(COLOURS[one[COLOUR]], MATERIALS[one[MATERIAL]], SHAPES[one[SHAPE]])
        for one in table[table[:, COLLIDING] == 1]
    ]
    if len(names) == 1:  # it hits the table, the second body that sounds
        code = int(scenes.heard[row, 1])
        table_material = MATERIALS[code if code >= 0 else ~code]
        names.append(f'a {MATERIAL_WORDS[table_material][0]} table')
    return SCENE_PHRASES[rng.integers(len(SCENE_PHRASES))].format(*names)


class Samples(Dataset[dict[str, Tensor]]):
    """Sample number n of a run, counted over all steps, as the network takes it.

    Args:
        clips: the set.
        network: its geometry of pictures and masks.
        ids: texts to token ids.
        config: what is taken of a clip.
        stage: pictures of a clip, and seed.
        frozen: what the frozen towers left of the clips; None lets them run in each step.
    """

    def __init__(
        self,
        clips: SoundingSet,
        network: SoundingObjects,
        ids: Callable[[Sequence[str]], Tensor],
        config: SampleConfig,
        stage: StageConfig,
        frozen: Frozen | None = None,
    ) -> None:
        self._clips, self._network, self._ids, self._frozen = clips, network, ids, frozen
        self._config, self._stage = config, stage
        self._epochs = Epochs(len(clips), stage.seed)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """The fields of ``model.Batch`` without their batch axis."""
        config, network, frozen = self._config, self._network, self._frozen
        index = self._epochs.index(number)
        sample = self._sample(index, number)
        masks = object_patches(network, sample.masks, config.objects)  # [T, O, N]
        if frozen is None:
            pixels = network.vision.pictures(torch.from_numpy(np.stack(sample.pictures)))
        else:
            pixels = torch.from_numpy(frozen.patches[index][None].astype(np.float32))  # [1, N, D]
        if frozen is None or frozen.heard is None:
            sound = network.cut(torch.from_numpy(sample.sound)[None])[0]  # [n]
        else:
            sound = torch.from_numpy(np.array(frozen.heard[index]))  # [width]
        return {
            'pixels': pixels,  # [T, 3, S, S] or [1, N, D]
            'masks': masks,
            'valid': masks[0].any(),
            'sound': sound,
            'others': self._others(sample),
            'ids': self._ids([sample.text])[0],  # [L]
        }

    def _others(self, sample: Sample) -> Tensor:
        """Patches of as many other things as are asked for, bool [T, P, N]."""
        count = self._config.others
        masks = sample.others
        if not count or masks is None:
            return torch.zeros(len(sample.masks), count, self._network.vision.grid**2).bool()
        return object_patches(self._network, masks, count)

    def _sample(self, index: int, number: int) -> Sample:
        """A clip; the next one that can be read stands in for one that cannot.

        Raises:
            ValueError: ``STAND_INS`` in a row cannot be read.
        """
        objects, stage, clips = self._config.objects or 1, self._stage, self._clips
        for place in range(STAND_INS):
            rng = np.random.default_rng([stage.seed, 1, number, place])
            try:
                return clips.sample((index + place) % len(clips), stage.frames, objects, rng)
            except ValueError as error:
                log.warning('clip %d is passed over: %s', (index + place) % len(clips), error)
                reason = error
        raise ValueError(f'{STAND_INS} clips in a row cannot be read, the last: {reason}')


def object_patches(network: SoundingObjects, masks: NDArray[np.bool_], objects: int) -> Tensor:
    """Patches of the objects of a clip.

    Args:
        network: its geometry.
        masks: at most ``objects``, [T, M, H, W].
        objects: how many there shall be; those that are not there are empty. 0 takes the whole
            picture as one.

    Returns:
        bool [T, ``objects`` or 1, N].
    """
    count, patches = len(masks), network.vision.grid**2
    if not objects:
        return torch.ones(count, 1, patches, dtype=torch.bool)
    seen = network.vision.masks(torch.from_numpy(masks[:, :objects]))  # [T, M, S, S]
    found = torch.zeros(count, objects, patches, dtype=torch.bool)  # [T, O, N]
    found[:, : seen.shape[1]] = network.patchify(seen)
    return found
