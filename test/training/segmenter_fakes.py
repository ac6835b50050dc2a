"""A tiny segmenter and batches for the tests of the localiser's training."""

from __future__ import annotations

from pathlib import Path

import torch

from cs3_ros.networks.audio_visual import load_checkpoint
from cs3_ros.networks.beats import load_beats
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.model import CollisionSegmenter, assemble

CALM = LossConfig(gumbel_noise=False)


def segmenter(home: Path, **options) -> CollisionSegmenter:
    found = load_checkpoint(home / 'cs3' / 'audio_visual.safetensors')
    beats = found.beats or load_beats(next((home / 'beats').glob('*.pt')))
    folder = home / 'clipseg-rd64-refined'
    return assemble(folder, beats, found.audio_token, found.mask, **options).eval()  # no dropout


def batch(model: CollisionSegmenter, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    side = model.clipseg.image_size
    pixels = torch.randn(count, 3, side, side, generator=generator)
    return pixels, torch.randn(count, 32, 128, generator=generator)


def sides(model: CollisionSegmenter) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
