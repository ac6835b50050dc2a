"""Stage clip: pictures and texts in one space, for whole pictures and for every patch.

A picture is cut down to one or two objects and told from others by its caption (Radford et al.,
ICML 2021, with several true captions per picture). Every patch is told what it shows, through the
very path that equation 3 of CS3 pools (``ClipSeg.dense_features``). Pictures are masked in
normalised space, as the image loss of the weakly supervised stage does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cs3_ros.networks.clipseg import ClipSeg
from cs3_training.localiser.losses import image_similarity
from cs3_training.nano.config import ClipStageConfig
from cs3_training.nano.loop import Batch, Losses, PretrainStage, StepBatches
from cs3_training.nano.networks import tiny_clipseg, write_clipseg
from cs3_training.nano.queries import CLASSES, class_numbers, name_objects
from cs3_training.nano.tokens import Texts, write_tokenizer
from cs3_training.nano.views import View, look, whole, window
from cs3_training.synth.store import Scenes
from cs3_training.synth.vocabulary import COLOURS, MATERIALS, SHAPES

_KINDS = ('material', 'shape', 'both', 'all')
_LEAST = 60  # pixels of an object that is asked for
_PURE = 0.7  # share of a patch under one class from which on it is judged
JUDGED = 48
"""Validation scenes on which picture networks are judged."""


class ClipSamples(StepBatches):
    """Views of scenes, pictures of single objects and captions."""

    def __init__(self, scenes: Scenes, texts: Texts, config: ClipStageConfig, seed: int) -> None:
        self._scenes, self._texts, self._config, self._seed = scenes, texts, config, seed

    def __getitem__(self, step: int) -> Batch:
        """Pictures, numbers [B, S, S], classes [B, n, 256], cut [M, S, S, 3], masks, ids, truth."""
        config, rng = self._config, np.random.default_rng([self._seed, 10, step])
        rows = rng.integers(len(self._scenes), size=config.batch + config.masked)
        views = [look(self._scenes, int(r), config.image_size, rng) for r in rows[: config.batch]]
        cut, masks, kept, captions = [], [], [], []
        for row in rows[config.batch :]:
            image, mask, things = cut_out(self._scenes, int(row), config.image_size, rng)
            kind = str(rng.choice(_KINDS, p=(0.4, 0.15, 0.25, 0.2)))
            cut.append(image)
            masks.append(mask)
            kept.append(things)
            captions.append(name_objects(things, kind, rng))
        for _ in range(config.extra_texts):
            limits = (len(COLOURS), len(MATERIALS), len(SHAPES))
            things = np.array([[rng.integers(limit) for limit in limits]], np.int8)
            captions.append(name_objects(things, str(rng.choice(_KINDS[:3])), rng))
        truth = np.array([[caption.tells(things) for caption in captions] for things in kept])
        return {
            **view_batch(views),
            'cut': torch.from_numpy(np.stack(cut)),
            'masks': torch.from_numpy(np.stack(masks)),
            'ids': self._texts([caption.text for caption in captions]),
            'truth': torch.from_numpy(truth),
        }


def view_batch(views: Sequence[View]) -> Batch:
    """Pictures [B, S, S, 3], numbers [B, S, S] and which numbers are of which class."""
    return {
        'pictures': torch.from_numpy(np.stack([view.image for view in views])),
        'numbers': torch.from_numpy(np.stack([view.numbers for view in views])),
        'classes': torch.from_numpy(np.stack([class_numbers(view.objects) for view in views])),
    }


def cut_out(
    scenes: Scenes, row: int, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int8]]:
    """A picture of one or two objects: what is seen, where it is seen, and which objects.

    Two of three are masked somewhere in a view, roughly and with holes; the others fill the
    picture.

    Returns:
        RGB uint8 [S, S, 3] with S = ``size``, bool [S, S], and the rows of the one or two objects
        as in ``Scenes.objects``, int8 [1 or 2, 5].
    """
    view = look(scenes, row, size, rng)
    seen = view.seen(_LEAST)
    for _ in range(20):
        if seen:
            break
        view = look(scenes, row, size, rng, zoom=0.3)
        seen = view.seen(_LEAST)
    if not seen:
        view = whole(scenes, row, size)
        seen = [int(np.argmax(view.counts[1 : 1 + len(view.objects)]))]
    everything = np.ones((size, size), bool)
    if rng.random() < 0.35:
        chosen = [seen[rng.integers(len(seen))]]
        mask = np.isin(view.numbers, [chosen[0] + 1])
        x0, y0, x1, y1 = _around(view.box(chosen[0] + 1), size, rng.uniform(1.05, 1.6))
        picture = cv2.resize(view.image[y0:y1, x0:x1], (size, size))
        cut = cv2.resize(mask[y0:y1, x0:x1].view(np.uint8), (size, size)) > 0
        masked = rng.random() < 0.5
        return np.asarray(picture), cut if masked else everything, view.objects[chosen]
    count = 2 if rng.random() < 0.35 and len(seen) > 1 else 1
    chosen = [int(k) for k in rng.choice(seen, count, replace=False)]
    mask = np.isin(view.numbers, [k + 1 for k in chosen])
    grow = int(rng.integers(-2, 9)) * size // 256
    if grow > 0:
        mask = cv2.dilate(mask.view(np.uint8), np.ones((grow, grow), np.uint8)) > 0
    if rng.random() < 0.3:
        holes = rng.random((8, 8)).astype(np.float32)
        mask &= cv2.resize(holes, (size, size)) > 0.3
    return view.image, mask, view.objects[chosen]


def _around(box: tuple[int, int, int, int], size: int, grow: float) -> tuple[int, int, int, int]:
    """The square round a box, grown, moved inside the picture."""
    x0, y0, x1, y1 = box
    side = min(max(round(max(x1 - x0, y1 - y0) * grow), 8), size)
    left = min(max((x0 + x1 - side) // 2, 0), size - side)
    top = min(max((y0 + y1 - side) // 2, 0), size - side)
    return left, top, left + side, top + side


def spread(named: Tensor, numbers: Tensor) -> Tensor:
    """Masks of sets of numbers: bool [B, C, 256] and uint8 [B, H, W] -> bool [B, C, H, W]."""
    return torch.stack([one[:, map_.long()] for one, map_ in zip(named, numbers, strict=True)])


class PatchText(nn.Module):
    """The loss that tells every patch what it shows; scale and bias of its logits are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-3.0))

    def forward(self, dense: Tensor, texts: Tensor, cover: Tensor) -> Tensor:
        """Features [B, P, h, w], texts [n, P] and shares of patches [B, n, h, w] -> scalar."""
        patches, words = F.normalize(dense.float(), dim=1), F.normalize(texts.float(), dim=-1)
        with torch.autocast(dense.device.type, enabled=False):  # it would round the cosines
            cosine = torch.einsum('bphw,np->bnhw', patches, words)  # [B, n, h, w]
        return F.binary_cross_entropy_with_logits(
            self.scale * cosine + self.bias, (1.3 * cover).clamp(max=1)
        )


def cover(batch: Batch, grid: tuple[int, int]) -> Tensor:
    """Share of every patch under every class, float32 [B, n, h, w]."""
    sparse = batch['numbers'][:, 2::4, 2::4]  # [B, S, S] -> [B, S/4, S/4]: a quarter is enough
    return F.adaptive_avg_pool2d(spread(batch['classes'], sparse).float(), grid)  # [B, n, h, w]


def contrast(similarity: Tensor, truth: Tensor) -> Tensor:
    """Contrast with any number of true pairs, scalar.

    Args:
        similarity: scaled cosines [M, N].
        truth: bool [M, N], at least one per row.
    """
    hits = truth.float()
    rows = (similarity.log_softmax(1) * hits).sum(1) / hits.sum(1)  # [M]
    there = hits.sum(0) > 0  # [N]
    columns = (similarity.log_softmax(0) * hits).sum(0)[there] / hits.sum(0)[there]
    return -(rows.mean() + columns.mean()) / 2


class ClipStage(PretrainStage):
    """Image-text contrast on a tiny CLIP."""

    name = 'clip'
    half = True

    def __init__(
        self, config: ClipStageConfig, train: Scenes, validation: Scenes, folder: Path, seed: int
    ) -> None:
        """``folder`` gets the tokenizer at once and the network in the end."""
        self.config: ClipStageConfig = config
        self._train, self._validation, self._seed = train, validation, seed
        vocabulary = write_tokenizer(folder)
        self._texts = Texts(folder)
        torch.manual_seed(seed * 100 + 1)
        model = tiny_clipseg(config, vocabulary)
        self.clipseg = ClipSeg(model, config.image_size)
        self.patch_text = PatchText()
        self.network = nn.ModuleList([self.clipseg, self.patch_text])
        model.decoder.requires_grad_(False)
        self._classes = self._texts(CLASSES)  # [n, LENGTH]

    def to_device(self, device: torch.device) -> nn.Module:
        if device.type == 'cpu':  # the fused backward in bfloat16 takes 0.2 s more of 1.7 s a step
            self.clipseg.model.set_attn_implementation('eager')
        return super().to_device(device)

    def matrices(self) -> list[nn.Parameter]:
        return block_matrices(self.clipseg.model.clip)

    def samples(self) -> StepBatches:
        return ClipSamples(self._train, self._texts, self.config, self._seed)

    def losses(self, batch: Batch) -> Losses:
        clipseg = self.clipseg
        ids = torch.cat([batch['ids'], self._classes.to(batch['ids'].device)])
        texts = clipseg.embed_text(ids)  # [captions + n, P]
        captions, classes = texts[: len(batch['ids'])], texts[len(batch['ids']) :]
        pixels = clipseg.normalise(batch['cut']) * batch['masks'][:, None]  # [M, 3, S, S]
        cut = clipseg.embed_image(pixels)  # [M, P]
        scale = clipseg.model.clip.logit_scale.exp().clamp(max=50)
        cosine = image_similarity(cut, captions)  # [M, captions]
        image = contrast(scale * cosine, batch['truth'])
        features = clipseg.encode_image(clipseg.normalise(batch['pictures']))
        dense = self.patch_text(
            clipseg.dense_features(features), classes, cover(batch, features.grid)
        )
        total = 0.5 * image + self.config.dense_weight * dense
        return {'total': total, 'contrast': image, 'dense': dense}

    def figures(self) -> dict[str, float]:
        """Zero-shot accuracy on objects, and of patches."""
        return zero_shot(self.clipseg, self._validation, self._texts)

    def write(self, folder: Path) -> None:
        write_clipseg(self.clipseg.model, folder, self.config.image_size)


def block_matrices(network: nn.Module) -> list[nn.Parameter]:
    """The matrices of all transformer blocks in a network."""
    named = network.named_parameters()
    return [p for name, p in named if '.layers.' in f'.{name}' and p.ndim == 2]


def zero_shot(clipseg: ClipSeg, scenes: Scenes, texts: Texts) -> dict[str, float]:
    """How often the text of the right material or shape fits an object best; chance is 1/7, 1/8.

    Objects are cut to their box; patches are those that one material covers for the most part.
    """
    device = clipseg.model.device
    classes = F.normalize(clipseg.embed_text(texts(CLASSES).to(device)).float(), dim=-1)  # [n, P]
    materials, shapes = len(MATERIALS), len(SHAPES)
    right: dict[str, list[float]] = {'material': [], 'shape': [], 'patch material': []}
    for row in range(min(len(scenes), JUDGED)):
        view = whole(scenes, row, scenes.image.shape[1])
        seen = view.seen(300) or view.seen(1)
        side = len(view.image)
        boxes = [_around(view.box(k + 1), side, 1.2) for k in seen]
        crops = [window(scenes, row, box, clipseg.image_size).image for box in boxes]
        pixels = clipseg.normalise(torch.from_numpy(np.stack(crops)).to(device))
        cosine = F.normalize(clipseg.embed_image(pixels).float(), dim=-1) @ classes.T  # [k, n]
        found = cosine[:, :materials].argmax(1).tolist()
        right['material'] += [f == view.objects[k, 1] for f, k in zip(found, seen, strict=True)]
        found = cosine[:, materials : materials + shapes].argmax(1).tolist()
        right['shape'] += [f == view.objects[k, 2] for f, k in zip(found, seen, strict=True)]
        batch = {k: v.to(device) for k, v in view_batch([view]).items()}
        features = clipseg.encode_image(clipseg.normalise(batch['pictures']))
        dense = F.normalize(clipseg.dense_features(features).float(), dim=1)  # [1, P, h, w]
        cosine = torch.einsum('bphw,np->bnhw', dense, classes[:materials])[0]  # [7, h, w]
        share = cover(batch, features.grid)[0, :materials]  # [7, h, w]
        pure = share.amax(0) > _PURE  # [h, w]
        right['patch material'] += (cosine.argmax(0) == share.argmax(0))[pure].float().tolist()
    return {name: float(np.mean(hits)) if hits else 0.0 for name, hits in right.items()}
