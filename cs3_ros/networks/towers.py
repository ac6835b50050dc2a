"""The towers of the sounding-object network: patches of a picture, a sound, a text (method.md F).

Vision and text are frozen; any tower that fits the classes here can stand in: DINO as published, or
the vision tower of a CLIPSeg folder, as ``nano`` has it. Sound is AST, as published, or BEATs.

Shapes: B batch, N = n x n patches of width D, T frames of 10 ms, E the width that the head of a
sound tower leaves, L tokens, W width of the text tower.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as geometry
from transformers import (
    ASTConfig,
    ASTModel,
    CLIPTextConfig,
    CLIPTextModel,
    ViTConfig,
    ViTModel,
)

from cs3_ros.config import setting, validate
from cs3_ros.files.fields import mapping
from cs3_ros.files.jsonfile import read_json
from cs3_ros.networks.beats import MIN_SAMPLES, Beats, beats_fbank
from cs3_ros.networks.clipseg import ClipSeg, load_tokenizer
from cs3_ros.networks.sizes import (
    MAX_LAYERS,
    MAX_SIDE,
    MAX_WIDTH,
    check_description,
    check_parameters,
)
from cs3_ros.networks.sound import MEL_BINS, kaldi_fbank

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
    kind = _kind(folder)
    if kind == 'clipseg':
        return _frozen(ClipSegTower(ClipSeg.from_folder(folder)))
    if kind == 'vit':
        vit = _load(ViTModel, ViTConfig, Path(folder), add_pooling_layer=False)
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
    kind = _kind(folder)
    if kind == 'clipseg':
        return TextTower(ClipSeg.from_folder(folder).model.clip.text_model).eval()
    if kind in ('clip', 'clip_text_model'):
        return TextTower(_load(CLIPTextModel, CLIPTextConfig, Path(folder))).eval()
    raise ValueError(
        f'text tower in {folder}: model_type is {kind!r}, expected clip or clipseg in its '
        'config.json; bring the files of openai/clip-vit-base-patch32 or of a CLIPSeg'
    )


def _kind(folder: str | Path) -> Any:
    """What the description in a folder says it is of; None where there is none."""
    where = Path(folder) / 'config.json'
    if not where.is_file():
        return None
    return mapping(read_json(where, f'{where}'), f'{where}', others=None).get('model_type')


def _load(model: Any, config: Any, folder: Path, **options: Any) -> Any:
    """A model of transformers from its folder, all of its weights."""
    try:
        check_description(folder / 'config.json')
        described = config.from_pretrained(folder, local_files_only=True)
        check_parameters(partial(model, described, **options), folder)
        loaded, info = model.from_pretrained(
            folder,
            config=described,
            local_files_only=True,
            use_safetensors=True,  # never a pickle
            attn_implementation='sdpa',  # else config.json may name code of a hub
            dtype=torch.float32,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers and safetensors raise errors of many kinds
        raise ValueError(
            f'{model.__name__} in {folder}: {error}; bring its files again, weights as '
            'model.safetensors'
        ) from error
    if lacking := sorted(str(key) for key in info['missing_keys']):
        raise ValueError(
            f'{model.__name__} in {folder}: model.safetensors lacks {len(lacking)} tensors, first '
            f'{lacking[0]}'
        )
    return loaded


class SoundTower(nn.Module, ABC):
    """A transformer that leaves one vector for a sound."""

    @abstractmethod
    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """Sounds float32 [B, N] at 16 kHz -> [B, T, 128] as the tower takes them."""

    @abstractmethod
    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] -> [B, E]."""

    @property
    @abstractmethod
    def transformer(self) -> nn.Module:
        """All but the head."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Its transformer blocks, the first one first."""

    def learn(self, transformer: bool, frozen_blocks: int = 0) -> None:
        """Choose what is trained; the head always is.

        Args:
            transformer: whether the transformer is, too.
            frozen_blocks: its first blocks that are not.

        Raises:
            ValueError: it has no more than these blocks.
        """
        blocks = self.blocks()
        if transformer and frozen_blocks >= len(blocks):
            raise ValueError(
                f'{frozen_blocks} blocks of the sound tower frozen: it has {len(blocks)}, and at '
                'least one has to learn'
            )
        self.requires_grad_(True)
        self.transformer.requires_grad_(transformer)
        for block in blocks[:frozen_blocks]:
            block.requires_grad_(False)


@dataclass(frozen=True)
class AstSizes:
    """Sizes of ``AstTower``; the defaults are those of Clink! Chop! Thud!

    Raises:
        ValueError: a setting is outside its range.
    """

    width: int = setting(768, 'Width of the transformer.', minimum=1, maximum=MAX_WIDTH)
    hidden: int = setting(3072, 'Hidden width of its MLPs.', minimum=1, maximum=MAX_WIDTH)
    layers: int = setting(12, 'Blocks.', minimum=1, maximum=MAX_LAYERS)
    heads: int = setting(12, 'Heads of attention.', minimum=1, maximum=1024)
    frames: int = setting(
        150, 'Frames of 10 ms that it hears; 1.5 s.', minimum=16, maximum=MAX_SIDE
    )
    patch: int = setting(16, 'Side of a patch of the spectrogram.', minimum=1, maximum=MEL_BINS)
    stride: int = setting(10, 'Distance of two patches.', minimum=1, maximum=MEL_BINS)

    def __post_init__(self) -> None:
        validate(self)


class AstTower(SoundTower):
    """The Audio Spectrogram Transformer (Gong et al., Interspeech 2021) and a linear head.

    Args:
        sizes: of the transformer.
        embedding: E.
    """

    mean, spread = -4.26, 4.57
    """Of log-mel spectrograms of AudioSet, as published; the spread counts twice."""

    def __init__(self, sizes: AstSizes, embedding: int) -> None:
        super().__init__()
        self.sizes = sizes
        self.model: Any = ASTModel(
            ASTConfig(
                hidden_size=sizes.width,
                intermediate_size=sizes.hidden,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.heads,
                patch_size=sizes.patch,
                frequency_stride=sizes.stride,
                time_stride=sizes.stride,
                max_length=sizes.frames,
                num_mel_bins=MEL_BINS,
                layer_norm_eps=EPSILON,
            )
        )
        self.head = _head(sizes.width, embedding)

    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """As ``SoundTower``: Kaldi's, Hann window, T = ``sizes.frames``, zeros where it ends early.

        Raises:
            ValueError: sounds shorter than one frame, 400 samples.
        """
        if waveforms.ndim != 2 or waveforms.shape[1] < 400:
            raise ValueError(
                f'waveforms of shape {list(waveforms.shape)}: expected [B, N] with N >= 400 samples'
            )
        fbank = kaldi_fbank(waveforms, 'hanning', 1.0)  # [B, T', 128]
        fbank = (fbank - self.mean) / (2 * self.spread)
        fbank = fbank[:, : self.sizes.frames]  # [B, min(T', T), 128]
        return F.pad(fbank, (0, 0, 0, self.sizes.frames - fbank.shape[1]))  # [B, T, 128]

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] -> [B, E]: the mean of the tokens CLS and distillation, then the head."""
        tokens = self.model(spectrogram).last_hidden_state  # [B, 2 + M, width]
        return self.head((tokens[:, 0] + tokens[:, 1]) / 2)  # [B, width] -> [B, E]

    @property
    def transformer(self) -> nn.Module:
        """As ``SoundTower``."""
        return self.model

    def blocks(self) -> list[nn.Module]:
        """As ``SoundTower``."""
        return list(self.model.layers)


class BeatsTower(SoundTower):
    """BEATs, the mean of its tokens and a linear head.

    Args:
        beats: the network.
        embedding: E.
    """

    def __init__(self, beats: Beats, embedding: int) -> None:
        super().__init__()
        self.beats = beats
        self.head = _head(beats.config.encoder_embed_dim, embedding)

    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """As ``SoundTower``, T = 1 + (N - 400) // 160; short sounds get zeros at the end."""
        short = max(MIN_SAMPLES - waveforms.shape[1], 0)
        return beats_fbank(F.pad(waveforms, (0, short)))

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] -> [B, E]."""
        (tokens,) = self.beats(spectrogram, (self.beats.config.encoder_layers,))  # [B, M, width]
        return self.head(tokens.mean(1))  # [B, M, width] -> [B, width] -> [B, E]

    @property
    def transformer(self) -> nn.Module:
        """As ``SoundTower``."""
        return self.beats

    def blocks(self) -> list[nn.Module]:
        """As ``SoundTower``."""
        return list(self.beats.encoder.layers)

    def learn(self, transformer: bool, frozen_blocks: int = 0) -> None:
        """As ``SoundTower``."""
        super().learn(transformer, frozen_blocks)
        if self.beats.config.finetuned_model:
            self.beats.predictor.requires_grad_(False)  # not used


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


def _head(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embedding))


def _frozen(tower: Any) -> Any:
    return tower.eval().requires_grad_(False)


@cache
def _imagenet(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation [3, 1, 1] on a device."""
    with torch.inference_mode(False):  # else training could not use them after an inference
        mean = torch.tensor(IMAGENET_MEAN, device=device)[:, None, None]
        return mean, torch.tensor(IMAGENET_STD, device=device)[:, None, None]
