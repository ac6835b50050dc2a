"""A network of a few convolutions that looks like YOLOX from outside, as an ONNX file.

It is made of random numbers, has the inputs and outputs of the official files and finds noise.
The few messages of ONNX that it takes are written here, so that no package is needed for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.files.atomic import replacing
from cs3_ros.objects.yolox import COLUMNS, STRIDES

FLOAT, INT64 = 1, 7
"""Types of tensors."""
INT, INTS = 2, 7
"""Types of attributes."""


def write_yolox(path: Path, seed: int, side: int = 416) -> None:
    """Write such a network.

    Args:
        path: the file, whose folder exists.
        seed: of its numbers.
        side: of its input, pixels.

    Raises:
        OSError: the file cannot be written.
    """
    rng = np.random.default_rng(seed)
    nodes, tensors, grids = [], [_tensor('shape', np.array([1, COLUMNS, -1], np.int64))], []
    for stride in STRIDES:
        size = (COLUMNS, 3, stride, stride)
        weight = rng.normal(0, 0.02 / stride, size).astype(np.float32)
        tensors.append(_tensor(f'weight{stride}', weight))
        sides = [stride, stride]
        nodes += [
            _node(
                'Conv',
                ['images', f'weight{stride}'],
                f'cells{stride}',
                kernel_shape=sides,
                strides=sides,
            ),
            _node('Reshape', [f'cells{stride}', 'shape'], f'rows{stride}'),
        ]
        grids.append(f'rows{stride}')
    nodes += [
        _node('Concat', grids, 'columns', axis=2),
        _node('Sigmoid', ['columns'], 'shares'),
        _node('Transpose', ['shares'], 'output', perm=[0, 2, 1]),
    ]
    cells = sum((side // stride) ** 2 for stride in STRIDES)
    graph = b''.join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b'yolox'),
            *(_field(5, tensor) for tensor in tensors),
            _field(11, _value('images', (1, 3, side, side))),
            _field(12, _value('output', (1, cells, COLUMNS))),
        ]
    )
    opset = _field(1, b'') + _number(2, 11)
    with replacing(path) as part:
        part.write_bytes(_number(1, 6) + _field(7, graph) + _field(8, opset))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(key: int, value: int) -> bytes:
    return _varint(key << 3) + _varint(value)


def _field(key: int, content: bytes) -> bytes:
    return _varint(key << 3 | 2) + _varint(len(content)) + content


def _tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> bytes:
    """A TensorProto."""
    dims = b''.join(_number(1, size) for size in values.shape)
    kind = INT64 if values.dtype == np.int64 else FLOAT
    return dims + _number(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> bytes:
    """A NodeProto."""
    parts = [_field(1, name.encode()) for name in inputs]
    parts += [_field(2, output.encode()), _field(3, output.encode()), _field(4, kind.encode())]
    for name, value in attributes.items():
        if isinstance(value, int):
            content = _number(3, value) + _number(20, INT)
        else:
            content = b''.join(_number(8, item) for item in value) + _number(20, INTS)
        parts.append(_field(5, _field(1, name.encode()) + content))
    return b''.join(parts)


def _value(name: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto of a tensor of floats."""
    dims = b''.join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, FLOAT) + _field(2, dims)))
