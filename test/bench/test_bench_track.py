"""``cs3 bench track`` on a clip of the synthetic world, whose masks are exact."""

from __future__ import annotations

import needs

needs.opencv()
needs.training()

import json

import cv2
import numpy as np
import pytest

from cs3_ros.bench.track import AFTER_S
from cs3_ros.bench.track_live import latencies
from cs3_ros.cli import main
from cs3_training.synth.annotated import write_annotated
from cs3_training.synth.config import WorldConfig


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clips')
    write_annotated(WorldConfig(size=224), [1], folder)
    return folder


def test_tracked_masks_are_scored_beside_those_that_stay(clips, tmp_path, capsys):
    file, picture = tmp_path / 'track.json', tmp_path / 'strip.jpg'
    options = ['--json', str(file), '--picture', str(picture), '--every', '40']
    assert main(['bench', 'track', str(clips), *options]) == 0
    figures = json.loads(file.read_text())
    assert list(figures['after_s']) == [f'{after_s:g}' for after_s in AFTER_S]
    least = {'0.2': 0.85, '0.5': 0.8, '1': 0.7, '2': 0.6}
    for after_s, row in figures['after_s'].items():
        assert row['n'] > 0 and row['tracked'] >= max(least[after_s], row['stale'])
    assert figures['after_s']['2']['tracked'] > figures['after_s']['2']['stale'] + 0.3
    assert figures['frame_ms']['median'] > 0
    assert sum(row['n'] for row in figures['confidence']) <= sum(
        row['n'] for row in figures['after_s'].values()
    )
    assert '720 JPEG, decoding included' in capsys.readouterr().out
    assert cv2.imread(str(picture)).shape == (240, 4 * 240, 3)


def test_annotated_clips_have_masks_where_objects_are_seen(clips):
    facts = json.loads((clips / 'clip_1' / 'clip.json').read_text())
    assert facts['fps'] == 30 and facts['frames'] == 90 and 0 < facts['peak_frame'] < 90
    masks = sorted((clips / 'clip_1' / 'masks').iterdir())
    assert {path.stem[4:] for path in masks} <= {'1', '2'}
    assert {path.stem[:3] for path in masks} == {f'{k:03d}' for k in range(90)}
    mask = cv2.imread(str(masks[0]), cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (224, 224) and set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize(
    'options, words',
    [
        (['--every', '0'], '--every 0'),
        (['--bundle', 'BLIND'], 'has no tracker'),
        (['--first', '85'], 'nothing to score'),
    ],
)
def test_what_cannot_be_measured_is_refused(clips, tmp_path, capsys, options, words):
    blind = tmp_path / 'blind.yaml'
    blind.write_text('name: blind\nclip: {}\nhands: {type: mediapipe}\nmasker: {type: grabcut}\n')
    options = [str(blind) if text == 'BLIND' else text for text in options]
    assert main(['bench', 'track', str(clips), *options]) == 1
    assert words in capsys.readouterr().err


def test_only_frames_newer_than_the_answer_are_live():
    """An event at 1 s, answered at 1.2 s; its masks come 30 ms after each newer frame."""
    ms = 1_000_000
    taken = {k * ms: k * ms + 5 * ms for k in range(1000, 1400, 100)}
    tracked = [(1000 * ms, 1215 * ms), (1100 * ms, 1225 * ms), (1200 * ms, 1235 * ms)]
    tracked += [(1300 * ms, 1335 * ms), (900 * ms, 1336 * ms)]  # the last of no event
    found = latencies([(1000 * ms, 1200 * ms)], tracked, taken)
    assert found['live_ms']['n'] == 2 and found['live_ms']['max'] == 30
    assert found['caught_up_ms']['n'] == 2 and found['caught_up_ms']['max'] == 210
