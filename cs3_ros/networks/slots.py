"""Slot attention and the decoder that reads it: SPOT (Kakogeorgiou et al., CVPR 2024, 2312.00648).

Patch features of a frozen ViT go in. A few slots compete for the patches; a transformer writes the
features again, patch after patch, and sees nothing of the picture but the slots and the patches
before. What it writes is smoother than the features and follows objects: masks pool it
(method.md F). Parameters carry the names of gkakogeorgiou/spot, so its files are loaded as they are
(``sounding_released.py``).

Shapes: B pictures, N = n x n patches, D width of a patch, S slots, Ds width of a slot, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs3_ros.config import setting, validate
from cs3_ros.networks.sizes import MAX_LAYERS, MAX_SIDE, MAX_WIDTH

ORDERS = 9
"""Orders in which the decoder may write the patches of a picture (``patch_orders``)."""


@dataclass(frozen=True)
class SlotsConfig:
    """Sizes of ``SlotAutoencoder``; the defaults are those of Clink! Chop! Thud!

    Raises:
        ValueError: a setting is outside its range, or the heads do not divide the width.
    """

    width: int = setting(768, 'Width of a patch feature.', minimum=1, maximum=MAX_WIDTH)
    grid: int = setting(
        14, 'Patches along a side of the picture.', minimum=1, maximum=MAX_SIDE // 16
    )
    slots: int = setting(7, 'Slots.', minimum=1, maximum=1024)
    slot_width: int = setting(256, 'Width of a slot.', minimum=1, maximum=MAX_WIDTH)
    slot_hidden: int = setting(
        1024, 'Hidden width of the MLP that updates slots.', minimum=1, maximum=MAX_WIDTH
    )
    iterations: int = setting(3, 'Rounds of slot attention.', minimum=1, maximum=100)
    blocks: int = setting(4, 'Blocks of the decoder.', minimum=1, maximum=MAX_LAYERS)
    heads: int = setting(6, 'Heads of all attention in the decoder.', minimum=1, maximum=1024)

    def __post_init__(self) -> None:
        validate(self)
        if self.width % self.heads:
            raise ValueError(
                f'SlotsConfig.heads = {self.heads}: expected a divisor of the width {self.width}'
            )


class SlotAttention(nn.Module):
    """Slots that compete for patches, optimised on two levels (Jia et al., ICLR 2023, 2210.08990).

    The rounds before the last are a search without gradients. The last one passes gradients to its
    own weights and, straight through the found slots, to the learned slots that the search began
    with.

    Args:
        config: sizes.
    """

    epsilon = 1e-8
    """Added to the shares of the patches, so that a slot that gets none does not divide by 0."""

    def __init__(self, config: SlotsConfig) -> None:
        super().__init__()
        width, slot = config.width, config.slot_width
        self.iterations = config.iterations
        self.norm_inputs = nn.LayerNorm(width)
        self.norm_slots, self.norm_mlp = nn.LayerNorm(slot), nn.LayerNorm(slot)
        self.project_q = _linear(slot, slot, bias=False)
        self.project_k = _linear(width, slot, bias=False)
        self.project_v = _linear(width, slot, bias=False)
        self.gru = nn.GRUCell(slot, slot)
        nn.init.xavier_uniform_(self.gru.weight_ih)
        nn.init.orthogonal_(self.gru.weight_hh)
        nn.init.zeros_(self.gru.bias_ih)
        nn.init.zeros_(self.gru.bias_hh)
        self.mlp = _mlp(slot, config.slot_hidden)

    def forward(self, patches: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """Let the slots find their patches.

        Args:
            patches: [B, N, D].
            start: slots to begin with, [B, S, Ds].

        Returns:
            Slots [B, S, Ds], and whose each patch is in the last round, [B, N, S]: shares that sum
            to 1 over the slots.
        """
        patches = self.norm_inputs(patches)  # [B, N, D]
        keys = self.project_k(patches) * start.shape[-1] ** -0.5  # [B, N, D] -> [B, N, Ds]
        values = self.project_v(patches)  # [B, N, D] -> [B, N, Ds]
        slots = start  # [B, S, Ds]
        with torch.no_grad():
            for _ in range(self.iterations - 1):
                slots, _ = self._round(keys, values, slots)  # [B, S, Ds]
        slots = slots.detach() + (start - start.detach())  # in this order the sum is exact
        return self._round(keys, values, slots)

    def _round(self, keys: Tensor, values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        queries = self.project_q(self.norm_slots(slots))  # [B, S, Ds]
        scores = keys @ queries.transpose(1, 2)  # [B, N, Ds] @ [B, Ds, S] -> [B, N, S]
        shares = scores.softmax(2)  # [B, N, S], over the slots: they compete
        weights = shares + self.epsilon
        weights = weights / weights.sum(1, keepdim=True)  # [B, N, S], sums to 1 over the patches
        found = weights.transpose(1, 2) @ values  # [B, S, N] @ [B, N, Ds] -> [B, S, Ds]
        new = self.gru(found.flatten(0, 1), slots.flatten(0, 1))  # [B*S, Ds] twice -> [B*S, Ds]
        new = new.unflatten(0, slots.shape[:2])  # [B*S, Ds] -> [B, S, Ds]
        return new + self.mlp(self.norm_mlp(new)), shares


class SlotEncoder(nn.Module):
    """Patches are transformed each by itself, then slot attention begins with the learned slots.

    Args:
        config: sizes.
    """

    def __init__(self, config: SlotsConfig) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.width)
        self.mlp = _mlp(config.width, config.width)
        self.slots_init = nn.Embedding(config.slots, config.slot_width)
        nn.init.xavier_uniform_(self.slots_init.weight)
        self.slot_attention = SlotAttention(config)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, D] -> slots [B, S, Ds] and shares [B, N, S]."""
        start = self.slots_init.weight.expand(len(patches), -1, -1)  # [S, Ds] -> [B, S, Ds]
        return self.slot_attention(self.mlp(self.layer_norm(patches)), start)


class Attention(nn.Module):
    """Multi-head attention without biases.

    Args:
        width: D.
        heads: H, a divisor of D.
        gain: of the random output weights.
    """

    def __init__(self, width: int, heads: int, gain: float) -> None:
        super().__init__()
        self.heads = heads
        self.proj_q = _linear(width, width, bias=False)
        self.proj_k = _linear(width, width, bias=False)
        self.proj_v = _linear(width, width, bias=False)
        self.proj_o = _linear(width, width, bias=False, gain=gain)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        """[B, N, D] looks at [B, M, D]; ``causal``: place k only at places 0 to k."""
        q = self.proj_q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, N, D/H]
        k = self.proj_k(memory).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, M, D/H]
        v = self.proj_v(memory).unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, M, D/H]
        x = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # [B, H, N, D/H]
        return self.proj_o(x.transpose(1, 2).flatten(2))  # [B, H, N, D/H] -> [B, N, D]


class DecoderBlock(nn.Module):
    """Look at the patches before, at the slots, then think.

    Args:
        config: sizes.
        first: whether this is the first block; there the norm is applied to the stream itself, and
            not to a branch of it.
    """

    def __init__(self, config: SlotsConfig, first: bool) -> None:
        super().__init__()
        width, gain = config.width, (3 * config.blocks) ** -0.5
        self.first = first
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = Attention(width, config.heads, gain)
        self.encoder_decoder_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_decoder_attn = Attention(width, config.heads, gain)
        self.ffn_layer_norm = nn.LayerNorm(width)
        self.ffn = _mlp(width, 4 * width, gain)

    def forward(self, x: Tensor, slots: Tensor) -> Tensor:
        """Patches [B, N, D] and slots [B, S, D] -> [B, N, D]."""
        normed = self.self_attn_layer_norm(x)  # [B, N, D]
        x = (normed if self.first else x) + self.self_attn(normed, normed, causal=True)
        x = x + self.encoder_decoder_attn(self.encoder_decoder_attn_layer_norm(x), slots)
        return x + self.ffn(self.ffn_layer_norm(x))


class Decoder(nn.Module):
    """The blocks and a last norm.

    Args:
        config: sizes.
    """

    def __init__(self, config: SlotsConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(config, k == 0) for k in range(config.blocks))
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, slots: Tensor) -> Tensor:
        """Patches [B, N, D] and slots [B, S, D] -> [B, N, D]."""
        for block in self.blocks:
            x = block(x, slots)  # [B, N, D]
        return self.layer_norm(x)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the autoencoder leaves of a picture."""

    patches: Tensor
    """The patches as they were written again, [B, N, D], in row-major order."""
    slots: Tensor
    """[B, S, Ds]."""
    shares: Tensor
    """Whose each patch is, [B, N, S], sums to 1 over the slots."""


class SlotAutoencoder(nn.Module):
    """Patches to slots, and slots to patches.

    In training mode a picture is written in one order that is drawn by torch's global random
    numbers, in evaluation mode in all nine, whose mean is the result.

    Args:
        config: sizes.
    """

    def __init__(self, config: SlotsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.slot_attn = SlotEncoder(config)
        self.input_proj = nn.Sequential(_linear(width, width, bias=False), nn.LayerNorm(width))
        self.slot_proj = nn.Sequential(
            _linear(config.slot_width, width, bias=False), nn.LayerNorm(width)
        )
        self.bos_tokens = nn.Parameter(torch.randn(ORDERS, 1, 1, width) * 0.02)
        self.dec = Decoder(config)

    def forward(self, patches: Tensor, target: Tensor | None = None) -> Decoded:
        """Encode and decode.

        Args:
            patches: features that the slots see, [B, N, D].
            target: features that the decoder is given, [B, N, D]; None for the same.
        """
        slots, shares = self.slot_attn(patches)  # [B, S, Ds], [B, N, S]
        return Decoded(self.decode(slots, patches if target is None else target), slots, shares)

    def decode(self, slots: Tensor, target: Tensor) -> Tensor:
        """Write the patches again: slots [B, S, Ds] and patches [B, N, D] -> [B, N, D]."""
        memory = self.slot_proj(slots)  # [B, S, Ds] -> [B, S, D]
        chosen = [int(torch.randint(ORDERS, ()))] if self.training else range(ORDERS)
        orders = _orders(self.config.grid, target.device)  # [9, N]
        total = torch.zeros_like(target)
        for number in chosen:
            order = orders[number]  # [N]
            first = self.bos_tokens[number].expand(len(target), -1, -1)  # [1, 1, D] -> [B, 1, D]
            before = torch.cat([first, target[:, order[:-1]]], 1)  # [B, N, D], one place later
            written = self.dec(self.input_proj(before), memory)  # [B, N, D], in this order
            total = total + written[:, order.argsort()]  # [B, N, D], row-major
        return total / len(chosen)


def patch_orders(grid: int) -> Tensor:
    """The orders of SPOT: eight scans by rows or columns, and a spiral out from the middle.

    Args:
        grid: n, patches along a side.

    Returns:
        Row-major numbers of the patches, int64 [9, n * n].
    """
    rows = torch.arange(grid * grid).view(grid, grid)  # [n, n]
    columns = rows.T  # [n, n]
    inward = []
    rest = rows.rot90()  # [n, n]; the first row is what is peeled off
    while rest.numel():
        inward.append(rest[0])
        rest = rest[1:].rot90()
    scans = [  # named after their first patch and the way that they leave it
        rows,  # top left, right
        columns,  # top left, down
        columns.flip(0),  # top right, down
        rows.flip(1),  # top right, left
        columns.flip(0, 1),  # bottom right, up
        rows.flip(0, 1),  # bottom right, left
        columns.flip(1),  # bottom left, up
        rows.flip(0),  # bottom left, right
    ]
    return torch.stack([*(scan.flatten() for scan in scans), torch.cat(inward).flip(0)])


@lru_cache(maxsize=8)
def _orders(grid: int, device: torch.device) -> Tensor:
    """``patch_orders`` on a device."""
    with torch.inference_mode(False):  # else training could not use it after an inference
        return patch_orders(grid).to(device)


def _linear(inputs: int, outputs: int, bias: bool = True, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _mlp(width: int, hidden: int, gain: float = 1.0) -> nn.Sequential:
    """[..., width] -> [..., width]."""
    first = _linear(width, hidden)
    nn.init.kaiming_uniform_(first.weight, nonlinearity='relu')
    return nn.Sequential(first, nn.ReLU(), _linear(hidden, width, gain=gain))
