"""Stage masks: what a box or points show, by a tiny SAM 2 (Ravi et al., 2408.00714).

Truth is the visible part: what fingers cover does not belong to an object. The single mask learns,
and the best of the three, since SAM 2 falls back on these where the single one is not stable. Boxes
are shaken, as those of a detector are.

In the first steps the decoder sees no picture: it learns that a box is roughly its inside. With the
picture from the start, everything that looks like an object is the quicker guess for every prompt,
and training stays there (dice loss 0.91 after 150 steps, against 0.53).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs3_ros.networks.prompt_labels import BOTTOM_RIGHT, NEGATIVE, POSITIVE, TOP_LEFT
from cs3_ros.networks.sam2_checkpoint import save_sam2
from cs3_ros.networks.sam2_model import ABSENT, Sam2, Sam2Features
from cs3_training.nano.config import MasksConfig
from cs3_training.nano.loop import Batch, Losses, PretrainStage, StepBatches
from cs3_training.nano.networks import tiny_sam2
from cs3_training.nano.views import View, look, whole
from cs3_training.synth.store import HANDS, Scenes

FILE = 'sam2.safetensors'
_LEAST = 60  # pixels of what is asked for
_POINTS = 3  # most points of a prompt
_JUDGED = 100


class MasksSamples(StepBatches):
    """Views and prompts on them."""

    def __init__(self, scenes: Scenes, config: MasksConfig, seed: int) -> None:
        self._scenes, self._config, self._seed = scenes, config, seed

    def __getitem__(self, step: int) -> Batch:
        """Pictures, numbers, points [B, P, K, 2], labels [B, P, K], asked numbers [B, P], blind."""
        config, rng = self._config, np.random.default_rng([self._seed, 14, step])
        rows = rng.integers(len(self._scenes), size=config.batch)
        views = [look(self._scenes, int(row), config.image_size, rng) for row in rows]
        made = [[prompt(view, rng) for _ in range(config.prompts)] for view in views]
        return {
            'pictures': torch.from_numpy(np.stack([view.image for view in views])),
            'numbers': torch.from_numpy(np.stack([view.numbers for view in views])),
            'points': torch.stack([torch.stack([one[0] for one in some]) for some in made]),
            'labels': torch.stack([torch.stack([one[1] for one in some]) for some in made]),
            'asked': torch.tensor([[one[2] for one in some] for some in made]),
            'blind': torch.tensor(step < min(config.blind, config.steps // 4)),
        }


def prompt(view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor, int]:
    """Points [K, 2], labels [K] and the number that they ask for.

    Four of five ask for an object, the others for a hand, where one is there; three of four by a
    box, the others by points on it and perhaps one beside it.
    """
    things = [row + 1 for row in view.seen(_LEAST)]
    hands = [number for number in HANDS if view.counts[number] >= _LEAST]
    pool = hands if hands and (rng.random() < 0.2 or not things) else things
    if not pool:
        pool = [int(np.argmax(view.counts))]  # the table: nothing else is there
    asked = int(pool[rng.integers(len(pool))])
    points = torch.zeros(_POINTS, 2)
    labels = torch.full((_POINTS,), ABSENT, dtype=torch.int32)
    if rng.random() < 0.75:
        box = np.array(view.box(asked), np.float32)
        size = np.tile(box[2:] - box[:2], 2)
        box = np.clip(box + rng.normal(0, 0.06, 4) * size, 0, len(view.numbers))
        if (box[2:] - box[:2] >= 2).all():
            points[:2] = torch.tensor(box.reshape(2, 2), dtype=torch.float32)
            labels[:2] = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], dtype=torch.int32)
            return points, labels, asked
    inside = np.argwhere(view.numbers == asked)
    count = int(rng.integers(1, 3))
    chosen = inside[rng.integers(len(inside), size=count)]
    points[:count] = torch.from_numpy(chosen[:, ::-1] + 0.5)
    labels[:count] = POSITIVE
    others = np.argwhere(view.numbers != asked)
    if rng.random() < 0.3 and len(others):
        points[count] = torch.from_numpy(others[rng.integers(len(others))][::-1] + 0.5)
        labels[count] = NEGATIVE
    return points, labels, asked


class MasksStage(PretrainStage):
    """Promptable masks by a tiny SAM 2."""

    name = 'masks'

    def __init__(self, config: MasksConfig, train: Scenes, validation: Scenes, seed: int) -> None:
        self.config: MasksConfig = config
        self._train, self._validation, self._seed = train, validation, seed
        torch.manual_seed(seed * 100 + 4)
        self.network: Sam2 = tiny_sam2(config)

    def samples(self) -> StepBatches:
        return MasksSamples(self._train, self.config, self._seed)

    def losses(self, batch: Batch) -> Losses:
        network, prompts = self.network, batch['asked'].shape[1]
        pictures = network.normalise(batch['pictures'])  # [B, 3, S, S]
        features = self._nothing(pictures) if batch['blind'].cpu() else network.encode(pictures)
        many = Sam2Features(*(
            level.repeat_interleave(prompts, 0)  # [B, C, h, w] -> [B*P, C, h, w]
            for level in (features.embedding, features.quarter, features.eighth)
        ))  # fmt: skip
        logits, quality = network.decode_all(
            many,
            batch['points'].flatten(0, 1),  # [B, P, K, 2] -> [B*P, K, 2]
            batch['labels'].flatten(0, 1),  # [B, P, K] -> [B*P, K]
        )  # [B*P, 4, S/4, S/4], [B*P, 4]
        numbers = batch['numbers'].repeat_interleave(prompts, 0)  # [B*P, S, S]
        truth = (numbers == batch['asked'].flatten()[:, None, None]).float()  # [B*P, S, S]
        truth = F.avg_pool2d(truth[:, None], 4)  # [B*P, 1, S/4, S/4]: shares of a pixel
        bce, dice, iou = mask_losses(logits.float(), truth)  # [B*P, 4] each
        both = bce + 2 * dice  # [B*P, 4]
        single, best = both[:, 0].mean(), both[:, 1:].amin(1).mean()
        judged = (quality.float() - iou).square().mean()
        return {
            'total': single + best / 2 + judged,
            'single': single,
            'best': best,
            'dice': dice[:, 0].mean(),
            'quality': judged,
        }

    def _nothing(self, pictures: Tensor) -> Sam2Features:
        """Features of B pictures that show nothing."""
        count, side, width = len(pictures), self.config.image_size, self.config.width
        return Sam2Features(
            pictures.new_zeros(count, width, side // 16, side // 16),
            pictures.new_zeros(count, width // 8, side // 4, side // 4),
            pictures.new_zeros(count, width // 4, side // 8, side // 8),
        )

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        trunk = list(self.network.image_encoder.trunk.parameters())
        known = {id(parameter) for parameter in trunk}
        others = [p for p in self.network.parameters() if id(p) not in known]
        return [(others, 1.0), (trunk, self.config.trunk_lr)]

    def figures(self) -> dict[str, float]:
        """Mean IoU of masks at full size from the true boxes, of objects by how they are held."""
        scenes, size = self._validation, self.config.image_size
        device = self.network.no_mem_embed.device
        found: dict[str, list[float]] = {}
        for row in range(min(len(scenes), _JUDGED)):
            view = whole(scenes, row, size)
            asked = [k + 1 for k in view.seen(_LEAST)]
            hands = [number for number in HANDS if view.counts[number] >= _LEAST]
            if not asked + hands:
                continue
            corners = np.array([view.box(k) for k in asked + hands], np.float32).reshape(-1, 2, 2)
            labels = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]] * len(corners), dtype=torch.int32)
            picture = torch.from_numpy(view.image[None]).to(device)
            features = self.network.encode(self.network.normalise(picture))
            logits, _ = self.network.decode(
                features, torch.from_numpy(corners).to(device), labels.to(device)
            )  # [n, 1, S/4, S/4]
            masks = F.interpolate(logits.float(), (size, size), mode='bilinear')[:, 0] > 0
            for number, mask in zip(asked + hands, masks.cpu().numpy(), strict=True):
                truth = view.numbers == number
                iou = np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth)
                kind = 'hands' if number in HANDS else 'objects'
                found.setdefault(f'IoU {kind}', []).append(iou)
                if kind == 'objects' and view.objects[number - 1, 4] > 0:
                    found.setdefault('IoU held objects', []).append(iou)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def write(self, folder: Path) -> None:
        save_sam2(folder / FILE, self.network)


def mask_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Balanced cross-entropy, dice loss and IoU of every mask.

    Args:
        logits: [N, M, h, w].
        truth: shares of the pixels in [0, 1], [N, 1, h, w].

    Returns:
        [N, M] each; the IoU of masks cut at 0 has no gradient.
    """
    truth = truth.expand_as(logits)  # [N, 1, h, w] -> [N, M, h, w]
    heat = logits.sigmoid()
    bce = F.binary_cross_entropy_with_logits(logits, truth, reduction='none')
    # Object and rest count the same: in the mean of all pixels a small thing counts for nothing,
    # and a network that starts from nothing then finds nothing for a long time.
    rest = 1 - truth
    inside = (bce * truth).sum((-2, -1)) / (truth.sum((-2, -1)) + 1)
    outside = (bce * rest).sum((-2, -1)) / (rest.sum((-2, -1)) + 1)
    balanced = (inside + outside) / 2
    shared, size = (heat * truth).sum((-2, -1)), (heat + truth).sum((-2, -1))
    dice = 1 - (2 * shared + 1) / (size + 1)
    with torch.no_grad():
        cut, there = logits > 0, truth > 0.5
        both = (cut & there).sum((-2, -1))
        iou = both / (cut | there).sum((-2, -1)).clamp(min=1)
    return balanced, dice, iou
