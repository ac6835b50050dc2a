"""Was it an impact? A small network that looks at the sound round each candidate of the detector.

It is trained by ``cs3-train ear`` and runs on numpy alone, so that the base install has it. It
costs about a millisecond per candidate, and nothing while there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from cs3_ros.trigger.gate_features import BANDS, CONTEXT, CORE, ENVELOPE, VOICE, Features, features

WEIGHTS = Path(__file__).with_name('gate.safetensors')
"""The network of the package."""

Floats = NDArray[np.float32]

CONVOLUTIONS: Mapping[str, tuple[tuple[int, int], ...]] = {
    'core': ((2, 2), (2, 2), (2, 2)),
    'envelope': ((1, 2), (1, 2)),
}
"""Strides of the layers of each branch that has convolutions, down and across."""
DENSE = ('context', 'voice')
"""Branches of one dense layer."""
SHAPES: Mapping[str, tuple[int, ...]] = {
    'core.0.weight': (12, 1, 5, 5),
    'core.1.weight': (16, 12, 3, 3),
    'core.2.weight': (24, 16, 3, 3),
    'core.dense.weight': (32, 24 * (BANDS // 8) * (CORE // 8)),
    'envelope.0.weight': (8, 2, 1, 7),
    'envelope.1.weight': (12, 8, 1, 5),
    'envelope.dense.weight': (24, 12 * (ENVELOPE // 4)),
    'context.dense.weight': (16, BANDS * CONTEXT),
    'voice.dense.weight': (16, 2 * VOICE),
    'hidden.weight': (32, 32 + 24 + 16 + 16),
    'answer.weight': (1, 32),
}
"""Every matrix; each has a bias ``NAME.bias`` of its first length."""


class Network:
    """The network of the gate.

    Args:
        weights: float32 by name, as ``SHAPES`` says.

    Raises:
        ValueError: a weight is lacking, has another shape or is not finite.
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        expected = dict(SHAPES)
        for name, shape in SHAPES.items():
            expected[name.removesuffix('weight') + 'bias'] = shape[:1]
        found = {name: weight.shape for name, weight in weights.items()}
        if found != expected:
            wrong = sorted(name for name, _ in found.items() ^ expected.items())
            raise ValueError(f'weights of the gate: missing or of another shape: {wrong}')
        if not all(np.isfinite(weight).all() for weight in weights.values()):
            raise ValueError('weights of the gate: expected finite numbers')
        self._weights = {name: weight.astype(np.float32) for name, weight in weights.items()}

    def probability(self, seen: Features) -> float:
        """How probable a struck object is, 0 to 1."""
        pictures = {'core': seen.core[None], 'envelope': seen.envelope[:, None]}
        parts = []
        for name, picture in pictures.items():  # [channels, height, width]
            for number, strides in enumerate(CONVOLUTIONS[name]):
                picture = np.maximum(self._convolved(f'{name}.{number}', picture, strides), 0)
            parts.append(self._dense(f'{name}.dense', picture.ravel()))
        parts += [self._dense(f'{name}.dense', getattr(seen, name).ravel()) for name in DENSE]
        hidden = np.maximum(self._dense('hidden', np.maximum(np.concatenate(parts), 0)), 0)
        answer = float(self._dense('answer', hidden)[0])
        return float(1 / (1 + np.exp(-np.clip(answer, -60, 60))))

    def _dense(self, name: str, values: Floats) -> Floats:
        product: Floats = self._weights[f'{name}.weight'] @ values + self._weights[f'{name}.bias']
        return product

    def _convolved(self, name: str, picture: Floats, strides: tuple[int, int]) -> Floats:
        """A convolution with zeros round the picture, [channels, height, width] in and out."""
        weight = self._weights[f'{name}.weight']
        height, width = weight.shape[2:]
        padded = np.pad(picture, ((0, 0), (height // 2,) * 2, (width // 2,) * 2))
        patches = np.lib.stride_tricks.sliding_window_view(
            padded,
            (height, width),
            axis=(1, 2),  # type: ignore[call-overload]
        )
        patches = patches[:, :: strides[0], :: strides[1]]  # [channels, rows, columns, h, w]
        rows, columns = patches.shape[1:3]
        flat = patches.transpose(1, 2, 0, 3, 4).reshape(rows * columns, -1)
        result = weight.reshape(weight.shape[0], -1) @ flat.T  # [out, rows * columns]
        result = result + self._weights[f'{name}.bias'][:, None]
        return result.reshape(-1, rows, columns)


def load_network(path: Path) -> Network:
    """A network from its file.

    Raises:
        ValueError: the file is not one of this network's.
    """
    return Network(load_file(path))


@lru_cache(maxsize=1)
def _shipped() -> Network:
    return load_network(WEIGHTS)


def shipped_gate(sound: Floats, rate: int) -> float:
    """How probable the network of the package holds a struck object, 0 to 1.

    Args:
        sound: float32 [N], see ``gate_features.span``.
        rate: samples per second.
    """
    return _shipped().probability(features(sound, rate))
