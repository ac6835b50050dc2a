"""Networks of random numbers with the inputs and outputs of YOLOX's official ONNX files.

``write_yolox_nano`` writes the layers of YOLOX-nano (Ge et al., *YOLOX: Exceeding YOLO Series in
2021*: a CSPDarknet of depth 0.33 and width 0.25 with depthwise convolutions, a path aggregation
network, three decoupled heads), so that it costs what the real one costs. ``write_toy_yolox``
writes one convolution per grid, for tests. Both find noise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cs3_ros.bundles.onnx_graph import OnnxGraph
from cs3_ros.objects.yolox import COLUMNS, STRIDES

RARE = -4.6
"""Bias of objectness and classes: sigmoid gives 0.01, with which YOLOX's training begins, too."""


def write_toy_yolox(path: Path, seed: int, side: int = 416) -> None:
    """Write the smallest network of YOLOX's form.

    Args:
        path: the file, whose folder exists.
        seed: of its numbers.
        side: of its input, pixels.

    Raises:
        OSError: the file cannot be written.
    """
    rng = np.random.default_rng(seed)
    graph = OnnxGraph('toy_yolox')
    shape = graph.tensor(np.array([1, COLUMNS, -1], np.int64))
    grids = []
    for stride in STRIDES:
        weight = rng.normal(0, 0.02 / stride, (COLUMNS, 3, stride, stride)).astype(np.float32)
        sides = [stride, stride]
        cells = graph.node(
            'Conv', 'images', graph.tensor(weight), kernel_shape=sides, strides=sides
        )  # [1, 85, S / stride, S / stride]
        grids.append(graph.node('Reshape', cells, shape))  # [1, 85, cells of the grid]
    shares = graph.node('Sigmoid', graph.node('Concat', *grids, axis=2))
    graph.node('Transpose', shares, output='output', perm=[0, 2, 1])
    _write(graph, path, side)


def write_yolox_nano(path: Path, seed: int, side: int = 416) -> None:
    """Write YOLOX-nano; arguments and errors are those of ``write_toy_yolox``."""
    layers = _Layers(np.random.default_rng(seed))
    features = _backbone(layers)
    grids = [
        _head(layers, feature, wide)
        for feature, wide in zip(_neck(layers, *features), (64, 128, 256), strict=True)
    ]
    layers.graph.node(
        'Transpose', layers.graph.node('Concat', *grids, axis=2), output='output', perm=[0, 2, 1]
    )
    _write(layers.graph, path, side)


def _write(graph: OnnxGraph, path: Path, side: int) -> None:
    cells = sum((side // stride) ** 2 for stride in STRIDES)
    graph.write(path, ('images', (1, 3, side, side)), ('output', (1, cells, COLUMNS)))


class _Layers:
    """YOLOX's blocks with random numbers, batch normalisation already part of the convolutions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.graph = OnnxGraph('yolox_nano')
        self._rng = rng
        self._shape = self.graph.tensor(np.array([1, COLUMNS, -1], np.int64))
        self._twice = self.graph.tensor(np.array([1, 1, 2, 2], np.float32))

    def plain(
        self, x: str, wide: int, out: int, kernel: int = 1, stride: int = 1, bias: float = 0.0
    ) -> str:
        """A convolution; of as many groups as channels where ``wide`` is 1."""
        size = (out, wide, kernel, kernel)
        numbers = self._rng.normal(0, (1 / (wide * kernel**2)) ** 0.5, size).astype(np.float32)
        return self.graph.node(
            'Conv',
            x,
            self.graph.tensor(numbers),
            self.graph.tensor(np.full(out, bias, np.float32)),
            group=out if wide == 1 else 1,
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            strides=[stride, stride],
        )

    def conv(self, x: str, wide: int, out: int, kernel: int = 1, stride: int = 1) -> str:
        """A convolution with SiLU."""
        x = self.plain(x, wide, out, kernel, stride)
        return self.graph.node('Mul', x, self.graph.node('Sigmoid', x))

    def deep(self, x: str, wide: int, out: int, stride: int = 1) -> str:
        """A depthwise convolution of 3 x 3 and a pointwise one."""
        return self.conv(self.conv(x, 1, wide, 3, stride), wide, out)

    def stage(self, x: str, wide: int, out: int, depth: int, add: bool) -> str:
        """Cross stage partial: half of the channels through ``depth`` bottlenecks, half past."""
        half = out // 2
        through, past = self.conv(x, wide, half), self.conv(x, wide, half)
        for _ in range(depth):
            new = self.deep(self.conv(through, half, half), half, half)
            through = self.graph.node('Add', new, through) if add else new
        return self.conv(self.joined(through, past), out, out)

    def joined(self, *parts: str) -> str:
        """Channels one after the other."""
        return self.graph.node('Concat', *parts, axis=1)

    def larger(self, x: str) -> str:
        """Twice as high and wide, nearest neighbours."""
        return self.graph.node(
            'Resize',
            x,
            '',
            self._twice,
            mode='nearest',
            coordinate_transformation_mode='asymmetric',
            nearest_mode='floor',
        )

    def rows(self, cells: str) -> str:
        """[1, 85, h, w] -> [1, 85, h * w]."""
        return self.graph.node('Reshape', cells, self._shape)


def _backbone(layers: _Layers) -> tuple[str, str, str]:
    """Features at strides 8, 16 and 32, 64, 128 and 256 channels."""
    graph = layers.graph
    axes = [graph.tensor(np.array([axis], np.int64)) for axis in (2, 3)]
    zero, one, two, end = (
        graph.tensor(np.array([value], np.int64)) for value in (0, 1, 2, 2**31 - 1)
    )
    quarters = []
    for first_column in (zero, one):
        for first_row in (zero, one):
            rows = graph.node('Slice', 'images', first_row, end, axes[0], two)
            quarters.append(graph.node('Slice', rows, first_column, end, axes[1], two))
    x = layers.conv(layers.joined(*quarters), 12, 16, 3)
    x = layers.stage(layers.deep(x, 16, 32, 2), 32, 32, 1, add=True)
    fine = layers.stage(layers.deep(x, 32, 64, 2), 64, 64, 3, add=True)
    middle = layers.stage(layers.deep(fine, 64, 128, 2), 128, 128, 3, add=True)
    x = layers.conv(layers.deep(middle, 128, 256, 2), 256, 128)
    pools = [
        graph.node('MaxPool', x, kernel_shape=[size, size], pads=[size // 2] * 4, strides=[1, 1])
        for size in (5, 9, 13)
    ]
    x = layers.conv(layers.joined(x, *pools), 512, 256)
    return fine, middle, layers.stage(x, 256, 256, 1, add=False)


def _neck(layers: _Layers, fine: str, middle: str, coarse: str) -> tuple[str, str, str]:
    """The three features, each with what the others know."""
    top = layers.conv(coarse, 256, 128)
    x = layers.stage(layers.joined(layers.larger(top), middle), 256, 128, 1, add=False)
    between = layers.conv(x, 128, 64)
    x = layers.joined(layers.larger(between), fine)
    fine = layers.stage(x, 128, 64, 1, add=False)
    x = layers.joined(layers.deep(fine, 64, 64, 2), between)
    middle = layers.stage(x, 128, 128, 1, add=False)
    x = layers.joined(layers.deep(middle, 128, 128, 2), top)
    return fine, middle, layers.stage(x, 256, 256, 1, add=False)


def _head(layers: _Layers, feature: str, wide: int) -> str:
    """Rows of one grid, [1, 85, cells]: place and size, objectness, classes."""
    x = layers.conv(feature, wide, 64)
    kinds, places = x, x
    for _ in range(2):
        kinds = layers.deep(kinds, 64, 64)
    for _ in range(2):
        places = layers.deep(places, 64, 64)
    columns = [
        layers.plain(places, 64, 4),
        layers.graph.node('Sigmoid', layers.plain(places, 64, 1, bias=RARE)),
        layers.graph.node('Sigmoid', layers.plain(kinds, 64, COLUMNS - 5, bias=RARE)),
    ]
    return layers.rows(layers.joined(*columns))
