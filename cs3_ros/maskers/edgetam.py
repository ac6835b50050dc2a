"""Masks from boxes and points by EdgeTAM, a small kin of SAM 2 for phones and CPUs.

The network is that of transformers, read from a folder in its own format; what the folder holds for
video is left out. ``encode`` runs the image encoder once per picture, ``segment`` decodes prompts
of equal kind together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import EdgeTamConfig as EdgeTamDescription
from transformers import EdgeTamModel, Sam2ImageProcessor

from cs3_ros.collision import Image, Mask, Points, Prompt
from cs3_ros.config import require, setting
from cs3_ros.files.fields import expect
from cs3_ros.maskers.promptable import Limits, asked_of, judged
from cs3_ros.networks.model_folder import load_model
from cs3_ros.networks.sizes import check_description
from cs3_ros.runtime import Runtime

BACKBONES = re.compile(r'repvit_[\w.]+|resnet\d+[\w.]*')
"""timm's names of image encoders that are built; others may name a file or a hub."""


@dataclass(frozen=True)
class EdgeTamConfig(Limits):
    """Settings of ``EdgeTamMasker``."""

    model: str = setting(
        '',
        "Folder with config.json and model.safetensors of EdgeTAM, in transformers' format.",
        weights=True,
    )


@dataclass(frozen=True, eq=False)
class EdgeTamEncoded:
    """A picture, ready for prompts."""

    features: tuple[Tensor, ...]
    """Feature maps [1, C, h, w], finest first, on the device."""
    size: tuple[int, int]
    """Height and width of the picture."""


class EdgeTamMasker:
    """Masks by EdgeTAM, one per prompt, in float32.

    Args:
        config: which folder, and what to do with odd masks.
        runtime: what it runs on.

    Raises:
        ValueError: no folder is named, or it holds no EdgeTAM; names what was found.
    """

    def __init__(self, config: EdgeTamConfig, runtime: Runtime) -> None:
        require(config, 'model')
        folder = Path(config.model)
        self.config = config
        self._model = _read_model(folder, runtime.device)
        self._side = int(self._model.prompt_encoder.input_image_size)
        size = {'height': self._side, 'width': self._side}
        self._processor = Sam2ImageProcessor(size=size)  # EdgeTAM has no other
        self._runtime = runtime
        self._stream = runtime.stream()

    def encode(self, image: Image) -> EdgeTamEncoded:
        """The shared part of all prompts.

        Args:
            image: RGB uint8 [H, W, 3].
        """
        with self._stream.work():
            picture = self._runtime.upload(image).permute(2, 0, 1)  # [H, W, 3] -> [3, H, W]
            pixels = self._processor(picture, return_tensors='pt')['pixel_values']  # [1, 3, S, S]
            features = self._model.get_image_embeddings(pixels)
            return EdgeTamEncoded(tuple(features), (image.shape[0], image.shape[1]))

    def segment(self, encoded: EdgeTamEncoded, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt.

        Of a prompt with a box only the box is used, of one whose box is a guess the points. Where
        nothing is found in a box the filled box is the mask; a box outside of the picture gives
        an empty one.

        Args:
            encoded: from ``encode``.
            prompts: each with a box or positive points. Masks from points alone are emptied where
                they are a hand of ``exclude``, or too large for what a hand holds.

        Raises:
            ValueError: a prompt has neither box nor positive point, or coordinates that are not
                finite.
        """
        height, width = encoded.size
        masks = [np.zeros((height, width), bool) for _ in prompts]
        alike: defaultdict[int, list[int]] = defaultdict(list)
        asked: dict[int, tuple[Points, list[int]]] = {}
        for k, prompt in enumerate(prompts):
            question = asked_of(prompt, height, width, 'EdgeTAM')
            if question is not None:
                asked[k] = question
                alike[len(question[1])].append(k)
        for rows in alike.values():  # padded ones would see the padding
            points = torch.from_numpy(np.stack([asked[k][0] for k in rows]))  # [N, K, 2]
            labels = torch.tensor([asked[k][1] for k in rows])  # [N, K]
            with self._stream.work():
                cut = self._runtime.to_host(self._cut(encoded, points, labels))
            for k, mask in zip(rows, cut, strict=True):
                masks[k] = judged(mask, prompts[k], self.config, 'EdgeTAM')
        return masks

    def _cut(self, encoded: EdgeTamEncoded, points: Tensor, labels: Tensor) -> Tensor:
        """bool [N, H, W] on the device from points [N, K, 2] in the picture and labels [N, K]."""
        height, width = encoded.size
        points = points / torch.tensor([width, height]) * self._side  # [N, K, 2] in the square
        found = self._model(
            image_embeddings=list(encoded.features),
            input_points=self._runtime.to_device(points[None]),  # [1, N, K, 2]
            input_labels=self._runtime.to_device(labels[None]),  # [1, N, K]
            multimask_output=False,
        )
        logits = found.pred_masks[0]  # [1, N, 1, h, w] -> [N, 1, h, w]
        logits = F.interpolate(logits, (height, width), mode='bilinear')  # [N, 1, H, W]
        return logits[:, 0] > 0  # [N, 1, H, W] -> [N, H, W]


def _read_model(folder: Path, device: torch.device) -> Any:
    """The network, once its description has been looked at."""
    where = folder / 'config.json'
    if not where.is_file():
        raise FileNotFoundError(f'{where}: expected the description of an EdgeTAM')
    check_description(where)
    described = EdgeTamDescription.from_pretrained(folder, local_files_only=True)
    backbone = getattr(described.vision_config, 'backbone_config', None)
    name = getattr(backbone, 'architecture', None)
    good = isinstance(name, str) and BACKBONES.fullmatch(name.removeprefix('timm/')) is not None
    expect(
        good, f'{where}: vision_config.backbone_config.architecture', name, 'repvit_..., of timm'
    )
    model = load_model(EdgeTamModel, EdgeTamDescription, folder)
    return model.eval().requires_grad_(False).to(device)
