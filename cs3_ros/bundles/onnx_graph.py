"""Writes small networks as ONNX files: the few messages that it takes, without a package.

Opset 11, as the releases of YOLOX use it; OpenCV reads what is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cs3_ros.files.atomic import replacing

FLOAT, INT64 = 1, 7
"""Types of tensors."""
INT, STRING, INTS = 2, 3, 7
"""Types of attributes."""


class OnnxGraph:
    """A network, node by node in the order in which they run.

    Args:
        name: of the graph.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[bytes] = []
        self._tensors: list[bytes] = []

    def tensor(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Add constant numbers; their name."""
        name = f'tensor{len(self._tensors)}'
        self._tensors.append(_tensor(name, values))
        return name

    def node(
        self, kind: str, *inputs: str, output: str = '', **attributes: int | str | Sequence[int]
    ) -> str:
        """Add an operator of ONNX.

        Args:
            kind: its name.
            inputs: names of what it takes; '' leaves an optional one out.
            output: name of what it gives; '' for any.
            attributes: by their names.

        Returns:
            The name of what it gives.
        """
        output = output or f'node{len(self._nodes)}'
        parts = [_field(1, name.encode()) for name in inputs]
        parts += [_field(2, output.encode()), _field(4, kind.encode())]
        for name, value in attributes.items():
            if isinstance(value, int):
                content = _number(3, value) + _number(20, INT)
            elif isinstance(value, str):
                content = _field(4, value.encode()) + _number(20, STRING)
            else:
                content = b''.join(_number(8, item) for item in value) + _number(20, INTS)
            parts.append(_field(5, _field(1, name.encode()) + content))
        self._nodes.append(b''.join(parts))
        return output

    def write(
        self, path: Path, given: tuple[str, Sequence[int]], wanted: tuple[str, Sequence[int]]
    ) -> None:
        """Write the file, whose folder exists.

        Args:
            path: the file.
            given: name and shape of the floats that go in.
            wanted: name and shape of the floats that come out.

        Raises:
            OSError: the file cannot be written.
        """
        graph = b''.join(
            [
                *(_field(1, node) for node in self._nodes),
                _field(2, self.name.encode()),
                *(_field(5, tensor) for tensor in self._tensors),
                _field(11, _value(*given)),
                _field(12, _value(*wanted)),
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


def _value(name: str, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto of a tensor of floats."""
    dims = b''.join(_field(1, _number(1, size)) for size in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, FLOAT) + _field(2, dims)))
