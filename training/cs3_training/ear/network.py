"""The network of the gate for training; ``cs3_ros.trigger.gate`` runs it without torch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cs3_ros.trigger.gate import CONVOLUTIONS, DENSE, SHAPES


class GateNetwork(nn.Module):
    """Its parameters have the names and shapes of ``cs3_ros.trigger.gate.SHAPES``.

    Args:
        drop: share of hidden values that are dropped in training.
    """

    def __init__(self, drop: float = 0.2) -> None:
        super().__init__()
        self.drop = nn.Dropout(drop)
        self.layers = nn.ModuleDict()
        for name, shape in SHAPES.items():
            layer: nn.Module
            if len(shape) == 4:
                out, channels, height, width = shape
                branch, number = name.split('.')[:2]
                layer = nn.Conv2d(
                    channels,
                    out,
                    (height, width),
                    CONVOLUTIONS[branch][int(number)],
                    (height // 2, width // 2),
                )
            else:
                layer = nn.Linear(shape[1], shape[0])
            self.layers[_key(name)] = layer

    def forward(self, core: Tensor, context: Tensor, voice: Tensor, envelope: Tensor) -> Tensor:
        """Logits [B].

        Args:
            core: [B, BANDS, CORE]; the others as in ``Features``, too, with a batch before.
            context: [B, BANDS, CONTEXT].
            voice: [B, 2, VOICE].
            envelope: [B, 2, ENVELOPE].
        """
        pictures = {'core': core[:, None], 'envelope': envelope[:, :, None]}  # [B, C, H, W]
        parts = []
        for name, picture in pictures.items():
            for number in range(len(CONVOLUTIONS[name])):
                picture = self._layer(f'{name}.{number}')(picture).relu()
            parts.append(self._layer(f'{name}.dense')(picture.flatten(1)))
        for name, values in zip(DENSE, (context, voice), strict=True):
            parts.append(self._layer(f'{name}.dense')(values.flatten(1)))
        joined = self.drop(torch.cat(parts, 1).relu())  # [B, 88]
        hidden = self.drop(self._layer('hidden')(joined).relu())  # [B, 32]
        answer: Tensor = self._layer('answer')(hidden)[:, 0]
        return answer

    def load_file(self, path: Path) -> None:
        """Take the weights of a file that ``weights`` made."""
        own = self.weights()
        with torch.no_grad():
            for name, value in load_file(path).items():
                own[name].copy_(value)

    def weights(self) -> dict[str, Tensor]:
        """All parameters by the names of ``SHAPES``, float32 on the CPU."""
        return {
            f'{name.removesuffix("weight")}{kind}': getattr(self._layer(name), kind).detach().cpu()
            for name in SHAPES
            for kind in ('weight', 'bias')
        }

    def _layer(self, name: str) -> nn.Module:
        return self.layers[_key(name)]


def _key(name: str) -> str:
    return name.removesuffix('.weight').replace('.', '_')
