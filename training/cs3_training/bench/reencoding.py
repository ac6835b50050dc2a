"""A training step as the public predecessor takes it: a picture is encoded again for every sound.

ACL-SSL (github.com/swimmiing/ACL-SSL, ``modules/models.py``, ``forward_module`` and
``forward_decoder``) sends the whole batch of pictures through all blocks of CLIP's vision tower
once for every sound, B x B encodings, and keeps all maps for the gradients. This is that step on
our networks and losses, to measure against.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cs3_training.localiser.losses import (
    LossConfig,
    Losses,
    area_loss,
    combine,
    feature_mask,
    feature_similarity,
    gumbel_mask,
    image_similarity,
    info_nce,
)
from cs3_training.localiser.model import CollisionSegmenter


def reencoding_losses(
    model: CollisionSegmenter,
    pixels: Tensor,
    fbank: Tensor,
    config: LossConfig = LossConfig(),
    recompute: bool = False,
) -> Losses:
    """The losses that ``model(pixels, fbank, config)`` gives, from B x B encodings.

    Nothing is slower than there: batches are whole, and the frozen tower runs without gradients.
    It runs to its end for every sound, which leaves the dense features (ACL-SSL runs it once more
    for them).

    Args:
        model: CS3's networks, in one process.
        pixels: normalised pictures [B, 3, S, S].
        fbank: spectrograms [B, T, 128].
        config: weights; of the variants only CS3's own.
        recompute: decode again for the gradients instead of keeping all that they need: about
            B x B x 6 MB at full size and not 16. The tower is not run again.
    """
    clipseg = model.clipseg
    audio = model.embed_audio(fbank)  # [B, P]
    columns = []
    for condition in audio:
        with torch.no_grad():
            features = clipseg.encode_image(pixels)
            dense = clipseg.dense_features(features)  # [B, P, h, w]
        if recompute:
            column = checkpoint(clipseg.decode, features, condition[None], use_reentrant=False)
        else:
            column = clipseg.decode(features, condition[None])
        columns.append(column)  # [B, 1, S, S]
    logits = torch.cat(columns, 1)  # [B, B, S, S]
    soft = feature_mask(logits, features.grid, config.feature_temperature)  # [B, B, h, w]
    pooled = feature_similarity(soft, dense, audio)  # [B, B]
    own = logits.diagonal().permute(2, 0, 1)  # [B, B, S, S] -> [S, S, B] -> [B, S, S]
    masks = gumbel_mask(model.mask(own), config.gumbel_temperature, config.gumbel_noise)
    masked = clipseg.embed_image(pixels * masks[:, None])  # [B, P]
    return combine(
        info_nce(image_similarity(masked, audio), config.temperature),
        info_nce(pooled, config.temperature),
        area_loss(masks.mean((-2, -1)), config),
        config,
    )
