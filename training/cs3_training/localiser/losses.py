"""The three losses of CS3 (equations 2 to 5; method.md A6) and their masks.

Symbols: B images and B sounds of one batch, i counts images, j sounds; the pair (i, i) belongs
together. P is the width of CLIP's joint space, S the side of the logits, h and w the patch grid.
All losses are computed in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cs3_ros.config import setting, validate

EPSILON = 1e-7


@dataclass(frozen=True)
class LossConfig:
    """Weights and variants of the losses; the defaults are CS3's.

    Raises:
        ValueError: a setting is outside its range.
    """

    temperature: float = setting(
        0.07, 'Divisor of the cosines before the softmax.', minimum=1e-3, maximum=1.0
    )
    image_weight: float = setting(1.0, 'Weight of the image-level loss.', minimum=0.0)
    feature_weight: float = setting(1.0, 'Weight of the feature-level loss.', minimum=0.0)
    area_weight: float = setting(
        1.0, 'Weight of the area loss; the paper takes 1 (EPIC) and 0.1 (Ego4D).', minimum=0.0
    )
    area_positive: float = setting(
        0.1,
        'Share of the image that the mask of a true pair should cover.',
        minimum=0.0,
        maximum=1.0,
    )
    area_negative: bool = setting(
        False, 'Also push the masks of false pairs to nothing, on the batch mean, as ACL-SSL does.'
    )
    feature_audio: str = setting(
        'column',
        'Sound that the pooled features of the pair (i, j) are compared with: column is j (CS3 '
        'equation 4), row is i (the code of ACL-SSL).',
        choices=('column', 'row'),
    )
    gumbel_temperature: float = setting(
        1.0, 'Temperature of the binary Gumbel mask.', minimum=0.05, maximum=10.0
    )
    gumbel_noise: bool = setting(
        True, 'Draw the binary masks at random; without it they are cut at a half.'
    )
    feature_temperature: float = setting(
        0.07, 'Softness of the feature mask round the middle.', minimum=1e-3, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


def info_nce(similarity: Tensor, temperature: float) -> Tensor:
    """Contrast of true against false pairs, the mean of both directions (equation 2).

    Equation 2 as printed lacks the exponential; the softmax is the only defined reading
    (method.md G1), the mean keeps the balance with the area loss (method.md G3).

    Args:
        similarity: cosines [B, B], images by sounds; true pairs on the diagonal.
        temperature: divisor of the cosines.

    Returns:
        Scalar: 0 where all true pairs win, log B at chance.
    """
    logits = similarity.float() / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def gumbel_mask(z: Tensor, temperature: float = 1.0, noise: bool = True) -> Tensor:
    """Binary masks that gradients pass through (straight-through Gumbel-sigmoid; method.md A5).

    Args:
        z: scaled logits w X + b, any shape.
        temperature: of the relaxation whose gradient is used.
        noise: whether masks are drawn with the probability sigmoid(z), by torch's global random
            numbers, or cut at 0.5.

    Returns:
        Zeros and ones in the shape of ``z``; the gradient is that of
        sigmoid((z + logit(u)) / temperature) with u uniform, or 0.5 without noise.
    """
    z = z.float()
    if noise:
        z = z + torch.logit(torch.rand_like(z).clamp(1e-6, 1 - 1e-6))
    soft = torch.sigmoid(z / temperature)
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())  # in this order the sum is exact


def feature_mask(logits: Tensor, grid: tuple[int, int], temperature: float = 0.07) -> Tensor:
    """Soft masks on the patch grid (method.md A5).

    Args:
        logits: [B, C, S, S].
        grid: height and width of the patch grid.
        temperature: softness round the middle of each map's own range.

    Returns:
        [B, C, h, w] in (0, 1).
    """
    x = logits.float()
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)  # [B, C, 1, 1]
    x = F.interpolate(x, grid)  # [B, C, h, w], nearest
    level = (x - low) / (high - low + EPSILON)
    return torch.sigmoid((level - 0.5) / temperature)


def image_similarity(masked_images: Tensor, audio: Tensor) -> Tensor:
    """Cosines of masked images and sounds.

    Args:
        masked_images: CLIP embeddings of the images under their own masks, [B, P].
        audio: audio-driven embeddings, [B', P].

    Returns:
        [B, B'].
    """
    with torch.autocast(audio.device.type, enabled=False):  # it would round the cosines
        images, sounds = (F.normalize(x.float(), dim=-1) for x in (masked_images, audio))
        return images @ sounds.T  # [B, P] @ [P, B'] -> [B, B']


def feature_similarity(
    masks: Tensor, features: Tensor, audio: Tensor, against: Tensor | None = None
) -> Tensor:
    """Cosines of patch features pooled under the mask of each pair, and sounds (equations 3, 4).

    Args:
        masks: soft masks [B, B', h, w] of image i under sound j.
        features: dense CLIP features [B, P, h, w].
        audio: audio-driven embeddings of the columns, [B', P].
        against: embeddings of the rows' own sounds [B, P], where these are compared instead
            (``LossConfig.feature_audio`` row).

    Returns:
        [B, B'].
    """
    with torch.autocast(audio.device.type, enabled=False):  # it would round the cosines
        pooled = torch.einsum('ijhw,iphw->ijp', masks.float(), features.float())  # [B, B', P]
        pooled = pooled / (masks.float().sum((-2, -1))[..., None] + EPSILON)
        pooled = F.normalize(pooled, dim=-1)
        if against is not None:
            own = F.normalize(against.float(), dim=-1)
            return torch.einsum('ijp,ip->ij', pooled, own)  # [B, B']
        return torch.einsum('ijp,jp->ij', pooled, F.normalize(audio.float(), dim=-1))  # [B, B']


def area_loss(own: Tensor, config: LossConfig, others: Tensor | None = None) -> Tensor:
    """How far the masks of true pairs are from the expected size (equation 5).

    Args:
        own: share of the image under the mask of each true pair, [B].
        config: expected share, variant.
        others: the shares of all pairs [B, B], needed for ``config.area_negative``.

    Returns:
        Scalar: the mean absolute deviation (method.md G5); with ``area_negative`` plus the shares
        of the false pairs summed over B squared.

    Raises:
        ValueError: ``config.area_negative`` without ``others``.
    """
    loss = (own - config.area_positive).abs().mean()
    if config.area_negative:
        if others is None:
            raise ValueError('area_negative needs the areas of all pairs, got only the true ones')
        loss = loss + (others.sum() - others.diagonal().sum()) / others.numel()
    return loss


@dataclass(frozen=True, eq=False)
class Losses:
    """The three losses of a batch; each a scalar."""

    image: Tensor
    feature: Tensor
    area: Tensor
    total: Tensor
    """Their weighted sum."""


def combine(image: Tensor, feature: Tensor, area: Tensor, config: LossConfig) -> Losses:
    """L = L_i + L_f + lambda_r L_r, scalars [], each with its weight."""
    total = (
        config.image_weight * image + config.feature_weight * feature + config.area_weight * area
    )
    return Losses(image, feature, area, total)
