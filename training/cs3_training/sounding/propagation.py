"""Boxes of one picture to masks through a clip, and masks of everything in a picture: SAM 2.

The predictors are those of the ``sam2`` package (Ravi et al., 2408.00714), offline; the robot's own
masker (``cs3_ros.maskers.sam2``) knows single pictures alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cs3_ros.collision import Box, Image
from cs3_ros.networks.checkpoints import read_torch

SIZES: Mapping[str, str] = {
    'tiny': 'configs/sam2.1/sam2.1_hiera_t.yaml',
    'small': 'configs/sam2.1/sam2.1_hiera_s.yaml',
    'base_plus': 'configs/sam2.1/sam2.1_hiera_b+.yaml',
    'large': 'configs/sam2.1/sam2.1_hiera_l.yaml',
}
"""Sizes of SAM 2.1 -> their descriptions in the package."""
_QUALITY = 95  # of the JPEG files that the package reads


class Propagator(Protocol):
    """What finds masks in the pictures of a clip."""

    def propagate(
        self, pictures: Sequence[Image], index: int, boxes: Sequence[Box]
    ) -> NDArray[np.bool_]:
        """Masks of what some boxes hold, in all pictures.

        Args:
            pictures: F of one size, RGB uint8 [H, W, 3].
            index: the picture that the boxes belong to.
            boxes: K, at least one.

        Returns:
            [K, F, H, W]; empty where a thing is not seen.
        """

    def propose(self, picture: Image) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Masks of anything in a picture [P, H, W], and their scores [P], higher is better."""


class Sam2Propagator:
    """SAM 2.1 by its own video predictor and mask generator.

    Args:
        size: one of ``SIZES``.
        checkpoint: official file of that size; None for random weights.
        device: where it runs.
        overrides: further settings of the package's description, for tests.

    Raises:
        ValueError: an unknown size, or weights that do not fit.
        OSError: the file cannot be read.
    """

    def __init__(
        self,
        size: str,
        checkpoint: Path | None,
        device: torch.device,
        overrides: Sequence[str] = (),
    ) -> None:
        if size not in SIZES:
            raise ValueError(f'SAM 2 of size {size!r}: expected one of {", ".join(SIZES)}')
        if checkpoint is not None:
            read_torch(checkpoint)  # the package's own errors advise to load it nevertheless
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
        from sam2.build_sam import build_sam2_video_predictor

        try:
            self._predictor: Any = build_sam2_video_predictor(
                SIZES[size],
                None if checkpoint is None else str(checkpoint),
                device=str(device),
                hydra_overrides_extra=[*overrides],
            )
        except (RuntimeError, KeyError, TypeError) as error:
            raise ValueError(
                f'{checkpoint}: no weights of SAM 2.1 {size} ({type(error).__name__}); bring the '
                'official file, or name its size'
            ) from error
        self._generator: Any = SAM2AutomaticMaskGenerator(self._predictor)

    @torch.inference_mode()
    def propagate(
        self, pictures: Sequence[Image], index: int, boxes: Sequence[Box]
    ) -> NDArray[np.bool_]:
        """As ``Propagator``: forwards from the picture of the boxes, then backwards."""
        masks = np.zeros((len(boxes), len(pictures), *pictures[0].shape[:2]), bool)
        predictor = self._predictor
        with tempfile.TemporaryDirectory() as folder:
            for number, picture in enumerate(pictures):
                _write(Path(folder, f'{number:05}.jpg'), picture)
            state = predictor.init_state(folder, offload_video_to_cpu=True)
        for number, box in enumerate(boxes):
            predictor.add_new_points_or_box(state, index, number, box=np.array(box, np.float32))
        for reverse in (False, True):
            found = predictor.propagate_in_video(state, start_frame_idx=index, reverse=reverse)
            for frame, numbers, logits in found:  # logits [K, 1, H, W]
                masks[numbers, frame] = (logits[:, 0] > 0).cpu().numpy()
        return masks

    @torch.inference_mode()
    def propose(self, picture: Image) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """As ``Propagator``; the score is the predicted IoU."""
        found = self._generator.generate(np.ascontiguousarray(picture))
        masks = [np.asarray(one['segmentation'], bool) for one in found]
        empty = np.zeros((0, *picture.shape[:2]), bool)
        scores = np.array([one['predicted_iou'] for one in found], np.float64)
        return np.stack(masks) if masks else empty, scores


def _write(path: Path, picture: Image) -> None:
    """A picture for the package, which reads files alone.

    Raises:
        OSError: it cannot be written.
    """
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise OSError(f'{path}: cannot be written')
