"""Stage clipseg: masks of whatever a text names (Lueddecke and Ecker, CVPR 2022).

Every picture of a step is asked for every text of the step, from one encoding; most texts then are
about something that is not there. The towers are tuned lightly, with the patch-text loss of the
stage before, so that what equation 3 pools stays what it was.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cs3_ros.networks.clipseg import ClipSeg
from cs3_training.nano.config import ClipSegConfig
from cs3_training.nano.image_text import (
    JUDGED,
    PatchText,
    block_matrices,
    cover,
    spread,
    view_batch,
    zero_shot,
)
from cs3_training.nano.loop import Batch, Losses, PretrainStage, StepBatches
from cs3_training.nano.networks import write_clipseg
from cs3_training.nano.queries import CLASSES, ask, name_objects, numbers_named
from cs3_training.nano.tokens import Texts
from cs3_training.nano.views import look, whole
from cs3_training.synth.store import Scenes

_ABSENT = 0.3  # weight of pictures that show nothing of what is asked for


class ClipSegSamples(StepBatches):
    """Views, texts, and which numbers of each view each text names."""

    def __init__(
        self, scenes: Scenes, texts: Texts, config: ClipSegConfig, size: int, seed: int
    ) -> None:
        self._scenes, self._texts, self._config = scenes, texts, config
        self._size, self._seed = size, seed

    def __getitem__(self, step: int) -> Batch:
        """What ``view_batch`` makes, ids [C, L] and named bool [B, C, 256]."""
        config, rng = self._config, np.random.default_rng([self._seed, 11, step])
        rows = rng.integers(len(self._scenes), size=config.batch)
        views = [look(self._scenes, int(row), self._size, rng) for row in rows]
        queries = [ask(views[k % len(views)], rng) for k in range(config.queries)]
        named = np.stack(
            [[numbers_named(query, view.objects) for query in queries] for view in views]
        )
        return {
            **view_batch(views),
            'ids': self._texts([query.text for query in queries]),
            'named': torch.from_numpy(named),
        }


class ClipSegStage(PretrainStage):
    """Text-prompted masks on the towers of the stage before."""

    name = 'clipseg'

    def __init__(
        self, config: ClipSegConfig, train: Scenes, validation: Scenes, folder: Path, seed: int
    ) -> None:
        """``folder`` holds what the stage clip wrote."""
        self.config: ClipSegConfig = config
        self._train, self._validation, self._seed = train, validation, seed
        self._texts = Texts(folder)
        self.clipseg = ClipSeg.from_folder(folder)
        self.patch_text = PatchText()
        self.network = nn.ModuleList([self.clipseg, self.patch_text])
        self._classes = self._texts(CLASSES)  # [n, LENGTH]

    def matrices(self) -> list[nn.Parameter]:
        return block_matrices(self.clipseg.model)

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        model = self.clipseg.model
        fast = [*model.decoder.parameters(), *self.patch_text.parameters()]
        return [(fast, 1.0), (list(model.clip.parameters()), self.config.tower_lr)]

    def samples(self) -> StepBatches:
        size = self.clipseg.image_size
        return ClipSegSamples(self._train, self._texts, self.config, size, self._seed)

    def losses(self, batch: Batch) -> Losses:
        clipseg = self.clipseg
        ids = torch.cat([batch['ids'], self._classes.to(batch['ids'].device)])
        texts = clipseg.embed_text(ids)  # [C + n, P]
        conditions, classes = texts[: len(batch['ids'])], texts[len(batch['ids']) :]
        features = clipseg.encode_image(clipseg.normalise(batch['pictures']))
        logits = clipseg.decode(features, conditions)  # [B, C, S, S]
        truth = spread(batch['named'], batch['numbers']).float()  # [B, C, S, S]
        there = truth.amax((-2, -1))  # [B, C]: 0 or 1
        weight = there + (1 - there) * _ABSENT  # [B, C]
        bce = F.binary_cross_entropy_with_logits(logits, truth, reduction='none').mean((-2, -1))
        bce = (bce * weight).sum() / weight.sum()
        heat = logits.sigmoid()
        overlap = (heat * truth).sum((-2, -1))  # [B, C]
        size = heat.sum((-2, -1)) + truth.sum((-2, -1))  # [B, C]
        dice = ((1 - (2 * overlap + 20) / (size + 20)) * there).sum() / there.sum().clamp(min=1)
        dense = self.patch_text(
            clipseg.dense_features(features), classes, cover(batch, features.grid)
        )
        total = 5 * bce + dice + self.config.dense_weight * dense
        return {'total': total, 'bce': bce, 'dice': dice, 'dense': dense}

    def figures(self) -> dict[str, float]:
        """Mean IoU of masks by text, and the accuracies of the stage before."""
        return {
            **prompt_ious(self.clipseg, self._validation, self._texts),
            **zero_shot(self.clipseg, self._validation, self._texts),
        }

    def write(self, folder: Path) -> None:
        write_clipseg(self.clipseg.model, folder, self.clipseg.image_size)


def prompt_ious(clipseg: ClipSeg, scenes: Scenes, texts: Texts) -> dict[str, float]:
    """Mean IoU of masks, logits above 0, for texts about a colliding object."""
    device, rng = clipseg.model.device, np.random.default_rng(3)
    found: dict[str, list[float]] = {}
    for row in range(min(len(scenes), JUDGED)):
        view = whole(scenes, row, clipseg.image_size)
        features = clipseg.encode_image(
            clipseg.normalise(torch.from_numpy(view.image[None]).to(device))
        )
        kinds = ('material', 'shape', 'both', 'all')
        queries = [name_objects(view.objects[:1], kind, rng) for kind in kinds]
        ids = texts([query.text for query in queries]).to(device)
        masks = clipseg.decode(features, clipseg.embed_text(ids))[0].cpu().numpy() > 0  # [C, S, S]
        for kind, query, mask in zip(kinds, queries, masks, strict=True):
            truth = numbers_named(query, view.objects)[view.numbers]  # [S, S]
            union = np.count_nonzero(mask | truth)
            if truth.any():
                found.setdefault(f'IoU by {kind}', []).append(
                    np.count_nonzero(mask & truth) / union
                )
    return {name: float(np.mean(values)) for name, values in found.items()}
