"""A scene: picture, sound and everything that is true of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Image, Mask

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are the first ones outside."""


@dataclass(frozen=True)
class Instance:
    """An object of a scene."""

    number: int
    """Its value in the instance map, from 1."""
    shape: str
    material: str
    colour: str
    colliding: bool
    hand: str
    """The hand that holds it: left, right or ''."""
    area: int
    """Visible pixels; 0 where it is hidden or outside the picture."""
    box: Box
    """Round its visible pixels; (0, 0, 0, 0) where there are none."""
    caption: str
    """Such as 'a red plastic bowl'."""


@dataclass(frozen=True, eq=False)
class Hand:
    """A hand of the wearer of the camera."""

    side: str
    """left or right."""
    mask: Mask
    """Visible pixels of fingers, palm and wrist, bool [H, W]."""
    arm_mask: Mask
    """Visible pixels of the forearm and its sleeve, bool [H, W]."""
    box: Box
    """Round ``mask``; (0, 0, 0, 0) where nothing of the hand is seen."""
    holds: int
    """Number of the instance in this hand, 0 for none."""
    object_box: Box
    """Visible box of that instance; (0, 0, 0, 0) for none."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One collision."""

    seed: int
    image: Image
    """RGB uint8 [H, W, 3]."""
    sound: NDArray[np.float32]
    """[N] in [-1, 1], on the grid of 16 bits: k / 32768."""
    sample_rate: int
    onset: int
    """Index of the first sample of the collision."""
    instance_map: NDArray[np.uint8]
    """[H, W]: 0 table, k is ``instances[k - 1]``, from 252 on arms and hands (``hands.py``)."""
    instances: tuple[Instance, ...]
    """The one or two colliding objects first."""
    hands: tuple[Hand, ...]
    """The hands that somewhere are in the picture or hold something."""
    contact: tuple[float, float]
    """Where the objects touch: x and y, pixels."""
    table: str
    """Material of the table; in a single collision it sounds, too."""
    sound_materials: tuple[str, str]
    """Materials of the two bodies that sound."""
    captions: tuple[str, ...]
    """True of the whole scene, in varied words."""
    negatives: tuple[str, ...]
    """Captions of objects that are not there, each near to one that is."""

    silent: bool = False
    """Whether the action makes no sound, and something out of sight is heard instead."""

    @property
    def materials(self) -> tuple[str, str]:
        """Materials of the two bodies of the action: two objects, or one and the table."""
        first, second = [*(instance.material for instance in self.colliding), self.table][:2]
        return first, second

    @property
    def colliding(self) -> tuple[Instance, ...]:
        """The one or two colliding objects."""
        return tuple(instance for instance in self.instances if instance.colliding)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Visible pixels of the colliding objects, bool [1 or 2, H, W]."""
        return np.stack([self.instance_map == instance.number for instance in self.colliding])
