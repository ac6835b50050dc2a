"""What depth says of a collision: contact and extents, or why there is nothing.

The node and the offline commands ask here, so that both give the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import NS_PER_S
from cs3_ros.space.camera import Camera, Depth, masks_at
from cs3_ros.space.contact import (
    Contact,
    Extent,
    Missing,
    SpaceConfig,
    find_contact,
    find_extent,
)

Unseen = Literal[Missing, 'no_depth_image', 'no_camera_info', 'other_shape']
"""Why there is no contact point: besides ``Missing``, no depth image at the time of the masks; no
camera_info; masks, depth and camera_info of shapes that cannot show the same."""


@dataclass(frozen=True, eq=False)
class Sight:
    """What is known in space of the objects of a collision."""

    contact: Contact | Unseen
    """Where they touch, or why that is not known."""
    why: str = ''
    """The same in words, where it is not known."""
    extents: tuple[Extent | None, Extent | None] = (None, None)
    """Of the objects of label 1 and 2; None where one has no depth."""


def nearest(stamps: Sequence[int], stamp_ns: int, config: SpaceConfig) -> int | None:
    """Which depth belongs to masks.

    Args:
        stamps: of the depth images, ns.
        stamp_ns: of the masks.
        config: how far they may be from each other.

    Returns:
        Index of the nearest one, of two the first; None where all are too far off.
    """
    best = min(range(len(stamps)), key=lambda k: abs(stamps[k] - stamp_ns), default=None)
    if best is None or abs(stamps[best] - stamp_ns) > config.max_offset_s * NS_PER_S:
        return None
    return best


def look(
    labels: NDArray[np.uint8], depth: Depth | None, camera: Camera | None, config: SpaceConfig
) -> Sight:
    """What depth says of a label image.

    Args:
        labels: uint8 [H, W], 1 and 2 the objects, 0 the rest.
        depth: [h, w] of the same shape, metres; None where there is none at that time.
        camera: of pictures of the same shape; None where there is none.
        config: the settings.
    """
    if camera is None:
        return Sight('no_camera_info', 'no camera_info yet')
    if depth is None:
        return Sight('no_depth_image', f'no depth within {config.max_offset_s} s of the masks')
    height, width = depth.shape
    try:
        camera = camera.scaled(width, height)
        first, second = masks_at(labels, (height, width))
    except ValueError as error:
        return Sight('other_shape', str(error))
    found = find_contact(first, second, depth, camera, config)
    extents = (
        find_extent(first, depth, camera, config),
        find_extent(second, depth, camera, config),
    )
    why = '' if isinstance(found, Contact) else f'no contact point: {found}'
    return Sight(found, why, extents)
