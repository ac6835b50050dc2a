"""SAM 2 with its memory, for videos: the network of the ``sam2`` package, built without Hydra.

Sizes of the memory are read from the shapes of the checkpoint, those of the image part as
``sam2_checkpoint`` does; options are those of the package's SAM 2.1 configs, with the
post-processing of ``build_sam2_video_predictor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.transformer import RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor

from cs3_ros.networks.sam2_checkpoint import read_sam2
from cs3_ros.networks.sam2_model import STRIDE, Sam2Architecture
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_WIDTH


def load_sam2_video(path: str | Path) -> SAM2Base:
    """The network from an official checkpoint, in float32 on the CPU, ready to predict.

    Args:
        path: as of ``load_sam2``, with the memory, which official files have.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no checkpoint of SAM 2, or has no memory; names the file.
    """
    path = Path(path)
    state, architecture = read_sam2(path)
    try:
        model = build_sam2_video(architecture, state)
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f'{path}: expected a checkpoint of SAM 2 with its memory for videos, as the official '
            f'files have it ({error})'
        ) from error
    return model.eval()


def build_sam2_video(architecture: Sam2Architecture, state: Mapping[str, Tensor]) -> SAM2Base:
    """The network of these sizes, with random weights.

    Args:
        architecture: sizes of the image part.
        state: a state dict whose shapes tell those of the memory.

    Raises:
        KeyError: it has no memory.
        RuntimeError: its memory is larger than any known one.
    """
    width, cells = architecture.width, architecture.image_size // STRIDE
    memory_width = len(state['memory_encoder.out_proj.weight'])
    hidden = len(state['memory_attention.layers.0.linear1.weight'])
    layers = _count(state, 'memory_attention.layers.')
    fusers = _count(state, 'memory_encoder.fuser.layers.')
    if max(memory_width, hidden) > MAX_WIDTH or max(layers, fusers) > MAX_LAYERS:
        raise RuntimeError(
            f'memory of width {memory_width} and {hidden} with {layers} and {fusers} layers: '
            f'expected at most {MAX_WIDTH} and {MAX_LAYERS}'
        )

    def attention(**more: object) -> RoPEAttention:
        return RoPEAttention(
            rope_theta=10_000.0,
            feat_sizes=(cells, cells),
            embedding_dim=width,
            num_heads=1,
            downsample_rate=1,
            dropout=0.1,
            **more,
        )

    layer = MemoryAttentionLayer(
        activation='relu',
        cross_attention=attention(rope_k_repeat=True, kv_in_dim=memory_width),
        d_model=width,
        dim_feedforward=hidden,
        dropout=0.1,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
    )
    trunk = Hiera(
        embed_dim=architecture.embed_dim,
        num_heads=architecture.num_heads,
        stages=architecture.stages,
        global_att_blocks=architecture.global_att_blocks,
        window_spec=architecture.window_spec,
        window_pos_embed_bkg_spatial_size=architecture.window_pos_embed_bkg_spatial_size,
    )
    neck = FpnNeck(
        PositionEmbeddingSine(width),
        width,
        trunk.channel_list,
        fpn_interp_model='nearest',
        fpn_top_down_levels=[2, 3],
    )
    memory = MemoryEncoder(
        out_dim=memory_width,
        mask_downsampler=MaskDownSampler(width, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(width), num_layers=fusers),
        position_encoding=PositionEmbeddingSine(memory_width),
        in_dim=width,
    )
    newer = 'obj_ptr_tpos_proj.weight' in state  # SAM 2.1
    return SAM2Base(
        ImageEncoder(trunk, neck, scalp=1),
        MemoryAttention(width, True, layer, num_layers=layers),
        memory,
        num_maskmem=len(state['maskmem_tpos_enc']),
        image_size=architecture.image_size,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        binarize_mask_from_pts_for_mem_enc=True,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        no_obj_embed_spatial='no_obj_embed_spatial' in state,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=newer,
        proj_tpos_enc_in_obj_ptrs=newer,
        use_signed_tpos_enc_to_obj_ptrs=newer,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
        sam_mask_decoder_extra_args={
            'dynamic_multimask_via_stability': True,
            'dynamic_multimask_stability_delta': 0.05,
            'dynamic_multimask_stability_thresh': 0.98,
        },
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered layers have names with this beginning."""
    numbers = {name[len(prefix) :].partition('.')[0] for name in state if name.startswith(prefix)}
    return len(numbers)
