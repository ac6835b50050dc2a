"""The stages that a bundle can name, and where their code is: add yours here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Stage(NamedTuple):
    """Where the code of one kind of stage is."""

    module: str
    """Module, imported when the stage is built."""
    cls: str
    """Name of the class."""
    config: str
    """Name of its settings dataclass."""
    networks: bool = False
    """Whether the class takes a Runtime after its settings."""
    packages: tuple[str, ...] = ()
    """Packages that it imports and that cs3_ros does not bring by itself."""


_TORCH = ('torch', 'torchaudio', 'transformers')


STAGES: Mapping[str, Mapping[str, Stage]] = {
    'localiser': {
        'motion': Stage('cs3_ros.localisers.motion', 'MotionLocaliser', 'MotionConfig'),
        'audio_visual': Stage(
            'cs3_ros.localisers.audio_visual',
            'AudioVisualLocaliser',
            'AudioVisualConfig',
            True,
            (*_TORCH, 'safetensors'),
        ),
        'zero_shot': Stage(
            'cs3_ros.localisers.zero_shot', 'ZeroShotLocaliser', 'ZeroShotConfig', True, _TORCH
        ),
    },
    'hands': {
        'mediapipe': Stage(
            'cs3_ros.hands.mediapipe',
            'MediaPipeHands',
            'MediaPipeConfig',
            packages=('mediapipe', 'cv2'),
        ),
        'detr': Stage(
            'cs3_ros.hands.detr', 'DetrHands', 'DetrConfig', True, ('torch', 'transformers')
        ),
        'hands23': Stage(
            'cs3_ros.hands.hands23',
            'Hands23Hands',
            'Hands23Config',
            True,
            ('torch', 'detectron2'),
        ),
        'hands23_json': Stage('cs3_ros.hands.hands23_json', 'Hands23Json', 'Hands23JsonConfig'),
    },
    'masker': {
        'grabcut': Stage(
            'cs3_ros.maskers.grabcut', 'GrabCutMasker', 'GrabCutConfig', packages=('cv2',)
        ),
        'sam2': Stage('cs3_ros.maskers.sam2', 'Sam2Masker', 'Sam2Config', True, ('torch', 'sam2')),
    },
}
"""Stage family -> name in the YAML -> its code."""


_LITE = 'pip install "cs3_ros[lite]"'


_MODELS = 'pip install "cs3_ros[models]"'


INSTALL: Mapping[str, str] = {
    'cv2': f'apt install python3-opencv, or {_LITE}',
    'mediapipe': _LITE,
    **dict.fromkeys(('torch', 'torchaudio', 'torchvision', 'transformers', 'safetensors'), _MODELS),
    'sam2': 'pip install torch, then SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2',
    'detectron2': 'see https://detectron2.readthedocs.io/en/latest/tutorials/install.html',
}
"""Package -> how it is installed."""
