"""Clips with the masks of the colliding objects in every frame, as ``cs3 bench`` reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cs3_ros.files.images import save_image
from cs3_ros.files.output_folder import OutputFolder
from cs3_ros.files.pcm import SoundChunk, SoundFormat
from cs3_ros.files.video_writer import VideoWriter
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.video_clip import FRAME_RATE, SOUND_RATE, Clip, make_clip

LEAST_PIXELS = 16
"""An object of fewer pixels counts as not visible."""


def write_annotated(
    config: WorldConfig, seeds: Sequence[int], folder: Path, force: bool = False
) -> None:
    """Write one folder per clip.

    ``clip_SEED`` gets ``clip.mp4``, ``clip.json`` (rate, number of frames, frame of the contact)
    and ``masks/FFF_L.png``: the colliding object L, 1 or 2, in frame FFF, absent where it is not
    visible.

    Args:
        config: settings of the world.
        seeds: of the clips.
        folder: where the folders are made.
        force: as of ``OutputFolder``.
    """
    patterns = [
        rf'clip_{seed}/{name}'
        for seed in seeds
        for name in (r'clip\.json', r'clip\.mp4', r'masks/\d{3}_\d\.png')
    ]
    with OutputFolder(folder, 'synth annotated', patterns, force=force) as output:
        for seed in seeds:
            _write(make_clip(config, seed), f'clip_{seed}', output)


def _write(clip: Clip, name: str, output: OutputFolder) -> None:
    size, per_frame = clip.config.size, SOUND_RATE // FRAME_RATE
    numbers = [placed.number for placed in clip.table_top.objects if placed.colliding]
    sound = SoundFormat(SOUND_RATE, 1)
    with (
        output.replacing(f'{name}/clip.mp4') as part,
        VideoWriter(part, (size, size), FRAME_RATE, sound) as writer,
    ):
        for index, frame in enumerate(clip.frames()):
            writer.write(frame.stamp_ns, frame.image)
            samples = clip.sound[index * per_frame : (index + 1) * per_frame]
            writer.write_sound(SoundChunk(frame.stamp_ns, SOUND_RATE, samples[:, None]))
            for label, number in enumerate(numbers, 1):
                mask = frame.instance_map == number
                if np.count_nonzero(mask) >= LEAST_PIXELS:
                    with output.replacing(f'{name}/masks/{index:03d}_{label}.png') as picture:
                        save_image(picture, mask * np.uint8(255))
    facts = {'fps': FRAME_RATE, 'frames': clip.count, 'peak_frame': clip.event_frame}
    with output.replacing(f'{name}/clip.json') as part:
        part.write_text(json.dumps(facts, indent=1) + '\n', 'utf-8')
