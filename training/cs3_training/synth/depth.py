"""What a depth camera would measure of a scene, and where in space its objects touch.

Scenes are composed of flat sprites, so their third dimension is made here, of a seed of its own:
the table is a plane that falls away from the camera, each colliding object a plane of another slope
through the point of contact, and all else lies a little above the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cs3_ros.space.camera import Camera, Depth, Points
from cs3_training.synth.scene import Scene

DISTANCE_M = 0.7
"""Of the contact from the camera, along the optical axis."""
_FOCAL = 0.95  # focal length as a share of the picture's side: 55 degrees
_PITCH = (35.0, 65.0)  # by which the camera looks down on the table, degrees
_SLOPE = 35.0  # most by which an object's surface turns from the camera, degrees
_HEIGHT_M = 0.02  # of other objects above the table


@dataclass(frozen=True, eq=False)
class SceneDepth:
    """The third dimension of a scene."""

    depth: Depth
    """[H, W], metres, without noise or holes."""
    camera: Camera
    """Of picture and depth."""
    contact: Points
    """[3], metres in the optical frame."""


def make_depth(scene: Scene) -> SceneDepth:
    """Depth of a scene; follows from the scene alone."""
    height, width = scene.instance_map.shape
    focal = _FOCAL * max(height, width)
    camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    rng = np.random.default_rng([scene.seed, 5])
    rows, columns = np.mgrid[:height, :width]
    rays = camera.rays(np.stack([columns.ravel(), rows.ravel()], 1)).reshape(height, width, 3)
    contact = camera.rays(np.array([scene.contact]))[0] * DISTANCE_M
    pitch = math.radians(rng.uniform(*_PITCH))
    down = np.array([0.0, math.cos(pitch), math.sin(pitch)])
    table = _plane(rays, contact, down)
    depth = table - np.where(scene.instance_map > 0, _HEIGHT_M, 0.0)
    for instance in scene.colliding:
        tilt, turn = math.radians(rng.uniform(0, _SLOPE)), rng.uniform(0, 2 * math.pi)
        sideways = math.sin(tilt)
        normal = np.array([sideways * math.cos(turn), sideways * math.sin(turn), math.cos(tilt)])
        there = scene.instance_map == instance.number
        depth[there] = _plane(rays, contact, normal)[there]
    return SceneDepth(depth.astype(np.float32), camera, contact)


def _plane(rays: Points, point: Points, normal: Points) -> NDArray[np.float64]:
    """Depth of a plane where rays meet it, at most ten metres, [H, W]."""
    slant = np.maximum(rays @ normal, float(normal @ point) / 10)
    return float(normal @ point) / slant
