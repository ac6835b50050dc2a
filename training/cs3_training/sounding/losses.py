"""The losses of Clink! Chop! Thud! (method.md F), on embeddings of pictures, sounds and texts.

Symbols: B samples of a batch, sample k of each kind belongs together; v, a and t are embeddings
[B, E] of pictures (what the object masks pool), sounds and texts, not normalised. All losses are
computed in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-7
"""Least base of a power in ``consensus``, whose slope is infinite at 0."""


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Every one with every other: [B, E] and [B', E] -> float32 [B, B']."""
    with torch.autocast(first.device.type, enabled=False):  # it would round the cosines
        return F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T


def contrast(similarity: Tensor, temperature: float, valid: Tensor) -> Tensor:
    """True against false pairs: cross-entropy of rows plus that of columns.

    Args:
        similarity: cosines [B, B], true pairs on the diagonal.
        temperature: divisor of the cosines.
        valid: bool [B]; the other samples are negatives only.

    Returns:
        Scalar, the mean over the valid samples; 0 where there are none.
    """
    logits = similarity / temperature  # [B, B]
    return _mean(_entropy(logits) + _entropy(logits.T), valid)


def three_way(v: Tensor, a: Tensor, t: Tensor, temperature: float, valid: Tensor) -> Tensor:
    """Stage align: the mean of the three contrasts, scalar.

    Args:
        v: pictures [B, E].
        a: sounds [B, E].
        t: texts [B, E].
        temperature: as ``contrast``.
        valid: as ``contrast``.
    """
    pairs = ((v, a), (v, t), (a, t))
    losses = [contrast(cosines(first, second), temperature, valid) for first, second in pairs]
    return torch.stack(losses).mean()


def consensus(v: Tensor, a: Tensor, t: Tensor, video_power: float, text_power: float) -> Tensor:
    """Stage refine: pictures and texts shall agree on each sound (after MC3, the sound as anchor).

    Where the picture or the text is far from the sound, the other is drawn away, too: an action
    that made no sound.

    Args:
        v: pictures [B, E].
        a: sounds [B, E].
        t: texts [B, E].
        video_power: exponent of the similarities of sounds and pictures.
        text_power: exponent of the similarities of sounds and texts.

    Returns:
        Scalar: the distances of both matrices from their agreement, which learns, too.
    """
    sound_picture, sound_text = cosines(a, v), cosines(a, t)  # [B, B] each
    agreed = torch.minimum(
        ((sound_picture + 1) / 2).clamp_min(EPSILON) ** video_power,
        ((sound_text + 1) / 2).clamp_min(EPSILON) ** text_power,
    )  # [B, B] in [0, 1]
    agreed = 2 * agreed - 1
    return torch.linalg.norm(sound_text - agreed) + torch.linalg.norm(sound_picture - agreed)


def detection(
    v: Tensor,
    background: Tensor,
    a: Tensor,
    temperature: float,
    valid: Tensor,
    others: Tensor | None = None,
    there: Tensor | None = None,
) -> Tensor:
    """Stage detect: a sound is told from other sounds and from the background of the pictures.

    Args:
        v: pictures [B, E].
        background: what is not the objects, of the same pictures, [B, E].
        a: sounds [B, E].
        temperature: as ``contrast``.
        valid: as ``contrast``.
        others: other things of the same pictures, [B, P, E]; the released code has none.
        there: which of them are there, bool [B, P].

    Returns:
        Scalar. Row i: picture i with all sounds, beside its own background with all sounds. Column
        j: sound j with all pictures, beside all backgrounds and all other things.
    """
    objects, rest = cosines(v, a) / temperature, cosines(background, a) / temperature  # [B, B]
    rows = _entropy(torch.cat([objects, rest], 1))  # [B, 2 B] -> [B]
    beside = [objects.T, rest.T]  # [B, B] each
    if others is not None and there is not None:
        beside.append(cosines(a, others[there]) / temperature)  # [B, M], M things in all
    columns = _entropy(torch.cat(beside, 1))  # [B, 2 B + M] -> [B]
    return _mean(rows + columns, valid)


def background_masks(masks: Tensor, share: float, union: bool) -> Tensor:
    """The patches beside the objects, a random part of them.

    Args:
        masks: patches of the objects, bool [B, T, O, N].
        share: of the patches of all backgrounds together that is kept, in [0, 1]; drawn by torch's
            global random numbers.
        union: whether no object is in the background of another. The released code takes the
            complement of each object by itself, which contains the other object, a positive
            (method.md G43).

    Returns:
        bool [B, T, O, N].
    """
    objects = masks.any(2, keepdim=True).expand_as(masks) if union else masks
    beside = (~objects).nonzero()  # [M, 4]
    dropped = beside[torch.randperm(len(beside))[: int((1 - share) * len(beside))]]
    kept = ~objects
    kept[tuple(dropped.T)] = False
    return kept


def _entropy(logits: Tensor) -> Tensor:
    """Cross-entropy of every row, whose target is the column of the same number: [B, C] -> [B]."""
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target, reduction='none')


def _mean(losses: Tensor, valid: Tensor) -> Tensor:
    """Over the valid ones; 0 where there are none."""
    return torch.where(valid, losses, 0).sum() / valid.sum().clamp_min(1)
