"""The tiny networks: classes of the full system with small numbers, random until trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    ViTImageProcessor,
)

from cs3_ros.hands.detr import LABELS
from cs3_ros.networks.beats import Beats
from cs3_ros.networks.beats_format import BeatsConfig
from cs3_ros.networks.clipseg import CLIP_MEAN, CLIP_STD, reset_decoder
from cs3_ros.networks.sam2_model import Sam2, Sam2Architecture
from cs3_training.nano.config import AudioStageConfig, ClipStageConfig, HandsConfig, MasksConfig
from cs3_training.nano.tokens import LENGTH


def tiny_clipseg(config: ClipStageConfig, vocabulary: int) -> CLIPSegForImageSegmentation:
    """CLIP's towers and CLIPSeg's decoder; the last token of the vocabulary is the end of text."""
    layers = config.vision_layers
    sizes = CLIPSegConfig(
        text_config={
            'vocab_size': vocabulary,
            'hidden_size': config.text_width,
            'intermediate_size': 4 * config.text_width,
            'num_hidden_layers': config.text_layers,
            'num_attention_heads': config.heads,
            'hidden_act': 'gelu',  # one kernel; the official quick_gelu is three
            'max_position_embeddings': LENGTH,
            'bos_token_id': vocabulary - 2,
            'eos_token_id': 2,  # as in the official file: pooling then takes the largest id
            'pad_token_id': vocabulary - 1,
        },
        vision_config={
            'hidden_size': config.vision_width,
            'intermediate_size': 4 * config.vision_width,
            'num_hidden_layers': layers,
            'num_attention_heads': config.heads,
            'hidden_act': 'gelu',
            'image_size': config.image_size,
            'patch_size': config.patch,
        },
        projection_dim=config.projection,
        # as the official 3, 6 and 9 of 12; the last block serves CLIP alone
        extract_layers=[(layers - 2) // 4, (layers - 1) // 2, layers - 2],
        reduce_dim=config.reduce,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=4 * config.reduce,
        decoder_hidden_act='relu',
        use_complex_transposed_convolution=True,
    )
    model = CLIPSegForImageSegmentation(sizes)
    _see_neighbours(model.clip.vision_model)
    reset_decoder(model, torch.Generator().manual_seed(torch.initial_seed() % 2**62))
    return model


@torch.no_grad()
def _see_neighbours(tower: Any) -> None:
    """Start a vision tower so that patches attend to patches that are near and look alike.

    Positions are sines along x and y; products of query and key, and of value and output, are noisy
    multiples of the identity (Trockman and Kolter, Mimetic Initialization of Self-Attention Layers,
    ICML 2023).
    """
    weights = tower.embeddings
    nn.init.trunc_normal_(
        weights.patch_embedding.weight, std=weights.patch_embedding.weight[0].numel() ** -0.5
    )
    table = weights.position_embedding.weight  # [1 + n * n, W]
    side, quarter = math.isqrt(len(table) - 1), table.shape[1] // 4
    waves = 10_000 ** (-torch.arange(quarter) / quarter)  # [W/4]
    angles = torch.arange(side)[:, None] * waves  # [n, W/4]
    half = torch.cat([angles.sin(), angles.cos()], 1)  # [n, W/2]
    x, y = half.repeat(side, 1), half.repeat_interleave(side, 0)  # [n * n, W/2] each
    table[1:, : 4 * quarter] = 0.5 * torch.cat([x, y], 1)
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        width, heads = attention.embed_dim, attention.num_heads
        queries, keys = zip(
            *(_factors(0.7, 0.7, width, width // heads) for _ in range(heads)), strict=True
        )
        attention.q_proj.weight.copy_(torch.cat(queries, 1).T)  # [W, W]
        attention.k_proj.weight.copy_(torch.cat(keys, 1).T)  # [W, W]
        output, value = _factors(0.4, -0.4, width, width)
        attention.out_proj.weight.copy_(output)
        attention.v_proj.weight.copy_(value.T)


def _factors(noise: float, identity: float, width: int, rank: int) -> tuple[Tensor, Tensor]:
    """Two [W, rank], whose product, the second one transposed, is nearest to the noisy identity."""
    product = noise * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)
    left, sizes, right = torch.linalg.svd(product)
    root = sizes[:rank].sqrt()  # [rank]
    return left[:, :rank] * root, right[:rank].T * root


def write_clipseg(model: CLIPSegForImageSegmentation, folder: Path, size: int) -> None:
    """All files of a transformers folder but those of the tokenizer."""
    model.save_pretrained(folder)
    ViTImageProcessor(
        size={'height': size, 'width': size},
        resample=3,
        image_mean=list(CLIP_MEAN),
        image_std=list(CLIP_STD),
    ).save_pretrained(folder)


def tiny_beats(config: AudioStageConfig) -> Beats:
    """BEATs without a classifier."""
    return Beats(
        BeatsConfig(
            input_patch_size=16,
            embed_dim=min(128, config.width),
            encoder_layers=config.layers,
            encoder_embed_dim=config.width,
            encoder_ffn_embed_dim=4 * config.width,
            encoder_attention_heads=config.heads,
            deep_norm=True,
            conv_pos=32,
            conv_pos_groups=max(config.width // 16, 1),  # narrower groups are slow on CPUs
            num_buckets=64,
            max_distance=128,
        )
    )


def tiny_hands(config: HandsConfig) -> RTDetrV2ForObjectDetection:
    """RT-DETRv2 on a basic ResNet."""
    first = config.backbone
    sizes = [first, 2 * first, 4 * first, 6 * first]
    resnet: dict[str, Any] = {
        'embedding_size': first,
        'hidden_sizes': sizes,
        'depths': [1, 2, 2, 1],
        'layer_type': 'basic',
        'out_features': ['stage2', 'stage3', 'stage4'],
    }
    settings: dict[str, Any] = {
        'backbone_config': RTDetrResNetConfig(**resnet),
        'freeze_backbone_batch_norms': False,  # they start from nothing
        'encoder_hidden_dim': config.width,
        'encoder_in_channels': sizes[1:],
        'encoder_ffn_dim': 4 * config.width,
        'encoder_attention_heads': 4,
        'd_model': config.width,
        'num_queries': config.queries,
        'decoder_in_channels': [config.width] * 3,
        'decoder_ffn_dim': 4 * config.width,
        'decoder_layers': config.decoder_layers,
        'decoder_attention_heads': 4,
        'num_denoising': 40,
    }
    return RTDetrV2ForObjectDetection(
        RTDetrV2Config(
            id2label=dict(enumerate(LABELS)),
            label2id={label: row for row, label in enumerate(LABELS)},
            **settings,
        )
    )


def write_hands(model: RTDetrV2ForObjectDetection, folder: Path, size: int) -> None:
    """All files of a transformers folder."""
    model.save_pretrained(folder)
    RTDetrImageProcessor(size={'height': size, 'width': size}).save_pretrained(folder)


def tiny_sam2(config: MasksConfig) -> Sam2:
    """SAM 2 for pictures of a quarter of the usual side."""
    model = Sam2(
        Sam2Architecture(
            embed_dim=config.embed,
            num_heads=1,
            stages=(1, 2, 3, 1),
            global_att_blocks=(4, 5),
            window_spec=(8, 4, 8, 4),
            window_pos_embed_bkg_spatial_size=(7, 7),
            width=config.width,
            decoder_heads=4,
            decoder_mlp=4 * config.width,
            image_size=config.image_size,
        )
    )
    _see_places(model)
    return model


@torch.no_grad()
def _see_places(model: Sam2) -> None:
    """Start the decoder so that a prompt attends to its own place in the picture.

    In 100 steps without picture the dice loss fell to 0.53; to 0.77 with waves drawn at random, as
    SAM 2 does, and with random attention not at all (75 steps). Here the waves that encode places
    run along x or y alone, from half a wave per picture on, so that left of and above are nearly
    linear in them.
    """
    waves = model.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # [2, C/2]
    half = waves.shape[1] // 2
    waves.zero_()
    waves[0, :half] = waves[1, half:] = torch.logspace(-2, 1, half, base=2)  # 1/4 to 2
    for level in list(model.image_encoder.neck.convs)[:2]:  # the deepest first: the embedding alone
        for weight in level.parameters():
            weight.mul_(0.2)
    transformer: Any = model.sam_mask_decoder.transformer
    crosses = [layer.cross_attn_token_to_image for layer in transformer.layers]
    crosses += [layer.cross_attn_image_to_token for layer in transformer.layers]
    for attention in (*crosses, transformer.final_attn_token_to_image):
        nn.init.orthogonal_(attention.q_proj.weight, gain=2.0)
        attention.k_proj.weight.copy_(attention.q_proj.weight)  # equal places have large products
        nn.init.zeros_(attention.q_proj.bias)
        nn.init.zeros_(attention.k_proj.bias)
