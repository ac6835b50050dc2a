"""Tiny sounding-object networks, and a checkpoint with the released keys and shapes."""

from __future__ import annotations

import torch
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, ViTConfig, ViTModel

from cs3_ros.networks.beats import Beats
from cs3_ros.networks.beats_format import BeatsConfig
from cs3_ros.networks.clipseg import ClipSeg
from cs3_ros.networks.slots import SlotAutoencoder, SlotsConfig
from cs3_ros.networks.sound_towers import AstSizes, AstTower, BeatsTower
from cs3_ros.networks.sounding import Aligner, SoundingObjects
from cs3_ros.networks.sounding_released import ReleasedHeads
from cs3_ros.networks.towers import ClipSegTower, DinoTower

HEADS = ReleasedHeads(vision=2, decoder=3, sound=2, text=2)
EMBEDDING = 10


def tiny_dino(size: int = 48) -> DinoTower:
    torch.manual_seed(3)
    sizes = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        image_size=size, patch_size=16, layer_norm_eps=1e-6,
    )  # fmt: skip
    return DinoTower(ViTModel(sizes, add_pooling_layer=False)).eval()


def tiny_clipseg(vocabulary: int = 40) -> ClipSeg:
    torch.manual_seed(4)
    tower = {'hidden_size': 16, 'intermediate_size': 24, 'num_attention_heads': 2}
    config = CLIPSegConfig(
        text_config={
            **tower, 'num_hidden_layers': 1, 'max_position_embeddings': 17,
            'vocab_size': vocabulary, 'bos_token_id': vocabulary - 2, 'eos_token_id': 2,
            'pad_token_id': vocabulary - 1,
        },
        vision_config={**tower, 'num_hidden_layers': 3, 'image_size': 64, 'patch_size': 16},
        projection_dim=12, extract_layers=[0, 1], reduce_dim=8, decoder_num_attention_heads=2,
        decoder_intermediate_size=16, use_complex_transposed_convolution=True,
    )  # fmt: skip
    return ClipSeg(CLIPSegForImageSegmentation(config), 64).eval()


def tiny_beats() -> Beats:
    torch.manual_seed(5)
    config = BeatsConfig(
        input_patch_size=16, embed_dim=16, encoder_layers=3, encoder_embed_dim=16,
        encoder_ffn_embed_dim=24, encoder_attention_heads=2, deep_norm=True, conv_pos=8,
        conv_pos_groups=2, num_buckets=16, max_distance=32,
    )  # fmt: skip
    return Beats(config).eval()


def tiny_slots(width: int = 12, grid: int = 3) -> SlotAutoencoder:
    torch.manual_seed(6)
    sizes = dict(slots=4, slot_width=8, slot_hidden=10, blocks=2, heads=3)
    return SlotAutoencoder(SlotsConfig(width=width, grid=grid, **sizes))


def tiny_network(sound: str = 'ast', slots: bool = True, clipseg: bool = False) -> SoundingObjects:
    """DINO or CLIPSeg, AST or BEATs."""
    vision = ClipSegTower(tiny_clipseg()) if clipseg else tiny_dino()
    autoencoder = tiny_slots(vision.width, vision.grid) if slots else None
    torch.manual_seed(7)
    if sound == 'ast':
        tower = AstTower(AstSizes(8, 12, 2, 2, frames=30), EMBEDDING)
    else:
        tower = BeatsTower(tiny_beats(), EMBEDDING)
    return SoundingObjects(vision, autoencoder, tower, Aligner(vision.width, 16, EMBEDDING)).eval()


def released_vit(prefix: str, width: int, layers: int, places: int, extra: int) -> dict:
    """timm's names: DINO with one token before the patches (extra 1), DeiT with two."""
    channels = 3 if extra == 1 else 1
    state = {
        'cls_token': (1, 1, width),
        'pos_embed': (1, places + extra, width),
        'patch_embed.proj.weight': (width, channels, 16, 16),
        'patch_embed.proj.bias': (width,),
        'norm.weight': (width,),
        'norm.bias': (width,),
    }
    for block in range(layers):
        for name, shape in {
            'norm1.weight': (width,), 'norm1.bias': (width,),
            'attn.qkv.weight': (3 * width, width), 'attn.qkv.bias': (3 * width,),
            'attn.proj.weight': (width, width), 'attn.proj.bias': (width,),
            'norm2.weight': (width,), 'norm2.bias': (width,),
            'mlp.fc1.weight': (16, width), 'mlp.fc1.bias': (16,),
            'mlp.fc2.weight': (width, 16), 'mlp.fc2.bias': (width,),
        }.items():  # fmt: skip
            state[f'blocks.{block}.{name}'] = shape
    if extra == 2:
        state |= {
            'dist_token': (1, 1, width), 'head.weight': (5, width), 'head.bias': (5,),
            'head_dist.weight': (5, width), 'head_dist.bias': (5,),
        }  # fmt: skip
    return {f'{prefix}{name}': shape for name, shape in state.items()}


def released_shapes() -> tuple[dict, dict]:
    """Names and shapes of a released checkpoint at tiny size, written down by hand."""
    d, s, w, e = 12, 8, 16, EMBEDDING  # patches, slots, texts, joint space
    model = {
        **released_vit('spot.encoder.', d, 2, 9, 1),
        **released_vit('spot.second_encoder.', d, 2, 9, 1),
        **released_vit('ast_model.v.', 8, 2, 12 * 14, 2),
        'ast_model.mlp_head.0.weight': (8,), 'ast_model.mlp_head.0.bias': (8,),
        'ast_model.mlp_head.1.weight': (e, 8), 'ast_model.mlp_head.1.bias': (e,),
        'spot.bos_tokens': (9, 1, 1, d),
        'spot.slot_attn.layer_norm.weight': (d,), 'spot.slot_attn.layer_norm.bias': (d,),
        'spot.slot_attn.mlp.0.weight': (d, d), 'spot.slot_attn.mlp.0.bias': (d,),
        'spot.slot_attn.mlp.2.weight': (d, d), 'spot.slot_attn.mlp.2.bias': (d,),
        'spot.slot_attn.slots_init.weight': (4, s),
        'spot.input_proj.0.weight': (d, d),
        'spot.input_proj.1.weight': (d,), 'spot.input_proj.1.bias': (d,),
        'spot.slot_proj.0.weight': (d, s),
        'spot.slot_proj.1.weight': (d,), 'spot.slot_proj.1.bias': (d,),
        'spot.dec.layer_norm.weight': (d,), 'spot.dec.layer_norm.bias': (d,),
        'clip.text_model.embeddings.position_ids': (1, 17),
        'clip.text_model.embeddings.token_embedding.weight': (40, w),
        'clip.text_model.embeddings.position_embedding.weight': (17, w),
        'clip.text_model.final_layer_norm.weight': (w,),
        'clip.text_model.final_layer_norm.bias': (w,),
    }  # fmt: skip
    attention = 'spot.slot_attn.slot_attention.'
    for norm, width in (('norm_inputs', d), ('norm_slots', s), ('norm_mlp', s)):
        model[f'{attention}{norm}.weight'] = model[f'{attention}{norm}.bias'] = (width,)
    for part, width in (('q', s), ('k', d), ('v', d)):
        model[f'{attention}project_{part}.weight'] = (s, width)
    for part in ('ih', 'hh'):
        model[f'{attention}gru.weight_{part}'] = (3 * s, s)
        model[f'{attention}gru.bias_{part}'] = (3 * s,)
    model |= {
        f'{attention}mlp.0.weight': (10, s), f'{attention}mlp.0.bias': (10,),
        f'{attention}mlp.2.weight': (s, 10), f'{attention}mlp.2.bias': (s,),
    }  # fmt: skip
    for block in range(2):
        name = f'spot.dec.blocks.{block}.'
        model[f'{name}self_attn_mask'] = (9, 9)
        for norm in ('self_attn', 'encoder_decoder_attn', 'ffn'):
            for kind in ('weight', 'bias'):
                model[f'{name}{norm}_layer_norm.{kind}'] = (d,)
        for kind in ('self_attn', 'encoder_decoder_attn'):
            for part in 'qkvo':
                model[f'{name}{kind}.proj_{part}.weight'] = (d, d)
        model |= {
            f'{name}ffn.0.weight': (4 * d, d), f'{name}ffn.0.bias': (4 * d,),
            f'{name}ffn.2.weight': (d, 4 * d), f'{name}ffn.2.bias': (d,),
        }  # fmt: skip
    for layer in range(2):
        name = f'clip.text_model.encoder.layers.{layer}.'
        for part in 'qkv':
            model[f'{name}self_attn.{part}_proj.weight'] = (w, w)
            model[f'{name}self_attn.{part}_proj.bias'] = (w,)
        model |= {
            f'{name}self_attn.out_proj.weight': (w, w), f'{name}self_attn.out_proj.bias': (w,),
            f'{name}layer_norm1.weight': (w,), f'{name}layer_norm1.bias': (w,),
            f'{name}layer_norm2.weight': (w,), f'{name}layer_norm2.bias': (w,),
            f'{name}mlp.fc1.weight': (24, w), f'{name}mlp.fc1.bias': (24,),
            f'{name}mlp.fc2.weight': (w, 24), f'{name}mlp.fc2.bias': (w,),
        }  # fmt: skip
    aligner = {}
    for part, width in (('slot', d), ('text', w), ('audio', e)):
        aligner |= {
            f'{part}_aligner.0.weight': (width,), f'{part}_aligner.0.bias': (width,),
            f'{part}_aligner.1.weight': (e, width), f'{part}_aligner.1.bias': (e,),
        }  # fmt: skip
    return model, aligner


def released_state() -> dict:
    """A checkpoint as the authors' training writes it, with random content."""
    generator = torch.Generator().manual_seed(8)
    model, aligner = (
        {k: torch.randn(shape, generator=generator) * 0.3 for k, shape in shapes.items()}
        for shapes in released_shapes()
    )
    for name in model:
        if name.endswith('self_attn_mask'):
            model[name] = torch.ones(9, 9, dtype=torch.bool).triu(1)
        if name.endswith('position_ids'):
            model[name] = torch.arange(17)[None]
    return {
        'model_state_dict': {f'module.{k}': v for k, v in model.items()},
        'aligner_state_dict': aligner,
        'optimizer': {'state': {}, 'param_groups': []},
        'epoch': 9,
        'global_step': 100,
    }
