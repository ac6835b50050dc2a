"""Samples to be scored, as the pipeline takes them: held-out scenes of the synthetic world.

``manifest_samples.py`` has those of real videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cs3_ros.collision import (
    NS_PER_S,
    AudioClip,
    Box,
    CollisionClip,
    Frame,
    HandObject,
    Mask,
    Onset,
)
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training.data.manifest import resized
from cs3_training.synth.config import Split, WorldConfig, split_seed
from cs3_training.synth.scene import Scene
from cs3_training.synth.world import make_scene


@dataclass(frozen=True, eq=False)
class Sample:
    """One collision with its truth."""

    index: int
    """Number in its split."""
    seed: int
    """Of the scene; 0 where it is none."""
    clip: CollisionClip
    """What the pipeline gets: one frame and the sound round the onset."""
    other: AudioClip
    """The sound of another sample, for the shuffled rows."""
    truth: tuple[Mask, ...]
    """The one or two colliding objects, bool [H, W] at the size of their annotation."""
    names: tuple[str, ...]
    """What they are, in words."""
    in_hand: bool | None
    """Whether a hand holds one of them; None where it is not known."""
    id: str = ''
    """What it is called in reports."""
    group: str = ''
    """Samples of one group are not independent: the bootstrap draws them together."""
    label: str = ''
    """Class of its sound; '' where there is none."""
    duration_s: float | None = None
    """Length of what is heard; None where it is not known."""
    hands: tuple[HandObject, ...] | None = None
    """Hands that were found beforehand; None where the bundle looks for them."""
    second_box: Box | None = None
    """What the object in the right hand is used on; None where nothing was found."""
    waits: Mapping[float, AudioClip] = field(default_factory=dict)
    """Seconds after the onset -> the own sound, waited for so long."""

    @property
    def truth_on_frame(self) -> tuple[Mask, ...]:
        """The truth at the size of the event frame."""
        height, width = self.clip.frame.image.shape[:2]
        return tuple(resized(mask, (height, width)) for mask in self.truth)


def partner(index: int) -> int:
    """The sample whose sound stands in where the sound is shuffled: neighbours swap theirs.

    A derangement that does not depend on the number of samples, so that a longer run goes on from
    a shorter one. Scenes are drawn independently, so a neighbour is as good as any other.
    """
    return index ^ 1


def sound_of(
    sound: NDArray[np.float32], rate: int, onset: int, before_s: float, after_s: float
) -> AudioClip:
    """What a bundle hears of a sound: never more after the onset than it waits for.

    Args:
        sound: of a scene, float32 [N], its first sample at 1 s.
        rate: samples per second.
        onset: sample with which the action begins.
        before_s: seconds that the bundle asks for before the onset. Where the sound has not as
            much before or after it, there is less, and no zeros that nobody was trained on.
        after_s: and after it.
    """
    end = min(onset + round(after_s * rate), len(sound))
    first = max(onset - round(before_s * rate), 0)
    start_ns = NS_PER_S + round(first * NS_PER_S / rate)
    return AudioClip(start_ns, rate, sound[first:end], np.ones(end - first, bool))


class SyntheticSamples:
    """Samples of a split, made when they are asked for.

    Args:
        split: ``test`` or ``validation``; seeds of the two are never used in training.
        spans: what the bundle wants to hear.
        config: settings of the world.
        waits: further seconds of sound after the onset, for ``Sample.waits``.
    """

    def __init__(
        self,
        split: Split,
        spans: ClipConfig,
        config: WorldConfig = WorldConfig(),
        waits: Sequence[float] = (),
    ) -> None:
        self._split, self._spans, self._config, self._waits = split, spans, config, waits
        self._scene = lru_cache(maxsize=2)(self._make)  # a sample and its partner

    def __getitem__(self, index: int) -> Sample:
        (scene, sound), own_s = self._scene(index), self._spans.audio_after_s
        stamp_ns = NS_PER_S + round(scene.onset * NS_PER_S / scene.sample_rate)
        clip = CollisionClip(
            onset=Onset(stamp_ns, peak_dbfs=0.0, prominence_db=0.0),
            frames=(Frame.from_rgb(stamp_ns, scene.image),),
            event_index=0,
            audio=sound,
        )
        visible = [(m, i) for m, i in zip(scene.masks, scene.colliding, strict=True) if i.area]
        return Sample(
            index=index,
            seed=scene.seed,
            clip=clip,
            other=self._scene(partner(index))[1],
            truth=tuple(mask for mask, _ in visible),
            names=tuple(instance.caption for _, instance in visible),
            in_hand=any(instance.hand for _, instance in visible),
            waits={
                wait: sound if wait == own_s else self._heard(scene, wait) for wait in self._waits
            },
            id=f'scene {scene.seed}',
            group=str(index // 2),  # partners share their sounds in the shuffled rows
        )

    def _make(self, index: int) -> tuple[Scene, AudioClip]:
        scene = make_scene(self._config, split_seed(self._split, index))
        return scene, self._heard(scene, self._spans.audio_after_s)

    def _heard(self, scene: Scene, wait_s: float) -> AudioClip:
        before_s = self._spans.audio_before_s
        return sound_of(scene.sound, scene.sample_rate, scene.onset, before_s, wait_s)
