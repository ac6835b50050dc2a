"""SAM 2 for single pictures: the image part of the ``sam2`` package, built without Hydra.

``Sam2`` holds what a picture needs (trunk, neck, prompt encoder, mask decoder) under the names of
the official checkpoints; the memory of the video predictor is neither built nor loaded. Sizes come
from a ``Sam2Architecture``, which ``load_sam2`` finds out from the checkpoint. method.md A8.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

STRIDE = 16
"""Pixels of the network's picture per pixel of its embedding."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0, 1], as ``SAM2Transforms`` has them."""
NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, ABSENT = 0, 1, 2, 3, -2
"""Labels of points as SAM 2 knows them, and ABSENT, ours: fills up prompts that have fewer."""

VIDEO_ONLY = (
    'mask_downsample.',
    'maskmem_tpos_enc',
    'memory_attention.',
    'memory_encoder.',
    'no_mem_pos_enc',
    'no_obj_embed_spatial',
    'no_obj_ptr',
    'obj_ptr_proj.',
    'obj_ptr_tpos_proj.',
)
"""What official checkpoints hold besides, for videos."""


@dataclass(frozen=True)
class Sam2Architecture:
    """Sizes of the network; the defaults are SAM 2.1's base plus (configs/sam2.1 of the package)."""

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
            numbers = value if many and isinstance(value, tuple) else (value,)
            if not all(type(number) is int and number > 0 for number in numbers):
                kind = 'positive integers' if many else 'a positive integer'
                raise ValueError(f'Sam2Architecture.{field.name} = {value!r}: expected {kind}')
        first = [sum(self.stages[:k]) for k in range(len(self.stages))]
        for fits, rule in (
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
        # made on the device by fills: a copied list would wait for it
        for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
            pixels[:, channel].sub_(mean).div_(std)
        return pixels

    def encode(self, pixels: Tensor) -> Sam2Features:
        """The shared part of a picture's masks.

        Args:
            pixels: [B, 3, S, S] from ``normalise``.
        """
        quarter, eighth, embedding = self.image_encoder(pixels)[
            'backbone_fpn'
        ]  # [B, C, S/4, S/4]..
        decoder = self.sam_mask_decoder
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
            labels: int [N, K] of the points; ABSENT fills up prompts with fewer than K.
            multimask: three masks per prompt, for part, subpart and whole, instead of one.

        Returns:
            Logits [N, M, S/4, S/4], above 0 on the object, and their estimated IoU [N, M] in
            [0, 1]; M is 1 or 3.
        """
        count = len(points)
        # The encoder adds a point "none" to each prompt.
        sparse, dense = self.sam_prompt_encoder(
            (points, labels), None, None
        )  # [N, K+1, C], [N, C, h, w]
        absent = F.pad(labels == ABSENT, (0, 1))  # [N, K+1]
        logits, quality, _, _ = self.sam_mask_decoder(
            image_embeddings=features.embedding.expand(count, -1, -1, -1),  # [N, C, h, w]
            image_pe=self.sam_prompt_encoder.get_dense_pe(),  # [1, C, h, w]
            sparse_prompt_embeddings=sparse.masked_fill(absent[..., None], 0.0),  # [N, K+1, C]
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=[features.quarter, features.eighth],
        )
        return logits, quality


class _NoPositions(nn.Module):
    """In place of the neck's position encoding, which only the memory of videos reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


class _TokenTransformer(TwoWayTransformer):
    """sam2's decoder, in which nothing attends to tokens that are zero.

    So prompts with different numbers of points share a batch without changing each other's masks;
    sam2 itself can only fill up with points labelled "none", which have a say.
    """

    def forward(
        self, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor
    ) -> tuple[Tensor, Tensor]:
        tokens = point_embedding  # [N, T, C]
        there = (tokens != 0).any(-1)[:, None, None]  # [N, 1, 1, T]
        positions = image_pe.flatten(2).transpose(1, 2)  # [N, hw, C]
        queries = tokens
        keys = image_embedding.flatten(2).transpose(1, 2)  # [N, hw, C]
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
    """sam2's ``Attention`` on those keys that are there, [N, 1, 1, T]; [N, Q, C] for q [N, Q, C]."""
    heads = attention.num_heads
    q = attention.q_proj(q).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, Q, D]
    k = attention.k_proj(k).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, T, D]
    v = attention.v_proj(v).unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, heads, T, D]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=there)  # [N, heads, Q, D]
    return attention.out_proj(out.transpose(1, 2).flatten(2))  # [N, Q, C]


class _WithoutMemory(TorchFunctionMode):
    """Makes parameters on the meta device; ``torch.device('meta')`` would, but Hiera reads one."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.ones, torch.randn, torch.zeros):
            kwargs['device'] = 'meta'
        return func(*args, **kwargs)


def without_memory(architecture: Sam2Architecture) -> Sam2:
    """A network whose parameters have shapes but no values, to load a checkpoint into."""
    with _WithoutMemory():
        return Sam2(architecture)


def load_sam2(path: str | Path) -> Sam2:
    """A network from a file, in float32 on the CPU.

    Args:
        path: an official ``.pt`` (``{'model': state dict}``, SAM 2.1 or 2.0), one with an
            ``architecture`` beside ``model`` for other sizes, or a ``.safetensors`` whose metadata
            has ``architecture`` as JSON.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such checkpoint, holds more than tensors (then nothing of it is
            executed), or its tensors do not fit; the message names the file and what was expected.
    """
    path = Path(path)
    state, sizes = _read(path)
    try:
        architecture = recognise(state) if sizes is None else _architecture(sizes)
        model = without_memory(architecture)
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        given = {
            name: tensor.float()
            for name, tensor in state.items()
            if name in wanted or not name.startswith(VIDEO_ONLY)
        }
        found = {name: tuple(tensor.shape) for name, tensor in given.items()}
        if found != wanted:
            raise ValueError(_difference(found, wanted))
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    model.load_state_dict(given, assign=True)
    return model


def sam2_checkpoint(model: Sam2) -> dict[str, Any]:
    """What ``torch.save`` writes as a checkpoint: ``model``, and ``architecture`` where it is none
    of the official ones."""
    checkpoint: dict[str, Any] = {'model': model.state_dict()}
    if model.architecture not in PRESETS.values():
        checkpoint['architecture'] = dataclasses.asdict(model.architecture)
    return checkpoint


def recognise(state: Mapping[str, Tensor]) -> Sam2Architecture:
    """Which official network a state dict belongs to, from the shapes of its trunk.

    Raises:
        ValueError: none of them.
    """
    trunk = 'image_encoder.trunk.'
    position = state.get(f'{trunk}pos_embed')
    if position is None or position.ndim != 4:
        raise ValueError(f"expected SAM 2's state dict with {trunk}pos_embed [1, C, h, w]")
    blocks = {int(name.split('.')[3]) for name in state if name.startswith(f'{trunk}blocks.')}
    # Where a stage begins, the block widens what it passes by.
    starts = [k for k in sorted(blocks) if f'{trunk}blocks.{k}.proj.weight' in state]
    edges = [0, *starts, len(blocks)]
    stages = tuple(end - start for start, end in zip(edges, edges[1:], strict=False))
    width, cells = position.shape[1], tuple(position.shape[2:])
    for preset in PRESETS.values():
        known = (preset.embed_dim, preset.stages, preset.window_pos_embed_bkg_spatial_size)
        if known == (width, stages, cells):
            return preset
    raise ValueError(
        f'a trunk of width {width} with {stages} blocks and {cells} positions is none of '
        f'{", ".join(PRESETS)}: other sizes need an `architecture` beside `model`'
    )


def _architecture(sizes: Any) -> Sam2Architecture:
    """The description in a checkpoint, checked."""
    known = {field.name for field in dataclasses.fields(Sam2Architecture)}
    if not isinstance(sizes, Mapping) or set(sizes) != known:
        raise ValueError(f'architecture = {sizes!r}: expected the keys {", ".join(sorted(known))}')
    return Sam2Architecture(**sizes)


def _read(path: Path) -> tuple[dict[str, Tensor], Any]:
    """State dict and description of a file; None where it does not say."""
    if path.suffix == '.safetensors':
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework='pt') as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, json.loads(metadata.get('architecture', 'null'))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f'{path}: no safetensors file of SAM 2: {error}') from error
    try:
        checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except OSError:
        raise
    except Exception as error:  # broken files make the unpickler raise whatever it likes
        raise ValueError(
            f'{path}: refused, torch.load(weights_only=True) finds more than weights in it, or no '
            f'weights at all ({type(error).__name__}); expected an official SAM 2 checkpoint'
        ) from error
    state = checkpoint.get('model') if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise ValueError(
            f"{path}: expected {{'model': state dict}}, as SAM 2's checkpoints have it"
        )
    return state, checkpoint.get('architecture')


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What does not fit, a few of each kind."""
    kinds = {
        'missing': [name for name in wanted if name not in found],
        'unknown': [name for name in found if name not in wanted],
        'of another shape': [
            f'{name} {found[name]}, expected {wanted[name]}'
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    }
    texts = [
        f'{len(names)} {kind}: {", ".join(names[:3])}{", ..." if len(names) > 3 else ""}'
        for kind, names in kinds.items()
        if names
    ]
    return f'the tensors do not fit SAM 2 of its architecture; {"; ".join(texts)}'
