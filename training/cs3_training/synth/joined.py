"""Several clips in one video with its truth file, for the demo: a collision every three seconds.

Each scene keeps its own picture, room and background noise. The picture is cut; the sound fades out
and in, because a cut to a louder room sounds like an impact. The fades stay more than a second away
from the collisions. Impacts of other things are part of a clip's sound and not of the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

from cs3_ros.collision import NS_PER_S
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.truth import ClipTruth, TrueEvent, TrueFrame, read_truth, runs_of, write_truth
from cs3_ros.files.video_writer import VideoWriter
from cs3_training.synth.config import SPLITS, WorldConfig
from cs3_training.synth.impact import Samples
from cs3_training.synth.video_clip import (
    FRAME_RATE,
    SECONDS,
    SOUND_RATE,
    Clip,
    ClipFrame,
    make_clip,
)

FORMAT = 1
"""Raised when the same settings and seeds give another clip."""
CLIP, TRUTH = 'clip.mp4', 'truth.json'
FADE_S = 0.15
KNOWN_S = 0.2
"""The truth holds the frames so far before and after each collision."""


def faded(sound: Samples) -> Samples:
    """The sound with its first and last ``FADE_S`` faded, float32 [N] at SOUND_RATE."""
    count = round(FADE_S * SOUND_RATE)
    ramp = np.sin((np.arange(count) + 0.5) / count * np.pi / 2) ** 2
    result = sound.copy()
    result[:count] *= ramp
    result[-count:] *= ramp[::-1]
    return result


def joined_clip(
    config: WorldConfig, seeds: Sequence[int], folder: Path, force: bool = False
) -> tuple[Path, bool]:
    """Write ``clip.mp4`` and ``truth.json``; those of the same settings and seeds are left there.

    Args:
        config: settings of the world.
        seeds: of the clips, in their order; from ``split_seed``.
        folder: made where it does not exist.
        force: as ``OutputFolder``.

    Returns:
        The video, and whether it was made now.

    Raises:
        ValueError: no seeds.
        FileExistsError: the folder holds other things.
        OSError: a file cannot be written.
    """
    if not seeds:
        raise ValueError('a clip of no scenes: expected at least one seed')
    video, truth = folder / CLIP, folder / TRUTH
    about = provenance(config, seeds)
    if video.is_file() and _about_of(truth) == about:
        return video, False
    names = (re.escape(TRUTH), re.escape(CLIP))  # the truth says that the video is complete
    with OutputFolder(folder, 'synth clip', names, force=force) as output:
        with output.replacing(CLIP) as part:
            events = tuple(_write(config, seeds, part))
        with output.replacing(TRUTH) as part:
            write_truth(part, ClipTruth(about, config.size, config.size, events))
    return video, True


def provenance(config: WorldConfig, seeds: Sequence[int]) -> str:
    """What a clip is made of, in words: scenes, seeds, split, format and digest of the settings.

    Args:
        config: settings of the world.
        seeds: of the clips, in their order.
    """
    numbers = ', '.join(str(seed) for seed in seeds)
    settings = sha256(repr(config).encode()).hexdigest()[:8]
    parts = [f'{len(seeds)} scenes of the synthetic world, seeds {numbers}']
    low, end = SPLITS['test']
    if all(low <= seed < end for seed in seeds):
        parts.append('which no training uses')
    if list(seeds) == list(range(low, low + len(seeds))):
        parts.append('the first of the test split, not chosen by what comes of them')
    return ', '.join(parts) + f' (format {FORMAT}, settings {settings})'


def _about_of(truth: Path) -> str:
    """What a truth file says of itself; nothing where there is none that can be read."""
    try:
        return read_truth(truth).about
    except (OSError, ValueError):
        return ''


def _write(config: WorldConfig, seeds: Sequence[int], video: Path) -> Iterator[TrueEvent]:
    per_frame = SOUND_RATE // FRAME_RATE
    fmt = SoundFormat(SOUND_RATE, 1)
    with VideoWriter(video, (config.size, config.size), FRAME_RATE, fmt) as writer:
        for number, seed in enumerate(seeds):
            clip = make_clip(config, seed)
            sound = faded(clip.sound)
            start_ns = round(number * SECONDS * NS_PER_S)
            near = []
            for index, frame in enumerate(clip.frames()):
                writer.write(start_ns + frame.stamp_ns, frame.image)
                samples = sound[index * per_frame : (index + 1) * per_frame, None]
                writer.write_sound(SoundChunk(start_ns + frame.stamp_ns, SOUND_RATE, samples))
                if abs(frame.stamp_ns - clip.event_ns) <= KNOWN_S * NS_PER_S:
                    near.append(frame)
            yield _event(clip, near, start_ns)


def _event(clip: Clip, near: Sequence[ClipFrame], start_ns: int) -> TrueEvent:
    colliding = [one for one in clip.truth(near[0])[0] if one.colliding]
    frames = tuple(
        TrueFrame(
            start_ns + frame.stamp_ns,
            tuple(runs_of(frame.instance_map == one.number) for one in colliding),
        )
        for frame in near
    )
    names = tuple(one.caption for one in colliding)
    return TrueEvent(start_ns + clip.event_ns, names, frames)
