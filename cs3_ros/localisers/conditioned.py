"""What all localisers on CLIPSeg have in common: condition -> heat map -> second look -> box.

The picture is encoded before the sound is there. The second look, at the surroundings of the first
heat map's peak, is that of method.md A8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cs3_ros.collision import AudioClip, Frame, Localisation
from cs3_ros.localisers.heat_map import (
    HeatMapConfig,
    blur_matrix,
    cut,
    find_peak,
    paste,
    region_box,
    stands_out,
    window_size,
    window_start,
)
from cs3_ros.networks.acceleration import compiled, graphed
from cs3_ros.networks.clipseg import ClipSeg, ImageFeatures
from cs3_ros.runtime import Runtime


@dataclass(frozen=True, eq=False)
class EncodedPicture:
    """What ``encode`` leaves for ``locate``, on the device."""

    picture: Tensor
    """The event frame, uint8 [H, W, 3]."""
    features: ImageFeatures
    """Of the whole picture."""


class ConditionedLocaliser(ABC):
    """Localiser on CLIPSeg; a subclass turns a sound into a condition.

    Args:
        clipseg: the segmentation network; placed by this class.
        runtime: what it runs on.
        heat: how heat maps are refined and turned into boxes.
        logit_offset: added to the logits before the sigmoid: b / w of ``MaskScale``, 0 for none.
    """

    def __init__(
        self,
        clipseg: ClipSeg,
        runtime: Runtime,
        heat: HeatMapConfig = HeatMapConfig(),
        logit_offset: float = 0.0,
    ) -> None:
        self.clipseg = runtime.module_to_device(clipseg)
        self.runtime = runtime
        self.heat = heat
        self.logit_offset = logit_offset
        self._stream = runtime.stream()
        with self._stream.work():
            self._blur = runtime.to_device(blur_matrix(clipseg.logit_size))
        self._encode = compiled(clipseg.encode_image, 'localiser_encode', runtime)
        self._record()

    def _record(self) -> None:
        """Make the calls that CUDA graphs may replay; those of this object alone."""
        self._first = graphed(self._first_look, 'localiser_locate, first look', self.runtime)
        self._second = graphed(self._second_look, 'localiser_locate, second look', self.runtime)

    @abstractmethod
    def hear(self, audio: AudioClip) -> Tensor:
        """What ``understand`` takes, on the device: of one shape for sounds about as long.

        ``locate`` calls both on the stage's stream and without gradients.
        """

    @abstractmethod
    def understand(self, heard: Tensor) -> Tensor:
        """CLIPSeg's condition, [1, P] on the device, not normalised.

        All of it happens on the device, so that a CUDA graph can replay it.
        """

    def condition(self, audio: AudioClip) -> Tensor:
        """CLIPSeg's condition of a sound, [1, P] on the device, not normalised."""
        return self.understand(self.hear(audio))

    def encode(self, frames: Sequence[Frame], index: int) -> EncodedPicture:
        """Upload and encode the event frame; no other frame is read.

        Raises:
            ValueError: the event frame cannot be decoded.
        """
        image = frames[index].image
        with self._stream.work():
            picture = self.runtime.upload(image)  # [H, W, 3]
            pixels = self.clipseg.normalise(picture[None])  # [1, 3, S, S]
            return EncodedPicture(picture, self._encode(pixels))

    def locate(self, encoded: EncodedPicture, audio: AudioClip) -> Localisation | None:
        """Where the sound was made.

        Args:
            encoded: from ``encode``.
            audio: sound round the onset, mono in [-1, 1] at any rate.

        Returns:
            Heat map at the frame's size, zero outside the second look; the box of its peak's
            component in pixels; as score the maximum of the last heat map. None where a heat map is
            the same everywhere or not a number.
        """
        height, width = encoded.picture.shape[:2]
        frame = window = (height, width)
        with self._stream.work():
            condition, heat, peak = self._first(
                self.hear(audio), encoded.features
            )  # [1, P], [S', S'], [2]
            spread = torch.stack(heat.aminmax())  # [S', S'] -> [2]
            start = torch.zeros_like(peak)  # [2]
            if self.heat.crop:
                window = window_size(frame, self.heat.crop_size)
                start = window_start(peak, len(heat), frame, window)  # [2]
                view = cut(encoded.picture, start, window)  # [h, w, 3]
                pixels = self.clipseg.normalise(view[None])  # [1, 3, S, S]
                heat, peak = self._second(pixels, condition)  # [S', S'], [2]
            # One tensor, since every copy to the host waits for the device.
            packed = torch.cat([heat.flatten(), spread, start, peak])  # float32 [S'*S' + 6]
            answer = self.runtime.to_host(packed)
        values = answer[:-6].reshape(heat.shape)  # [S', S']
        low, high = float(values.min()), float(values.max())
        if not (stands_out(low, high) and stands_out(answer[-6], answer[-5])):
            return None
        top, left, row, column = (int(value) for value in answer[-4:])
        box = region_box(values, (row, column), (top, left), window, frame, self.heat)
        return Localisation(paste(values, (top, left), window, frame), box, high)

    def _first_look(self, heard: Tensor, features: ImageFeatures) -> tuple[Tensor, Tensor, Tensor]:
        """Condition [1, P], heat map [S', S'] of the whole picture and its peak [2]."""
        condition = self.understand(heard)  # [1, P]
        heat = self._heat_map(features, condition)  # [S', S']
        return condition, heat, find_peak(heat, self._blur)

    def _second_look(self, pixels: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Heat map [S', S'] of the window [1, 3, S, S] and its peak [2]."""
        heat = self._heat_map(self._encode(pixels), condition)  # [S', S']
        return heat, find_peak(heat, self._blur)

    def _heat_map(self, features: ImageFeatures, condition: Tensor) -> Tensor:
        """float32 [S', S'] in [0, 1] of one picture under one condition."""
        logits = self.clipseg.decode(features, condition)[0, 0]  # [1, 1, S', S'] -> [S', S']
        return torch.sigmoid(logits + self.logit_offset)
