"""The official checkpoints of ACL-SSL (github.com/swimmiing/ACL-SSL): ``{audio_proj, masker_i}``.

ACL-SSL (Park et al., WACV 2024) is what CS3's localiser is made from: the same projection, pooling
and mask under other names (method.md A2, A3, A5), trained on VGGSound with BEATs and CLIPSeg as
published. Its file tells neither prompt nor blocks nor length of the sound: those are in its code,
and here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cs3_ros.networks.audio_token import AudioToken, AudioTokenConfig
from cs3_ros.networks.checkpoints import read_torch

SOUND_S = 10.0
"""Seconds of sound that it hears: more is cut off at the end, less is filled up with zeros."""
BLOCKS = (4, 8, 12)
"""BEATs blocks, from 1, whose outputs it takes together."""
PROMPT, POSITION = 'A photo of', 4
"""The sentence, and the place of the sound in it."""
_LAYERS = {
    'fc1': 'fc1',
    'fc2': 'fc2',
    'pooling.unary_hidden': 'fga.un_models.0.embed',
    'pooling.unary': 'fga.un_models.0.feature_reduce',
    'pooling.query': 'fga.pp_models.0.embed_X',
    'pooling.key': 'fga.pp_models.0.embed_Y',
    'pooling.factors': 'fga.reduce_potentials.0',
}
"""Layers of ``AudioToken`` -> their names in ``audio_proj``, where those of the pooling are
convolutions of width 1."""


def read_acl(path: str | Path) -> tuple[AudioToken, Tensor, Tensor]:
    """Read a file without executing anything in it; sizes are those of its tensors.

    Returns:
        The audio token with its prompt, float32 on the CPU, in evaluation mode; w and b of the
        mask, scalars.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file; says what was expected.
    """
    data = read_torch(path)
    try:
        projection, mask = (_state(data, part) for part in ('audio_proj', 'masker_i'))
        scale, bias = _take(mask, 'masker_i', {'w': (), 'b': ()}).values()
        width, text_width = _widths(projection)
        config = AudioTokenConfig(BLOCKS, width, text_width, PROMPT, POSITION)
        with torch.device('meta'):  # no time for random weights that are thrown away
            token = AudioToken(config)
        count, held = sum(value.numel() for value in token.parameters()), Path(path).stat().st_size
        if count > held:  # a tensor may repeat what it holds
            raise ValueError(f'its shapes are those of {count} parameters, it has {held} bytes')
        names = {name: _official(name) for name in token.state_dict()}
        shapes = {
            names[name]: (*value.shape, 1) if _is_convolution(name) else tuple(value.shape)
            for name, value in token.state_dict().items()
        }
        taken = _take(projection, 'audio_proj', shapes)
    except ValueError as error:
        raise ValueError(
            f'{path}: {error}; expected a checkpoint of ACL-SSL, Param_best.pth'
        ) from error
    state = {
        name: taken[names[name]].reshape(value.shape)  # [a, b, 1] -> [a, b]
        for name, value in token.state_dict().items()
    }
    token.load_state_dict(state, assign=True)
    return token.eval(), scale, bias


def acl_checkpoint(token: AudioToken, scale: float = 10.0, bias: float = 14.0) -> dict[str, Any]:
    """The official dict of an audio token, for ``torch.save``; the inverse of ``read_acl``.

    Args:
        token: of any size.
        scale: w of the mask.
        bias: b of the mask.
    """
    projection = {
        _official(name): value.detach()[..., None] if _is_convolution(name) else value.detach()
        for name, value in token.state_dict().items()
    }
    mask = {'w': torch.tensor(float(scale)), 'b': torch.tensor(float(bias))}
    return {'audio_proj': projection, 'masker_i': mask}


def _official(name: str) -> str:
    layer, _, kind = name.rpartition('.')
    return f'{_LAYERS[layer]}.{kind}'


def _is_convolution(name: str) -> bool:
    return name.startswith('pooling.') and name.endswith('.weight')


def _state(data: Any, part: str) -> dict[str, Tensor]:
    state = data.get(part) if isinstance(data, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f'no {part}: it is no dict of audio_proj and masker_i')
    if wrong := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f'{part}.{wrong[0]}: {type(state[wrong[0]]).__name__} in place of weights')
    return dict(state)


def _widths(projection: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width of a BEATs output and of the text tower."""
    shape = tuple(projection['fc2.weight'].shape) if 'fc2.weight' in projection else ()
    if len(shape) != 2 or shape[1] % len(BLOCKS):
        raise ValueError(
            f'audio_proj.fc2.weight is {list(shape)}: expected [text width, {len(BLOCKS)} x width '
            'of BEATs]'
        )
    return shape[1] // len(BLOCKS), shape[0]


def _take(
    state: Mapping[str, Tensor], part: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """All tensors of these shapes, and no others, as float32."""
    if lacking := sorted(set(shapes) - set(state)):
        raise ValueError(f'{part} lacks {len(lacking)} tensors, first {lacking[0]}')
    if unknown := sorted(set(state) - set(shapes), key=str):
        raise ValueError(f'{part} has {len(unknown)} unknown tensors, first {unknown[0]}')
    for name, shape in shapes.items():
        value = state[name]
        if tuple(value.shape) != shape or not value.is_floating_point():
            raise ValueError(
                f'{part}.{name} is {value.dtype} {list(value.shape)}, not floating point '
                f'{list(shape)}'
            )
    return {name: state[name].float() for name in shapes}
