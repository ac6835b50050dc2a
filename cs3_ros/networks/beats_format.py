"""The official files of BEATs: ``{cfg, model}`` (microsoft/unilm ``beats/``; method.md A1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cs3_ros.files.fields import whole
from cs3_ros.networks.checkpoints import read_torch
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_NUMBER, MAX_SIDE, MAX_WIDTH

_LARGEST = {
    'input_patch_size': MAX_SIDE, 'embed_dim': MAX_WIDTH, 'encoder_layers': MAX_LAYERS,
    'encoder_embed_dim': MAX_WIDTH, 'encoder_ffn_embed_dim': MAX_WIDTH,
    'encoder_attention_heads': MAX_WIDTH, 'conv_pos': MAX_SIDE, 'conv_pos_groups': MAX_WIDTH,
    'num_buckets': MAX_WIDTH, 'max_distance': MAX_NUMBER, 'predictor_class': MAX_WIDTH,
}  # fmt: skip
_ALWAYS = {
    'layer_norm_first': False, 'activation_fn': 'gelu',
    'relative_position_embedding': True, 'gru_rel_pos': True,
}  # fmt: skip
_CONVOLUTION = 'encoder.pos_conv.0.'
_TABLE = 'encoder.relative_attention_bias.weight'
_TABLE_COPY = '.self_attn.relative_attention_bias.weight'
_WEIGHT_NORMS = (
    ('weight_g', 'weight_v'),
    ('parametrizations.weight.original0', 'parametrizations.weight.original1'),
)


@dataclass(frozen=True)
class BeatsConfig:
    """What a file says in ``cfg``; names and meaning are the official ones.

    The official defaults fit no published file, so fields that shape the network have none here.

    Raises:
        ValueError: a size that is no whole number of its range, or sizes that do not fit together.
    """

    input_patch_size: int
    """Frames and mel bands of a patch."""
    embed_dim: int
    """Width of an embedded patch."""
    encoder_layers: int
    """Number of transformer layers, called blocks."""
    encoder_embed_dim: int
    """Width of the transformer."""
    encoder_ffn_embed_dim: int
    """Hidden width of a layer's MLP."""
    encoder_attention_heads: int
    """Number of attention heads."""
    deep_norm: bool
    """Whether the residual path is scaled by (2 * layers)^(1/4)."""
    conv_pos: int
    """Kernel of the positional convolution, tokens."""
    conv_pos_groups: int
    """Groups of the positional convolution."""
    num_buckets: int
    """Rows of the relative position table."""
    max_distance: int
    """Distance from which all share the last row, tokens."""
    conv_bias: bool = False
    """Whether the patch embedding has a bias."""
    dropout: float = 0.0
    """Dropout behind the embedding, attention and MLP."""
    attention_dropout: float = 0.0
    """Dropout of attention weights."""
    activation_dropout: float = 0.0
    """Dropout inside the MLP."""
    dropout_input: float = 0.0
    """Dropout of the embedded patches."""
    layer_wise_gradient_decay_ratio: float = 1.0
    """Factor of the gradient before every layer; below 1 the first layers learn slowest."""
    finetuned_model: bool = False
    """Whether there is a classifier."""
    predictor_dropout: float = 0.0
    """Dropout before the classifier."""
    predictor_class: int = 527
    """Number of classes (AudioSet's)."""

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            whole(getattr(self, name), f'cfg.{name}', 1, largest)
        for name in ('encoder_attention_heads', 'conv_pos_groups'):
            if self.encoder_embed_dim % getattr(self, name):
                raise ValueError(
                    f'cfg.{name} = {getattr(self, name)}: expected a divisor of encoder_embed_dim '
                    f'= {self.encoder_embed_dim}'
                )
        if self.num_buckets < 4 or self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f'cfg.num_buckets = {self.num_buckets}, cfg.max_distance = {self.max_distance}: '
                'expected at least 4 buckets and a distance above a quarter of them'
            )

    @classmethod
    def from_cfg(cls, cfg: Mapping[str, Any]) -> BeatsConfig:
        """Read a ``cfg``; keys that only concerned its training are ignored.

        Raises:
            ValueError: a key is missing or has a bad value, or it describes a variant that no
                published file is of.
        """
        for name, value in _ALWAYS.items():
            if cfg.get(name, value) != value:
                raise ValueError(
                    f'cfg.{name} = {cfg[name]!r}: expected {value!r}, like all published files'
                )
        fields = dataclasses.fields(cls)
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
        if lacking := sorted(needed - set(cfg)):
            raise ValueError(f'cfg lacks {", ".join(lacking)}')
        return cls(**{field.name: cfg[field.name] for field in fields if field.name in cfg})


def read_official(path: str | Path) -> tuple[BeatsConfig, dict[str, Tensor]]:
    """Read a file without executing anything in it.

    Returns:
        Its configuration (``finetuned_model`` says whether it holds the classifier's weights), and
        the weights of ``Beats``, float32 on the CPU.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, or of a variant that is not supported.
    """
    data = read_torch(path)
    if not isinstance(data, Mapping) or not all(
        isinstance(data.get(part), Mapping) for part in ('cfg', 'model')
    ):
        raise ValueError(f'{path}: expected the official BEATs format, a dict of cfg and model')
    cfg, model = data['cfg'], data['model']
    try:
        config = BeatsConfig.from_cfg({**cfg, 'finetuned_model': 'predictor.weight' in model})
        return config, _from_official(model)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _from_official(model: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weight norm folded into the weight, one position table instead of a copy in every layer."""
    if wrong := [name for name, value in model.items() if not isinstance(value, Tensor)]:
        raise ValueError(f'model.{wrong[0]}: expected a tensor, got {type(model[wrong[0]])}')
    tables = [name for name in model if name.endswith(_TABLE_COPY)]
    state = {name: value.float() for name, value in model.items() if name not in tables}
    if tables:
        state[_TABLE] = model[tables[0]].float()  # [buckets, H]
    for gain_name, direction_name in _WEIGHT_NORMS:
        gain = state.pop(_CONVOLUTION + gain_name, None)  # [1, 1, K]
        direction = state.pop(_CONVOLUTION + direction_name, None)  # [W, W / groups, K]
        if gain is not None and direction is not None:
            norm = direction.norm(dim=(0, 1), keepdim=True)  # [1, 1, K]
            state[_CONVOLUTION + 'weight'] = gain * direction / norm
    return state


def to_official(config: BeatsConfig, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ``{cfg, model}`` of a configuration and weights; the inverse of ``read_official``."""
    model = {name: value.detach().clone() for name, value in state.items()}
    table, weight = model.pop(_TABLE), model.pop(_CONVOLUTION + 'weight')  # [W, W / groups, K]
    for layer in range(config.encoder_layers):
        model[f'encoder.layers.{layer}{_TABLE_COPY}'] = table
    model[_CONVOLUTION + 'weight_g'] = weight.norm(dim=(0, 1), keepdim=True)  # [1, 1, K]
    model[_CONVOLUTION + 'weight_v'] = weight
    return {'cfg': {**dataclasses.asdict(config), **_ALWAYS}, 'model': model}
