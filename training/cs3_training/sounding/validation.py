"""Scenes with truth as a network is judged on: what may have sounded, and what it says of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cs3_ros.localisers.sounding import heat_map, region_means
from cs3_ros.networks.sounding import SoundingObjects
from cs3_ros.networks.towers import VisionTower
from cs3_training.evaluation.sounding import LEAST_PIXELS, Candidates, candidates, is_hit, top_1
from cs3_training.sounding.frozen import Frozen
from cs3_training.synth.store import COLLIDING, HANDS, Scenes


class DetectionScore:
    """Top-1 of sounding object detection by the released protocol.

    Candidates are all things and hands of a scene, and what collides is positive. The masks of
    validation scenes are used here, and here alone, to choose the checkpoint.

    Args:
        scenes: with their truth.
        count: how many of them, from the first one on, at most.
        exclude_background: leave what no mask covers out of the choice (method.md G41).
    """

    def __init__(self, scenes: Scenes, count: int, exclude_background: bool = False) -> None:
        self._scenes, self._count = scenes, min(count, len(scenes))
        self._exclude = exclude_background

    @torch.no_grad()
    def __call__(self, network: SoundingObjects) -> float:
        """Share of the scenes whose action sounds that are hits, in [0, 1]."""
        inputs, found = Inputs(self._scenes), []
        for row in np.flatnonzero(self._scenes.sounding[: self._count]):
            choice = scene_candidates(self._scenes, int(row), network.vision)
            patches, heard = inputs.patches(network, row), inputs.sound(network, row)
            heat = heat_map(patches, heard, network.vision.size)  # [S, S]
            found += scene_hits(heat[None], choice, self._exclude)
        return top_1(np.array(found, bool))


class Inputs:
    """What networks see and hear of scenes, in their joint spaces.

    Args:
        scenes: the scenes.
        frozen: what the frozen towers of all these networks left of them; None lets them run.
    """

    def __init__(self, scenes: Scenes, frozen: Frozen | None = None) -> None:
        self._scenes, self._frozen = scenes, frozen

    def patches(self, network: SoundingObjects, row: int) -> torch.Tensor:
        """Of the picture of a scene, [N, E]."""
        device = next(network.parameters()).device
        if self._frozen is not None:
            seen = torch.from_numpy(self._frozen.patches[row].astype(np.float32))  # [N, D]
            return network.embed_patches(seen[None].to(device))[0]  # [1, N, D] -> [N, E]
        image = torch.from_numpy(np.array(self._scenes.image[row])).to(device)  # [H, W, 3]
        return network.embed_patches(network.vision.pictures(image[None]))[0]  # [N, E]

    def sound(self, network: SoundingObjects, row: int) -> torch.Tensor:
        """Of the sound of a scene, [E]."""
        device = next(network.parameters()).device
        if self._frozen is not None and self._frozen.heard is not None:
            heard = torch.from_numpy(np.array(self._frozen.heard[row])).to(device)  # [width]
            return network.embed_pooled(heard[None])[0]  # [1, width] -> [E]
        clip = torch.from_numpy(self._scenes.centred(row)).to(device)  # [samples]
        return network.hear(clip[None])[0]  # [1, samples] -> [E]


def scene_candidates(scenes: Scenes, row: int, tower: VisionTower) -> Candidates:
    """What may have sounded in a scene, in the window that a tower sees."""
    others, colliding = scene_masks(scenes, row)
    both = torch.from_numpy(np.concatenate([others, colliding]))  # [P + O, H, W]
    seen = tower.masks(both).numpy()  # [P + O, S, S]
    least = round(LEAST_PIXELS * (tower.size / 224) ** 2)
    return candidates(seen[: len(others)], seen[len(others) :], least)


def scene_hits(
    heats: torch.Tensor, found: Candidates, exclude_background: bool = False
) -> list[bool]:
    """Whether the candidate that fits best is one that sounded.

    Args:
        heats: heat maps of the scene, by several networks or of several sounds, [K, S, S].
        found: from ``scene_candidates``.
        exclude_background: as ``DetectionScore``.

    Returns:
        K of them.
    """
    masks = torch.from_numpy(found.masks).to(heats.device)  # [M, S, S]
    means, rest = (part.cpu().numpy() for part in region_means(heats, masks))  # [K, M], [K]
    return [
        is_hit(one, found.positive, float(beside), exclude_background)
        for one, beside in zip(means, rest, strict=True)
    ]


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
