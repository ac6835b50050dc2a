"""The frozen towers of the sounding-object network: patches of a picture, a text (method.md F).

Any tower that fits the classes here can stand in: DINO and CLIP as published, or those of a CLIPSeg
folder, as ``nano`` has it.

Shapes: B batch, N = n x n patches of width D, S side of a picture, L tokens, W width of the text
tower.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as geometry
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    ViTConfig,
    ViTModel,
)

from cs3_ros.networks.clipseg import ClipSeg, load_tokenizer
from cs3_ros.networks.model_folder import kind_of, load_model

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pictures that DINO was trained on, RGB in [0, 1]."""
EPSILON = 1e-6
"""Of the norms of DINO and DeiT."""


class VisionTower(nn.Module, ABC):
    """A frozen ViT that leaves a vector for every patch.

    Attributes:
        width: D.
        size: S, side of the pictures that it takes, pixels.
        grid: n, patches along a side.
    """

    width: int
    size: int
    grid: int

    @abstractmethod
    def pictures(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, H, W, 3] -> float32 [B, 3, S, S] as the tower takes them."""

    @abstractmethod
    def _window(self, planes: Tensor) -> Tensor:
        """float32 [B, C, H, W] -> [B, C, S, S], what ``pictures`` shows of them."""

    @abstractmethod
    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, N, D], row-major."""

    def train(self, mode: bool = True) -> VisionTower:
        """It stays in evaluation mode."""
        return super().train(False)

    def masks(self, masks: Tensor) -> Tensor:
        """Masks as they lie in the window that the tower sees.

        Args:
            masks: bool [..., H, W].

        Returns:
            bool [..., S, S]: pixels that a pixel of the mask touches, as the released code has them
            by resizing boolean masks with torchvision.
        """
        flat = masks.reshape(-1, 1, *masks.shape[-2:]).float()  # [..., H, W] -> [M, 1, H, W]
        if not len(flat):
            return masks.new_zeros(*masks.shape[:-2], self.size, self.size)
        seen = self._window(flat)[:, 0] > 0  # [M, 1, H, W] -> [M, S, S]
        return seen.unflatten(0, masks.shape[:-2]) if masks.ndim > 2 else seen[0]


class DinoTower(VisionTower):
    """DINO's ViT (Caron et al., ICCV 2021): after the last block, without the final norm or CLS.

    Pictures are scaled to their short side, and the middle is cut out.

    Args:
        model: transformers' ViT; its final norm is removed.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        sizes = model.config
        model.layernorm = nn.Identity()
        self.model = model
        self.width, self.size = int(sizes.hidden_size), int(sizes.image_size)
        self.grid = self.size // int(sizes.patch_size)

    def pictures(self, images: Tensor) -> Tensor:
        """As ``VisionTower``, with the statistics of ImageNet."""
        planes = images.permute(0, 3, 1, 2).float() / 255  # [B, H, W, 3] -> [B, 3, H, W]
        mean, std = _imagenet(images.device)  # [3, 1, 1] each
        return (self._window(planes) - mean) / std

    def _window(self, planes: Tensor) -> Tensor:
        side = [self.size, self.size]
        scaled = geometry.resize(planes, [self.size], antialias=True)  # the short side is S
        return geometry.center_crop(scaled, side)  # [B, C, S, S]

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, N, D]."""
        tokens = self.model(pixels).last_hidden_state  # [B, 1 + N, D]
        return tokens[:, 1:]  # [B, N, D]


class ClipSegTower(VisionTower):
    """The vision tower of CLIPSeg: CLIP's embedding of every patch.

    Pictures are squashed to a square.

    Args:
        clipseg: the network.
    """

    def __init__(self, clipseg: ClipSeg) -> None:
        super().__init__()
        self.clipseg = clipseg
        self.width, self.size = clipseg.projection_dim, clipseg.image_size
        self.grid = self.size // int(clipseg.model.config.vision_config.patch_size)

    def pictures(self, images: Tensor) -> Tensor:
        """As ``VisionTower``, with the statistics of CLIP."""
        return self.clipseg.normalise(images)

    def _window(self, planes: Tensor) -> Tensor:
        size = (self.size, self.size)
        return F.interpolate(planes, size, mode='bilinear', antialias=True)  # [B, C, S, S]

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, N, D], D the width of CLIP's joint space."""
        dense = self.clipseg.dense_features(self.clipseg.encode_image(pixels))  # [B, D, n, n]
        return dense.flatten(2).transpose(1, 2)  # [B, D, n, n] -> [B, N, D]


def load_vision(folder: str | Path) -> VisionTower:
    """The tower of a transformers folder, float32, frozen, in evaluation mode.

    Args:
        folder: of a ViT (``facebook/dino-vitb16``) or of CLIPSeg: config.json and
            model.safetensors.

    Raises:
        ValueError: no such folder, another model, absurd sizes or lacking weights.
    """
    kind = kind_of(folder)
    if kind == 'clipseg':
        return _frozen(ClipSegTower(ClipSeg.from_folder(folder)))
    if kind == 'vit':
        vit = load_model(ViTModel, ViTConfig, Path(folder), add_pooling_layer=False)
        return _frozen(DinoTower(vit))
    raise ValueError(
        f'vision tower in {folder}: model_type is {kind!r}, expected vit or clipseg in its '
        'config.json; bring the files of facebook/dino-vitb16 or of a CLIPSeg'
    )


def load_text(folder: str | Path) -> TextTower:
    """The text tower of a transformers folder, float32, frozen, in evaluation mode.

    Args:
        folder: of CLIP (``openai/clip-vit-base-patch32``) or of CLIPSeg: config.json and
            model.safetensors.

    Raises:
        ValueError: as ``load_vision``.
    """
    kind = kind_of(folder)
    if kind == 'clipseg':
        return TextTower(ClipSeg.from_folder(folder).model.clip.text_model).eval()
    if kind in ('clip', 'clip_text_model'):
        return TextTower(load_model(CLIPTextModel, CLIPTextConfig, Path(folder))).eval()
    raise ValueError(
        f'text tower in {folder}: model_type is {kind!r}, expected clip or clipseg in its '
        'config.json; bring the files of openai/clip-vit-base-patch32 or of a CLIPSeg'
    )


class TextIds:
    """Texts to token ids, by a tokenizer of CLIP.

    Args:
        folder: holds vocab.json and merges.txt.
        length: L, of all texts, start and end included.
    """

    def __init__(self, folder: str | Path, length: int) -> None:
        self.length = length
        self._tokenizer = load_tokenizer(folder)
        self._one = lru_cache(maxsize=20_000)(self._ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """int64 [n, L], filled up with the end of text.

        Raises:
            ValueError: a text has more tokens.
        """
        return torch.tensor([self._one(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        ids = list(self._tokenizer(text)['input_ids'])
        if len(ids) > self.length:
            raise ValueError(f'{text!r} has {len(ids)} tokens: expected at most {self.length}')
        return ids + [self._tokenizer.eos_token_id] * (self.length - len(ids))


class TextTower(nn.Module):
    """CLIP's text tower, frozen: the token at the end of the text, not projected.

    Args:
        model: transformers' ``CLIPTextModel``, or the ``text_model`` of a CLIPSeg.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.width = int(self.model.config.hidden_size)
        self.length = int(self.model.config.max_position_embeddings)
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> TextTower:
        """It stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, ids: Tensor) -> Tensor:
        """Token ids [B, L], filled up with the end of text -> [B, W].

        What follows the first end of text has no say: attention is causal.
        """
        return self.model(input_ids=ids).pooler_output


def _frozen(tower: Any) -> Any:
    return tower.eval().requires_grad_(False)


@cache
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation [3, 1, 1] on a device."""
    with torch.inference_mode(False):  # else training could not use them after an inference
        mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        return mean, torch.tensor(IMAGENET_STD, device=device)[:, None, None]
