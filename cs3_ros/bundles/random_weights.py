"""Every file of weights that the bundles name, in its official format, with random content.

``write_random_weights`` fills a folder that takes the place of ``CS3_HOME``: networks of full size
for the benchmarks, which then need no download, and tiny ones for the tests. Both are loaded by
the same bundles and the same code as real weights. What they find is noise.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    EdgeTamConfig,
    EdgeTamModel,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    TimmWrapperConfig,
    ViTImageProcessor,
)
from transformers.models.edgetam.configuration_edgetam import (
    EdgeTamMaskDecoderConfig,
    EdgeTamPromptEncoderConfig,
    EdgeTamVisionConfig,
)

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.bundles.random_yolox import write_toy_yolox, write_yolox_nano
from cs3_ros.bundles.toy_tokenizers import write_clip_tokenizer, write_roberta_tokenizer
from cs3_ros.files.progress import Bar
from cs3_ros.hands.detr import LABELS
from cs3_ros.networks.acl_format import BLOCKS, POSITION, PROMPT, acl_checkpoint
from cs3_ros.networks.audio_token import AudioToken, AudioTokenConfig
from cs3_ros.networks.audio_visual import save_checkpoint
from cs3_ros.networks.beats import Beats, BeatsConfig, beats_checkpoint
from cs3_ros.networks.clipseg import reset_decoder
from cs3_ros.networks.sam2_checkpoint import sam2_checkpoint
from cs3_ros.networks.sam2_model import PRESETS, Sam2, Sam2Architecture

Size = Literal['tiny', 'full']

OFFICIAL_BEATS: Mapping[str, Any] = {
    'input_patch_size': 16,
    'embed_dim': 512,
    'conv_bias': False,
    'encoder_layers': 12,
    'encoder_embed_dim': 768,
    'encoder_ffn_embed_dim': 3072,
    'encoder_attention_heads': 12,
    'activation_fn': 'gelu',
    'layer_wise_gradient_decay_ratio': 0.6,
    'layer_norm_first': False,
    'deep_norm': True,
    'dropout': 0.0,
    'attention_dropout': 0.0,
    'activation_dropout': 0.0,
    'encoder_layerdrop': 0.05,
    'dropout_input': 0.0,
    'conv_pos': 128,
    'conv_pos_groups': 16,
    'relative_position_embedding': True,
    'num_buckets': 320,
    'max_distance': 800,
    'gru_rel_pos': True,
    'finetuned_model': True,
    'predictor_dropout': 0.0,
    'predictor_class': 527,
}
"""The ``cfg`` of BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt (method.md A1)."""

_TINY_BEATS: Mapping[str, Any] = {
    'embed_dim': 16,
    'encoder_layers': 12,  # ACL-SSL takes blocks 4, 8 and 12, whatever their size
    'encoder_embed_dim': 32,
    'encoder_ffn_embed_dim': 48,
    'encoder_attention_heads': 2,
    'conv_pos': 16,
    'conv_pos_groups': 4,
    'num_buckets': 32,
    'max_distance': 80,
    'predictor_class': 7,
}

_TINY_TOWER: Mapping[str, Any] = {
    'hidden_size': 32,
    'intermediate_size': 48,
    'num_hidden_layers': 3,
    'num_attention_heads': 2,
}

_TINY_SAM2 = Sam2Architecture(
    embed_dim=16,
    num_heads=1,
    stages=(1, 1, 2, 1),
    global_att_blocks=(3,),
    window_spec=(8, 4, 8, 4),
    window_pos_embed_bkg_spatial_size=(7, 7),
    width=32,
    image_size=128,
)

_TINY_RESNET: Mapping[str, Any] = {
    'embedding_size': 8,
    'hidden_sizes': [8, 16, 24, 32],
    'depths': [1, 1, 1, 1],
    'layer_type': 'basic',
    'out_features': ['stage2', 'stage3', 'stage4'],
}

_TINY_DETR: Mapping[str, Any] = {
    'encoder_hidden_dim': 16,
    'encoder_in_channels': [16, 24, 32],
    'encoder_ffn_dim': 32,
    'encoder_attention_heads': 2,
    'd_model': 16,
    'num_queries': 12,
    'decoder_in_channels': [16, 16, 16],
    'decoder_ffn_dim': 32,
    'decoder_layers': 2,
    'decoder_attention_heads': 2,
}


def write_random_weights(
    home: Path,
    size: Size = 'tiny',
    seed: int = 0,
    sam2: str = 'base_plus',
    parts: Collection[str] | None = None,
    progress: bool = False,
) -> Path:
    """Fill a folder with random weights; equal arguments give equal weights.

    Args:
        home: the folder, made where it does not exist; set CS3_HOME to it to use it.
        size: ``full`` for the networks of the paper, ``tiny`` for tests.
        seed: of everything random.
        sam2: SAM 2.1 of this size, tiny, small, base_plus or large, whatever its file is called;
            not looked at when the networks are tiny.
        parts: folders of ``PARTS`` or ``OF_SMALL`` to write; None for all of ``PARTS``.
        progress: show a bar.

    Returns:
        ``home``.

    Raises:
        ValueError: a size of networks or a part that does not exist.
    """
    for what, given, known in (
        ('size', {size}, {'tiny', 'full'}),
        ('sam2', {sam2}, set(PRESETS)),
        ('parts', set(parts or ()), set(_WRITERS)),
    ):
        if unknown := given - known:
            raise ValueError(
                f'{what}: {", ".join(sorted(unknown))}: expected {", ".join(sorted(known))}'
            )
    names = [name for name in _WRITERS if name in (PARTS if parts is None else parts)]
    for name in Bar(names, 'random weights', unit='part', disable=not progress):
        folder = home / name
        folder.mkdir(parents=True, exist_ok=True)
        with _random(seed + 1000 * list(_WRITERS).index(name)):
            _WRITERS[name](folder, size == 'full', sam2)
    return home


@contextlib.contextmanager
def random_home(
    bundle: Bundle, size: Size = 'full', sam2: str = 'base_plus', seed: int = 0
) -> Iterator[Path]:
    """A temporary CS3_HOME with random weights for what a bundle's stages name; yields the folder.

    SAM 2.1 is called as in our bundles, sam2/sam2.1_hiera_base_plus.pt, whatever its size.
    """
    named = [file.path for file in bundle.weights]
    for stage in bundle.stages.values():
        named += [value for value in stage.values() if isinstance(value, str) and value]
    parts = {PurePosixPath(path).parts[0] for path in named} & set(_WRITERS)
    before = os.environ.get('CS3_HOME')
    with tempfile.TemporaryDirectory(prefix='cs3_random_') as folder:
        home = write_random_weights(Path(folder), size, seed, sam2, parts, progress=size == 'full')
        os.environ['CS3_HOME'] = folder
        try:
            yield home
        finally:
            if before is None:
                del os.environ['CS3_HOME']
            else:
                os.environ['CS3_HOME'] = before


@contextlib.contextmanager
def _random(seed: int) -> Iterator[None]:
    """Everything that is drawn inside depends on the seed; the caller's state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _write_clipseg(folder: Path, full: bool, _: str) -> None:
    """CIDAS/clipseg-rd64-refined: ViT-B/16, 352 pixels, a decoder 64 wide on layers 3, 6 and 9."""
    # eos_token_id 2, as in the official file: pooling then takes the largest id, the last one
    vocabulary = write_clip_tokenizer(folder)
    if full:
        config = CLIPSegConfig(
            text_config={'eos_token_id': 2},
            vision_config={'patch_size': 16},
            decoder_hidden_act='relu',
            use_complex_transposed_convolution=True,
        )
        pixels = 352
    else:
        config = CLIPSegConfig(
            text_config={
                **_TINY_TOWER,
                'vocab_size': vocabulary,
                'bos_token_id': vocabulary - 2,
                'eos_token_id': 2,
            },
            vision_config={**_TINY_TOWER, 'image_size': 64, 'patch_size': 16},
            projection_dim=24,
            extract_layers=[0, 1, 2],
            reduce_dim=16,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
            decoder_hidden_act='relu',
            use_complex_transposed_convolution=True,
        )
        pixels = 64
    model = CLIPSegForImageSegmentation(config)
    reset_decoder(model, torch.Generator().manual_seed(torch.initial_seed()))
    model.save_pretrained(folder)
    ViTImageProcessor(
        size={'height': pixels, 'width': pixels},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


def _write_clap(folder: Path, full: bool, _: str) -> None:
    """laion/clap-htsat-unfused."""
    vocabulary = write_roberta_tokenizer(folder)
    if full:
        config = ClapConfig()
    else:
        config = ClapConfig(
            text_config={**_TINY_TOWER, 'vocab_size': vocabulary, 'projection_dim': 24},
            audio_config={
                'depths': [1, 1],
                'num_attention_heads': [2, 2],
                'patch_embeds_hidden_size': 8,
                'hidden_size': 16,
                'num_hidden_layers': 2,
                'projection_dim': 24,
            },
            projection_dim=24,
        )
    ClapModel(config).save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, truncation='rand_trunc').save_pretrained(folder)


def _write_beats(folder: Path, full: bool, _: str) -> None:
    cfg = {**OFFICIAL_BEATS, **({} if full else _TINY_BEATS)}
    checkpoint = beats_checkpoint(Beats(BeatsConfig.from_cfg(cfg)))
    torch.save(checkpoint, folder / 'BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt')


def _write_sam2(folder: Path, full: bool, sam2: str) -> None:
    model = Sam2(PRESETS[sam2] if full else _TINY_SAM2)
    torch.save(sam2_checkpoint(model), folder / 'sam2.1_hiera_base_plus.pt')


def _write_cs3(folder: Path, full: bool, _: str) -> None:
    """Our own: the audio token with the mask's scale and bias, and the detector RT-DETRv2-R50."""
    token = AudioTokenConfig()
    if not full:
        token = AudioTokenConfig(blocks=(1, 2, 3), audio_width=32, text_width=32)
    save_checkpoint(folder / 'audio_visual.safetensors', AudioToken(token))
    sizes = {} if full else {'backbone_config': RTDetrResNetConfig(**_TINY_RESNET), **_TINY_DETR}
    config = RTDetrV2Config(
        id2label=dict(enumerate(LABELS)),
        label2id={label: row for row, label in enumerate(LABELS)},
        **sizes,
    )
    pixels = 640 if full else 64
    hands = folder / 'hands'
    RTDetrV2ForObjectDetection(config).save_pretrained(hands)
    RTDetrImageProcessor(size={'height': pixels, 'width': pixels}).save_pretrained(hands)


def _write_yolox(folder: Path, full: bool, _: str) -> None:
    """YOLOX-nano of the official release."""
    write = write_yolox_nano if full else write_toy_yolox
    write(folder / 'yolox_nano.onnx', torch.initial_seed())


def _write_edgetam(folder: Path, full: bool, _: str) -> None:
    """yonigozlan/EdgeTAM-hf, without what is for video; needs timm."""
    backbone: dict[str, Any] = {
        'architecture': 'repvit_m1',
        'num_labels': 2,  # of the classifier that it had; config.json cannot be read without
        'model_args': {'in_chans': 3, 'features_only': True, 'out_indices': [0, 1, 2, 3]},
    }
    sizes: dict[str, Any] = {}
    if not full:
        side, width = 128, 32
        sizes = {
            'vision': {
                'backbone_feature_sizes': [[32, 32], [16, 16], [8, 8]],
                'fpn_hidden_size': width,
            },
            'prompts': {'hidden_size': width, 'image_size': side},
            'decoder': {
                'hidden_size': width,
                'mlp_dim': 64,
                'num_attention_heads': 2,
                'iou_head_hidden_dim': 32,
            },
        }
    config = EdgeTamConfig(
        vision_config=EdgeTamVisionConfig(
            backbone_config=TimmWrapperConfig(**backbone), **sizes.get('vision', {})
        ),
        prompt_encoder_config=EdgeTamPromptEncoderConfig(**sizes.get('prompts', {})),
        mask_decoder_config=EdgeTamMaskDecoderConfig(**sizes.get('decoder', {})),
    )
    EdgeTamModel(config).save_pretrained(folder)


def _write_acl(folder: Path, full: bool, _: str) -> None:
    """ACL-SSL's checkpoint."""
    widths = (768, 512) if full else (32, 32)
    token = AudioToken(AudioTokenConfig(BLOCKS, *widths, PROMPT, POSITION))
    torch.save(acl_checkpoint(token), folder / 'Param_best.pth')


PARTS: Mapping[str, Callable[[Path, bool, str], None]] = {
    'clipseg-rd64-refined': _write_clipseg,
    'clap-htsat-unfused': _write_clap,
    'beats': _write_beats,
    'sam2': _write_sam2,
    'cs3': _write_cs3,
    'acl': _write_acl,
}
"""Folder below the home folder -> what writes it."""

OF_SMALL: Mapping[str, Callable[[Path, bool, str], None]] = {
    'yolox': _write_yolox,
    'edgetam': _write_edgetam,
}
"""The same for the bundle ``small``; written only where they are named, for timm may be absent."""

_WRITERS = {**PARTS, **OF_SMALL}
