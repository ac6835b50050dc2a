"""How good a model is while it is trained: its heat map on scenes whose truth is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cs3_ros.collision import AudioClip, Frame
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.metrics import sample_score
from cs3_ros.networks.beats import RATE, beats_fbank, whole_patches
from cs3_ros.networks.sound import waveform
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training.evaluation.rows import THRESHOLD
from cs3_training.evaluation.samples import sound_of
from cs3_training.localiser.model import CollisionSegmenter
from cs3_training.synth.store import COLLIDING, Scenes


class HeatMapScore:
    """mIoU of the row AV: the heat map, second look included, cut and taken as the one mask.

    The masks of validation scenes are used here, and here alone, to choose the checkpoint.

    Args:
        scenes: with their truth.
        count: how many of them, from the first one on, at most.
        shuffle: give every picture the sound of the next scene.
        wait_s: seconds of sound after the onset; None for all.
    """

    def __init__(
        self, scenes: Scenes, count: int, shuffle: bool = False, wait_s: float | None = None
    ) -> None:
        self._scenes, self._count, self._wait_s = scenes, min(count, len(scenes)), wait_s
        self._shift = 1 if shuffle else 0

    def __call__(self, model: CollisionSegmenter) -> float:
        """Mean over the scenes, in [0, 1]."""
        scenes, scores, student = self._scenes, [], _Student(model)
        for row in range(self._count):
            numbers = scenes.numbers[row]
            colliding = np.flatnonzero(scenes.objects[row, :, COLLIDING] == 1) + 1
            truth = [numbers == number for number in colliding]
            truth = [mask for mask in truth if mask.any()]
            if not truth:
                continue
            frame = Frame.from_rgb(0, scenes.image[row])
            heard = self._heard((row + self._shift) % len(scenes))
            found = student.locate(student.encode([frame], 0), heard)
            masks = [] if found is None else [found.heat_map >= THRESHOLD]
            scores.append(sample_score(truth, masks))
        return float(np.mean(scores))

    def _heard(self, row: int) -> AudioClip:
        scenes, wait_s = self._scenes, self._wait_s
        sound = scenes.waveform(row)
        all_s = len(sound) / RATE
        return sound_of(sound, RATE, scenes.onset(row), all_s, all_s if wait_s is None else wait_s)


class _Student(ConditionedLocaliser):
    """The localiser that the model makes as far as it is trained, in float32."""

    def __init__(self, model: CollisionSegmenter) -> None:
        device = model.prompt_ids.device.type
        runtime = Runtime(RuntimeConfig(device, 'float32', torch.get_num_threads()))
        super().__init__(model.clipseg, runtime, logit_offset=model.mask.offset.item())
        self._model = model

    def hear(self, audio: AudioClip) -> Tensor:
        """The samples that BEATs makes patches of, [1, N]."""
        return whole_patches(self.runtime.to_device(waveform(audio, RATE))[None])

    def understand(self, heard: Tensor) -> Tensor:
        """The prompt with the sound as its missing word, [1, P]."""
        return self._model.embed_audio(beats_fbank(heard))  # [1, N] -> [1, T, 128] -> [1, P]
