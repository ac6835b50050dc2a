"""Tiny clips and towers for the tests of the sounding objects' training."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from sounding_fakes import tiny_beats, tiny_clipseg

from cs3_ros.networks.towers import ClipSegTower, TextTower
from cs3_training.sounding.config import (
    AlignConfig,
    DetectConfig,
    NetworkConfig,
    RefineConfig,
    SampleConfig,
    SlotsStageConfig,
    SoundingConfig,
)
from cs3_training.sounding.data import Sample
from cs3_training.sounding.model import Batch, assemble
from cs3_training.sounding.train import Towers

NETWORK = NetworkConfig(
    embedding=10, slots=3, slot_width=8, slot_hidden=8, decoder_blocks=2, decoder_heads=3,
    ast_width=8, ast_hidden=12, ast_layers=3, ast_heads=2, ast_frames=30,
)  # fmt: skip
QUICK = dict(steps=4, batch=4, lr=1e-3, workers=0, save_every=2)
CONFIG = SoundingConfig(
    network=NETWORK,
    samples=SampleConfig(before_s=0.1, after_s=0.2, text_length=5),
    slots=SlotsStageConfig(**QUICK, warm_up=2),
    align=AlignConfig(**QUICK, frames=2, frozen_blocks=1),
    refine=RefineConfig(**QUICK, frames=2, frozen_blocks=1),
    detect=DetectConfig(**QUICK),
)


def ids(texts) -> torch.Tensor:
    """A tokenizer of a kind: 38 begins, 39 ends."""
    rows = [[38, *(hashlib.sha256(text.encode()).digest()[0] % 30,) * 2, 39, 39] for text in texts]
    return torch.tensor(rows)


def towers() -> Towers:
    clipseg = tiny_clipseg()
    text = TextTower(clipseg.model.clip.text_model)
    vision = ClipSegTower(clipseg).requires_grad_(False).eval()
    return Towers(vision, text, tiny_beats(), ids, {'vision': 'tiny'})


def network(config: NetworkConfig = NETWORK):
    some, window = towers(), CONFIG.samples.window
    return assemble(config, some.vision, some.beats, some.text, window).eval()


class Clips:
    """Random pictures and sounds; clip 2 has no object."""

    digest = 'noise'

    def __len__(self) -> int:
        return 6

    def sample(self, index, frames, objects, rng):
        noise = np.random.default_rng(index)
        pictures = list(noise.integers(0, 256, (frames, 70, 70, 3), np.uint8))
        masks = np.zeros((frames, 0 if index == 2 else 1 + index % 2, 70, 70), bool)
        for number in range(masks.shape[1]):
            top = 20 * number + 5
            masks[:, number, top : top + 12, 10:30] = True
        others = np.zeros((frames, index % 3, 70, 70), bool)
        others[:, :, 50:, 40:] = True
        sound = noise.normal(0, 0.1, 16_000).astype(np.float32)
        return Sample(pictures, masks, sound, f'action {index}', others)


def batch(count: int = 4, frames: int = 2, others: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(5)
    masks = torch.rand(count, frames, 2, 16, generator=generator) < 0.3
    masks[1] = False
    things = torch.rand(count, frames, others, 16, generator=generator) < 0.2
    things[1, :, :1] = False
    return Batch(
        torch.randn(count, frames, 3, 64, 64, generator=generator),
        masks,
        masks[:, 0].flatten(1).any(1),
        torch.randn(count, 4800, generator=generator) * 0.1,
        things,
        ids([f'action {k}' for k in range(count)]),
    )
