"""Objects by an official YOLOX network, as the ONNX file of its release, run by OpenCV.

Such a file ends at the raw outputs of three grids; where a cell's box lies is computed here. Input
and outputs are those of the authors' own ONNX demonstration: a picture in BGR, 0 to 255, scaled
to fit a square from its upper left corner, the rest grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import Image, Proposal
from cs3_ros.config import require, setting, validate
from cs3_ros.files.regular import one_line
from cs3_ros.objects.selection import select

STRIDES = (8, 16, 32)
"""Pixels of the square from cell to cell, for each grid."""
GREY = 114
"""Value of what the picture does not cover."""
COLUMNS = 85
"""Numbers per cell: centre, size, objectness and the classes of COCO."""
COCO = tuple(
    (
        'person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,'
        'stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,'
        'backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,'
        'baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,'
        'fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,'
        'cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,'
        'cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,'
        'hair drier,toothbrush'
    ).split(',')
)
"""The 80 classes, in the order of the network's columns."""


@dataclass(frozen=True)
class YoloxConfig:
    """Settings of ``YoloxObjects``."""

    model: str = setting('', 'ONNX file of an official YOLOX network, nano to x.', weights=True)
    side: int = setting(
        416,
        'Side of the square that the network sees, pixels, a multiple of 32: 416 for the official '
        'nano and tiny, 640 for s to x.',
        minimum=32,
        maximum=2048,
    )
    min_score: float = setting(
        0.025,
        'Score from which on an object is proposed, in [0, 1]; low, because hands and the place '
        'choose among proposals.',
        minimum=0.001,
        maximum=1.0,
    )
    max_iou: float = setting(
        0.45, 'Of two boxes with a larger IoU the surer one stays.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.side % STRIDES[-1]:
            raise ValueError(f'YoloxConfig.side = {self.side}: expected a multiple of 32')


class YoloxObjects:
    """ObjectProposer on YOLOX.

    Args:
        config: names the file.

    Raises:
        OSError: there is no such file.
        ValueError: none is named, or it is no YOLOX of COCO as the authors export it.
    """

    def __init__(self, config: YoloxConfig) -> None:
        require(config, 'model')
        self.config = config
        self._net = _read(Path(config.model), config.side)

    def propose(self, image: Image) -> tuple[Proposal, ...]:
        """Objects on a picture, surest first.

        Args:
            image: RGB uint8 [H, W, 3].
        """
        square, scale = letterbox(image, self.config.side)
        self._net.setInput(square)
        boxes, scores = decode(self._net.forward()[0], self.config.side)
        best = scores.argmax(1)
        return select(
            boxes / scale,
            scores.max(1),
            [COCO[k] for k in best.tolist()],
            (image.shape[0], image.shape[1]),
            self.config.min_score,
            self.config.max_iou,
        )


def letterbox(image: Image, side: int) -> tuple[NDArray[np.float32], float]:
    """The network's input, float32 [1, 3, side, side] in BGR, and its pixels per picture's pixel.

    Args:
        image: RGB uint8 [H, W, 3].
        side: of the square, pixels.
    """
    import cv2

    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    square = np.full((side, side, 3), GREY, np.uint8)
    small = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    square[: size[1], : size[0]] = small
    planes = square[..., ::-1].transpose(2, 0, 1)  # RGB [S, S, 3] -> BGR [3, S, S]
    return np.ascontiguousarray(planes[None], np.float32), scale  # [1, 3, S, S]


def decode(raw: NDArray[np.float32], side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes and scores from raw outputs.

    Args:
        raw: [N, 85], the cells of the grids, finest first, each row by row: centre from the cell's
            corner in cells, logarithm of width and height in cells, objectness, classes.
        side: of the square, pixels.

    Returns:
        Boxes [N, 4], x0, y0, x1, y1 in pixels of the square, and scores [N, 80] in [0, 1].
    """
    corners, strides = [], []
    for stride in STRIDES:
        cells = side // stride
        rows, columns = np.mgrid[0:cells, 0:cells]
        corners.append(np.stack([columns, rows], -1).reshape(-1, 2))  # [cells^2, 2]
        strides.append(np.full((cells * cells, 1), stride))
    stride = np.concatenate(strides).astype(np.float32)  # [N, 1]
    centre = (raw[:, :2] + np.concatenate(corners)) * stride  # [N, 2]
    size = np.exp(np.minimum(raw[:, 2:4], 10)) * stride  # [N, 2]; e^10 cells are beyond any picture
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)  # [N, 4]
    return boxes.astype(np.float32), raw[:, 4:5] * raw[:, 5:]  # [N, 80]


def _read(path: Path, side: int) -> Any:
    """The network, tried once."""
    import cv2

    if not path.is_file():
        raise FileNotFoundError(f'{path}: expected an ONNX file of YOLOX; cs3 fetch brings one')
    wanted = (1, sum((side // stride) ** 2 for stride in STRIDES), COLUMNS)
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        net.setInput(np.full((1, 3, side, side), GREY, np.float32))
        shape = net.forward().shape
    except cv2.error as error:
        raise ValueError(
            f'{path}: OpenCV cannot read it, or not run it at {side} pixels: '
            f'{one_line(error.err)}; expected an official YOLOX'
        ) from error
    if shape != wanted:
        raise ValueError(
            f'{path}: gives {shape} numbers at {side} pixels, expected {wanted}, those of a YOLOX '
            'of COCO; bring the file of its release again'
        )
    return net
