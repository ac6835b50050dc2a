"""Hands and held objects from one detection transformer with four labels (method.md B4).

The network is RT-DETRv2 or D-FINE of transformers, read from a folder in its own format. Its labels
are left_hand, right_hand, left_hand_object and right_hand_object, in any order: of each label the
best box counts, so nothing has to be paired. One thing held by both hands is found twice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel

from cs3_ros.collision import SIDES, Box, Frame, HandObject, Image, Side
from cs3_ros.config import require, setting, validate
from cs3_ros.files.fields import expect, items, mapping, number, shown, whole
from cs3_ros.files.jsonfile import read_json
from cs3_ros.hands.boxes import MIN_OBJECT_AREA, clipped
from cs3_ros.networks.acceleration import compiled
from cs3_ros.networks.detector_folder import load_detector, read_description
from cs3_ros.runtime import Runtime

LABELS = ('left_hand', 'right_hand', 'left_hand_object', 'right_hand_object')
"""What the network detects; the order of its outputs is that of its own config.json."""
MODEL_TYPES = ('rt_detr_v2', 'd_fine')
"""``model_type`` of the networks that are read."""

_RESAMPLE = {2: 'bilinear', 3: 'bicubic'}  # numbers of PIL

MAX_SIDE = 4096
"""Largest height and width that a network may ask for, pixels."""


@dataclass(frozen=True)
class DetrConfig:
    """Settings of ``DetrHands``."""

    model: str = setting(
        '',
        'Folder with config.json and model.safetensors of RT-DETRv2 or D-FINE with the labels '
        f'{", ".join(LABELS)}.',
        weights=True,
    )
    hand_threshold: float = setting(
        0.5, 'Score in [0, 1] from which on a hand counts.', minimum=0.0, maximum=1.0
    )
    object_threshold: float = setting(
        0.5, 'Score in [0, 1] from which on a held object counts.', minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input; the defaults are those of RT-DETR."""

    height: int = 640
    """Rows."""
    width: int = 640
    """Columns; the picture is stretched, not padded."""
    mode: str = 'bilinear'
    """Interpolation, with antialiasing."""
    scale: float = 1 / 255
    """Factor of the pixel values 0 ... 255."""
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Taken off each channel after scaling."""
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Each channel is divided by this last."""

    @classmethod
    def from_folder(cls, folder: Path) -> Preprocessing:
        """Read ``preprocessor_config.json``; the defaults where there is no such file.

        Raises:
            ValueError: no JSON, no fixed size, or an interpolation or statistics of another kind.
        """
        path = folder / 'preprocessor_config.json'
        if not path.is_file():
            return cls()
        values = mapping(read_json(path, f'{path}'), f'{path}', others=None)
        size = values.get('size', {'height': cls.height, 'width': cls.width})
        fixed = isinstance(size, dict) and {'height', 'width'} <= set(size)
        if not fixed or not values.get('do_resize', True) or values.get('do_pad', False):
            raise ValueError(
                f'{path}: expected do_resize to a size of height and width, without do_pad, '
                f'got {shown(size)}; write the size that the network was trained with'
            )
        height, width = (
            whole(size[name], f'{path}: size.{name}', 1, MAX_SIDE) for name in ('height', 'width')
        )
        resample = values.get('resample', 2)
        expect(resample in list(_RESAMPLE), f'{path}: resample', resample, '2, linear, or 3, cubic')
        factor = cls.scale
        if not values.get('do_rescale', True):
            factor = 1.0
        elif 'rescale_factor' in values:
            factor = number(values['rescale_factor'], f'{path}: rescale_factor')
        mean, std = cls.mean, cls.std
        if values.get('do_normalize', False):
            mean, std = (
                _per_channel(values.get(name), f'{path}: {name}')
                for name in ('image_mean', 'image_std')
            )
        return cls(height, width, _RESAMPLE[resample], factor, mean, std)

    def __call__(self, image: Tensor) -> Tensor:
        """A picture for the network.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            float32 [1, 3, height, width].
        """
        pixels = image.permute(2, 0, 1)[None].float()  # [1, 3, H, W]
        pixels = F.interpolate(
            pixels, (self.height, self.width), mode=self.mode, antialias=True
        )  # [1, 3, height, width]
        # The image processor of the training resizes bytes, so its pictures are whole numbers, too.
        pixels = pixels.round().clamp(0, 255) * self.scale
        if self.std == (1.0, 1.0, 1.0) and self.mean == (0.0, 0.0, 0.0):
            return pixels
        channels = zip(pixels.unbind(1), self.mean, self.std, strict=True)
        return torch.stack(
            [(channel - mean) / std for channel, mean, std in channels], 1
        )  # [1, 3, height, width]


class DetrHands:
    """HandDetector on a detection transformer; it reads the event frame only.

    The score of a HandObject is that of the held object, which is what becomes a candidate, or
    that of the hand where nothing is held. An object without its hand is kept, with ``hand_box``
    None: the label says whose it is.

    Backbone and encoder run in the runtime's number format. What follows stays float32: box
    coordinates of 8 bits would be off by pixels.

    Args:
        config: names the folder of the network; thresholds.
        runtime: what it runs on.

    Raises:
        ValueError: no model is named, or it is not such a network; names what was found.
        OSError: a file is missing.
    """

    def __init__(self, config: DetrConfig, runtime: Runtime) -> None:
        require(config, 'model')
        folder = Path(config.model)
        self.config = config
        self.preprocessing = Preprocessing.from_folder(folder)
        self.network = _place(load_network(folder), runtime)
        self._rows = label_rows(self.network.config, folder)
        self._runtime = runtime
        self._stream = runtime.stream()
        self._see_compiled = compiled(self._see, 'hands', runtime)
        # transformers' switch for production: its checks of shapes wait for the GPU in every layer.
        os.environ.setdefault('TRANSFORMERS_DISABLE_TORCH_CHECK', '1')

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """At most one HandObject per side, right first, in pixels of ``frames[index]``.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        image = frames[index].image
        with self._stream.work():
            pixels = self.preprocessing(self._runtime.upload(image))  # [1, 3, height, width]
            seen = self._see_compiled(pixels.to(self._runtime.dtype))  # [1, Q, 4] both
            table = self._runtime.to_host(best_boxes(*seen))  # [4, 5]
        found = {label: table[row].tolist() for label, row in self._rows.items()}
        both = [
            self._hand_object(side, found[f'{side}_hand'], found[f'{side}_hand_object'], image)
            for side in SIDES
        ]
        return tuple(hand for hand in both if hand is not None)

    def _see(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and boxes [1, Q, 4] of the network's picture [1, 3, height, width]."""
        seen = self.network(pixel_values=pixels)
        return seen.logits, seen.pred_boxes

    def _hand_object(
        self, side: Side, hand: list[float], held: list[float], image: Image
    ) -> HandObject | None:
        """One side from its rows of ``best_boxes``; None where neither counts."""
        height, width = image.shape[:2]

        def box(row: list[float], threshold: float, min_area: float) -> Box | None:
            if not row[0] >= threshold:
                return None
            x0, y0, x1, y1 = row[1:]
            pixels = (x0 * width, y0 * height, x1 * width, y1 * height)
            return clipped(pixels, image.shape, min_area)

        hand_box = box(hand, self.config.hand_threshold, 0.0)
        object_box = box(held, self.config.object_threshold, MIN_OBJECT_AREA)
        if hand_box is None and object_box is None:
            return None
        score = hand[0] if object_box is None else held[0]
        return HandObject(side, score, hand_box, object_box=object_box)


def _per_channel(values: Any, where: str) -> tuple[float, ...]:
    expect(len(items(values, where)) == 3, where, values, '3 numbers, one for each channel')
    return tuple(number(value, where) for value in values)


def best_boxes(logits: Tensor, boxes: Tensor) -> Tensor:
    """The best query of every label, on the device.

    Args:
        logits: [1, Q, L], one query and label each, independent (sigmoid).
        boxes: [1, Q, 4], centre and size in units of the picture.

    Returns:
        float32 [L, 5]: score in [0, 1], then x0, y0, x1, y1 in units of the picture.
    """
    scores, queries = logits[0].float().sigmoid().max(0)  # [1, Q, L] -> [L], [L]
    chosen = boxes[0].float().index_select(0, queries)  # [1, Q, 4] -> [L, 4]
    centre, size = chosen.split(2, 1)  # [L, 4] -> [L, 2], [L, 2]
    return torch.cat([scores[:, None], centre - size / 2, centre + size / 2], 1)  # [L, 5]


def load_network(folder: Path) -> PreTrainedModel:
    """The network of a folder in transformers' format, float32, on the CPU.

    Raises:
        ValueError: another kind of network, one of absurd size, or the file lacks some of its
            weights.
        OSError: config.json or model.safetensors is missing.
    """
    config = read_description(folder)
    if config.model_type not in MODEL_TYPES:
        raise ValueError(
            f'{folder}: config.json is of a {config.model_type}; expected one of '
            f'{", ".join(MODEL_TYPES)}'
        )
    label_rows(config, folder)
    return load_detector(folder, config)


def label_rows(config: PreTrainedConfig, folder: Path) -> dict[str, int]:
    """Label -> its column of the network's logits.

    Raises:
        ValueError: not exactly the four labels; names those found.
    """
    id2label = config.id2label or {}
    rows = {label: int(row) for row, label in id2label.items()}
    if set(rows) != set(LABELS) or len(id2label) != len(LABELS):
        raise ValueError(
            f'{folder}: id2label in config.json names {", ".join(map(str, id2label.values()))}; '
            f'expected exactly {", ".join(LABELS)}'
        )
    return rows


def _place(network: Any, runtime: Runtime) -> PreTrainedModel:
    """Backbone and encoder in the runtime's number format, the rest in float32."""
    network = network.eval().requires_grad_(False)
    fold_batch_norms(network)
    network = network.to(runtime.device)
    core = network.model
    for half in (core.backbone, core.encoder_input_proj, core.encoder):
        runtime.module_to_device(half)
    for projection in core.decoder_input_proj:
        projection.register_forward_pre_hook(_to_float32)
    return network


def fold_batch_norms(network: nn.Module) -> None:
    """Put every batch norm that directly follows a convolution into its weights; in place.

    Half of the kernels of these networks are frozen batch norms, and in bfloat16 the weights are
    rounded once, not every step. What the network computes stays the same in evaluation mode.
    """
    for parent in network.modules():
        children: list[tuple[str, Any]] = list(parent.named_children())
        for (_, convolution), (name, norm) in pairwise(children):
            if not isinstance(convolution, nn.Conv2d) or not hasattr(norm, 'running_var'):
                continue
            # transformers' frozen norms hold no eps: theirs is 1e-5
            gain = norm.weight * (norm.running_var + getattr(norm, 'eps', 1e-5)).rsqrt()  # [C]
            bias = norm.bias - norm.running_mean * gain  # [C]
            if convolution.bias is not None:
                bias = bias + convolution.bias * gain
            weight = convolution.weight * gain[:, None, None, None]  # [C, C_in, h, w]
            convolution.weight = nn.Parameter(weight, requires_grad=False)
            convolution.bias = nn.Parameter(bias, requires_grad=False)
            setattr(parent, name, nn.Identity())


def _to_float32(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)
