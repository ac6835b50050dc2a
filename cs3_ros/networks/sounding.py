"""Which object sounded: the network of Clink! Chop! Thud! (Yang et al., ICCV 2025; method.md F).

Patches of a picture are written again by slot attention and its decoder; patches, sounds and texts
are brought into one space by linear aligners. A candidate is what its mask pools of the patches.

Shapes: B batch, N = n x n patches of width D, O masks, E width of the joint space, S side of the
pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cs3_ros.networks.beats import RATE
from cs3_ros.networks.slots import SlotAutoencoder
from cs3_ros.networks.sound_towers import SoundTower
from cs3_ros.networks.towers import TextTower, VisionTower

EMBEDDING = 256
"""E of the paper."""
WINDOW = (0.5, 1.0)
"""Seconds before and after the action that the paper hears."""


class Aligner(nn.Module):
    """Three linear maps into the joint space.

    Args:
        patch_width: D.
        text_width: of the text tower.
        embedding: E, also the width that the sound tower leaves.
    """

    def __init__(self, patch_width: int, text_width: int, embedding: int = EMBEDDING) -> None:
        super().__init__()
        self.patch_width, self.text_width, self.embedding = patch_width, text_width, embedding
        self.slot_aligner = _aligner(patch_width, embedding)
        self.text_aligner = _aligner(text_width, embedding)
        self.audio_aligner = _aligner(embedding, embedding)


class SoundingObjects(nn.Module):
    """Towers, slots and aligners.

    Args:
        vision: frozen.
        slots: None pools the patches of the tower themselves, without slot attention (the paper's
            comparison).
        sound: the sound tower.
        aligner: the linear maps.
        text: frozen; None where texts are not needed, as on a robot.
        target: the tower whose patches the decoder writes, where it is not ``vision`` itself:
            the released files have two copies.
        window: seconds of sound before and after the middle of a clip, where the action is, that
            the network hears.

    Raises:
        ValueError: widths do not fit together.
    """

    def __init__(
        self,
        vision: VisionTower,
        slots: SlotAutoencoder | None,
        sound: SoundTower,
        aligner: Aligner,
        text: TextTower | None = None,
        target: VisionTower | None = None,
        window: tuple[float, float] = WINDOW,
    ) -> None:
        super().__init__()
        self.window = window
        self.vision, self.slots, self.sound = vision, slots, sound
        self.aligner, self.text, self.target = aligner, text, target
        for tower in (vision, target):
            if tower is not None:
                tower.requires_grad_(False)
        wide = [('patches of the aligner', aligner.patch_width, vision.width)]
        if slots is not None:
            wide += [
                ('patches of the slots', slots.config.width, vision.width),
                ('grid of the slots', slots.config.grid, vision.grid),
            ]
        if text is not None:
            wide.append(('texts', aligner.text_width, text.width))
        for what, got, expected in wide:
            if got != expected:
                raise ValueError(
                    f'{what}: {got}, the tower has {expected}; take the tower that the network was '
                    'trained with'
                )

    @torch.no_grad()
    def see(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Frozen patches that the slots see, and those that the decoder writes.

        Args:
            pixels: from ``vision.pictures``, [B, 3, S, S]; or, where there is one tower, patches
                that it has seen before, [B, N, D].

        Returns:
            [B, N, D] each; the same where there is one tower.
        """
        patches = pixels if pixels.ndim == 3 else self.vision(pixels)  # [B, N, D]
        return patches, patches if self.target is None else self.target(pixels)

    def look(self, pixels: Tensor) -> Tensor:
        """Patches that masks can pool, before they are aligned: [B, 3, S, S] -> [B, N, D]."""
        patches, target = self.see(pixels)  # [B, N, D] each
        return patches if self.slots is None else self.slots(patches, target).patches

    def embed_patches(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> patches in the joint space, [B, N, E], not normalised."""
        return self.aligner.slot_aligner(self.look(pixels))  # [B, N, D] -> [B, N, E]

    def embed_sound(self, spectrogram: Tensor) -> Tensor:
        """[B, T, 128] from ``sound.spectrogram`` -> [B, E], not normalised."""
        return self.aligner.audio_aligner(self.sound(spectrogram))

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """[B, width] from ``sound.pooled`` -> [B, E], not normalised."""
        return self.aligner.audio_aligner(self.sound.head(pooled))

    def cut(self, sounds: Tensor) -> Tensor:
        """The part of clips that the network hears.

        Args:
            sounds: float32 [B, N] at 16 kHz; the action is in the middle.

        Returns:
            [B, n], n samples of ``window``; silence where a clip is shorter.
        """
        middle = sounds.shape[1] // 2
        first, last = (round(side * RATE) for side in self.window)
        part = sounds[:, max(middle - first, 0) : middle + last]  # [B, at most n]
        lacking = max(first - middle, 0), max(middle + last - sounds.shape[1], 0)
        return F.pad(part, lacking)  # [B, n]

    def cut_end(self, sounds: Tensor) -> Tensor:
        """As ``cut`` for clips that end with what the network hears, as those of a robot do.

        Args:
            sounds: float32 [B, N] at 16 kHz.

        Returns:
            [B, n], n as ``cut`` or, where a clip is shorter, N.
        """
        return sounds[:, -sum(round(side * RATE) for side in self.window) :]  # [B, n]

    def hear(self, sounds: Tensor) -> Tensor:
        """Whole clips -> sounds in the joint space: [B, N] as ``cut`` takes them -> [B, E]."""
        return self.embed_sound(self.sound.spectrogram(self.cut(sounds)))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids [B, L] -> [B, E], not normalised.

        Raises:
            ValueError: the network has no text tower.
        """
        if self.text is None:
            raise ValueError('this network has no text tower: give SoundingObjects one')
        return self.aligner.text_aligner(self.text(ids))  # [B, W] -> [B, E]

    def patchify(self, masks: Tensor) -> Tensor:
        """Patches that have a pixel of a mask: bool [..., S, S] -> [..., N]."""
        side = self.vision.size // self.vision.grid
        cells = masks.unflatten(-1, (-1, side)).any(-1)  # [..., S, S] -> [..., S, n]
        cells = cells.unflatten(-2, (-1, side)).any(-2)  # [..., S, n] -> [..., n, n]
        return cells.flatten(-2)  # [..., n, n] -> [..., N]


def pool(patches: Tensor, masks: Tensor) -> Tensor:
    """What masks select of patches, on average.

    Args:
        patches: [..., N, E].
        masks: bool [..., O, N].

    Returns:
        [..., O, E]; zeros for a mask that selects nothing.
    """
    chosen = masks.to(patches.dtype)  # [..., O, N]
    return (chosen @ patches) / chosen.sum(-1, keepdim=True).clamp_min(1)  # [..., O, E]


def _aligner(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, outputs))
