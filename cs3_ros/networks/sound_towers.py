"""The sound towers of the sounding-object network: AST, as published, or BEATs (method.md F).

Shapes: B batch, T frames of 10 ms, E the width that the head leaves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ASTConfig, ASTModel, DeiTConfig, DeiTModel

from cs3_ros.config import setting, validate
from cs3_ros.networks.beats import MIN_SAMPLES, Beats, beats_fbank, whole_patches
from cs3_ros.networks.model_folder import kind_of, load_model
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_SIDE, MAX_WIDTH
from cs3_ros.networks.sound import MEL_BINS, kaldi_fbank
from cs3_ros.networks.towers import EPSILON


class SoundTower(nn.Module, ABC):
    """A transformer that leaves one vector for a sound."""

    @abstractmethod
    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """Sounds float32 [B, N] at 16 kHz -> [B, T, 128] as the tower takes them."""

    head: nn.Module
    """What the transformer leaves -> E."""
    width: int
    """Of what the transformer leaves."""

    @abstractmethod
    def pooled(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] -> what the transformer leaves of a sound, [B, width]."""

    def forward(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] -> [B, E]."""
        out: Tensor = self.head(self.pooled(spectrogram))
        return out

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
        self.sizes, self.width = sizes, sizes.width
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

    def pooled(self, spectrogram: Tensor) -> Tensor:
        """As ``SoundTower``: the mean of the tokens CLS and distillation."""
        tokens: Tensor = self.model(spectrogram).last_hidden_state  # [B, 2 + M, width]
        return (tokens[:, 0] + tokens[:, 1]) / 2  # [B, width]

    @property
    def transformer(self) -> nn.Module:
        """As ``SoundTower``."""
        return self.model

    def blocks(self) -> list[nn.Module]:
        """As ``SoundTower``."""
        return list(self.model.layers)


def load_ast(folder: str | Path, sizes: AstSizes) -> dict[str, Tensor]:
    """Pretrained weights for ``AstTower.model``, as the authors of AST begin with them.

    Args:
        folder: of transformers: an AST (``MIT/ast-finetuned-audioset-10-10-0.4593``), or a
            distilled DeiT of pictures (``facebook/deit-base-distilled-patch16-384``, the paper's),
            whose colours are summed.
        sizes: of the tower; the table of positions is cut to them in its middle, or stretched.

    Returns:
        State dict.

    Raises:
        ValueError: as ``load_vision``, or a model of other sizes.
    """
    kind = kind_of(folder)
    if kind == 'audio-spectrogram-transformer':
        loaded = load_model(ASTModel, ASTConfig, Path(folder))
        grid = loaded.embeddings.get_shape(loaded.config)  # patches in frequency and time
    elif kind == 'deit':
        loaded = load_model(DeiTModel, DeiTConfig, Path(folder), add_pooling_layer=False)
        side = loaded.config.image_size // loaded.config.patch_size
        grid = (side, side)
    else:
        raise ValueError(
            f'AST in {folder}: model_type is {kind!r}, expected audio-spectrogram-transformer or '
            'deit in its config.json'
        )
    state: dict[str, Tensor] = loaded.state_dict()
    tower = AstTower(sizes, 1).model
    asked = tower.embeddings.get_shape(tower.config)
    table, patches = (
        'embeddings.position_embeddings',
        'embeddings.patch_embeddings.projection.weight',
    )
    state[table] = fit_positions(state[table], grid, asked)  # [1, 2 + f * t, D]
    state[patches] = state[patches].sum(1, keepdim=True)  # [D, C, p, p] -> [D, 1, p, p]
    expected = {name: list(value.shape) for name, value in tower.state_dict().items()}
    found = {name: list(value.shape) for name, value in state.items() if name in expected}
    if odd := sorted(name for name, shape in expected.items() if found.get(name) != shape):
        raise ValueError(
            f'AST in {folder}: {odd[0]} is {found.get(odd[0])}, the settings ask for '
            f'{expected[odd[0]]}; correct width, hidden, layers or patch'
        )
    return {name: state[name] for name in expected}


def fit_positions(table: Tensor, grid: tuple[int, int], asked: tuple[int, int]) -> Tensor:
    """Positions for another grid of patches: the middle of a longer axis, a shorter one stretched.

    Args:
        table: [1, 2 + F * T, D]; the first two belong to CLS and distillation and stay.
        grid: F and T, patches in frequency and time.
        asked: f and t.

    Returns:
        [1, 2 + f * t, D].
    """
    plane = table[:, 2:].unflatten(1, grid).permute(0, 3, 1, 2)  # [1, F * T, D] -> [1, D, F, T]
    for axis in (3, 2):  # time first
        now, wanted = plane.shape[axis], asked[axis - 2]
        if wanted <= now:
            plane = plane.narrow(axis, now // 2 - wanted // 2, wanted)
        else:
            size = (plane.shape[2], wanted) if axis == 3 else (wanted, plane.shape[3])
            plane = F.interpolate(plane, size, mode='bilinear')
    return torch.cat([table[:, :2], plane.flatten(2).transpose(1, 2)], 1)  # [1, 2 + f * t, D]


class BeatsTower(SoundTower):
    """BEATs, the mean of its tokens and a linear head.

    Args:
        beats: the network.
        embedding: E.
    """

    def __init__(self, beats: Beats, embedding: int) -> None:
        super().__init__()
        self.beats, self.width = beats, beats.config.encoder_embed_dim
        self.head = _head(self.width, embedding)

    def spectrogram(self, waveforms: Tensor) -> Tensor:
        """As ``SoundTower``, whole patches to the end of the sound; zeros before a short one."""
        short = max(MIN_SAMPLES - waveforms.shape[1], 0)
        return beats_fbank(whole_patches(F.pad(waveforms, (short, 0))))

    def pooled(self, spectrogram: Tensor) -> Tensor:
        """As ``SoundTower``: the mean of all tokens."""
        (tokens,) = self.beats(spectrogram, (self.beats.config.encoder_layers,))  # [B, M, width]
        return tokens.mean(1)  # [B, M, width] -> [B, width]

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


def _head(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embedding))
