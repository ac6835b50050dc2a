"""The synthetic collision world: seeded scenes and clips with sound and exact truth."""

from cs3_training.synth.config import SPLITS, WorldConfig, split_seed
from cs3_training.synth.scene import Hand, Instance, Scene
from cs3_training.synth.vocabulary import COLOURS, MATERIALS, SHAPES, WORDS
from cs3_training.synth.world import make_scene

__all__ = [
    'COLOURS',
    'MATERIALS',
    'SHAPES',
    'SPLITS',
    'WORDS',
    'Hand',
    'Instance',
    'Scene',
    'WorldConfig',
    'make_scene',
    'split_seed',
]
