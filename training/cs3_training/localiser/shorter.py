"""Teaches a finished localiser to answer after less of a sound, without any label or picture.

What the localiser makes of all of a sound it learns to make of its beginning: the squared distance
between the embedding of a sound that is cut after the onset, as in ``train.cut_after``, and that of
the whole sound by the localiser as it was, divided by how much the latter differ in the batch. So
masks stay what they were, where going on with the contrastive loss would make them worse.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from cs3_ros.networks.beats import beats_fbank, whole_patches
from cs3_training.localiser.model import CollisionSegmenter
from cs3_training.localiser.train import Pairs, PairSamples, TrainConfig, Trainer, ends_of
from cs3_training.loop import batches


class ShorterSamples(Dataset[tuple[Tensor, Tensor]]):
    """Sample number n of a run: a sound as far as it is heard, and all of it; float32 [n], [N]."""

    def __init__(self, pairs: Pairs, config: TrainConfig) -> None:
        self._samples = PairSamples(pairs, config)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        _, whole, onset = self._samples.pair(number)
        return torch.from_numpy(self._samples.heard(number, whole, onset)), torch.from_numpy(whole)

    @staticmethod
    def together(samples: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """A batch of samples, [B, n] and [B, N]; as ``PairSamples.together``."""
        heard, whole = zip(*samples, strict=True)
        return [ends_of(heard), torch.stack(whole)]


class ShorterTrainer(Trainer):
    """One run; arguments as for ``Trainer``. Scale and bias of the mask stay as they are."""

    def __init__(
        self,
        model: CollisionSegmenter,
        pairs: Pairs,
        config: TrainConfig,
        folder: Path,
        validate: Callable[[CollisionSegmenter], float] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self._teacher = copy.deepcopy(model).eval().requires_grad_(False)
        model.mask.requires_grad_(False)
        super().__init__(model, pairs, config, folder, validate, about)

    def batches(self) -> Iterator[list[Tensor]]:
        """Sounds as far as they are heard, float32 [B, n], and all of them, [B, N]."""
        samples = ShorterSamples(self._pairs, self.config)
        pinned = self.device.type == 'cuda'
        return batches(samples, self.config, self.step, pinned, ShorterSamples.together)

    def losses(self, module: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        """The distance, 1 where the student knows no more than the mean of the batch."""
        heard, whole = (part.to(self.device, non_blocking=True) for part in batch)
        with self.autocast():
            with torch.no_grad():
                wanted = self._teacher.embed_audio(beats_fbank(whole)).float()  # [B, P]
            found = self.model.embed_audio(beats_fbank(whole_patches(heard))).float()  # [B, P]
        spread = (wanted - wanted.mean(0)).square().sum(1).mean()
        return {'total': (found - wanted).square().sum(1).mean() / spread}
