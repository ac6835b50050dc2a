"""The training of the head: cross entropy on 2 s of labelled sounds, on the common loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs3_ros.config import from_mapping, setting
from cs3_ros.files.yamlfile import read_yaml
from cs3_ros.networks.beats import beats_fbank
from cs3_training.curate.head import SoundClasses, save_head
from cs3_training.curate.sounds import LabelledSounds, SoundSamples
from cs3_training.data.records import CLASSES
from cs3_training.loop import LoopConfig, TrainingLoop, batches

CHECKPOINT = 'head.safetensors'
"""What a run leaves for ``cs3-train curate candidates``."""
JUDGED_AT_ONCE = 32


@dataclass(frozen=True)
class HeadConfig(LoopConfig):
    """How the head is trained."""

    steps: int = setting(10_000, 'Steps of the optimiser.', minimum=1)
    lr: float = setting(1e-3, 'Learning rate of the head.', minimum=0.0)
    lr_beats: float = setting(1e-5, 'Learning rate of BEATs.', minimum=0.0)
    train_beats: bool = setting(False, 'Train BEATs, too; it needs a GPU.')


def load_config(path: Path) -> HeadConfig:
    """Read a YAML file of settings; what it does not name is default.

    Raises:
        ValueError: not such a file, an unknown name or a value out of range; says which.
    """
    where = f'settings of the head {str(path)!r}'
    return from_mapping(HeadConfig, read_yaml(path, where) or {}, where)


class HeadTrainer(TrainingLoop[SoundClasses]):
    """One run; goes on where it was stopped, as every ``TrainingLoop``.

    Args:
        model: on its device.
        sounds: the training set.
        config: settings.
        folder: of the run.
        validate: chooses the checkpoint.
        about: for the checkpoint's metadata.
    """

    checkpoint = CHECKPOINT

    def __init__(
        self,
        model: SoundClasses,
        sounds: LabelledSounds,
        config: HeadConfig,
        folder: Path,
        validate: Callable[[SoundClasses], float] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.config, self._sounds = config, sounds
        head = [*model.norm.parameters(), *model.linear.parameters()]
        groups = ((head, config.lr), (list(model.beats.parameters()), config.lr_beats))
        super().__init__(model, config, folder, groups, validate, about)

    def batches(self) -> Iterator[list[Tensor]]:
        """Sounds float32 [B, N] and classes int64 [B]."""
        samples = SoundSamples(self._sounds, self._sounds.labels, self.config.seed)
        return batches(samples, self.config, self.step, self.device.type == 'cuda')

    def losses(self, module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        """Cross entropy."""
        sounds, classes = (part.to(self.device, non_blocking=True) for part in batch)
        fbank = beats_fbank(sounds)  # [B, T, 128]
        with self.autocast():
            logits = module(fbank)  # [B, C]
        return {'total': F.cross_entropy(logits.float(), classes)}

    def write_checkpoint(self, path: Path, notes: Mapping[str, str]) -> None:
        """BEATs, the head and the names of the classes."""
        save_head(path, self.model, self._sounds.labels, notes)


class Accuracy:
    """Share of sounds of which the likeliest class is right, each heard once, about its middle.

    Args:
        sounds: which; those of classes that the head does not know count as wrong.
        labels: of the head.
    """

    def __init__(self, sounds: LabelledSounds, labels: Sequence[str]) -> None:
        self._sounds, self._labels = sounds, labels

    def __call__(self, model: SoundClasses) -> float:
        """In [0, 1]."""
        right, _ = self.judge(model)
        return right

    @torch.inference_mode()
    def judge(self, model: SoundClasses) -> tuple[float, float]:
        """Accuracy over all classes, and of the choice between collision and no collision."""
        device, count = next(model.parameters()).device, len(self._sounds)
        right = collisions = 0
        for first in range(0, count, JUDGED_AT_ONCE):
            indices = range(first, min(first + JUDGED_AT_ONCE, count))
            windows = [torch.from_numpy(self._sounds.window(index)) for index in indices]
            logits = model(beats_fbank(torch.stack(windows).to(device)))  # [B, C]
            for index, best in zip(indices, logits.argmax(1).tolist(), strict=True):
                said, true = self._labels[best], self._sounds.label(index)
                right += said == true
                collisions += (said in CLASSES) == (true in CLASSES)
        return right / count, collisions / count
