"""The two baselines that a trained localiser has to beat: Random and Centre (method.md D4)."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from cs3_ros.collision import Mask
from cs3_ros.localisers.audio_token import AudioToken
from cs3_ros.localisers.audio_visual import AudioVisualLocaliser, load_checkpoint, save_checkpoint
from cs3_ros.metrics import centred_square

CENTRE_SHARE = 0.1
"""Share of the picture that the Centre baseline covers."""


def centre(height: int, width: int) -> Mask:
    """The Centre baseline, bool [H, W]: always the same square in the middle of the picture."""
    return centred_square(height, width, CENTRE_SHARE)


def random_projection(localiser: AudioVisualLocaliser, seed: int = 0) -> AudioVisualLocaliser:
    """The Random baseline: the same architecture with a random projection of the sound.

    CLIPSeg, BEATs and the scale of the mask stay, so that heat maps are binarised alike
    (method.md G 40); what turns BEATs features into a word, projection and pooling, is drawn.

    Args:
        localiser: the trained one; its checkpoint is read again.
        seed: of the draw; equal seeds give equal networks.
    """
    trained = load_checkpoint(localiser.config.checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = AudioToken(trained.audio_token.config)
    with tempfile.TemporaryDirectory(prefix='cs3_random_') as folder:
        path = Path(folder) / 'audio_visual.safetensors'
        save_checkpoint(path, drawn, trained.mask, trained.beats)
        config = replace(localiser.config, checkpoint=str(path))
        return AudioVisualLocaliser(config, localiser.runtime)
