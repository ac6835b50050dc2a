"""What the weakly supervised stage trains: a batch of pairs in, the three losses out.

The networks are the classes that the node runs (``cs3_ros.localisers``). Every picture is encoded
once and decoded under every sound of the batch; the decoder runs on a few sounds at a time and,
with ``recompute``, again for the gradients: memory then grows with B x ``columns`` maps and not
with B x B.

Symbols as in ``losses``: B pictures and sounds of this process, W processes, A = W * B sounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cs3_ros.networks.audio_token import AudioToken, AudioTokenConfig, embed_prompt, prompt_ids
from cs3_ros.networks.audio_visual import MaskScale, check_fit
from cs3_ros.networks.beats import Beats
from cs3_ros.networks.clipseg import ClipSeg, ImageFeatures, load_tokenizer
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
from cs3_training.processes import gather, rank


@dataclass(frozen=True, eq=False)
class Frozen:
    """What does not change while the sound side is trained."""

    features: ImageFeatures
    """Of the vision tower."""
    dense: Tensor
    """Dense CLIP features, [B, P, h, w]."""


class CollisionSegmenter(nn.Module):
    """CLIPSeg, frozen, and the sound side: BEATs, audio token, scale and bias of the mask.

    Args:
        clipseg: its parameters are frozen here.
        beats: trained where ``train_beats``, else frozen.
        audio_token: trained.
        mask: trained.
        prompt_ids: the sentence with the place for the token, int64 [L].
        train_beats: whether BEATs learns too (CS3) or stays as published (ACL-SSL).
    """

    prompt_ids: Tensor

    def __init__(
        self,
        clipseg: ClipSeg,
        beats: Beats,
        audio_token: AudioToken,
        mask: MaskScale,
        prompt_ids: Tensor,
        train_beats: bool = True,
    ) -> None:
        super().__init__()
        self.clipseg = clipseg.eval().requires_grad_(False)
        self.beats = beats.requires_grad_(train_beats)
        used = max(audio_token.config.blocks)
        self.beats.encoder.layers[used:].requires_grad_(False)
        if beats.config.finetuned_model:
            self.beats.predictor.requires_grad_(False)
        self.audio_token, self.mask = audio_token, mask
        self.train_beats = train_beats
        self.register_buffer('prompt_ids', prompt_ids, persistent=False)

    def train(self, mode: bool = True) -> CollisionSegmenter:
        """The frozen parts stay in evaluation mode."""
        super().train(mode)
        self.clipseg.eval()
        if not self.train_beats:
            self.beats.eval()
        return self

    def embed_audio(self, fbank: Tensor) -> Tensor:
        """Spectrograms [B, T, 128] -> audio-driven embeddings [B, P]."""
        config, clip = self.audio_token.config, self.clipseg.model.clip
        with torch.set_grad_enabled(self.train_beats and torch.is_grad_enabled()):
            blocks = self.beats(fbank, config.blocks)  # each [B, N, width]
        return embed_prompt(
            clip.text_model,
            clip.text_projection,
            self.prompt_ids,
            self.audio_token(blocks),  # [B, E]
            config.position,
        )

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Frozen:
        """The frozen half: normalised pictures [B, 3, S, S], once per picture."""
        features = self.clipseg.encode_image(pixels)
        return Frozen(features, self.clipseg.dense_features(features))

    def forward(
        self,
        pixels: Tensor,
        fbank: Tensor,
        config: LossConfig = LossConfig(),
        columns: int = 8,
        recompute: bool = True,
    ) -> Losses:
        """The losses of a batch; picture k and sound k belong together.

        In a process group the sounds of all processes are the negatives, and the losses are those
        of the joint batch on every process.

        Args:
            pixels: normalised pictures [B, 3, S, S].
            fbank: spectrograms [B, T, 128].
            config: weights and variants.
            columns: sounds decoded at once; memory grows with it.
            recompute: decode again for the gradients instead of keeping what they need.
        """
        encoded = self.encode(pixels)
        audio = self.embed_audio(fbank)  # [B, P]
        everyone = gather(audio)  # [A, P]
        first = rank() * len(audio)  # column of this process's first pair
        decode = partial(checkpoint, self._columns, use_reentrant=False)
        parts = [
            (decode if recompute else self._columns)(
                encoded, everyone, start, columns, audio, first, config
            )
            for start in range(0, len(everyone), columns)
        ]
        pooled, shares, own = zip(*parts, strict=True)
        masks = torch.cat(own)  # [B, S, S]
        image = feature = audio.new_zeros(())
        if config.image_weight:
            masked = self.clipseg.embed_image(pixels * masks[:, None])  # [B, P]
            image = info_nce(gather(image_similarity(masked, everyone)), config.temperature)
        if config.feature_weight:
            feature = info_nce(gather(torch.cat(pooled, 1)), config.temperature)
        others = gather(torch.cat(shares, 1)) if config.area_negative else None  # [A, A]
        area = area_loss(gather(masks.mean((-2, -1))), config, others)
        return combine(image, feature, area, config)

    def _columns(
        self,
        encoded: Frozen,
        everyone: Tensor,
        start: int,
        columns: int,
        audio: Tensor,
        first: int,
        config: LossConfig,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Every picture under ``columns`` sounds from ``start`` on, c of them.

        Returns:
            Similarities [B, c] of the pooled features, shares of the picture under the binary
            masks, [B, c] with ``area_negative``, else those of the true pairs [t], and the masks of
            the true pairs, [t, S, S].
        """
        conditions = everyone[start : start + columns]  # [c, P]
        logits = self.clipseg.decode(encoded.features, conditions)  # [B, c, S, S]
        grid = (encoded.dense.shape[-2], encoded.dense.shape[-1])
        soft = feature_mask(logits, grid, config.feature_temperature)  # [B, c, h, w]
        against = audio if config.feature_audio == 'row' else None
        pooled = feature_similarity(soft, encoded.dense, conditions, against)  # [B, c]
        rows = [row for row in range(len(audio)) if 0 <= first + row - start < len(conditions)]
        own = (rows, [first + row - start for row in rows])
        if not config.area_negative:  # the masks of false pairs are of no use
            logits = logits[own]  # [B, c, S, S] -> [t, S, S]
        masks = gumbel_mask(self.mask(logits), config.gumbel_temperature, config.gumbel_noise)
        shares = masks.mean((-2, -1))  # [B, c, S, S] -> [B, c], or [t, S, S] -> [t]
        if config.area_negative:
            masks = masks[own]  # [B, c, S, S] -> [t, S, S]
        return pooled, shares, masks


def assemble(
    folder: Path,
    beats: Beats,
    token: AudioToken | None = None,
    mask: MaskScale | None = None,
    train_beats: bool = True,
    seed: int = 0,
) -> CollisionSegmenter:
    """Pretrained networks and the audio token between them, on the CPU.

    Args:
        folder: CLIPSeg with its tokenizer, as transformers keeps it.
        beats: the sound network.
        token: None for a random one.
        mask: None for CS3's first scale and bias.
        train_beats: as ``CollisionSegmenter``.
        seed: of a random token.

    Raises:
        ValueError: no such folder, it lacks weights, or the networks do not belong together.
    """
    clipseg = ClipSeg.from_folder(folder)
    if token is None:
        torch.manual_seed(seed)
        token = AudioToken(_token_config(beats, clipseg))
    check_fit(token.config, beats.config, clipseg.text_width)
    ids = prompt_ids(load_tokenizer(folder), token.config)
    return CollisionSegmenter(clipseg, beats, token, mask or MaskScale(), ids, train_beats)


def _token_config(beats: Beats, clipseg: ClipSeg) -> AudioTokenConfig:
    """The audio token for these two: it hears thirds of BEATs, as 4, 8 and 12 of its 12 blocks."""
    third = beats.config.encoder_layers // 3
    return AudioTokenConfig(
        blocks=(third, 2 * third, 3 * third),
        audio_width=beats.config.encoder_embed_dim,
        text_width=clipseg.text_width,
    )
