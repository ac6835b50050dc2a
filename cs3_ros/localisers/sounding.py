"""Which of some masks sounded: candidates against a sound (Clink! Chop! Thud!, method.md F).

The picture is encoded before the sound is there. Then the sound is compared with every patch, and a
candidate is what the patches under its mask say on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cs3_ros.collision import AudioClip, Frame, Mask
from cs3_ros.config import require, setting, validate
from cs3_ros.networks.audio_visual import load_checkpoint
from cs3_ros.networks.beats import MIN_SAMPLES, RATE, Beats, load_beats
from cs3_ros.networks.sound import waveform
from cs3_ros.networks.sounding import SoundingObjects, pool
from cs3_ros.networks.sounding_checkpoint import load_sounding
from cs3_ros.networks.sounding_released import load_released
from cs3_ros.networks.towers import load_vision
from cs3_ros.runtime import Runtime


@dataclass(frozen=True)
class SoundingScorerConfig:
    """Settings of ``SoundingScorer``.

    Raises:
        ValueError: a setting is outside its range.
    """

    checkpoint: str = setting(
        '',
        'Checkpoint of cs3-train sounding, sounding.safetensors, or a released one, NAME.pth.',
        weights=True,
    )
    vision: str = setting(
        '',
        'Folder of the vision tower that it was trained with; a released checkpoint has its own.',
        weights=True,
    )
    beats: str = setting(
        '',
        'BEATs where the checkpoint has none: the official file, or audio_visual.safetensors.',
        weights=True,
    )
    painted: bool = setting(
        True,
        'Smaller masks lie on larger ones and take their pixels, as in the released evaluation; '
        'without it every mask counts as a whole.',
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, eq=False)
class EncodedPatches:
    """What ``encode`` leaves for ``score``, on the device."""

    patches: Tensor
    """Patches in the joint space, float32 [N, E]."""
    size: tuple[int, int]
    """Height and width of the picture."""


@dataclass(frozen=True, eq=False)
class SoundingScores:
    """How well M candidates fit a sound."""

    heat: NDArray[np.float32]
    """Mean of the heat map under each mask, [M] in [0, 1], which the least and the most fitting
    patch of the picture span; NaN where nothing of a mask is seen."""
    cosine: NDArray[np.float32]
    """Cosine of the sound and what each whole mask pools, [M] in [-1, 1]; comparable between
    events; 0 where nothing of a mask is seen."""
    background: float
    """Mean of the heat map where no mask is; NaN where there is no such place."""


class SoundingScorer:
    """Scores candidates of a picture against a sound.

    Args:
        config: names the weights.
        runtime: what the network runs on.

    Raises:
        ValueError: weights are not named, damaged, or do not belong together.
        OSError: a file cannot be read.
    """

    def __init__(self, config: SoundingScorerConfig, runtime: Runtime) -> None:
        self.config, self.runtime = config, runtime
        network = _load(config)
        network.text = None  # texts are for training
        self._network = runtime.module_to_device(network)
        self._stream = runtime.stream()

    def encode(self, frame: Frame) -> EncodedPatches:
        """Upload and encode a picture.

        Raises:
            ValueError: the frame cannot be decoded.
        """
        image = frame.image
        with self._stream.work():
            picture = self.runtime.upload(image)  # [H, W, 3]
            pixels = self._network.vision.pictures(picture[None])  # [1, 3, S, S]
            patches = self._network.embed_patches(pixels)[0].float()  # [1, N, E] -> [N, E]
        return EncodedPatches(patches, (image.shape[0], image.shape[1]))

    def score(
        self, encoded: EncodedPatches, audio: AudioClip, masks: Sequence[Mask]
    ) -> SoundingScores:
        """How well candidates fit a sound.

        Args:
            encoded: from ``encode``.
            audio: mono in [-1, 1] at any rate; ends as long after the onset as the network hears,
                or the bundle waits. Of a longer one its end is heard.
            masks: candidates, bool [H, W] at the size of the picture.

        Raises:
            ValueError: a mask of another size.
        """
        for mask in masks:
            if mask.shape != encoded.size:
                raise ValueError(
                    f'candidate of {mask.shape}, picture of {encoded.size}: expected masks at the '
                    'size of the picture'
                )
        network = self._network
        given = np.stack(masks) if masks else np.zeros((0, *encoded.size), bool)  # [M, H, W]
        with self._stream.work():
            sound = self.runtime.to_device(waveform(audio, RATE, MIN_SAMPLES))[None]  # [1, N]
            part = network.sound.spectrogram(network.cut_end(sound))  # [1, N] -> [1, T, 128]
            heard = network.embed_sound(part)[0].float()  # [1, T, 128] -> [E]
            seen = network.vision.masks(
                self.runtime.to_device(torch.from_numpy(given))
            )  # [M, S, S]
            heat = heat_map(encoded.patches, heard, network.vision.size)  # [S, S]
            means, background = region_means(heat, seen, self.config.painted)  # [M], []
            pooled = pool(encoded.patches, network.patchify(seen))  # [M, E]
            cosine = F.normalize(pooled, dim=-1) @ F.normalize(heard, dim=-1)  # [M, E] @ [E] -> [M]
            # One tensor, since every copy to the host waits for the device.
            answer = self.runtime.to_host(torch.cat([means, cosine, background[None]]))
        count = len(given)
        return SoundingScores(answer[:count], answer[count : 2 * count], float(answer[-1]))


def heat_map(patches: Tensor, sound: Tensor, size: int) -> Tensor:
    """How well every place fits a sound.

    Args:
        patches: in the joint space, row-major, [n * n, E]; not normalised, as released
            (method.md G42).
        sound: [E].
        size: S, side of the result.

    Returns:
        float32 [S, S] in [0, 1]: 0 at the patch that fits least, 1 at the one that fits most.
    """
    fit = patches.float() @ sound.float()  # [n * n, E] @ [E] -> [n * n]
    low, high = fit.aminmax()
    fit = (fit - low) / (high - low + 1e-8)
    side = round(len(fit) ** 0.5)
    plane = fit.view(1, 1, side, side)  # [n * n] -> [1, 1, n, n]
    return F.interpolate(plane, (size, size), mode='bilinear')[0, 0]  # [S, S]


def region_means(heat: Tensor, masks: Tensor, painted: bool = True) -> tuple[Tensor, Tensor]:
    """Mean of heat maps in each of some regions.

    Args:
        heat: [..., S, S].
        masks: bool [M, S, S].
        painted: whether masks lie on each other, the smaller ones on top, so that every pixel
            belongs to one of them; of equal ones the later is on top.

    Returns:
        float32 [..., M], NaN where a region has no pixel, and [...] for the pixels of no mask,
        likewise.
    """
    regions = masks
    if painted and len(masks):
        order = masks.flatten(1).sum(1).argsort(descending=True, stable=True)  # [M], large first
        above = masks[order].flip(0)  # [M, S, S], the topmost first
        hidden = above.cumsum(0) - above.long() > 0  # [M, S, S], something lies on it
        regions = torch.empty_like(masks)
        regions[order] = (above & ~hidden).flip(0)
    background = ~masks.any(0)  # [S, S]
    every = torch.cat([regions, background[None]]).flatten(1).float()  # [M + 1, S*S]
    means = heat.flatten(-2) @ every.T / every.sum(1)  # [..., M + 1], 0 / 0 is NaN
    return means[..., :-1], means[..., -1]


def _load(config: SoundingScorerConfig) -> SoundingObjects:
    require(config, 'checkpoint')
    if Path(config.checkpoint).suffix == '.pth':
        return load_released(config.checkpoint)
    require(config, 'vision')
    beats = load_beats_of(config.beats) if config.beats else None
    return load_sounding(config.checkpoint, load_vision(config.vision), beats)


def load_beats_of(path: str | Path) -> Beats:
    """BEATs of an official file, or of a checkpoint of the audio-visual localiser.

    Raises:
        OSError: the file cannot be read.
        ValueError: neither, or it has no BEATs.
    """
    if Path(path).suffix != '.safetensors':
        return load_beats(path)
    beats = load_checkpoint(path).beats
    if beats is None:
        raise ValueError(f'{path} has no BEATs weights: name the official file of BEATs')
    return beats
