"""SAM 2 for single pictures: the image part of the ``sam2`` package, built without Hydra.

``Sam2`` holds what a picture needs (trunk, neck, prompt encoder, mask decoder) under the names of
the official checkpoints; the memory of the video predictor is neither built nor loaded. Sizes come
from a ``Sam2Architecture`` (method.md A8).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn

from cs3_ros.files.fields import expect, whole
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_LAYERS_IN_ALL, MAX_SIDE, MAX_WIDTH

STRIDE = 16
"""Pixels of the network's picture per pixel of its embedding."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0, 1], as ``SAM2Transforms`` has them."""
ABSENT = -2
"""Label of a point that pads prompts with fewer points; the others are in ``prompt_labels``."""

_LARGEST = {
    'embed_dim': MAX_WIDTH, 'num_heads': MAX_WIDTH, 'stages': MAX_LAYERS,
    'global_att_blocks': MAX_LAYERS_IN_ALL, 'window_spec': MAX_SIDE,
    'window_pos_embed_bkg_spatial_size': MAX_SIDE, 'width': MAX_WIDTH, 'decoder_heads': MAX_WIDTH,
    'decoder_mlp': MAX_WIDTH, 'image_size': MAX_SIDE,
}  # fmt: skip


@dataclass(frozen=True)
class Sam2Architecture:
    """Sizes of the network; the defaults are SAM 2.1's base plus (the package's configs).

    Raises:
        ValueError: a size that is no whole number of its range, or sizes that do not fit together.
    """

    embed_dim: int = 112
    """Width of the trunk's first stage; doubles with every stage."""
    num_heads: int = 2
    """Heads of attention in the first stage; double with every stage."""
    stages: tuple[int, ...] = (2, 3, 16, 3)
    """Blocks in each of the four stages."""
    global_att_blocks: tuple[int, ...] = (12, 16, 20)
    """Blocks that attend to the whole picture; never the first of a later stage."""
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    """Side of the attention window in each stage."""
    window_pos_embed_bkg_spatial_size: tuple[int, ...] = (14, 14)
    """Size of the position embedding before it is stretched over the picture."""
    width: int = 256
    """Width of the neck and the decoder."""
    decoder_heads: int = 8
    """Heads of attention in the decoder."""
    decoder_mlp: int = 2048
    """Hidden width in the decoder's transformer."""
    image_size: int = 1024
    """Side of the square that a picture is resized to, pixels."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            many = isinstance(field.default, tuple)
            if many and isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            numbers = value if many else (value,)
            where, largest = f'Sam2Architecture.{field.name}', _LARGEST[field.name]
            good = type(numbers) is tuple and len(numbers) <= MAX_LAYERS
            expect(good, where, value, f'up to {MAX_LAYERS} whole numbers')
            for number in numbers:
                whole(number, where, 1, largest)
        first = [sum(self.stages[:k]) for k in range(len(self.stages))]
        for fits, rule in (
            (
                sum(self.stages) <= MAX_LAYERS_IN_ALL,
                f'stages are {MAX_LAYERS_IN_ALL} blocks at most',
            ),
            (len(self.stages) == 4, 'stages has 4 entries'),
            (len(self.window_spec) == 4, 'window_spec has 4 entries'),
            (len(self.window_pos_embed_bkg_spatial_size) == 2, 'the position embedding is h x w'),
            (self.embed_dim % self.num_heads == 0, 'num_heads divides embed_dim'),
            # pooling of the queries halves the window that a stage begins with
            (
                all(side % 2 == 0 for side in self.window_spec[:3]),
                'windows before pooling are even',
            ),
            (
                all(block not in first for block in self.global_att_blocks),
                'a block with global attention does not begin a stage',
            ),
            (max(self.global_att_blocks, default=0) < sum(self.stages), 'global blocks exist'),
            (self.image_size % 32 == 0, 'image_size is a multiple of 32'),
            (
                self.image_size // 4 % self.window_spec[0] == 0,
                'the first window divides image_size / 4',
            ),
            (self.width % (2 * self.decoder_heads) == 0, 'width is a multiple of 2 decoder_heads'),
            (self.width % 8 == 0, 'width is a multiple of 8'),
        ):
            if not fits:
                raise ValueError(f'{self}: expected that {rule}')


PRESETS: Mapping[str, Sam2Architecture] = {
    'tiny': Sam2Architecture(96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), (7, 7)),
    'small': Sam2Architecture(96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), (7, 7)),
    'base_plus': Sam2Architecture(),
    'large': Sam2Architecture(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), (7, 7)),
}
"""The official sizes; SAM 2.0 and 2.1 differ in the memory alone, so both load."""


@dataclass(frozen=True, eq=False)
class Sam2Features:
    """What all prompts on a picture share; B pictures, S = image_size, C = width."""

    embedding: Tensor
    """[B, C, S/16, S/16]."""
    quarter: Tensor
    """[B, C/8, S/4, S/4], fine detail."""
    eighth: Tensor
    """[B, C/4, S/8, S/8], less fine detail."""

    def float(self) -> Sam2Features:
        """The same in float32."""
        return Sam2Features(self.embedding.float(), self.quarter.float(), self.eighth.float())


class Sam2(nn.Module):
    """SAM 2's image part; plain and differentiable.

    Args:
        architecture: its sizes.
    """

    def __init__(self, architecture: Sam2Architecture = Sam2Architecture()) -> None:
        super().__init__()
        self.architecture = architecture
        width, cells = architecture.width, architecture.image_size // STRIDE
        trunk = Hiera(
            embed_dim=architecture.embed_dim,
            num_heads=architecture.num_heads,
            stages=architecture.stages,
            global_att_blocks=architecture.global_att_blocks,
            window_spec=architecture.window_spec,
            window_pos_embed_bkg_spatial_size=architecture.window_pos_embed_bkg_spatial_size,
        )
        neck = FpnNeck(
            _NoPositions(),
            width,
            trunk.channel_list,
            fpn_interp_model='nearest',
            fpn_top_down_levels=[2, 3],
        )
        self.image_encoder = ImageEncoder(trunk, neck, scalp=1)
        size = (architecture.image_size, architecture.image_size)
        self.sam_prompt_encoder = PromptEncoder(width, (cells, cells), size, mask_in_chans=16)
        self.sam_mask_decoder = MaskDecoder(
            transformer=_TokenTransformer(
                2, width, architecture.decoder_heads, architecture.decoder_mlp
            ),
            transformer_dim=width,
            use_high_res_features=True,
            iou_prediction_use_sigmoid=True,
            # build_sam2's default: another of the masks where the single one is not stable
            dynamic_multimask_via_stability=True,
            dynamic_multimask_stability_delta=0.05,
            dynamic_multimask_stability_thresh=0.98,
            pred_obj_scores=True,
            pred_obj_scores_mlp=True,
            use_multimask_token_for_obj_ptr=True,
        )
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.no_mem_embed, std=0.02)

    def normalise(self, images: Tensor) -> Tensor:
        """Pictures as the trunk takes them, equal to ``SAM2Transforms``.

        Args:
            images: RGB uint8 [B, H, W, 3].

        Returns:
            float32 [B, 3, S, S], squeezed to a square, by the ImageNet statistics.
        """
        size = self.architecture.image_size
        pixels = images.permute(0, 3, 1, 2).contiguous().float() / 255  # [B, 3, H, W]
        pixels = F.interpolate(
            pixels, (size, size), mode='bilinear', antialias=True
        )  # [B, 3, S, S]
        # By numbers: tensors of the statistics would have to be copied to the device.
        for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
            pixels[:, channel].sub_(mean).div_(std)
        return pixels

    def encode(self, pixels: Tensor) -> Sam2Features:
        """The shared part of a picture's masks.

        Args:
            pixels: [B, 3, S, S] from ``normalise``.
        """
        decoder, levels = self.sam_mask_decoder, self.image_encoder(pixels)['backbone_fpn']
        quarter, eighth, embedding = levels  # [B, C, s, s] for s = S/4, S/8, S/16
        return Sam2Features(
            embedding + self.no_mem_embed.reshape(1, -1, 1, 1),  # [B, C, S/16, S/16]
            decoder.conv_s0(quarter),  # [B, C/8, S/4, S/4]
            decoder.conv_s1(eighth),  # [B, C/4, S/8, S/8]
        )

    def decode(
        self, features: Sam2Features, points: Tensor, labels: Tensor, multimask: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The masks of N prompts in one batch; none changes with the others.

        Args:
            features: of one picture, or of N, one for each prompt.
            points: float32 [N, K, 2], (x, y) in pixels of the square, [0, S]; a box is its top left
                and bottom right corner.
            labels: int [N, K] of the points; ABSENT pads prompts with fewer than K.
            multimask: three masks per prompt, for part, subpart and whole, instead of one.

        Returns:
            Logits [N, M, S/4, S/4], above 0 on the object, and their estimated IoU [N, M] in
            [0, 1]; M is 1 or 3.
        """
        logits, quality, _, _ = self.sam_mask_decoder(
            **self._prompted(features, points, labels), multimask_output=multimask
        )
        return logits, quality

    def decode_all(
        self, features: Sam2Features, points: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As ``decode``, for training: the single mask, then the three.

        Returns:
            Logits [N, 4, S/4, S/4] and their estimated IoU [N, 4] in [0, 1].
        """
        prompted = self._prompted(features, points, labels)
        logits, quality, _, _ = self.sam_mask_decoder.predict_masks(**prompted)
        return logits, quality

    def _prompted(self, features: Sam2Features, points: Tensor, labels: Tensor) -> dict[str, Any]:
        """What the mask decoder takes; h and w are S/16."""
        # [N, K + 1, C], as the encoder adds a point "none" to each prompt, and [N, C, h, w].
        sparse, dense = self.sam_prompt_encoder((points, labels), None, None)
        absent = F.pad(labels == ABSENT, (0, 1))  # [N, K] -> [N, K + 1]
        return {
            'image_embeddings': features.embedding.expand(len(points), -1, -1, -1),  # [N, C, h, w]
            'image_pe': self.sam_prompt_encoder.get_dense_pe(),  # [1, C, h, w]
            'sparse_prompt_embeddings': sparse.masked_fill(absent[..., None], 0.0),  # [N, K + 1, C]
            'dense_prompt_embeddings': dense,  # [N, C, h, w]
            'repeat_image': False,
            'high_res_features': [features.quarter, features.eighth],
        }


class _NoPositions(nn.Module):
    """In place of the neck's position encoding, which only the memory of videos reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


class _TokenTransformer(TwoWayTransformer):
    """sam2's decoder, in which nothing attends to tokens that are zero.

    So prompts with different numbers of points share a batch without changing each other's masks;
    sam2 itself can only pad with points labelled "none", which change the masks.
    """

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = point_embedding  # [N, T, C]
        there = (tokens != 0).any(-1)[:, None, None]  # [N, T, C] -> [N, 1, 1, T]
        positions = image_pe.flatten(2).transpose(1, 2)  # [N or 1, C, h, w] -> [N or 1, h*w, C]
        queries = tokens
        keys = image_embedding.flatten(2).transpose(1, 2)  # [N, C, h, w] -> [N, h*w, C]
        for block in self.layers:
            if block.skip_first_layer_pe:
                queries = _attend(block.self_attn, queries, queries, queries, there)
            else:
                q = queries + tokens
                queries = queries + _attend(block.self_attn, q, q, queries, there)
            queries = block.norm1(queries)
            q, k = queries + tokens, keys + positions
            queries = block.norm2(queries + block.cross_attn_token_to_image(q=q, k=k, v=keys))
            queries = block.norm3(queries + block.mlp(queries))
            q = queries + tokens
            keys = keys + _attend(block.cross_attn_image_to_token, k, q, queries, there)
            keys = block.norm4(keys)
        q, k = queries + tokens, keys + positions
        queries = queries + self.final_attn_token_to_image(q=q, k=k, v=keys)
        return self.norm_final_attn(queries), keys


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor, there: Tensor) -> Tensor:
    """sam2's ``Attention`` on the keys that are ``there`` [N, 1, 1, T]; [N, Q, C] as q."""
    heads = attention.num_heads
    q = attention.q_proj(q).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, Q, D]
    k = attention.k_proj(k).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, T, D]
    v = attention.v_proj(v).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, T, D]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=there)  # [N, heads, Q, D]
    return attention.out_proj(out.transpose(1, 2).flatten(2))  # [N, Q, C]
