"""Planes and spheres seen by a depth camera: depth, masks and the true contact point."""

from dataclasses import dataclass

import numpy as np

from cs3_ros.space.camera import Camera

CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)


@dataclass(frozen=True, eq=False)
class View:
    depth: np.ndarray
    """[H, W], metres; inf where there is nothing."""
    labels: np.ndarray
    """[H, W]: 1 and 2 the objects."""
    contact: np.ndarray
    """[3], where they touch."""


def rays(camera=CAMERA):
    """[H, W, 3], with z = 1."""
    rows, columns = np.mgrid[: camera.height, : camera.width]
    pixels = np.stack([columns.ravel(), rows.ravel()], 1)
    return camera.rays(pixels).reshape(camera.height, camera.width, 3)


def plane(point, normal, camera=CAMERA):
    """Depth of a plane."""
    normal = np.asarray(normal, float)
    with np.errstate(divide='ignore'):
        z = (normal @ point) / (rays(camera) @ normal)
    return np.where(z > 0, z, np.inf)


def sphere(centre, radius, camera=CAMERA):
    """Depth of a sphere."""
    r = rays(camera)
    a, b, c = (r**2).sum(-1), r @ centre, centre @ centre - radius**2
    inside = b * b - a * c
    return np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, np.inf)


def view(first, second, contact):
    """Two surfaces, the nearer one in sight."""
    depth = np.minimum(first, second)
    labels = np.where(first < second, 1, 2).astype(np.uint8)
    labels[~np.isfinite(depth)] = 0
    return View(depth, labels, np.asarray(contact, float))


def ball_on_table(rng, at=0.7):
    """A ball that lies on a table, seen from 20 to 70 degrees above it."""
    pitch, radius = np.radians(rng.uniform(20, 70)), rng.uniform(0.03, 0.06)
    contact = np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.05), at])
    normal = np.array([0.0, -np.cos(pitch), -np.sin(pitch)])
    return view(sphere(contact + radius * normal, radius), plane(contact, normal), contact)


def two_balls(rng, at=0.7):
    """Two balls that touch, one rather in front of the other or beside it."""
    contact = np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.05, 0.05), at])
    towards = rng.normal(size=3) * (1, 1, 0.6)
    towards /= np.linalg.norm(towards)
    first, second = rng.uniform(0.03, 0.06, 2)
    return view(
        sphere(contact + first * towards, first),
        sphere(contact - second * towards, second),
        contact,
    )


def roof(rng, at=0.7):
    """Two slopes that meet in an edge: of its points the middle one in the picture is taken."""
    edge = np.array([0.0, 1.0, 0.0])
    contact = np.array([rng.uniform(-0.1, 0.1), 0.0, at])
    left, right = (np.radians(rng.uniform(20, 60)) for _ in range(2))
    normals = [np.cross(edge, (np.cos(a), 0.0, s * np.sin(a))) for a, s in ((left, -1), (right, 1))]
    first, second = (plane(contact, normal) for normal in normals)
    there = rays()[..., 0] < contact[0] / contact[2]
    depth = np.where(there, first, second)
    return View(depth, np.where(there, 1, 2).astype(np.uint8), contact)


def seen(scene, rng, noise_m=0.005, holes=0.1):
    """What a depth camera makes of it: uint16 millimetres [H, W] with noise and holes."""
    noisy = scene.depth + rng.normal(0, noise_m, scene.depth.shape)
    noisy[rng.random(noisy.shape) < holes] = 0
    return np.round(np.where(np.isfinite(noisy), noisy, 0) * 1000).clip(0, 65535).astype(np.uint16)
