"""What a bundle finds in a sample under several sounds and settings, with little work twice.

Every variant goes through ``Pipeline.decide``, so rows of the tables are what the node would say.
The picture is encoded once for all localisers, the masker cuts out each prompt once, and a sound
that several variants hear is embedded once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

from cs3_ros.collision import (
    AudioClip,
    Collision,
    Frame,
    HandObject,
    Image,
    Localisation,
    Mask,
    Prompt,
    Verdict,
)
from cs3_ros.localisers.audio_visual import AudioVisualLocaliser
from cs3_ros.localisers.conditioned import ConditionedLocaliser
from cs3_ros.pipeline import Localiser, Masker, Pipeline, Prepared
from cs3_ros.verification import VerificationConfig
from cs3_ros.verifiers.sounding import SoundingVerifier
from cs3_training.evaluation.baselines import DRAWS, random_projection
from cs3_training.evaluation.samples import Sample

Variant = Literal['own', 'no_crop', 'shuffled', 'random']
"""The bundle as it is, without the second look, under the sound of another sample, and with
random projections of the sound in turn."""

HEAT_ROWS: Mapping[str, Variant] = {
    'random': 'random',
    'av_shuffled': 'shuffled',
    'av_no_crop': 'no_crop',
    'av': 'own',
}
"""Rows that are the heat map of a variant, cut at a threshold; they need a localiser alone."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything that the rows of a sample are made of."""

    found: Mapping[Variant, Collision]
    """``own`` always; the others where the localiser allows for them."""
    has_hands: bool
    """Whether the bundle looks for hands."""
    has_localiser: bool
    """Whether it listens."""
    verification: VerificationConfig
    """Thresholds of the bundle's verification."""
    second: Mask | None = None
    """What the object in the right hand is used on; None where nothing was found."""
    has_second: bool = False
    """Whether that was looked for."""
    sounding: Mapping[Variant, Verdict] = field(default_factory=dict)
    """What the strategy ``sounding`` makes of the candidates of ``own`` under the own sound and
    under that of another sample; empty where the bundle has no such strategy."""
    waits: Mapping[float, Collision] = field(default_factory=dict)
    """``own`` for every sound of ``Sample.waits``."""


class Evaluator:
    """Runs a pipeline and its variants on samples.

    Args:
        pipeline: what a bundle built; its stages are used.
        rows: what is asked for, of ``HEAT_ROWS``: neither hands nor masker run; empty for all.
        listens: whether the bundle asks for sound; without, none is shuffled.
        given_hands: take the hands that each sample brings, and look for none.
        given_seconds: samples bring second objects, too.

    Raises:
        ValueError: other rows, or no localiser that could make them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        rows: Collection[str] = (),
        *,
        listens: bool = True,
        given_hands: bool = False,
        given_seconds: bool = False,
    ) -> None:
        if other := sorted(set(rows) - set(HEAT_ROWS)):
            raise ValueError(f'rows {", ".join(other)}: expected some of {", ".join(HEAT_ROWS)}')
        if rows and pipeline.localiser is None:
            raise ValueError(f'bundle {pipeline.name!r} has no localiser for {", ".join(rows)}')
        self.name = pipeline.name
        self._heat_maps_only = bool(rows)
        own = pipeline.localiser
        self._localisers = {} if own is None else localisers(own, rows)
        self._variants: tuple[Variant, ...] = (*self._localisers,) or ('own',)
        if own is not None and listens and (not rows or 'av_shuffled' in rows):
            self._variants += ('shuffled',)
        self._given = GivenHands() if given_hands else None
        self._given_seconds = given_seconds
        self._pipeline = copy(pipeline)  # with all its other stages
        self._pipeline.masker = OnceMasker(pipeline.masker)
        self._pipeline.hands = None if rows else self._given or pipeline.hands
        # Encoded by the one that listens first: on a GPU each has a stream of its own, and
        # `locate` waits for it, so what lies on the device is there for the others.
        self._pipeline.localiser = None if own is None else self._localisers['own'][0]

    def look(self, sample: Sample) -> Evidence:
        """Run every variant on one sample."""
        clip, sounding, second = sample.clip, dict[Variant, Verdict](), None
        waits = dict[float, Collision]()
        sounds = {variant: _heard(variant, sample) for variant in self._variants}
        if self._heat_maps_only:
            found = self._heat_maps(sample)
        else:
            if self._given is not None:
                self._given.hands = sample.hands or ()
            prepared = self._pipeline.prepare(clip.frames, clip.event_index)
            found = {
                variant: self._pipeline.decide(
                    prepared,
                    self._locate(variant, prepared.localiser_state, sample.index, audio),
                    replace(clip, audio=audio),
                )
                for variant, audio in sounds.items()
            }
            for wait, audio in sample.waits.items():
                if audio is clip.audio:
                    waits[wait] = found['own']
                    continue
                located = self._locate('own', prepared.localiser_state, sample.index, audio)
                waits[wait] = self._pipeline.decide(prepared, located, replace(clip, audio=audio))
            if sample.second_box is not None:
                prompt = Prompt(sample.second_box)
                (second,) = self._pipeline.masker.segment(prepared.masker_state, [prompt])
            if isinstance(self._pipeline.verifier, SoundingVerifier):
                sounding['own'] = found['own'].verdict
                sounding['shuffled'] = self._pipeline.verifier.verify(
                    prepared.verifier_state,
                    sample.other,
                    found['own'].candidates,
                    self._pipeline.verification,
                )
        return Evidence(
            found,
            has_hands=self._pipeline.hands is not None,
            has_localiser=bool(self._localisers),
            verification=self._pipeline.verification,
            sounding=sounding,
            waits=waits,
            second=second,
            has_second=self._given_seconds,
        )

    def _heat_maps(self, sample: Sample) -> dict[Variant, Collision]:
        """The heat map of every variant in a Collision without any candidate."""
        clip, found = sample.clip, dict[Variant, Collision]()
        encoded = self._localisers['own'][0].encode(clip.frames, clip.event_index)
        nothing = self._pipeline.decide(Prepared(clip.frame, (), encoded, None, {}), None, clip)
        for variant in self._variants:
            located = self._locate(variant, encoded, sample.index, _heard(variant, sample))
            found[variant] = replace(
                nothing, heat_map=None if located is None else located.heat_map
            )
        return found

    def _locate(
        self, variant: Variant, encoded: Any, index: int, audio: AudioClip
    ) -> Localisation | None:
        if not self._localisers:
            return None
        turns = self._localisers.get(variant, self._localisers['own'])
        return turns[index % len(turns)].locate(encoded, audio)


def _heard(variant: Variant, sample: Sample) -> AudioClip:
    """The sound that a variant hears."""
    return sample.other if variant == 'shuffled' else sample.clip.audio


def localisers(
    localiser: Localiser, rows: Collection[str] = ()
) -> dict[Variant, tuple[Localiser, ...]]:
    """The localisers of the variants that these rows need, all rows where none are named.

    Where a variant has several they take turns. All take what ``encode`` of the first one gives.
    """
    if not isinstance(localiser, ConditionedLocaliser):
        return {'own': (localiser,)}
    embed = lru_cache(maxsize=4)(localiser.condition)
    found: dict[Variant, tuple[Localiser, ...]] = {
        'own': (SharedLocaliser(localiser, localiser.heat.crop, embed),)
    }
    if localiser.heat.crop and (not rows or 'av_no_crop' in rows):
        found['no_crop'] = (SharedLocaliser(localiser, False, embed),)
    if isinstance(localiser, AudioVisualLocaliser) and (not rows or 'random' in rows):
        found['random'] = tuple(random_projection(localiser, seed) for seed in range(DRAWS))
    return found


class GivenHands:
    """A hand detector that answers what it was given."""

    hands: tuple[HandObject, ...] = ()
    """Of the sample that is looked at."""

    def detect(self, frames: Sequence[Frame], index: int) -> tuple[HandObject, ...]:
        """What was given, whatever the frame."""
        return self.hands


class SharedLocaliser(ConditionedLocaliser):
    """The networks of another localiser, with or without the second look.

    Args:
        source: whose networks are shared.
        crop: whether to look twice.
        embed: ``source.condition``, which may remember.
    """

    def __init__(
        self, source: ConditionedLocaliser, crop: bool, embed: Callable[[AudioClip], Tensor]
    ) -> None:
        heat = replace(source.heat, crop=crop)
        super().__init__(source.clipseg, source.runtime, heat, source.logit_offset)
        self._embed = embed

    def hear(self, audio: AudioClip) -> Tensor:
        """The condition itself, [1, P]: it may be remembered."""
        return self._embed(audio)

    def understand(self, heard: Tensor) -> Tensor:
        """What ``hear`` gave."""
        return heard


class OnceMasker:
    """A masker that cuts out every prompt of a picture once."""

    def __init__(self, masker: Masker) -> None:
        self._masker = masker

    def encode(self, image: Image) -> Any:
        """What the masker needs, and the masks that it has cut out so far."""
        return self._masker.encode(image), {}

    def segment(self, encoded: Any, prompts: Sequence[Prompt]) -> list[Mask]:
        """One bool mask [H, W] per prompt."""
        state, known = encoded
        keys = [_key(prompt) for prompt in prompts]
        fresh = {k: p for k, p in zip(keys, prompts, strict=True) if k not in known}
        if fresh:
            masks = self._masker.segment(state, list(fresh.values()))
            known.update(zip(fresh, masks, strict=True))
        return [known[key] for key in keys]


def _key(prompt: Prompt) -> tuple[Any, ...]:
    points = (prompt.positive_points, prompt.negative_points, *prompt.exclude)
    return prompt.box, *(array.tobytes() for array in points)
