"""Stage hands: boxes of both hands and of what they hold, by a detection transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import box_convert

from cs3_ros.hands.detr import Preprocessing, best_boxes
from cs3_training.hands.figures import figures
from cs3_training.nano.config import HandsConfig
from cs3_training.nano.loop import Batch, Losses, PretrainStage, StepBatches
from cs3_training.nano.networks import tiny_hands, write_hands
from cs3_training.nano.views import View, look, whole
from cs3_training.synth.store import HAND, HANDS, Scenes

_LEAST = 1 / 1500  # share of the picture from which on a hand or an object counts
_MOST = 8  # room for boxes in a batch


def boxes(view: View) -> tuple[NDArray[np.float32], list[int]]:
    """Centres and sizes in units of the picture [n, 4], and labels in the order of ``LABELS``."""
    least = _LEAST * view.numbers.size
    found: list[tuple[int, int]] = [
        (number, side) for side, number in enumerate(HANDS) if view.counts[number] >= least
    ]
    for row in view.seen(int(least)):
        if view.objects[row, HAND] > 0:
            found.append((row + 1, 1 + int(view.objects[row, HAND])))
    corners = np.array([view.box(number) for number, _ in found], np.float32).reshape(-1, 4)
    corners /= view.numbers.shape[0]
    middle, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    return np.concatenate([middle, size], 1), [label for _, label in found]


class HandsSamples(StepBatches):
    """Views with their boxes."""

    def __init__(self, scenes: Scenes, config: HandsConfig, seed: int) -> None:
        self._scenes, self._config, self._seed = scenes, config, seed

    def __getitem__(self, step: int) -> Batch:
        """Pictures [B, S, S, 3], boxes [B, MOST, 4] and labels [B, MOST], -1 for none."""
        config, rng = self._config, np.random.default_rng([self._seed, 13, step])
        rows = rng.integers(len(self._scenes), size=config.batch)
        views = [look(self._scenes, int(row), config.image_size, rng, 0.4) for row in rows]
        corners = torch.zeros(len(views), _MOST, 4)
        names = torch.full((len(views), _MOST), -1)
        for k, view in enumerate(views):
            targets, labels = boxes(view)
            corners[k, : len(labels)] = torch.from_numpy(targets)
            names[k, : len(labels)] = torch.tensor(labels, dtype=torch.int64)
        pictures = torch.from_numpy(np.stack([view.image for view in views]))
        return {'pictures': pictures, 'boxes': corners, 'labels': names}


class HandsStage(PretrainStage):
    """Detection by a tiny RT-DETRv2."""

    name = 'hands'

    def __init__(self, config: HandsConfig, train: Scenes, validation: Scenes, seed: int) -> None:
        self.config: HandsConfig = config
        self._train, self._validation, self._seed = train, validation, seed
        torch.manual_seed(seed * 100 + 3)
        self.network: Any = tiny_hands(config)

    def matrices(self) -> list[nn.Parameter]:
        blocks = ('model.encoder.', 'model.decoder.layers.')
        named = self.network.named_parameters()
        return [p for name, p in named if name.startswith(blocks) and p.ndim == 2]

    def samples(self) -> StepBatches:
        return HandsSamples(self._train, self.config, self._seed)

    def losses(self, batch: Batch) -> Losses:
        asked = [
            {'class_labels': labels[labels >= 0], 'boxes': targets[labels >= 0]}
            for labels, targets in zip(batch['labels'], batch['boxes'], strict=True)
        ]
        output = self.network(pixel_values=_pixels(batch['pictures']), labels=asked)
        kinds = {name: output.loss_dict[name] for name in ('loss_vfl', 'loss_bbox', 'loss_giou')}
        return {'total': output.loss, **{name[5:]: loss for name, loss in kinds.items()}}

    def figures(self) -> dict[str, float]:
        """For each kind: average precision at IoU 0.5 of the best box per picture, and recall.

        One box per label is all that the detector of the package uses. ``threshold`` is the score
        from which on boxes count where precision and recall are best together, by F1.
        """
        scenes, size = self._validation, self.config.image_size
        device = next(self.network.parameters()).device
        resize = Preprocessing(size, size)  # as in the package: thresholds are chosen by this
        found, truth = [], []
        for row in range(min(len(scenes), 200)):
            pixels = resize(torch.from_numpy(np.array(scenes.image[row])).to(device))
            seen = self.network(pixel_values=pixels)
            found.append(best_boxes(seen.logits, seen.pred_boxes).cpu().numpy())  # [4, 5]
            targets, labels = boxes(whole(scenes, row, size))
            corners = box_convert(torch.from_numpy(targets), 'cxcywh', 'xyxy')  # [n, 4]
            truth.append((corners.numpy(), np.array(labels, np.int64)))
        return figures(found, truth)

    def write(self, folder: Path) -> None:
        write_hands(self.network, folder, self.config.image_size)


def _pixels(pictures: Tensor) -> Tensor:
    """uint8 [B, S, S, 3] -> [B, 3, S, S] in [0, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 255  # [B, 3, S, S]
