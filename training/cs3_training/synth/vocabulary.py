"""The words of the world: names of materials, shapes and colours, captions, and the whole list.

An image-text network trained on the world needs no other words than ``WORDS``.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

MATERIALS = ('metal', 'glass', 'ceramic', 'wood', 'plastic', 'cardboard', 'cloth')
SHAPES = ('bowl', 'plate', 'mug', 'bottle', 'pan', 'box', 'spoon', 'knife')
TABLES = ('wood', 'metal', 'ceramic', 'plastic', 'cloth')
"""Materials that table tops are made of; all of them are in MATERIALS."""

MATERIAL_WORDS: dict[str, tuple[str, ...]] = {
    'metal': ('metal', 'metal', 'steel', 'shiny metal'),
    'glass': ('glass', 'glass', 'transparent glass'),
    'ceramic': ('ceramic', 'ceramic', 'porcelain', 'glazed ceramic'),
    'wood': ('wooden', 'wooden', 'wood'),
    'plastic': ('plastic', 'plastic', 'plain plastic'),
    'cardboard': ('cardboard', 'cardboard', 'paper'),
    'cloth': ('cloth', 'cloth', 'fabric', 'textile'),
}
SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    'bowl': ('bowl', 'bowl', 'round bowl'),
    'plate': ('plate', 'plate', 'dish', 'flat plate'),
    'mug': ('mug', 'mug', 'cup'),
    'bottle': ('bottle', 'bottle', 'flask'),
    'pan': ('pan', 'pan', 'frying pan'),
    'box': ('box', 'box', 'block', 'square box'),
    'spoon': ('spoon', 'spoon', 'long spoon'),
    'knife': ('knife', 'knife', 'blade'),
}
COLOURS = (
    'red orange yellow green turquoise blue purple pink brown tan cream white silver grey black '
    'copper gold clear amber'
).split()
PHRASES = (
    'a {} {} {}',
    'one {} {} {}',
    'the {} {} {}',
    'a photo of a {} {} {}',
    'a picture of a {} {} {}',
    'there is a {} {} {} here',
)
HAND_CAPTIONS = {
    'hand': ('a {} hand', 'a photo of a {} hand', 'the fingers of a {} hand', 'a bare {} hand'),
    'arm': ('a {} arm', 'a {} forearm', 'the sleeve of a {} arm', 'a photo of a {} arm'),
}
SCENE_PHRASES = (
    '{} hits {}',
    '{} strikes {}',
    '{} touches {}',
    '{} and {} collide',
    '{} knocks against {}',
    'a collision of {} and {}',
)
_OTHER = (
    'an of in on at with from by and or not no to into against over under near between behind '
    'hand hands left right finger fingers thumb palm wrist arm forearm sleeve skin bare holding '
    'holds held empty other another two three several many object objects thing things '
    'table top tabletop desk surface background floor kitchen image view close up scene video '
    'sound noise loud quiet soft hard hitting striking touching colliding impact bang '
    'knock clink thud tap ring ringing rustle clatter makes made heard hear small large big '
    'tiny short thin thick round square flat shiny dull matte bright dark pale light clean '
    'striped checked patterned transparent glossy rough smooth that this is are there lying '
    'standing upright tilted moving blurred hidden visible person someone something wearing '
    'stainless china mirror timber carton towel tile tiles plank planks stone grain weave '
    'top bottom middle corner edge side front back same different material colour shape'
).split()


def _all_words() -> tuple[str, ...]:
    texts: list[str] = [*COLOURS, *_OTHER, *MATERIALS, *SHAPES]
    for group in (*MATERIAL_WORDS.values(), *SHAPE_WORDS.values(), *HAND_CAPTIONS.values()):
        texts += group
    texts += [*PHRASES, *SCENE_PHRASES, 'left', 'right']
    return tuple(sorted({word for text in texts for word in text.replace('{}', ' ').split()}))


WORDS = _all_words()
"""Every word that a caption of the world can contain and some more, lower case, sorted."""


def name(colour: str, material: str, shape: str) -> str:
    """The plain caption of an object, such as 'a red plastic bowl'."""
    article = 'an' if colour[0] in 'aeiou' else 'a'
    return f'{article} {colour} {MATERIAL_WORDS[material][0]} {SHAPE_WORDS[shape][0]}'


def phrase(colour: str, material: str, shape: str, rng: np.random.Generator) -> str:
    """A caption of the same object in varied words."""
    materials, shapes = MATERIAL_WORDS[material], SHAPE_WORDS[shape]
    text = PHRASES[rng.integers(len(PHRASES))].format(
        colour, materials[rng.integers(len(materials))], shapes[rng.integers(len(shapes))]
    )
    return text.replace('a orange', 'an orange').replace('a amber', 'an amber')


def false_names(
    truths: Collection[tuple[str, str, str]], rng: np.random.Generator, count: int
) -> tuple[str, ...]:
    """Captions of objects that are not in the scene but differ from one in it by a single word.

    Args:
        truths: colour, material and shape of every object in the scene; at least one.
        count: how many to make, all different.
    """
    known, found = list(truths), dict[str, None]()
    shapes_seen = {truth[1:] for truth in known}
    while len(found) < count:
        colour, material, shape = known[rng.integers(len(known))]
        if rng.random() < 0.5:
            material = MATERIALS[rng.integers(len(MATERIALS))]
        else:
            shape = SHAPES[rng.integers(len(SHAPES))]
        if (material, shape) not in shapes_seen:
            found[name(colour, material, shape)] = None
    return tuple(found)
