"""Clips: the truth about time and place, and the files."""

import needs

needs.training()

import json
from pathlib import Path

import numpy as np
import pytest

from cs3_ros.files.media import VideoFile
from cs3_training.synth import WorldConfig
from cs3_training.synth.video_clip import FRAME_RATE, SOUND_RATE, make_clip, write_clip

CONFIG = WorldConfig(size=128, background=0.0, other_impacts=0.0)


def gap(first: np.ndarray, second: np.ndarray) -> float:
    """Smallest distance between two masks, pixels."""
    import cv2

    away = cv2.distanceTransform((~first).astype(np.uint8), cv2.DIST_L2, 5)
    return float(away[second].min()) if first.any() and second.any() else np.inf


def test_objects_touch_at_the_event_and_only_there() -> None:
    clip = make_clip(WorldConfig(size=128, pairs=1.0, in_hand=1.0, hidden_hand=0.0), 3)
    frames = list(clip.frames())
    assert len(frames) == clip.count == 90
    assert clip.event_ns == round(clip.event_frame / FRAME_RATE * 1e9)
    assert frames[clip.event_frame].stamp_ns == pytest.approx(clip.event_ns, abs=1)
    gaps = [gap(f.instance_map == 1, f.instance_map == 2) for f in frames]
    assert gaps[clip.event_frame] <= 2.5
    assert gaps[max(clip.event_frame - 12, 0)] > 6 and gaps[clip.event_frame + 20] > 2.5
    np.testing.assert_array_equal(clip.event().image, frames[clip.event_frame].image)


def test_sound_begins_with_the_contact() -> None:
    clip = make_clip(CONFIG, 5)
    onset = clip.event_frame * SOUND_RATE // FRAME_RATE
    assert len(clip.sound) == 3 * SOUND_RATE
    assert np.abs(clip.sound[:onset]).max() < 1e-3
    assert 0 <= np.abs(clip.sound).argmax() - onset < 0.06 * SOUND_RATE


def test_clips_repeat_bit_for_bit() -> None:
    first, second = make_clip(CONFIG, 7), make_clip(CONFIG, 7)
    np.testing.assert_array_equal(first.sound, second.sound)
    for a, b, _ in zip(first.frames(), second.frames(), range(3), strict=False):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.instance_map, b.instance_map)


def test_the_files_say_what_is_in_the_video(tmp_path: Path) -> None:
    clip = make_clip(CONFIG, 11)
    path = tmp_path / 'clip.mp4'
    write_clip(clip, path)
    facts = json.loads(path.with_suffix('.json').read_text())
    maps = np.load(path.with_suffix('.npz'))['instance_maps']
    assert maps.shape == (90, 128, 128) and maps.dtype == np.uint8
    assert facts['event_ns'] == clip.event_ns and facts['event_frame'] == clip.event_frame
    colliding = [one for one in facts['objects'] if one['colliding']]
    for one in colliding:
        pixels = maps[clip.event_frame] == one['number']
        assert one['area'] == pixels.sum() > 0
    video = VideoFile(path)
    assert len(list(video.frames())) == 90
    chunks = list(video.sound())
    sound = np.concatenate([chunk.samples[:, 0] for chunk in chunks])
    peak_ns = chunks[0].stamp_ns + np.abs(sound).argmax() / SOUND_RATE * 1e9
    assert -5e6 < peak_ns - facts['event_ns'] < 60e6  # coding may blur it by a few ms
