"""How good a network is while it is trained: sounding object detection on scenes with truth."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cs3_ros.localisers.sounding import heat_map, region_means
from cs3_ros.networks.sounding import SoundingObjects, pool
from cs3_training.evaluation.sounding import LEAST_PIXELS, Candidates, candidates, is_hit, top_1
from cs3_training.sounding.data import SceneSet, object_patches
from cs3_training.sounding.losses import cosines
from cs3_training.sounding.mask_files import OBJECTS
from cs3_training.synth.store import COLLIDING, HANDS, Scenes


class DetectionScore:
    """Top-1 of sounding object detection by the released protocol.

    Candidates are all things and hands of a scene, and what collides is positive. The masks of
    validation scenes are used here, and here alone, to choose the checkpoint.

    Args:
        scenes: with their truth.
        count: how many of them, from the first one on, at most.
        shuffle: give every picture the sound of the next scene.
        exclude_background: leave what no mask covers out of the choice (method.md G41).
    """

    def __init__(
        self,
        scenes: Scenes,
        count: int,
        shuffle: bool = False,
        exclude_background: bool = False,
    ) -> None:
        self._scenes, self._count = scenes, min(count, len(scenes))
        self._shift, self._exclude = int(shuffle), exclude_background

    def __call__(self, network: SoundingObjects) -> float:
        """Share of the scenes with a hit, in [0, 1]."""
        return top_1(self.hits(network))

    def rows(self) -> list[int]:
        """The scenes that count: those whose action makes the sound."""
        return [row for row in range(self._count) if self._scenes.sounding[row]]

    @torch.no_grad()
    def hits(self, network: SoundingObjects) -> NDArray[np.bool_]:
        """Whether each of ``rows`` is a hit, bool [N]."""
        return np.array([self._is_hit(network, row) for row in self.rows()], bool)

    def chance(self, network: SoundingObjects) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Without ears: the chance that any candidate is a hit, [N], and whether the largest is."""
        some, largest = [], []
        for row in self.rows():
            found = self._candidates(network, row)
            some.append(found.positive.mean() if len(found.positive) else 0.0)
            areas = found.masks.sum((1, 2))
            largest.append(is_hit(areas, found.positive))
        return np.array(some), np.array(largest, bool)

    def _candidates(self, network: SoundingObjects, row: int) -> Candidates:
        device = next(network.parameters()).device
        others, colliding = scene_masks(self._scenes, row)
        both = torch.from_numpy(np.concatenate([others, colliding])).to(device)  # [P + O, H, W]
        seen = network.vision.masks(both)  # [P + O, S, S]
        rest, positive = seen[: len(others)].cpu().numpy(), seen[len(others) :].cpu().numpy()
        least = round(LEAST_PIXELS * (network.vision.size / 224) ** 2)
        return candidates(rest, positive, least)

    def _is_hit(self, network: SoundingObjects, row: int) -> bool:
        scenes, device = self._scenes, next(network.parameters()).device
        found = self._candidates(network, row)
        image = torch.from_numpy(np.array(scenes.image[row]))[None].to(device)  # [1, H, W, 3]
        sound = torch.from_numpy(scenes.centred((row + self._shift) % len(scenes)))
        patches = network.embed_patches(network.vision.pictures(image))[0]  # [N, E]
        heard = network.hear(sound[None].to(device))[0]  # [E]
        heat = heat_map(patches, heard, network.vision.size)  # [S, S]
        means, rest = region_means(heat, torch.from_numpy(found.masks).to(device))  # [M], []
        return is_hit(means.cpu().numpy(), found.positive, float(rest), self._exclude)


@torch.no_grad()
def fit_of_held(network: SoundingObjects, scenes: Scenes, count: int) -> NDArray[np.float32]:
    """How well what hands hold fits the sound: the score of sounding action discovery.

    Args:
        network: on the device where it is.
        scenes: with their truth.
        count: how many of them, from the first one on.

    Returns:
        Cosines [count]; 0 where no hand holds anything.
    """
    clips, device = SceneSet(scenes), next(network.parameters()).device
    found = []
    for row in range(count):
        sample = clips.sample(row, 1, OBJECTS, np.random.default_rng(row))
        image = torch.from_numpy(sample.pictures[0])[None].to(device)  # [1, H, W, 3]
        patches = network.embed_patches(network.vision.pictures(image))  # [1, N, E]
        masks = object_patches(network, sample.masks, OBJECTS).to(device)  # [1, O, N]
        seen = pool(patches, masks).mean(1)  # [1, O, E] -> [1, E]
        heard = network.hear(torch.from_numpy(sample.sound)[None].to(device))  # [1, E]
        found.append(float(cosines(seen, heard)))
    return np.array(found, np.float32)


def scene_masks(scenes: Scenes, row: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is seen of a scene: things and hands that do not collide, and those that do.

    Args:
        scenes: the set.
        row: which scene.

    Returns:
        bool [P, H, W] and [O, H, W].
    """
    numbers, table = scenes.numbers[row], scenes.objects[row]
    there = {int(number) for number in np.unique(numbers)}
    collide = {int(k) + 1 for k in np.flatnonzero(table[:, COLLIDING] == 1)} & there
    things = {int(k) + 1 for k in np.flatnonzero(table[:, COLLIDING] == 0)} & there
    others = [*sorted(things), *(hand for hand in HANDS if hand in there)]
    empty = np.zeros((0, *numbers.shape), bool)
    found = [[numbers == number for number in some] for some in (others, sorted(collide))]
    first, second = (np.stack(some) if some else empty for some in found)
    return first, second
