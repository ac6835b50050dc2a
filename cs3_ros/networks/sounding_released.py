"""The released checkpoints of Clink! Chop! Thud!: their state dicts into our network.

``ego4d_action_discovery.pth``, ``ego4d_object_detection.pth`` and
``epickitchens_object_detection.pth`` hold ``{model_state_dict, aligner_state_dict, optimizer,
epoch, global_step, args}``.

**Known** from the code of mengyu-yang/clink-chop-thud and gkakogeorgiou/spot: the modules ``spot``
(``encoder`` and ``second_encoder``, both DINO's ViT; slot attention and decoder), ``clip``
(transformers' CLIPTextModel), ``ast_model`` (a distilled DeiT of timm 0.4.5) and the aligners, with
their names and shapes; numbers of heads, which no shape tells. **Assumed**, since the files were
not at hand: that the keys begin with ``module.``, because the model was saved inside of
DistributedDataParallel (both forms are read); that CLIP's keys are those of transformers 4
(``clip.text_model.*``, perhaps with ``position_ids``).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, ViTConfig, ViTModel

from cs3_ros.files.fields import mapping
from cs3_ros.networks.checkpoints import read_torch
from cs3_ros.networks.sizes import MAX_LAYERS
from cs3_ros.networks.slots import SlotAutoencoder, SlotsConfig
from cs3_ros.networks.sound_towers import AstSizes, AstTower
from cs3_ros.networks.sounding import Aligner, SoundingObjects
from cs3_ros.networks.towers import EPSILON, DinoTower, TextTower

State = dict[str, Tensor]
UNUSED = re.compile(
    r'spot\.(second_)?encoder\.norm\..*'  # the features are taken before it
    r'|spot\.dec\.blocks\.\d+\.self_attn_mask'  # computed
    r'|clip\.text_model\.embeddings\.position_ids'  # computed
    r'|ast_model\.v\.head(_dist)?\..*'  # ImageNet's classes
)
"""Keys of the files that nothing here is computed with."""
_BLOCK = (
    ('norm1', 'layernorm_before'),
    ('norm2', 'layernorm_after'),
    ('attn.proj', 'attention.o_proj'),
    ('mlp.fc1', 'mlp.fc1'),
    ('mlp.fc2', 'mlp.fc2'),
)


@dataclass(frozen=True)
class ReleasedHeads:
    """Numbers of heads, which no shape tells; the defaults are those of the files."""

    vision: int = 12
    """DINO ViT-B/16."""
    decoder: int = 6
    """SPOT's decoder."""
    sound: int = 12
    """AST base."""
    text: int = 8
    """CLIP ViT-B/32."""
    iterations: int = 3
    """Rounds of slot attention, which no shape tells, either."""


def load_released(path: str | Path, heads: ReleasedHeads = ReleasedHeads()) -> SoundingObjects:
    """Read a released checkpoint with all its towers: float32 on the CPU, in evaluation mode.

    Nothing in the file is executed; the sizes are those of its tensors.

    Args:
        path: the file.
        heads: what no shape tells.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds more than plain weights, or lacks or has tensors that the network does
            not know; names them.
    """
    found = read_torch(path, (argparse.Namespace,))  # the authors' options: plain attributes
    parts = mapping(found, f'{path}', ('model_state_dict', 'aligner_state_dict'), None)
    model = _tensors(parts['model_state_dict'], path)
    model = {k: v for k, v in model.items() if not UNUSED.fullmatch(k)}
    aligners = _tensors(parts['aligner_state_dict'], path)
    try:
        network = _describe(model, aligners, heads)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise ValueError(
            f'{path}: its tensors do not tell the sizes of the network ({error}); bring a released '
            'checkpoint of Clink! Chop! Thud!'
        ) from error
    _fill(network, {**model, **{f'aligner.{k}': v for k, v in aligners.items()}}, path)
    return network.eval()


def vit_from_timm(state: Mapping[str, Tensor]) -> State:
    """Weights of timm's ViT, as DINO and AST have them, under the names of transformers.

    Args:
        state: names of timm -> weights; what it does not know keeps its name.
    """
    found: State = {}
    for name, value in state.items():
        head, _, rest = name.partition('.')
        if head == 'blocks':
            number, _, inner = rest.partition('.')
            layer, (stem, _, kind) = f'layers.{number}', inner.rpartition('.')
            if stem == 'attn.qkv':
                for part, third in zip('qkv', value.chunk(3), strict=True):
                    found[f'{layer}.attention.{part}_proj.{kind}'] = third
                continue
            found[f'{layer}.{dict(_BLOCK).get(stem, stem)}.{kind}'] = value
        else:
            found[_OUTSIDE.get(name, name)] = value
    return found


_OUTSIDE = {
    'cls_token': 'embeddings.cls_token',
    'dist_token': 'embeddings.distillation_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
    'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
    'norm.weight': 'layernorm.weight',
    'norm.bias': 'layernorm.bias',
}


def _tensors(state: Any, path: str | Path) -> State:
    """A state dict, without what DistributedDataParallel puts before each name."""
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise ValueError(f'{path}: expected state dicts of tensors; bring the released file again')
    return {k.removeprefix('module.'): v for k, v in state.items()}


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    """What lies below a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Numbered blocks below a prefix."""
    numbers = {k[len(prefix) :].split('.')[0] for k in state if k.startswith(prefix)}
    count = len(numbers)
    if not 0 < count <= MAX_LAYERS or numbers != {str(k) for k in range(count)}:
        raise ValueError(f'{prefix}*: expected blocks 0 to at most {MAX_LAYERS - 1}')
    return count


def _describe(model: State, aligners: State, heads: ReleasedHeads) -> SoundingObjects:
    """The network that the shapes tell, without weights."""
    embedding, text_width = aligners['text_aligner.1.weight'].shape
    with torch.device('meta'):
        slots = SlotAutoencoder(_slots(model, heads))
        network = SoundingObjects(
            DinoTower(_vit(_below(model, 'spot.encoder.'), heads.vision)),
            slots,
            _ast(_below(model, 'ast_model.v.'), heads.sound, embedding),
            Aligner(slots.config.width, text_width, embedding),
            TextTower(_clip(_below(model, 'clip.text_model.'), heads.text)),
            DinoTower(_vit(_below(model, 'spot.second_encoder.'), heads.vision)),
        )
    return network


def _slots(model: State, heads: ReleasedHeads) -> SlotsConfig:
    start = model['spot.slot_attn.slots_init.weight']  # [S, Ds]
    patches = model['spot.encoder.pos_embed'].shape[1] - 1
    return SlotsConfig(
        width=model['spot.bos_tokens'].shape[-1],
        grid=round(patches**0.5),
        slots=start.shape[0],
        slot_width=start.shape[1],
        slot_hidden=model['spot.slot_attn.slot_attention.mlp.0.weight'].shape[0],
        iterations=heads.iterations,
        blocks=_count(model, 'spot.dec.blocks.'),
        heads=heads.decoder,
    )


def _vit(state: State, heads: int) -> ViTModel:
    width, channels, patch, _ = state['patch_embed.proj.weight'].shape
    grid = round((state['pos_embed'].shape[1] - 1) ** 0.5)
    return ViTModel(
        ViTConfig(
            hidden_size=width,
            num_hidden_layers=_count(state, 'blocks.'),
            num_attention_heads=heads,
            intermediate_size=state['blocks.0.mlp.fc1.weight'].shape[0],
            image_size=grid * patch,
            patch_size=patch,
            num_channels=channels,
            layer_norm_eps=EPSILON,
        ),
        add_pooling_layer=False,
    )


def _ast(state: State, heads: int, embedding: int) -> AstTower:
    width, _, patch, _ = state['patch_embed.proj.weight'].shape
    sizes = AstSizes(
        width=width,
        hidden=state['blocks.0.mlp.fc1.weight'].shape[0],
        layers=_count(state, 'blocks.'),
        heads=heads,
        patch=patch,
    )
    return AstTower(sizes, embedding)


def _clip(state: State, heads: int) -> CLIPTextModel:
    vocabulary, width = state['embeddings.token_embedding.weight'].shape
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=state['encoder.layers.0.mlp.fc1.weight'].shape[0],
            num_hidden_layers=_count(state, 'encoder.layers.'),
            num_attention_heads=heads,
            max_position_embeddings=state['embeddings.position_embedding.weight'].shape[0],
            hidden_act='quick_gelu',
            eos_token_id=2,  # the largest id is the end of text
        )
    )


_PLACES: tuple[tuple[str, str, Callable[[Mapping[str, Tensor]], State]], ...] = (
    ('spot.encoder.', 'vision.model.', vit_from_timm),
    ('spot.second_encoder.', 'target.model.', vit_from_timm),
    ('spot.', 'slots.', dict),
    ('clip.text_model.', 'text.model.', dict),
    ('ast_model.v.', 'sound.model.', vit_from_timm),
    ('ast_model.mlp_head.', 'sound.head.', dict),
)
"""Prefix in the files, prefix in ``SoundingObjects``, and what renames the rest."""


def _fill(network: SoundingObjects, state: State, path: str | Path) -> None:
    """Give the network all of its tensors, and no others."""
    left, ours = dict(state), {}
    origin: dict[str, str] = {}
    for theirs, mine, rename in _PLACES:
        part = {k: left.pop(k) for k in list(left) if k.startswith(theirs)}
        for name, value in rename(_below(part, theirs)).items():
            ours[f'{mine}{name}'] = value
            origin[f'{mine}{name}'] = theirs
    ours.update(left)  # the aligners, and what has no place
    expected = network.state_dict()
    if unknown := sorted(set(ours) - set(expected)):
        name = unknown[0]
        raise ValueError(
            f'{path}: {len(unknown)} unknown tensors, first {name}'
            f'{f" (of {origin[name]}*)" if name in origin else ""}; expected those of the released '
            'model alone'
        )
    if lacking := sorted(set(expected) - set(ours)):
        raise ValueError(f'{path}: lacks {len(lacking)} tensors, first {lacking[0]}')
    for name, value in expected.items():
        if ours[name].shape != value.shape:
            raise ValueError(
                f'{path}: {name} is {list(ours[name].shape)}, expected {list(value.shape)}'
            )
    network.load_state_dict({k: v.float() for k, v in ours.items()}, assign=True)
    assert network.text is not None
    places = network.text.model.embeddings  # its only buffer is in no state dict
    places.position_ids = torch.arange(places.position_embedding.num_embeddings)[None]  # [1, L]
