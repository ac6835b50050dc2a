"""The synthetic collision world: seeded scenes and clips with sound and exact truth.

Names are imported when they are used, so that ``cs3-train --help`` needs neither numpy nor OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_MODULES = ('config', 'scene', 'vocabulary', 'world')


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it."""
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f'{__name__}.{module}'), name, None)
            if found is not None:
                return found
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
