"""The synthetic collision world: ``make_scene(config, seed)``.

Every scene follows from its settings and seed alone, bit for bit, in any process on one kind of
machine. Between NumPy 1.26 and 2.4 a few pixels in a million differ by a grey level or two; the
instance maps do not. Pictures are composed of shaded sprites (``surface``, ``materials``,
``hands``), sounds of modes and noise (``impact``, ``ambience``).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cs3_training.synth.builder import Layer, TableTop
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.hands import ARM_NUMBERS, HAND_NUMBERS
from cs3_training.synth.picture import develop, lay, smear
from cs3_training.synth.scene import Box, Hand, Instance, Scene
from cs3_training.synth.soundtrack import draw_onset, make_sound
from cs3_training.synth.table_top import lay_table_top
from cs3_training.synth.vocabulary import MATERIAL_WORDS, SCENE_PHRASES, false_names, name, phrase

_NEGATIVES = 8


def make_scene(config: WorldConfig, seed: int) -> Scene:
    """Make a scene.

    Args:
        config: settings of the world.
        seed: from ``split_seed``; 0 or more.
    """
    cv2.setNumThreads(1)  # the pictures are small: threads cost more than they give
    rng = np.random.default_rng([seed, 1])
    table_top = lay_table_top(config, rng)
    layers = _smeared(table_top, config, rng)
    canvas = table_top.ground.copy()
    numbers = np.zeros(canvas.shape[:2], np.uint8)
    for layer in layers:
        lay(canvas, numbers, layer.sprite, table_top.camera)
    image = develop(canvas, table_top.camera, rng)
    instances, hands = describe(table_top, numbers)
    # of a stream of its own, so that the scenes of a world without silent ones stay as they are
    silent = bool(np.random.default_rng([seed, 4]).random() < config.silent)
    heard = _sound_numbers(seed)
    sound, onset, materials = make_sound(config, table_top, heard, silent)
    words = np.random.default_rng([seed, 3])
    return Scene(
        seed=seed,
        image=image,
        sound=sound,
        sample_rate=config.sample_rate,
        onset=onset,
        instance_map=numbers,
        instances=instances,
        hands=hands,
        contact=table_top.contact,
        table=table_top.table.material,
        sound_materials=materials,
        silent=silent,
        captions=_captions(instances, table_top.table.material, words),
        negatives=false_names(
            [(i.colour, i.material, i.shape) for i in instances], words, _NEGATIVES
        ),
    )


def onset_of(config: WorldConfig, seed: int) -> int:
    """First sample of the collision of a scene, without making the scene."""
    return draw_onset(config, _sound_numbers(seed))


def _sound_numbers(seed: int) -> np.random.Generator:
    """What the sound of a scene is drawn from."""
    return np.random.default_rng([seed, 2])


def _smeared(
    table_top: TableTop, config: WorldConfig, rng: np.random.Generator
) -> tuple[Layer, ...]:
    """The layers with the motion blur of the moving objects."""
    if rng.random() >= config.motion_blur:
        return table_top.layers
    length = rng.uniform(2, 9) * config.size / 352
    x, y = table_top.travel
    held = {placed.number: bool(placed.side) for placed in table_top.objects if placed.colliding}
    moves = {0: (0.0, 0.0), 2: (x * length, y * length)}
    moves[1] = (-x * length, -y * length) if held.get(1) and len(held) > 1 else (0.0, 0.0)
    return tuple(
        Layer(smear(layer.sprite, moves[layer.mover]), layer.mover) for layer in table_top.layers
    )


def describe(
    table_top: TableTop, numbers: NDArray[np.uint8]
) -> tuple[tuple[Instance, ...], tuple[Hand, ...]]:
    """What is true of the objects and hands of an instance map, [H, W]."""
    boxes, counts = _boxes(numbers)
    instances = tuple(
        Instance(
            number=placed.number,
            shape=placed.thing.shape,
            material=placed.thing.material,
            colour=placed.thing.look.colour,
            colliding=placed.colliding,
            hand=placed.side,
            area=int(counts[placed.number]),
            box=boxes.get(placed.number, (0, 0, 0, 0)),
            caption=name(placed.thing.look.colour, placed.thing.material, placed.thing.shape),
        )
        for placed in table_top.objects
    )
    hands = []
    for side in ('left', 'right'):
        held = next((placed.number for placed in table_top.objects if placed.side == side), 0)
        hand, arm = HAND_NUMBERS[side], ARM_NUMBERS[side]
        if held or counts[hand] or counts[arm]:
            hands.append(
                Hand(
                    side=side,
                    mask=numbers == hand,
                    arm_mask=numbers == arm,
                    box=boxes.get(hand, (0, 0, 0, 0)),
                    holds=held,
                    object_box=boxes.get(held, (0, 0, 0, 0)),
                )
            )
    return instances, tuple(hands)


def _boxes(numbers: NDArray[np.uint8]) -> tuple[dict[int, Box], NDArray[np.intp]]:
    """Box and count of the pixels of every number but 0."""
    counts = np.bincount(numbers.ravel(), minlength=256)
    boxes: dict[int, Box] = {}
    for number in np.flatnonzero(counts[1:]) + 1:
        x, y, wide, high = cv2.boundingRect((numbers == number).view(np.uint8))
        boxes[int(number)] = (x, y, x + wide, y + high)
    return boxes, counts


def _captions(
    instances: tuple[Instance, ...], table: str, rng: np.random.Generator
) -> tuple[str, ...]:
    """Sentences that are true of the scene."""
    objects = [i for i in instances if i.colliding]
    names = [phrase(i.colour, i.material, i.shape, rng) for i in objects]
    plain = [i.caption for i in objects]
    if len(objects) == 1:
        plain.append(f'a {MATERIAL_WORDS[table][0]} table')
    texts = [SCENE_PHRASES[rng.integers(len(SCENE_PHRASES))].format(*plain), *names]
    texts += [f'a {i.hand} hand holding {i.caption}' for i in instances if i.hand]
    return tuple(texts)
