"""The rows of Tables 1 to 3 of the CS3 paper, and the controls: what each of them predicts.

The variants of Table 3 are those of method.md B3, the scores those of method.md D1. A row that a
bundle cannot make (no hands, no sound) is left out. Touch needs the second object that the hand's
object touches, which only Hands23 finds: it is there where hands were imported from it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cs3_ros.collision import Candidate, Collision, Label, Mask
from cs3_ros.metrics import best_assignment, iou_matrix, matched_ious, sample_score
from cs3_ros.verification import verify
from cs3_training.data.manifest import resized
from cs3_training.evaluation.baselines import centre
from cs3_training.evaluation.evidence import HEAT_ROWS, Evidence, Variant
from cs3_training.evaluation.samples import Sample
from cs3_training.evaluation.sensitivity import chosen_by_setting

THRESHOLD = 0.5
"""Heat from which on a pixel belongs to the mask (method.md A5)."""


WAIT_ROWS = ('av', 'full')
"""Rows that are scored at several waits, where they are asked for."""


@dataclass(frozen=True)
class SystemRow:
    """A row of the table, in words."""

    title: str
    meaning: str


ROWS: Mapping[str, SystemRow] = {
    'random': SystemRow(
        'Random',
        'Heat map of the same networks with random projections of the sound in turn, >= 0.5.',
    ),
    'centre': SystemRow('Centre', 'A square of 10 % of the picture in its middle.'),
    'av_shuffled': SystemRow('AV, shuffled audio', 'AV that hears the sound of another scene.'),
    'av_no_crop': SystemRow('AV without crop', 'Heat map of the whole picture, >= 0.5.'),
    'av': SystemRow('AV', 'Heat map after the second look at its peak, >= 0.5; no masker.'),
    'av_sam': SystemRow('AV + SAM', 'What the masker cuts out of the box of the heat map.'),
    'left': SystemRow('Left', 'What the left hand holds.'),
    'right': SystemRow('Right', 'What the right hand holds.'),
    'left_av': SystemRow('Left-AV', 'What the left hand holds, and AV + SAM.'),
    'right_av': SystemRow('Right-AV', 'What the right hand holds, and AV + SAM.'),
    'touch': SystemRow('Touch', 'What the right hand holds, and what that is used on, by Hands23.'),
    'right_left': SystemRow('Right-Left', 'What both hands hold, without verification.'),
    'full_no_av': SystemRow('Full without AV', 'Verification of what the hands hold alone.'),
    'full_random_av': SystemRow('Full, random AV', 'Full with the Random networks as its AV.'),
    'full_shuffled': SystemRow(
        'Full, shuffled audio', 'Full that hears the sound of another scene.'
    ),
    'full_no_sam_no_crop': SystemRow(
        'Full without SAM(AV), without crop',
        'Full with the bare heat map of the whole picture, >= 0.5, as its AV mask.',
    ),
    'full_no_sam': SystemRow(
        'Full without SAM(AV)', 'Full with the bare heat map, >= 0.5, as its AV mask.'
    ),
    'full_no_crop': SystemRow('Full without crop', 'Full without the second look at the peak.'),
    'full': SystemRow('Full', 'Verification of the right, the left and the AV candidate.'),
    'full_contact': SystemRow(
        'Full, by contact', 'The same candidates, chosen by contact and priority alone.'
    ),
    'full_sounding': SystemRow(
        'Full, by sounding', 'The same candidates, chosen by contact and by what fits the sound.'
    ),
    'full_sounding_shuffled': SystemRow(
        'Full, by sounding, shuffled',
        'The same candidates, chosen by contact and by what fits the sound of another scene.',
    ),
    'oracle': SystemRow('Oracle', "The truth picks among the full system's candidate masks."),
}
"""Key of a row -> its words, in the order of the printed table."""


def title(row: str) -> str:
    """A row's name; imported predictions are called as their key."""
    return ROWS[row].title if row in ROWS else row


def predictions(evidence: Evidence, truth: Sequence[Mask]) -> dict[str, list[Mask]]:
    """Key of a row -> its masks, bool [H, W], none of them empty.

    Args:
        evidence: what was found in the sample.
        truth: the annotated masks at the size of the frame; Oracle looks at them, no other row
            does.
    """
    found, own = evidence.found, evidence.found['own']
    by_label: dict[Label, Mask] = {c.label: c.mask for c in own.candidates}
    hands = [c for c in own.candidates if c.label != 'audio_visual']

    def of(*labels: Label) -> list[Mask]:
        return [by_label[label] for label in labels if label in by_label]

    def hot(variant: Variant) -> list[Mask]:
        heat = found[variant].heat_map
        return [] if heat is None else [heat >= THRESHOLD]

    def verified(candidates: Sequence[Candidate]) -> list[Mask]:
        return [c.mask for c in verify(candidates, evidence.verification).objects]

    def without_masker(variant: Variant) -> list[Mask]:
        located = [c for c in found[variant].candidates if c.label == 'audio_visual']
        return verified([*hands, *(replace(c, mask=m) for c in located for m in hot(variant))])

    rows = {
        'centre': [centre(*own.frame.image.shape[:2])],
        'full': [c.mask for c in own.objects],
        'oracle': best_candidates(own, truth),
    }
    if evidence.sounding:
        rows |= {
            'full_contact': verified(own.candidates),
            'full_sounding': [c.mask for c in evidence.sounding['own'].objects],
            'full_sounding_shuffled': [c.mask for c in evidence.sounding['shuffled'].objects],
        }
    if evidence.has_hands:
        rows |= {
            'right': of('right_hand'),
            'left': of('left_hand'),
            'right_left': of('right_hand', 'left_hand'),
        }
        if evidence.has_second:
            second = [] if evidence.second is None else [evidence.second]
            rows['touch'] = of('right_hand') + second
    if evidence.has_localiser:
        rows |= {'av_sam': of('audio_visual')}
        rows |= {row: hot(variant) for row, variant in HEAT_ROWS.items() if variant in found}
    if evidence.has_hands and evidence.has_localiser:
        rows |= {
            'right_av': of('right_hand', 'audio_visual'),
            'left_av': of('left_hand', 'audio_visual'),
            'full_no_av': verified(hands),
            'full_no_sam': without_masker('own'),
        }
        rows |= {
            row: [c.mask for c in found[variant].objects]
            for row, variant in _FULL.items()
            if variant in found
        }
        if 'no_crop' in found:
            rows['full_no_sam_no_crop'] = without_masker('no_crop')
    return {row: [mask for mask in rows[row] if mask.any()] for row in ROWS if row in rows}


_FULL: Mapping[str, Variant] = {
    'full_random_av': 'random',
    'full_shuffled': 'shuffled',
    'full_no_crop': 'no_crop',
}


def best_candidates(collision: Collision, truth: Sequence[Mask]) -> list[Mask]:
    """For every annotated mask the candidate that fits it best, each used once (method.md B3).

    Args:
        collision: holds the candidates.
        truth: the annotated masks, bool [H, W].

    Returns:
        Masks of candidates, bool [H, W], in the order of ``truth``; at most as many.
    """
    masks = [candidate.mask for candidate in collision.candidates]
    return [masks[column] for _, column in best_assignment(iou_matrix(truth, masks))]


@dataclass(frozen=True)
class Result:
    """The scores of one sample; one line of the results file."""

    index: int
    seed: int
    areas: tuple[float, ...]
    """Share of the picture of each annotated mask."""
    in_hand: bool | None
    scores: Mapping[str, float]
    """Key of a row -> score in [0, 1]."""
    ious: Mapping[str, Sequence[float]]
    """Key of a row -> matched IoU of each annotated mask."""
    rule: str
    """Rule by which the full system decided."""
    candidates: tuple[str, ...]
    """Labels of the candidates that the full system had."""
    chosen: tuple[str, ...]
    """Labels of the objects that it answered."""
    waits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Seconds of sound after the onset, in words -> row of ``WAIT_ROWS`` -> score."""
    id: str = ''
    """What the sample is called."""
    group: str = ''
    """What the bootstrap draws together; '' for the sample alone."""
    label: str = ''
    """Class of the sound; '' where it is not known."""
    duration_s: float | None = None
    """Length of what is heard; None where it is not known."""
    sweep: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Setting of the verification -> score and number of masks; empty where none was tried."""

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Result:
        """From a line of JSON.

        Raises:
            ValueError: something is missing or of another kind.
        """
        try:
            names = ('areas', 'candidates', 'chosen')
            return cls(**{**data, **{name: tuple(data[name]) for name in names}})
        except (KeyError, TypeError) as error:
            raise ValueError(f'expected the fields of a result, found {error}') from error


def _at_wait(sample: Sample, found: Collision) -> dict[str, float]:
    """Scores of ``WAIT_ROWS``; AV only where the bundle listens."""
    masks = {'full': [candidate.mask for candidate in found.objects]}
    if found.heat_map is not None:
        masks['av'] = [found.heat_map >= THRESHOLD]
    return {
        row: sample_score(sample.truth, [mask for mask in masks[row] if mask.any()])
        for row in WAIT_ROWS
        if row in masks
    }


@dataclass(frozen=True)
class LeftOut:
    """A sample that could not be scored; a line of the results file, too."""

    index: int
    id: str
    reason: str
    """One line: what is not there or cannot be read."""

    def as_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {'index': self.index, 'id': self.id, 'left_out': self.reason}


def score(
    sample: Sample,
    evidence: Evidence,
    rows: Collection[str] = (),
    imported: Mapping[str, Sequence[Mask]] = {},
    swept: bool = False,
) -> Result:
    """Score these rows of one sample; all that can be made where none are named.

    Masks are compared at the size of the annotation (method.md G39).

    Args:
        sample: with its truth.
        evidence: what was found in it.
        rows: keys of ``ROWS``; () for all.
        imported: name of another method -> its masks at the size of the annotation.
        swept: try the settings of ``sensitivity.SETTINGS`` on the candidates, too.
    """
    truth = sample.truth
    size = (truth[0].shape[0], truth[0].shape[1])

    def native(masks: Sequence[Mask]) -> list[Mask]:
        return [mask for mask in (resized(each, size) for each in masks) if mask.any()]

    predicted = predictions(evidence, sample.truth_on_frame)
    if rows:
        predicted = {row: masks for row, masks in predicted.items() if row in rows}
    predicted = {row: native(masks) for row, masks in predicted.items()} | {
        name: [mask for mask in masks if mask.any()] for name, masks in imported.items()
    }
    own = evidence.found['own']
    sweep: dict[str, list[float]] = {}
    if swept:
        for name, chosen in chosen_by_setting(own.candidates, evidence.verification).items():
            masks = native([candidate.mask for candidate in chosen])
            sweep[name] = [sample_score(truth, masks), len(masks)]
    return Result(
        index=sample.index,
        seed=sample.seed,
        areas=tuple(float(mask.mean()) for mask in truth),
        in_hand=sample.in_hand,
        scores={row: sample_score(truth, masks) for row, masks in predicted.items()},
        ious={row: matched_ious(truth, masks) for row, masks in predicted.items()},
        rule=own.verdict.rule,
        candidates=tuple(c.label for c in own.candidates if c.area),
        chosen=tuple(c.label for c in own.objects),
        waits={f'{w:g}': _at_wait(sample, c) for w, c in evidence.waits.items()},
        id=sample.id,
        group=sample.group,
        label=sample.label,
        duration_s=sample.duration_s,
        sweep=sweep,
    )
