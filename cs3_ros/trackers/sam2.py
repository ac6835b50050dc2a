"""Masks carried forward by the memory of SAM 2 (Ravi et al. 2024), frame by frame.

The event frame with its masks is the conditioning frame; the last frames are remembered beside it,
as many as the settings say. Both objects are one batch: the picture is encoded once. Equal to the
package's ``SAM2VideoPredictor`` without the filling of small holes, for which that needs a CUDA
kernel of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pictures
from torch import Tensor

from cs3_ros.collision import Frame, Mask, Tracked
from cs3_ros.config import require, setting, validate
from cs3_ros.networks.sam2_model import MEAN, STD
from cs3_ros.networks.sam2_video import load_sam2_video
from cs3_ros.runtime import Runtime

ENDLESS = 1 << 30
"""Number of frames that the network is told: it does not know when a stream ends."""


@dataclass(frozen=True)
class Sam2TrackerConfig:
    """Settings of ``Sam2Tracker``."""

    checkpoint: str = setting(
        '', 'SAM 2 checkpoint with its memory, as of the masker; an official .pt.', weights=True
    )
    memories: int = setting(
        15,
        'Frames remembered beside that of the event: of the last 6 their masks, of all a vector.',
        minimum=1,
        maximum=15,
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(eq=False)
class Sam2Track:
    """State of one event's track, changed by ``Sam2Tracker.follow``."""

    shape: tuple[int, int]
    """Height and width of the frames."""
    lost: list[bool]
    """Which objects are lost."""
    outputs: dict[str, dict[int, dict[str, Any]]]
    """What the network remembers, by the number of the frame."""
    count: int = 0
    """Frames followed."""
    logits: Tensor | None = field(default=None, repr=False)
    """Of the last frame, [N, 1, S/4, S/4], above 0 on the object."""


class Sam2Tracker:
    """Tracker by SAM 2.

    Args:
        config: which checkpoint, and how much is remembered.
        runtime: what it runs on.

    Raises:
        OSError: the checkpoint cannot be read.
        ValueError: no checkpoint is named, or it is none of SAM 2 with its memory.
    """

    def __init__(self, config: Sam2TrackerConfig, runtime: Runtime) -> None:
        require(config, 'checkpoint')
        self.config = config
        self._runtime = runtime
        self._stream = runtime.stream()
        self._model = load_sam2_video(config.checkpoint).to(runtime.device)

    def begin(self, frame: Frame, masks: Sequence[Mask]) -> Sam2Track:
        """Take in the objects of an event.

        Args:
            frame: the event frame.
            masks: bool [H, W] at its size, one per object; an empty one is lost from the start.

        Raises:
            ValueError: the frame cannot be decoded, or the masks are not of its size.
        """
        shape = (frame.image.shape[0], frame.image.shape[1])
        if not masks or any(mask.shape != shape for mask in masks):
            raise ValueError(
                f'{len(masks)} masks of {[mask.shape for mask in masks]}: expected at least one, '
                f'of {shape} as the frame'
            )
        model, size = self._model, self._model.image_size
        with self._stream.work(), self._autocast():
            seen = self._see(frame, len(masks))
            given = torch.from_numpy(np.stack(masks)).to(self._runtime.device)[:, None].float()
            if shape != (size, size):  # [N, 1, H, W] -> [N, 1, S, S]
                given = F.interpolate(given, (size, size), mode='bilinear', antialias=True)
                given = (given >= 0.5).float()
            out = model.track_step(
                0, True, **seen, point_inputs=None, mask_inputs=given, output_dict={},
                num_frames=ENDLESS, run_mem_encoder=False,
            )  # fmt: skip
            # [N, 1, S/4, S/4] -> [N, 1, S, S]
            large = F.interpolate(out['pred_masks'], (size, size), mode='bilinear')
            out['maskmem_features'], out['maskmem_pos_enc'] = model._encode_new_memory(
                seen['current_vision_feats'],
                seen['feat_sizes'],
                large,
                out['object_score_logits'],
                is_mask_from_pts=True,
            )
        outputs = {'cond_frame_outputs': {0: _compact(out)}, 'non_cond_frame_outputs': {}}
        return Sam2Track(shape, [not mask.any() for mask in masks], outputs)

    def follow(self, state: Sam2Track, frame: Frame) -> tuple[Tracked | None, ...]:
        """Find the objects in the next frame.

        Args:
            state: from ``begin``, changed here.
            frame: a later frame than the last one.

        Returns:
            One for each mask of ``begin``; None where it left or was lost, from then on for good.

        Raises:
            ValueError: the frame cannot be decoded or has another size; the state is as before.
        """
        if frame.image.shape[:2] != state.shape:
            raise ValueError(
                f'a frame of {frame.image.shape[1]}x{frame.image.shape[0]} after one of '
                f'{state.shape[1]}x{state.shape[0]}: expected frames of one size'
            )
        with self._stream.work(), self._autocast():
            seen = self._see(frame, len(state.lost))
            out = self._model.track_step(
                state.count + 1, False, **seen, point_inputs=None, mask_inputs=None,
                output_dict=state.outputs, num_frames=ENDLESS,
            )  # fmt: skip
            state.logits = out['pred_masks'].float()  # [N, 1, S/4, S/4]
            whole = F.interpolate(state.logits, state.shape, mode='bilinear')  # [N, 1, H, W]
            masks = self._runtime.to_host(whole[:, 0] > 0)
            scores = self._runtime.to_host(out['object_score_logits'].float().sigmoid()[:, 0])
        state.count += 1
        recent = state.outputs['non_cond_frame_outputs']
        recent[state.count] = _compact(out)
        recent.pop(state.count - self.config.memories, None)
        if (old := recent.get(state.count - self._model.num_maskmem + 1)) is not None:
            old['maskmem_features'] = None  # only its vector is looked at from now on
        found: list[Tracked | None] = []
        for number, (mask, score) in enumerate(zip(masks, scores, strict=True)):
            state.lost[number] |= not mask.any()
            found.append(None if state.lost[number] else Tracked(mask, float(score)))
        return tuple(found)

    def _autocast(self) -> torch.autocast:
        dtype = self._runtime.dtype
        return torch.autocast(self._runtime.device.type, dtype, enabled=dtype != torch.float32)

    def _see(self, frame: Frame, count: int) -> dict[str, Any]:
        """What ``track_step`` takes of a picture, for so many objects."""
        size = self._model.image_size
        # Pillow's, as the package reads the frames of a video.
        image = np.asarray(Pictures.fromarray(frame.image).resize((size, size)))
        pixels = self._runtime.upload(image).permute(2, 0, 1)[None].float() / 255  # [1, 3, S, S]
        for channel, (mean, std) in enumerate(zip(MEAN, STD, strict=True)):
            pixels[:, channel].sub_(mean).div_(std)
        features = self._model.forward_image(pixels)
        for name in ('backbone_fpn', 'vision_pos_enc'):  # [1, C, s, s] -> [N, C, s, s]
            features[name] = [level.expand(count, -1, -1, -1) for level in features[name]]
        _, vision, positions, sizes = self._model._prepare_backbone_features(features)
        return {
            'current_vision_feats': vision,
            'current_vision_pos_embeds': positions,
            'feat_sizes': sizes,
        }


def _compact(out: dict[str, Any]) -> dict[str, Any]:
    """What is remembered of a frame; its features in bfloat16, as the package keeps them."""
    return {
        'maskmem_features': out['maskmem_features'].to(torch.bfloat16),
        'maskmem_pos_enc': out['maskmem_pos_enc'],
        'obj_ptr': out['obj_ptr'],
    }
