"""The two baselines that a trained localiser has to beat: Random and Centre (method.md D4)."""

from __future__ import annotations

import torch

from cs3_ros.collision import Mask
from cs3_ros.localisers.audio_visual import AudioVisualLocaliser
from cs3_ros.metrics import centred_square
from cs3_ros.networks.audio_token import AudioToken

CENTRE_SHARE = 0.1
"""Share of the picture that the Centre baseline covers."""
DRAWS = 8
"""Random projections that take turns: single ones differ by several points."""


def centre(height: int, width: int) -> Mask:
    """The Centre baseline, bool [H, W]: always the same square in the middle of the picture."""
    return centred_square(height, width, CENTRE_SHARE)


def random_projection(localiser: AudioVisualLocaliser, seed: int = 0) -> AudioVisualLocaliser:
    """The Random baseline: the same architecture with a random projection of the sound.

    CLIPSeg, BEATs and the scale of the mask stay, so that heat maps are binarised alike
    (method.md G40); what turns BEATs features into a word, projection and pooling, is drawn.

    Args:
        localiser: the trained one; all else is shared with it.
        seed: of the draw; equal seeds give equal networks.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = AudioToken(localiser.audio_token.config)
    return localiser.with_audio_token(drawn)
