"""Pictures of one sample for the report: truth, heat map, sound, candidates, answer."""

from __future__ import annotations

from collections.abc import Mapping

from cs3_ros.collision import NS_PER_S, Collision, Image, Label
from cs3_ros.drawing.overlay import heat_map_image
from cs3_ros.drawing.report import WHITE, answer_colours, outlined, over_grey, sound_picture, tinted
from cs3_training.evaluation.rows import THRESHOLD
from cs3_training.evaluation.samples import Sample

CANDIDATE_COLOURS: Mapping[Label, tuple[int, int, int]] = {
    'right_hand': (255, 70, 70),
    'left_hand': (90, 230, 90),
    'audio_visual': (255, 60, 255),
}
"""RGB of each candidate's outline."""

_SOUND_HEIGHT = 176


def heat_picture(image: Image, collision: Collision) -> Image:
    """The heat map over a picture, RGB uint8 [H, W, 3], its mask in white; grey without one."""
    heat = collision.heat_map
    if heat is None:
        return over_grey(image, None)
    return outlined(over_grey(image, heat_map_image(heat)), [heat >= THRESHOLD], [WHITE])


def pictures_of(sample: Sample, collision: Collision) -> list[tuple[str, Image]]:
    """Caption and picture, RGB uint8 [H, W, 3], in the order in which they are read."""
    image = collision.frame.image
    width = image.shape[1]
    truth = sample.truth_on_frame
    answer = [c.mask for c in collision.objects]
    candidates = [c for c in collision.candidates if c.area]
    colours = [CANDIDATE_COLOURS[c.label] for c in candidates]
    pictures = [
        ('scene', image),
        ('truth', tinted(image, truth)),
        ('heat map', heat_picture(image, collision)),
        ('candidates', outlined(image, [c.mask for c in candidates], colours, (3, 2, 1))),
        ('answer', tinted(image, answer, answer_colours(truth, answer))),
    ]
    audio = sample.clip.audio
    if len(audio.samples):
        onset = round((sample.clip.onset.stamp_ns - audio.start_ns) * audio.rate / NS_PER_S)
        sound = sound_picture(audio.samples, onset, width, _SOUND_HEIGHT)
        pictures.insert(2, ('sound', sound))
    return pictures
