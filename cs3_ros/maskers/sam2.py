"""Masks from boxes and points by SAM 2 (method.md A8, B4, C3).

``encode`` runs the trunk once per picture; ``segment`` decodes all prompts in one batch, brings the
masks to the picture's size on the device and copies them to the host once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs3_ros.collision import Image, Mask, Points, Prompt
from cs3_ros.config import require, setting
from cs3_ros.maskers.promptable import Limits, asked_of, judged
from cs3_ros.networks.acceleration import compiled, graphed
from cs3_ros.networks.sam2_checkpoint import load_sam2
from cs3_ros.networks.sam2_model import ABSENT, Sam2, Sam2Features
from cs3_ros.runtime import Runtime

RECORDED = (4, 8)
"""Prompts of an event and points of a prompt up to which the decoder is replayed from a CUDA graph:
fewer are padded, which changes no mask; the pipeline asks for three boxes at most."""


@dataclass(frozen=True)
class Sam2Config(Limits):
    """Settings of ``Sam2Masker``."""

    checkpoint: str = setting(
        '',
        'SAM 2 checkpoint: an official .pt, one that describes its architecture, or .safetensors.',
        weights=True,
    )
    side: int = setting(
        0,
        'Side of the square that the network sees, pixels; 0 for that of its training, 1024; 512 '
        'is what a CPU has time for.',
        minimum=0,
        maximum=2048,
    )
    multimask: bool = setting(
        False, 'Predict three masks per prompt and take the one with the best estimated IoU.'
    )
    points_in_box: bool = setting(
        False,
        'Use the points of a prompt that has a box, too; the papers take the box alone.',
    )


@dataclass(frozen=True, eq=False)
class Sam2Encoded:
    """A picture, ready for prompts."""

    features: Sam2Features
    """float32, on the device."""
    size: tuple[int, int]
    """Height and width of the picture."""


class Sam2Masker:
    """Masks by SAM 2.

    Number formats: convolutions and matrix products of the image encoder run in the runtime's
    format, the sums that carry its features, its norms and the whole decoder in float32.

    Args:
        config: which checkpoint, and what to do with odd masks.
        runtime: what it runs on.

    Raises:
        OSError: the checkpoint cannot be read.
        ValueError: no checkpoint is named, or it is none of SAM 2.
    """

    def __init__(self, config: Sam2Config, runtime: Runtime) -> None:
        require(config, 'checkpoint')
        self.config = config
        self._runtime = runtime
        self._stream = runtime.stream()
        self._model = _place(load_sam2(config.checkpoint, config.side), runtime)
        self._encode = compiled(self._model.encode, 'masker_encode', runtime)
        self._best = graphed(self._best_logits, 'masks', runtime)

    def encode(self, image: Image) -> Sam2Encoded:
        """The shared part of all prompts.

        Args:
            image: RGB uint8 [H, W, 3].
        """
        with self._stream.work():
            pixels = self._model.normalise(self._runtime.upload(image)[None])  # [1, 3, S, S]
            device, dtype = self._runtime.device.type, self._runtime.dtype
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                features = self._encode(pixels)
            return Sam2Encoded(features.float(), (image.shape[0], image.shape[1]))

    def segment(self, encoded: Sam2Encoded, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt.

        Of a prompt with a box only the box is used, as in the paper, unless ``points_in_box``; of
        one whose box is a guess the points. Where SAM 2 finds nothing in it the filled box is the
        mask; a box outside of the picture gives an empty one.

        Args:
            encoded: from ``encode``.
            prompts: each with a box or positive points. Masks from points alone are emptied where
                they are a hand of ``exclude``, or too large for what a hand holds.

        Raises:
            ValueError: a prompt has neither box nor positive point, or coordinates that are not
                finite.
        """
        height, width = encoded.size
        in_box = self.config.points_in_box
        asked = [asked_of(prompt, height, width, 'SAM 2', in_box) for prompt in prompts]
        visible = [k for k, points in enumerate(asked) if points is not None]
        masks = [np.zeros((height, width), bool) for _ in prompts]
        if visible:
            least = RECORDED if self._runtime.config.cuda_graphs else (0, 0)
            points, labels = _batch([points for points in asked if points is not None], least)
            with self._stream.work():
                every = self._cut(encoded, points, labels)  # [N, H, W]
                cut = self._runtime.to_host(every[: len(visible)])
            for k, mask in zip(visible, cut, strict=True):
                masks[k] = judged(mask, prompts[k], self.config, 'SAM 2')
        return masks

    def _cut(self, encoded: Sam2Encoded, points: Tensor, labels: Tensor) -> Tensor:
        """bool [N, H, W] on the device from points [N, K, 2] in the picture and labels [N, K]."""
        height, width = encoded.size
        side = self._model.architecture.image_size
        points = points / torch.tensor([width, height]) * side  # [N, K, 2], pixels of the square
        logits = self._best(
            encoded.features, self._runtime.to_device(points), self._runtime.to_device(labels)
        )  # [N, 1, S/4, S/4]
        logits = F.interpolate(logits, (height, width), mode='bilinear')  # [N, 1, H, W]
        return logits[:, 0] > 0  # [N, 1, H, W] -> [N, H, W]

    def _best_logits(self, features: Sam2Features, points: Tensor, labels: Tensor) -> Tensor:
        """Logits [N, 1, S/4, S/4] of the best mask of each prompt; all as ``Sam2.decode``."""
        logits, quality = self._model.decode(
            features, points, labels, self.config.multimask
        )  # [N, M, S/4, S/4], [N, M]
        best = quality.argmax(1)[:, None, None, None]  # [N, M] -> [N, 1, 1, 1]
        return logits.take_along_dim(best, 1)  # [N, M, S/4, S/4] -> [N, 1, S/4, S/4]


def _place(model: Sam2, runtime: Runtime) -> Sam2:
    """The network for inference; the weights of its image encoder in the runtime's format.

    Norms and position embeddings stay in float32, which autocast needs in them, and so does the
    decoder: it is small, and its logits are what decides.
    """
    for module in model.image_encoder.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            runtime.module_to_device(module)
    return model.eval().requires_grad_(False).to(runtime.device)


def _batch(
    asked: Sequence[tuple[Points, list[int]]], least: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Points float32 [N, K, 2] and labels int32 [N, K], padded to the longest prompt.

    N and K are at least ``least``; what pads them is ABSENT.
    """
    size = max(len(asked), least[0]), max(least[1], *(len(labels) for _, labels in asked))
    points = torch.zeros(*size, 2)
    labels = torch.full(size, ABSENT, dtype=torch.int32)
    for k, (xy, kinds) in enumerate(asked):
        points[k, : len(kinds)] = torch.from_numpy(xy)
        labels[k, : len(kinds)] = torch.tensor(kinds, dtype=torch.int32)
    return points, labels
