"""How good a network is while it is trained: sounding object detection on scenes with truth."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cs3_ros.localisers.sounding import heat_map, region_means
from cs3_ros.networks.sounding import SoundingObjects
from cs3_training.evaluation.sounding import LEAST_PIXELS, candidates, is_hit, top_1
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

    @torch.no_grad()
    def __call__(self, network: SoundingObjects) -> float:
        """Share of the scenes with a hit, in [0, 1]."""
        return top_1(np.array([self._is_hit(network, row) for row in range(self._count)]))

    def _is_hit(self, network: SoundingObjects, row: int) -> bool:
        scenes, device = self._scenes, next(network.parameters()).device
        pool, colliding = scene_masks(scenes, row)
        both = torch.from_numpy(np.concatenate([pool, colliding])).to(device)  # [P + O, H, W]
        seen = network.vision.masks(both)  # [P + O, S, S]
        pooled, positive = seen[: len(pool)].cpu().numpy(), seen[len(pool) :].cpu().numpy()
        least = round(LEAST_PIXELS * (network.vision.size / 224) ** 2)
        found = candidates(pooled, positive, least)
        image = torch.from_numpy(np.array(scenes.image[row]))[None].to(device)  # [1, H, W, 3]
        sound = torch.from_numpy(scenes.waveform((row + self._shift) % len(scenes)))
        patches = network.embed_patches(network.vision.pictures(image))[0]  # [N, E]
        heard = network.hear(sound[None].to(device))[0]  # [E]
        heat = heat_map(patches, heard, network.vision.size)  # [S, S]
        means, rest = region_means(heat, torch.from_numpy(found.masks).to(device))  # [M], []
        return is_hit(means.cpu().numpy(), found.positive, float(rest), self._exclude)


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
