"""The weakly supervised training of CS3 (method.md A7): what it draws, what it minimises.

The loop is ``cs3_training.loop``. A run lives in a folder: ``state.pt`` to go on from, exactly;
``audio_visual.safetensors``, the best checkpoint by validation, which the node loads; ``events.*``
for TensorBoard. ``torchrun`` trains on several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from cs3_ros.collision import Image
from cs3_ros.config import from_mapping, setting
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.networks.audio_visual import save_checkpoint
from cs3_ros.networks.beats import beats_fbank
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.model import CollisionSegmenter
from cs3_training.loop import Epochs, LoopConfig, TrainingLoop, batches

CHECKPOINT = 'audio_visual.safetensors'
"""What a run leaves for the node."""
LOSSES = ('image', 'feature', 'area', 'total')
"""What is logged of every step, fields of ``Losses``."""
CROP = 352 / 387
"""Side of the random window that augmentation cuts, fraction of the picture (method.md A7)."""


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How long, how fast and on what the sound side is trained; the defaults are CS3's."""

    lr: float = setting(1e-6, 'Learning rate of BEATs.', minimum=0.0)
    lr_token: float = setting(
        1e-6, 'Learning rate of the audio token (ACL-SSL: 1e-4).', minimum=0.0
    )
    lr_mask: float = setting(
        1e-6, 'Learning rate of scale and bias of the mask (ACL-SSL: 1e-4).', minimum=0.0
    )
    weight_decay: float = setting(1e-4, 'Weight decay of Adam, added to gradients.', minimum=0.0)
    precision: str = setting(
        'bfloat16',
        'Number format of the networks in autocast; losses are float32.',
        choices=('float32', 'bfloat16'),
    )
    columns: int = setting(
        8, 'Sounds that a batch of pictures is decoded under at once; bounds the memory.', minimum=1
    )
    recompute: bool = setting(
        True, 'Decode again for the gradients; without it B x B maps are kept, which is faster.'
    )
    train_beats: bool = setting(True, 'Train BEATs too, as CS3 does; ACL-SSL keeps it.')
    augment: bool = setting(True, 'Cut a random window of 0.91 of the picture and mirror half.')
    loss: LossConfig = field(default_factory=LossConfig)
    """The three losses."""


class Pairs(Protocol):
    """Pictures and the sounds that belong to them."""

    def __len__(self) -> int:
        """Number of pairs."""

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Image, NDArray[np.float32]]:
        """Picture RGB uint8 [H, W, 3] and sound float32 [N] at 16 kHz; one size for all.

        Args:
            index: of the pair.
            rng: decides, where there is a choice; nothing else does.
        """


def load_config(path: Path | str) -> TrainConfig:
    """Read a YAML file of settings; what it does not name is default, ``loss`` is a mapping.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'training settings {str(path)!r}'
    values = read_yaml(Path(path), where) or {}
    if isinstance(values, dict) and 'loss' in values:
        values = {**values, 'loss': from_mapping(LossConfig, values['loss'], f'{where}, loss')}
    return from_mapping(TrainConfig, values, where)


class PairSamples(Dataset[tuple[Tensor, Tensor]]):
    """Sample number n of a run, counted over all steps: which pair, and how it is augmented.

    Nothing depends on what was asked for before.
    """

    def __init__(self, pairs: Pairs, config: TrainConfig) -> None:
        self._pairs, self._config = pairs, config
        self._epochs = Epochs(len(pairs), config.seed)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Picture uint8 [H', W', 3] and sound float32 [N]."""
        rng = np.random.default_rng([self._config.seed, 1, number])
        image, sound = self._pairs.draw(self._epochs.index(number), rng)
        if self._config.augment:
            image = augment(image, rng)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(sound)


def augment(image: Image, rng: np.random.Generator) -> Image:
    """A random window of ``CROP`` of each side, half of the time mirrored: still [H', W', 3].

    Sounds carry no side, so mirroring is allowed here (method.md G38).
    """
    height, width = (round(side * CROP) for side in image.shape[:2])
    top = int(rng.integers(image.shape[0] - height + 1))
    left = int(rng.integers(image.shape[1] - width + 1))
    window = image[top : top + height, left : left + width]
    return window[:, ::-1] if rng.random() < 0.5 else window


class Trainer(TrainingLoop[CollisionSegmenter]):
    """One run.

    Args:
        model: its sound side is trained, on the device where it is.
        pairs: the training set.
        config: settings.
        folder: of the run; a run that lies there is continued.
        validate: as ``TrainingLoop``. Where it uses labels, say so: training itself uses none.
        about: as ``TrainingLoop``.

    Raises:
        ValueError: as ``TrainingLoop``, or the model does not train what the settings say.
    """

    checkpoint = CHECKPOINT
    fix = 'lower lr and lr_token, or train with precision float32'

    def __init__(
        self,
        model: CollisionSegmenter,
        pairs: Pairs,
        config: TrainConfig,
        folder: Path,
        validate: Callable[[CollisionSegmenter], float] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        if model.train_beats != config.train_beats:
            raise ValueError(
                f'train_beats is {config.train_beats} in the settings and {model.train_beats} '
                'in the model: give CollisionSegmenter the value of the settings'
            )
        self.config, self._pairs = config, pairs
        groups = (
            (list(model.audio_token.parameters()), config.lr_token),
            (list(model.mask.parameters()), config.lr_mask),
            (list(model.beats.parameters()), config.lr),
        )
        super().__init__(model, config, folder, groups, validate, about)

    def batches(self) -> Iterator[list[Tensor]]:
        """Pictures uint8 [B, H', W', 3] and sounds float32 [B, N]."""
        samples = PairSamples(self._pairs, self.config)
        return batches(samples, self.config, self.step, self.device.type == 'cuda')

    def losses(self, module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        """The three losses and their sum."""
        pictures, sounds = (part.to(self.device, non_blocking=True) for part in batch)
        pixels, fbank = self.model.clipseg.normalise(pictures), beats_fbank(sounds)
        config = self.config
        with self.autocast():
            losses = module(pixels, fbank, config.loss, config.columns, config.recompute)
        return {name: getattr(losses, name) for name in LOSSES}

    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """Audio token, scale and bias of the mask, and BEATs where it was trained."""
        model = self.model
        beats = model.beats if model.train_beats else None
        save_checkpoint(path, model.audio_token, model.mask, beats, notes)
