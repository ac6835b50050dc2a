"""Masks from boxes and points by SAM 2 (method.md A8, B4, C3).

``encode`` runs the trunk once per picture; ``segment`` decodes all prompts in one batch, brings the
masks to the picture's size on the device and copies them to the host once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs3_ros.collision import Box, Image, Mask, Points, Prompt
from cs3_ros.config import require, setting, validate
from cs3_ros.metrics import iou
from cs3_ros.networks.sam2_checkpoint import load_sam2
from cs3_ros.networks.sam2_model import (
    ABSENT,
    BOTTOM_RIGHT,
    NEGATIVE,
    POSITIVE,
    TOP_LEFT,
    Sam2,
    Sam2Features,
)
from cs3_ros.runtime import Runtime

log = logging.getLogger(__name__)

NEAR_FULL = 0.6
"""Share of the picture above which a mask is suspicious; it is kept (method.md C3)."""
LEAST_SIDE = 2.0
"""Width and height below which a box within the picture is not asked for, pixels."""


@dataclass(frozen=True)
class Sam2Config:
    """Settings of ``Sam2Masker``."""

    checkpoint: str = setting(
        '',
        'SAM 2 checkpoint: an official .pt, one that describes its architecture, or .safetensors.',
        weights=True,
    )
    multimask: bool = setting(
        False, 'Predict three masks per prompt and take the one with the best estimated IoU.'
    )
    points_in_box: bool = setting(
        False,
        'Use the points of a prompt that has a box, too; the papers take the box alone.',
    )
    max_hand_iou: float = setting(
        0.5,
        'A mask from points alone with a larger IoU with a hand is rejected: it is the hand.',
        minimum=0.0,
        maximum=1.0,
    )
    max_point_share: float = setting(
        0.4,
        'A mask from points alone that covers a larger share of the picture is rejected.',
        minimum=0.0,
        maximum=1.0,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class Sam2Encoded:
    """A picture, ready for prompts."""

    features: Sam2Features
    """float32, on the device."""
    size: tuple[int, int]
    """Height and width of the picture."""


class Sam2Masker:
    """Masks by SAM 2.

    Number formats: convolutions and matrix products of the image encoder run in the runtime's
    format, the sums that carry its features, its norms and the whole decoder in float32.

    Args:
        config: which checkpoint, and what to do with odd masks.
        runtime: what it runs on.

    Raises:
        OSError: the checkpoint cannot be read.
        ValueError: no checkpoint is named, or it is none of SAM 2.
    """

    def __init__(self, config: Sam2Config, runtime: Runtime) -> None:
        require(config, 'checkpoint')
        self.config = config
        self._runtime = runtime
        self._stream = runtime.stream()
        self._model = _place(load_sam2(config.checkpoint), runtime)

    def encode(self, image: Image) -> Sam2Encoded:
        """The shared part of all prompts.

        Args:
            image: RGB uint8 [H, W, 3].
        """
        with self._stream.work():
            pixels = self._model.normalise(self._runtime.upload(image)[None])  # [1, 3, S, S]
            device, dtype = self._runtime.device.type, self._runtime.dtype
            with torch.autocast(device, dtype, enabled=dtype != torch.float32):
                features = self._model.encode(pixels)
            return Sam2Encoded(features.float(), (image.shape[0], image.shape[1]))

    def segment(self, encoded: Sam2Encoded, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt.

        Of a prompt with a box only the box is used, as in the paper, unless ``points_in_box``.
        Where SAM 2 finds nothing in it the filled box is the mask; a box outside of the picture
        gives an empty one.

        Args:
            encoded: from ``encode``.
            prompts: each with a box or positive points. Masks from points alone are emptied where
                they are a hand of ``exclude``, or too large for what a hand holds.

        Raises:
            ValueError: a prompt has neither box nor positive point, or coordinates that are not
                finite.
        """
        height, width = encoded.size
        with_points = self.config.points_in_box
        asked = [_asked(prompt, height, width, with_points) for prompt in prompts]
        visible = [k for k, points in enumerate(asked) if points is not None]
        masks = [np.zeros((height, width), bool) for _ in prompts]
        if visible:
            points, labels = _batch([points for points in asked if points is not None])
            with self._stream.work():
                cut = self._runtime.to_host(self._cut(encoded, points, labels))
            for k, mask in zip(visible, cut, strict=True):
                masks[k] = self._judge(mask, prompts[k])
        return masks

    def _cut(self, encoded: Sam2Encoded, points: Tensor, labels: Tensor) -> Tensor:
        """bool [N, H, W] on the device from points [N, K, 2] in the picture and labels [N, K]."""
        height, width = encoded.size
        side = self._model.architecture.image_size
        points = points / torch.tensor([width, height]) * side  # [N, K, 2], pixels of the square
        logits, quality = self._model.decode(
            encoded.features,
            self._runtime.to_device(points),
            self._runtime.to_device(labels),
            self.config.multimask,
        )  # [N, M, S/4, S/4], [N, M]
        best = quality.argmax(1)[:, None, None, None]  # [N, M] -> [N, 1, 1, 1]
        logits = logits.take_along_dim(best, 1)  # [N, M, S/4, S/4] -> [N, 1, S/4, S/4]
        logits = F.interpolate(logits, (height, width), mode='bilinear')  # [N, 1, H, W]
        return logits[:, 0] > 0  # [N, 1, H, W] -> [N, H, W]

    def _judge(self, mask: Mask, prompt: Prompt) -> Mask:
        """The mask, or what stands in for it where it cannot be right."""
        share = np.count_nonzero(mask) / mask.size
        if share > NEAR_FULL:
            log.warning('SAM 2: a mask covers %.0f %% of the picture', 100 * share)
        if prompt.box is not None:
            if share == 0:
                log.info('SAM 2: nothing found in the box %s, which stands in for it', prompt.box)
                return _filled(prompt.box, *mask.shape)
            return mask
        if share > self.config.max_point_share:
            log.info('SAM 2: a mask from points covers %.0f %%: rejected', 100 * share)
            return np.zeros_like(mask)
        for polygon in prompt.exclude:
            if _iou_with(polygon, mask) > self.config.max_hand_iou:
                log.info('SAM 2: a mask from points is the hand: rejected')
                return np.zeros_like(mask)
        return mask


def _place(model: Sam2, runtime: Runtime) -> Sam2:
    """The network for inference; the weights of its image encoder in the runtime's format.

    Norms and position embeddings stay in float32, which autocast needs in them, and so does the
    decoder: it is small, and its logits are what decides.
    """
    for module in model.image_encoder.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            runtime.module_to_device(module)
    return model.eval().requires_grad_(False).to(runtime.device)


def _asked(
    prompt: Prompt, height: int, width: int, points_in_box: bool
) -> tuple[Points, list[int]] | None:
    """What SAM 2 is asked: points [K, 2] in pixels and their labels; None if none is visible."""
    limit = np.array([width, height], np.float32)
    groups, labels = [np.zeros((0, 2), np.float32)], list[int]()
    if prompt.box is not None:
        corners = np.array(prompt.box, np.float32).reshape(2, 2)
        _finite(corners)
        corners = np.clip(corners, 0, limit)
        if (corners[1] - corners[0] < LEAST_SIDE).any():
            return None
        groups, labels = [corners], [TOP_LEFT, BOTTOM_RIGHT]
        if not points_in_box:
            return corners, labels
    elif not len(prompt.positive_points):
        raise ValueError(
            'SAM 2 needs a box or at least one positive point, the prompt has neither: leave out '
            'prompts of empty hands'
        )
    for group, label in ((prompt.positive_points, POSITIVE), (prompt.negative_points, NEGATIVE)):
        _finite(group)
        inside = group[((group >= 0) & (group < limit)).all(1)]
        if label == POSITIVE and prompt.box is None and not len(inside):
            return None
        groups.append(inside)
        labels += [label] * len(inside)
    return np.concatenate(groups).astype(np.float32), labels


def _finite(points: Points) -> None:
    if not np.isfinite(points).all():
        raise ValueError(f'prompt at {points.tolist()}: expected finite pixels')


def _batch(asked: Sequence[tuple[Points, list[int]]]) -> tuple[Tensor, Tensor]:
    """Points float32 [N, K, 2] and labels int32 [N, K], padded to the longest prompt."""
    count = max(len(labels) for _, labels in asked)
    points = torch.zeros(len(asked), count, 2)
    labels = torch.full((len(asked), count), ABSENT, dtype=torch.int32)
    for k, (xy, kinds) in enumerate(asked):
        points[k, : len(kinds)] = torch.from_numpy(xy)
        labels[k, : len(kinds)] = torch.tensor(kinds, dtype=torch.int32)
    return points, labels


def _filled(box: Box, height: int, width: int) -> Mask:
    """bool [height, width]: the pixels that a box touches."""
    mask = np.zeros((height, width), bool)
    (x0, y0), (x1, y1) = np.floor(box[:2]), np.ceil(box[2:])
    mask[max(int(y0), 0) : max(int(y1), 0), max(int(x0), 0) : max(int(x1), 0)] = True
    return mask


def _iou_with(polygon: Points, mask: Mask) -> float:
    """Intersection over union of a polygon [K, 2] and a mask [H, W]."""
    import cv2

    if len(polygon) < 3:
        return 0.0
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [np.round(polygon).astype(np.int32)], (1,))
    return iou(mask, filled > 0)
