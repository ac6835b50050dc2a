"""The demo's clip: its truth agrees with its pictures and its sound, and it is made once."""

from __future__ import annotations

import needs

needs.training()

from pathlib import Path

import numpy as np
import pytest

from cs3_ros.files.media import VideoFile
from cs3_ros.files.output_folder import MARKER
from cs3_ros.files.truth import read_truth
from cs3_ros.trigger.onset import OnsetDetector
from cs3_training.cli import main
from cs3_training.synth import WorldConfig, joined
from cs3_training.synth.video_clip import FRAME_RATE, SOUND_RATE, make_clip

CONFIG = WorldConfig(size=96, background=0.3, other_impacts=0.0)
SEEDS = (4, 1)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('joined')
    assert joined.joined_clip(CONFIG, SEEDS, path) == (path / 'clip.mp4', True)
    return path


def onsets_s(sound: np.ndarray) -> list[float]:
    detector = OnsetDetector(SOUND_RATE)
    found = detector.push(sound.astype(np.float32)) + detector.flush()
    return [onset.sample / SOUND_RATE for onset in found]


def test_every_scene_has_its_truth(folder: Path) -> None:
    truth = read_truth(folder / 'truth.json')
    assert (truth.width, truth.height) == (96, 96) and len(truth.events) == 2
    assert 'synthetic world, seeds 4, 1, which no training uses (' in truth.about
    frames = list(VideoFile(folder / 'clip.mp4').frames())
    assert len(frames) == 180
    for number, (seed, event) in enumerate(zip(SEEDS, truth.events, strict=True)):
        clip = make_clip(CONFIG, seed)
        assert event.time_ns == pytest.approx(number * 3e9 + clip.event_ns, abs=2)
        assert len(event.frames) >= 12
        masks = truth.masks_at(event, frames[number * 90 + clip.event_frame].stamp_ns)
        drawn = clip.event()
        colliding = [one for one in clip.truth(drawn)[0] if one.colliding]
        assert event.objects == tuple(one.caption for one in colliding)
        for mask, one in zip(masks or (), colliding, strict=True):
            np.testing.assert_array_equal(mask, drawn.instance_map == one.number)
        image = frames[number * 90 + clip.event_frame].image.astype(int)
        assert np.abs(image - drawn.image).mean() < 8, 'the picture of this scene'


def test_the_sound_has_its_impacts_where_the_truth_says(folder: Path) -> None:
    sound = np.concatenate([c.samples[:, 0] for c in VideoFile(folder / 'clip.mp4').sound()])
    found = onsets_s(sound)
    for event in read_truth(folder / 'truth.json').events:
        assert min(abs(time_s - event.time_ns / 1e9) for time_s in found) < 0.03


def test_cuts_are_not_heard() -> None:
    config = WorldConfig(size=96, other_impacts=0.0)
    sounds = [make_clip(config, seed).sound for seed in range(8)]
    cuts = 3.0 * np.arange(1, 8)

    def false(parts: list[np.ndarray]) -> int:
        return sum(min(abs(cuts - t)) < 0.4 for t in onsets_s(np.concatenate(parts)))

    assert false([joined.faded(sound) for sound in sounds]) == 0
    assert false(sounds) > 0, 'without the fades they are'


def test_fades_leave_the_second_round_a_collision_alone() -> None:
    sound = np.ones(3 * SOUND_RATE, np.float32)
    changed = np.flatnonzero(joined.faded(sound) != 1) / SOUND_RATE
    assert ((changed < 0.16) | (changed > 2.84)).all() and (sound == 1).all()
    # contacts lie between 1.2 and 1.8 s of their clip
    assert round(1.2 * FRAME_RATE) / FRAME_RATE - 1 > 0.16


def test_it_is_made_once(folder: Path) -> None:
    before = (folder / 'clip.mp4').stat().st_mtime_ns
    assert joined.joined_clip(CONFIG, SEEDS, folder)[1] is False
    assert (folder / 'clip.mp4').stat().st_mtime_ns == before


@pytest.mark.parametrize(
    'change', ['seeds', 'settings', 'format', 'no video', 'cut off', 'damaged']
)
def test_it_is_made_again_where_it_is_not_that_one(folder, tmp_path, monkeypatch, change) -> None:
    made = []

    def write(config, seeds, video):
        video.touch()
        made.append(video.name)
        return []

    monkeypatch.setattr(joined, '_write', write)
    for name in ('clip.mp4', 'truth.json', MARKER):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    seeds = (4, 2) if change == 'seeds' else SEEDS
    config = WorldConfig(size=112) if change == 'settings' else CONFIG
    if change == 'format':
        monkeypatch.setattr(joined, 'FORMAT', 99)
    if change == 'no video':
        (tmp_path / 'clip.mp4').unlink()
    if change == 'cut off':
        (tmp_path / 'truth.json').unlink()
    if change == 'damaged':  # who knows by whom
        (tmp_path / 'truth.json').write_text('{')
        with pytest.raises(FileExistsError, match='replaces truth.json$'):
            joined.joined_clip(config, seeds, tmp_path)
    assert joined.joined_clip(config, seeds, tmp_path, change == 'damaged')[1] is True
    assert len(made) == 1 and made != ['clip.mp4'] and (tmp_path / 'clip.mp4').exists()


def test_the_command(tmp_path, monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(
        joined,
        'joined_clip',
        lambda config, seeds, out, force: (
            asked.append((config, list(seeds))) or (out / 'clip.mp4', True)
        ),
    )
    assert main(['synth', 'clip', '--out', str(tmp_path)]) == 0
    assert main(['synth', 'clip', '--out', str(tmp_path), '--seeds', '7-8']) == 0
    assert asked == [(WorldConfig(), [0, 1, 2, 3]), (WorldConfig(), [7, 8])]
    assert 'clip.mp4' in capsys.readouterr().out


@pytest.mark.parametrize(
    'seeds, words',
    [
        ((0, 1, 2), 'no training uses, the first of the test split, not chosen'),
        ((1, 2), 'no training uses ('),
        ((0, 2_000_000), 'seeds 0, 2000000 ('),
    ],
)
def test_it_says_where_the_seeds_are_from(seeds, words) -> None:
    assert words in joined.provenance(CONFIG, seeds)


def test_no_scenes_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match='at least one seed'):
        joined.joined_clip(CONFIG, (), tmp_path)
