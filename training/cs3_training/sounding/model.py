"""What a stage trains: a batch of clips in, its losses out.

Symbols: B clips of this process, A of all processes, T pictures of a clip, O masks, N patches,
E width of the joint space.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cs3_ros.networks.beats import Beats
from cs3_ros.networks.slots import SlotAutoencoder
from cs3_ros.networks.sound_towers import AstTower, BeatsTower, SoundTower
from cs3_ros.networks.sounding import WINDOW, Aligner, SoundingObjects, pool
from cs3_ros.networks.towers import TextTower, VisionTower
from cs3_training.processes import gather
from cs3_training.sounding.config import (
    STAGES,
    AlignConfig,
    DetectConfig,
    NetworkConfig,
    RefineConfig,
    StageConfig,
)
from cs3_training.sounding.losses import background_masks, consensus, detection, three_way


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips as ``data.Samples`` gives them, on the device."""

    pixels: Tensor
    """Pictures as the vision tower takes them, float32 [B, T, 3, S, S], or the frozen patches that
    it left, [B, T, N, D]."""
    masks: Tensor
    """Patches of the objects, bool [B, T, O, N]."""
    valid: Tensor
    """Whether the first picture has an object, bool [B]."""
    sound: Tensor
    """The part that is heard, from ``SoundingObjects.cut``, float32 [B, samples] at 16 kHz; or what
    a frozen sound tower left of it, ``SoundTower.pooled``, [B, width]."""
    others: Tensor
    """Patches of other things of the pictures, bool [B, T, P, N]; P may be 0."""
    ids: Tensor
    """Token ids of the texts, int64 [B, L]."""


def assemble(
    config: NetworkConfig,
    vision: VisionTower,
    beats: Beats | None = None,
    text: TextTower | None = None,
    window: tuple[float, float] = WINDOW,
    ast: Mapping[str, Tensor] | None = None,
    seed: int = 0,
) -> SoundingObjects:
    """The network with random slots, heads and aligners, on the CPU.

    Args:
        config: its sizes.
        vision: frozen.
        beats: pretrained, for the sound tower ``beats``.
        text: frozen; None where no text is learned from.
        window: seconds of sound that it hears, as ``SoundingObjects``.
        ast: pretrained weights for the sound tower ``ast``, from ``load_ast``.
        seed: of what is random.

    Raises:
        ValueError: BEATs is asked for and not given, or sizes do not fit.
    """
    torch.manual_seed(seed)
    slots = None
    if config.use_slots:
        slots = SlotAutoencoder(config.slots_config(vision.width, vision.grid))
    sound: SoundTower
    if config.sound == 'ast':
        sound = AstTower(config.ast_sizes(), config.embedding)
        if ast is not None:
            sound.model.load_state_dict(ast)
    elif beats is None:
        raise ValueError('sound: beats needs BEATs weights; name them')
    else:
        sound = BeatsTower(copy.deepcopy(beats), config.embedding)
    # without texts the width is that of CLIP ViT-B/32
    aligner = Aligner(vision.width, 512 if text is None else text.width, config.embedding)
    return SoundingObjects(vision, slots, sound, aligner, text, None, window)


class SoundingTask(nn.Module):
    """The network and what a stage asks of it; chooses what learns.

    - ``slots``: slot attention and decoder.
    - ``align``, ``refine``: the decoder with its projections and first tokens, the sound tower but
      for its first blocks, the aligners.
    - ``detect``: the same without the aligner of texts.

    Args:
        network: trained in place.
        stage: one of ``STAGES``.
        config: settings of that stage.
        train_sound: whether the sound tower learns, or its head alone.
        pooled_sounds: whether batches hold what the frozen sound tower left of the sounds.

    Raises:
        ValueError: the network lacks what the stage needs.
    """

    def __init__(
        self,
        network: SoundingObjects,
        stage: str,
        config: StageConfig,
        train_sound: bool = True,
        pooled_sounds: bool = False,
    ) -> None:
        super().__init__()
        self._pooled_sounds = pooled_sounds
        self.network, self.stage, self.config = network, stage, config
        network.requires_grad_(False)
        if stage == 'slots':
            if network.slots is None:
                raise ValueError('stage slots: the network has no slots (use_slots: false)')
            network.slots.requires_grad_(True)
            return
        if not isinstance(config, AlignConfig | DetectConfig):
            raise ValueError(f'stage {stage!r}: expected one of {", ".join(STAGES)}')
        if network.slots is not None:
            network.slots.requires_grad_(True)
            network.slots.slot_attn.requires_grad_(False)
        network.sound.learn(train_sound, config.frozen_blocks if train_sound else 0)
        network.aligner.requires_grad_(True)
        if isinstance(config, DetectConfig):
            network.aligner.text_aligner.requires_grad_(False)
        elif network.text is None:
            raise ValueError(f'stage {stage}: the network has no text tower; name one')

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name; ``total`` is minimised.

        In a process group they are those of the joint batch, on every process; but ``slots``
        compares nothing between clips, and its loss is that of this process.
        """
        if self.stage == 'slots':
            return {'total': self._reconstruct(batch)}
        network, config = self.network, self.config
        shape = batch.pixels.shape[:2]  # B, T
        patches = network.embed_patches(batch.pixels.flatten(0, 1))  # [B*T, N, E]
        patches = patches.unflatten(0, shape).float()  # [B, T, N, E]
        v = gather(_pooled(patches, batch.masks))  # [A, E]
        a = gather(self._heard(batch.sound).float())  # [A, E]
        valid = gather(batch.valid)  # [A]
        if isinstance(config, DetectConfig):
            beside = background_masks(batch.masks, config.background_share, config.union_background)
            n = gather(_pooled(patches, beside))  # [A, E]
            valid = valid if config.exclude_empty else torch.ones_like(valid)
            others = self._others(patches, batch.others) if batch.others.shape[2] else ()
            return {'total': detection(v, n, a, config.temperature, valid, *others)}
        assert isinstance(config, AlignConfig)
        t = gather(network.embed_text(batch.ids).float())  # [A, E]
        valid = valid if config.exclude_empty else torch.ones_like(valid)
        contrast = three_way(v, a, t, config.temperature, valid)
        if not isinstance(config, RefineConfig):
            return {'total': contrast}
        agreed = consensus(v, a, t, config.video_power, config.text_power)
        total = contrast + config.consensus_weight * agreed
        return {'contrast': contrast, 'consensus': agreed, 'total': total}

    def _others(self, patches: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of other things and whether they are there, [A, P, E] and bool [A, P].

        Args:
            patches: [B, T, N, E].
            masks: bool [B, T, P, N].
        """
        pooled = pool(patches, masks).mean(1)  # [B, T, P, E] -> [B, P, E]
        return gather(pooled), gather(masks.any(3).any(1))

    def _heard(self, sound: Tensor) -> Tensor:
        """``Batch.sound`` -> [B, E]."""
        network = self.network
        if self._pooled_sounds:
            return network.embed_pooled(sound)  # [B, width] -> [B, E]
        return network.embed_sound(network.sound.spectrogram(sound))  # [B, samples] -> [B, E]

    def _reconstruct(self, batch: Batch) -> Tensor:
        """Mean squared error of the patches that are written again."""
        slots = self.network.slots
        assert slots is not None
        seen, target = self.network.see(batch.pixels.flatten(0, 1))  # [B*T, N, D] each
        return F.mse_loss(slots(seen, target).patches.float(), target.float())


def _pooled(patches: Tensor, masks: Tensor) -> Tensor:
    """What masks select, averaged over patches, then pictures, then objects.

    An object that is in no patch counts as zeros.

    Args:
        patches: [B, T, N, E].
        masks: bool [B, T, O, N].

    Returns:
        [B, E].
    """
    return pool(patches, masks).mean(1).mean(1)  # [B, T, O, E] -> [B, O, E] -> [B, E]
