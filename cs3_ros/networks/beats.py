"""BEATs: what a sound is made of, as a sequence of vectors (Chen et al., ICML 2023, 2212.09058).

A transformer over 16x16 patches of a log-mel spectrogram. Post-norm layers with DeepNorm; attention
has a T5-style relative position bias that each layer gates by its own queries. Numbers and layout
are those of method.md A1, modules carry the names of microsoft/unilm ``beats/``; but the position
table that all layers share exists once, the positional convolution has no weight norm, and layers
are never dropped (method.md G15). ``beats_format.py`` translates.

Shapes: B batch, T frames of 10 ms, L tokens (patches), W width, H heads, D = W / H.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs3_ros.networks.beats_format import BeatsConfig, read_official, to_official
from cs3_ros.networks.sound import kaldi_fbank

RATE = 16_000
"""Samples per second of the waveforms."""
MIN_SAMPLES = 2_800
"""Shortest sound, samples: 16 frames, one patch in time (0.175 s)."""
_FBANK_MEAN, _FBANK_STD = 15.41663, 6.55582  # over AudioSet


def beats_fbank(waveforms: Tensor) -> Tensor:
    """Log-mel spectrograms as BEATs takes them (method.md A1): always float32.

    Args:
        waveforms: [B, N] at 16 kHz in [-1, 1], N >= 2800.

    Returns:
        float32 [B, T, 128], T = 1 + (N - 400) // 160.

    Raises:
        ValueError: not [B, N], or too short.
    """
    if waveforms.ndim != 2 or waveforms.shape[1] < MIN_SAMPLES:
        raise ValueError(
            f'waveforms of shape {list(waveforms.shape)}: expected [B, N] with N >= {MIN_SAMPLES} '
            f'samples ({MIN_SAMPLES / RATE} s at 16 kHz); append zeros to shorter sounds'
        )
    return (kaldi_fbank(waveforms) - _FBANK_MEAN) / (2 * _FBANK_STD)


def whole_patches(waveforms: Tensor) -> Tensor:
    """The last samples that ``Beats`` makes whole patches of, up to the very end.

    ``Beats`` leaves out frames at the end that fill no patch, up to 0.15 s: of a sound that ends
    soon after an impact, the impact. So as much is cut at the front, where it is not missed. Sounds
    of 2 s and more stay as they are, since the published networks heard them so.

    Args:
        waveforms: [..., N] at 16 kHz, N >= ``MIN_SAMPLES``.

    Returns:
        [..., M], M = 400 + 160 * (16 k - 1) <= N for the largest k; M = N from 2 s on.
    """
    if waveforms.shape[-1] >= 2 * RATE:
        return waveforms
    frames = 1 + (waveforms.shape[-1] - 400) // 160
    count = 400 + 160 * (frames // 16 * 16 - 1)
    return waveforms[..., waveforms.shape[-1] - count :]  # [..., M]


@lru_cache(maxsize=8)
def _buckets(length: int, num_buckets: int, max_distance: int, device: torch.device) -> Tensor:
    """Row of the position table for every (query, key), int64 [L, L]: T5's bidirectional scheme.

    Half of the rows are for keys after the query; in each half, the first half counts distances one
    by one, the rest logarithmically up to ``max_distance``.
    """
    with torch.inference_mode(False):  # else training could not use it after an inference
        position = torch.arange(length)
        offset = position[None, :] - position[:, None]  # [L, L]
        half, exact = num_buckets // 2, num_buckets // 4
        distance = offset.abs()
        growth = torch.log(distance.float() / exact) / math.log(max_distance / exact)
        far = exact + (growth * (half - exact)).long()
        bucket = torch.where(distance < exact, distance, far.clamp_max(half - 1))
        return (bucket + half * (offset > 0)).to(device)


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


class _Attention(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, self.heads = config.encoder_embed_dim, config.encoder_attention_heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // self.heads, 8)  # gate of the relative position
        self.grep_a = nn.Parameter(torch.ones(1, self.heads, 1, 1))
        self.dropout = config.attention_dropout

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, L, W] attends to itself; bias [H, L, L] belongs to the scores."""
        q = self.q_proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, L, D]
        k = self.k_proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, L, D]
        v = self.v_proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, L, D]
        gates = self.grep_linear(q).unflatten(3, (2, 4)).sum(4).sigmoid()  # [B, H, L, 2]
        update, reset = gates.chunk(2, 3)  # [B, H, L, 1] each
        gate = update * (reset * self.grep_a - 1) + 2  # [B, H, L, 1]
        gated = gate * bias  # [B, H, L, 1] * [H, L, L] -> [B, H, L, L]
        dropout = self.dropout if self.training else 0.0
        # The authors divide scores by 32 against overflow in float16; torch guards against it too.
        x = F.scaled_dot_product_attention(q, k, v, gated, dropout)  # [B, H, L, D]
        return self.out_proj(x.transpose(1, 2).flatten(2))  # [B, H, L, D] -> [B, L, W]


class _Layer(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, hidden = config.encoder_embed_dim, config.encoder_ffn_embed_dim
        self.self_attn = _Attention(config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.alpha = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[B, L, W] and the shared bias [H, L, L] -> [B, L, W]."""
        x = self.self_attn_layer_norm(self.alpha * x + self.dropout(self.self_attn(x, bias)))
        hidden = self.activation_dropout(F.gelu(self.fc1(x)))  # [B, L, hidden]
        return self.final_layer_norm(self.alpha * x + self.dropout(self.fc2(hidden)))  # [B, L, W]


class _Encoder(nn.Module):
    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.encoder_embed_dim, config.conv_pos
        convolution = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=config.conv_pos_groups
        )
        self.pos_conv = nn.Sequential(convolution, nn.GELU())
        self.layer_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.relative_attention_bias = nn.Embedding(
            config.num_buckets, config.encoder_attention_heads
        )
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.encoder_layers))

    def forward(self, x: Tensor, blocks: Sequence[int]) -> tuple[Tensor, ...]:
        """Embedded patches [B, L, W] -> [B, L, W] after each of the blocks, counted from 1."""
        config, length = self.config, x.shape[1]
        positions = self.pos_conv(x.transpose(1, 2))  # [B, L, W] -> [B, W, L or, if even, L + 1]
        positions = positions[..., :length]  # [B, W, L]
        x = self.dropout(self.layer_norm(x + positions.transpose(1, 2)))  # [B, L, W]
        rows = _buckets(length, config.num_buckets, config.max_distance, x.device)  # [L, L]
        bias = self.relative_attention_bias(rows).permute(2, 0, 1).contiguous()  # [H, L, L]
        outputs = {}
        for number, layer in enumerate(self.layers[: max(blocks)], start=1):
            if config.layer_wise_gradient_decay_ratio != 1 and x.requires_grad:
                x = _ScaleGradient.apply(x, config.layer_wise_gradient_decay_ratio)
            x = outputs[number] = layer(x, bias)
        return tuple(outputs[number] for number in blocks)


class Beats(nn.Module):
    """The encoder of BEATs.

    The AudioSet classifier of a fine-tuned file is kept, so that files are written back whole;
    nothing here computes with it.

    Args:
        config: its sizes, as a file's ``cfg`` has them.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        patch, width = config.input_patch_size, config.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, patch, patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = (
            nn.Linear(config.embed_dim, width) if config.embed_dim != width else nn.Identity()
        )
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = _Encoder(config)
        if config.finetuned_model:  # not used: so that a file is loaded and written whole
            self.predictor = nn.Linear(width, config.predictor_class)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Random weights as the authors draw them (DeepNet's for the layers), to train from."""
        config = self.config
        convolution = self.encoder.pos_conv.get_submodule('0')
        std = 2 / (config.conv_pos * config.encoder_embed_dim) ** 0.5
        nn.init.normal_(convolution.get_parameter('weight'), std=std)
        nn.init.zeros_(convolution.get_parameter('bias'))
        nn.init.normal_(self.encoder.relative_attention_bias.weight, std=0.02)
        small = (8 * config.encoder_layers) ** -0.25 if config.deep_norm else 1.0
        for name, weight in self.encoder.layers.named_parameters():
            if name.endswith('.bias') and 'norm' not in name:
                nn.init.zeros_(weight)
            elif name.endswith(('q_proj.weight', 'k_proj.weight')):
                nn.init.xavier_normal_(weight)
            elif name.endswith(('v_proj.weight', 'out_proj.weight', 'fc1.weight', 'fc2.weight')):
                nn.init.xavier_normal_(weight, gain=small)
            elif name.endswith('grep_linear.weight'):
                nn.init.normal_(weight, std=0.02)

    def forward(self, fbank: Tensor, blocks: Sequence[int] = (4, 8, 12)) -> tuple[Tensor, ...]:
        """Encode spectrograms; blocks behind the last one asked for are not computed.

        Args:
            fbank: [B, T, 128] from ``beats_fbank``; frames at the end that fill no patch are left
                out.
            blocks: behind which transformer layers, counted from 1.

        Returns:
            For each block [B, L, W], L = (T // patch) * (128 // patch), frequency fastest, in the
            number format of the weights.

        Raises:
            ValueError: no such block.
        """
        count = self.config.encoder_layers
        if not blocks or not all(1 <= block <= count for block in blocks):
            raise ValueError(f'blocks = {tuple(blocks)}: expected some of 1 to {count}')
        fbank = fbank.to(self.patch_embedding.weight.dtype)
        patches = self.patch_embedding(fbank[:, None])  # [B, embed, T / patch, 128 / patch]
        x = self.layer_norm(patches.flatten(2).transpose(1, 2))  # [B, L, embed]
        x = self.dropout_input(self.post_extract_proj(x))  # [B, L, embed] -> [B, L, W]
        return self.encoder(x, blocks)


def load_beats(path: str | Path) -> Beats:
    """Read an official file: ``{cfg, model}``, whichever way it spells the weight norm.

    Nothing in the file is executed.

    Args:
        path: for CS3 ``BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt`` (method.md A1).

    Returns:
        The network in float32 on the CPU, in evaluation mode.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or asks for a variant that was never published.
    """
    config, state = read_official(path)
    with torch.device('meta'):  # spares making random weights that are thrown away
        beats = Beats(config)
    try:
        beats.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f'{path}: its weights do not fit its cfg: {error}') from error
    return beats.eval()


def beats_checkpoint(beats: Beats) -> dict[str, Any]:
    """The official ``{cfg, model}`` of a network, for ``torch.save``; other BEATs code loads it."""
    return to_official(beats.config, beats.state_dict())
