"""``cs3-train evaluate --data`` on a drawn clip with ``lite``, and what is left out."""

from __future__ import annotations

import needs

needs.training()
needs.hands()

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn_clip import FRAME_RATE, make_drawn_clip
from html_page import Page

from cs3_ros.bench.lite import read_clips, score_frame
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import NS_PER_S
from cs3_ros.files.images import load_image, save_image
from cs3_ros.files.media import VideoFile
from cs3_ros.trigger.assembler import ClipConfig
from cs3_training import cli
from cs3_training.evaluation.manifest_samples import ManifestSamples

PEAK = 60
"""Frame of the middle click."""


@pytest.fixture(scope='module')
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clip folders as ``cs3 bench lite`` takes them: one drawn clip."""
    folder = tmp_path_factory.mktemp('clips')
    (folder / 'drawn' / 'masks').mkdir(parents=True)
    made = make_drawn_clip(folder / 'drawn' / 'clip.mp4')
    (folder / 'drawn' / 'clip.json').write_text(json.dumps({'peak_frame': PEAK}))
    for number, masks in zip(made.click_frames, made.masks, strict=True):
        for k, mask in enumerate(masks, 1):
            save_image(folder / f'drawn/masks/{number:03d}_{k}.png', mask.astype(np.uint8) * 255)
    return folder


@pytest.fixture(scope='module')
def manifest(clips: Path) -> Path:
    path = clips / 'manifest.jsonl'
    assert cli.main(['manifest', 'clips', '--clips', str(clips), '--out', str(path)]) == 0
    return path


def test_frames_and_sound_are_those_about_the_event(manifest: Path) -> None:
    spans = ClipConfig(0.35, 0.2, audio_before_s=1.0, audio_after_s=3.0)
    sample = ManifestSamples(manifest, spans)[0]
    clip = sample.clip
    stamps = [frame.stamp_ns for frame in clip.frames]
    every = list(VideoFile(manifest.parent / 'drawn' / 'clip.mp4').frames())
    before, after = (round(seconds * NS_PER_S) for seconds in (0.35, 0.2))
    inside = [f for f in every if -before <= f.stamp_ns - every[PEAK].stamp_ns <= after]
    assert stamps == [frame.stamp_ns for frame in inside] and len(stamps) == 17
    assert stamps[clip.event_index] == every[PEAK].stamp_ns
    for frame, other in zip(clip.frames, inside, strict=True):
        np.testing.assert_array_equal(frame.image, other.image)
    assert clip.audio.start_ns == NS_PER_S and len(clip.audio.samples) == 4 * 16_000
    assert clip.audio.present[:47_000].all() and not clip.audio.present[49_000:].any()
    loudest = int(np.abs(clip.audio.samples[8_000:24_000]).argmax()) + 8_000
    assert abs(loudest / 16_000 + 1 - PEAK / FRAME_RATE) < 0.005


def test_lite_scores_as_its_benchmark_does(
    clips: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And everything else that the command does with a manifest."""
    bundle = load_bundle('lite')
    (clip,) = read_clips(clips)
    benchmark, _ = score_frame(bundle.build(), bundle.clip, clip, PEAK)  # type: ignore[misc]

    others = tmp_path / 'others'
    others.mkdir()
    for k in (1, 2):
        shutil.copy(clips / f'drawn/masks/{PEAK:03d}_{k}.png', others / f'drawn_060_{k}.png')
    lines = [json.loads(manifest.read_text())]
    lines[0]['duration_s'], lines[0]['label'] = 0.6, 'metal-only-collision'
    lines.append(lines[0] | {'id': 'gone', 'video': 'gone.mp4'})
    lines.append(lines[0] | {'id': 'late', 'frame_s': 99})
    data = clips / 'three.jsonl'
    data.write_text('\n'.join(map(json.dumps, lines)))
    hands = tmp_path / 'hands.jsonl'
    detect = ['hands', 'detect', '--data', str(data), '--bundle', 'lite', '--out', str(hands)]
    assert cli.main(detect) == 0
    out = tmp_path / 'report'
    call = ['evaluate', '--bundle', 'lite', '--data', str(data), '--workers', '1', '--paper']
    call += ['epic', '--predictions', f'perfect={others}', '--report', str(out)]
    assert cli.main(call) == 0
    summary = json.loads((out / 'summary.json').read_text())
    rows = summary['rows']
    assert rows['full']['miou'] == pytest.approx(benchmark['score']) and rows['full']['n'] == 1
    assert rows['centre']['miou'] == pytest.approx(benchmark['centred_square'])
    assert rows['perfect']['miou'] == 100
    assert [one['id'] for one in summary['left_out']] == ['gone', 'late']
    assert len(summary['sweep']) == 12 and summary['breakdowns']['class of the sound']
    printed = capsys.readouterr().out
    assert '1 of 3 frames' in printed and 'left out: gone: ' in printed
    assert f'{benchmark["score"]:.1f}' in printed and 'of 2 annotated' in printed
    assert 'no picture at 99.000 s' in printed and '39.38 / 39.60' in printed
    assert 'Centre is 6.95 / 7.43 on 614 frames' in printed and 'NOT OK' in printed
    page = Page((out / 'report.html').read_text('utf-8'))
    page.check_that_nothing_is_loaded()
    assert 'no picture at' in page.text and 'Table 3' in page.text and '34.03 / 34.80' in page.text
    assert 'synthetic' not in page.text and 'drawn_060: metal-only-collision' in page.text

    again = [*call[:-2], '--hands', str(hands), '--json', str(tmp_path / 'rows.json')]
    assert cli.main(again) == 0
    given = json.loads((tmp_path / 'rows.json').read_text())
    assert {row: given[row]['miou'] for row in given} == {row: rows[row]['miou'] for row in rows}
    assert cli.main([*again, '--gate', 'sanity', '--force']) == 1


def test_what_does_not_fit_is_refused(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ['evaluate', '--bundle', 'lite', '--data', str(manifest), '--workers', '1']
    for wrong, told in (
        (['--predictions', f'full={tmp_path}'], 'a name of its own'),
        (['--predictions', f'other={tmp_path}'], 'masks such as drawn_060_1.png'),
        (['--hands', str(manifest)], 'missing detector, format, second_objects'),
        (['--data', str(tmp_path / 'none.jsonl')], 'none.jsonl'),
    ):
        assert cli.main([*call, *wrong]) == 1
        assert told in capsys.readouterr().err
    assert cli.main(['evaluate', '--bundle', 'lite', '--paper', 'epic']) == 1
    assert 'expected --data MANIFEST' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main([*call, '--predictions', 'no sign'])


def test_every_nth_frame_and_pictures_of_frames(
    clips: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = tmp_path / 'every.jsonl'
    words = ['manifest', 'clips', '--clips', str(clips), '--out', str(every)]
    assert cli.main([*words, '--every', '30']) == 0
    assert 'left out, nothing annotated: 3 (drawn_000, drawn_030' in capsys.readouterr().out
    assert json.loads(every.read_text())['frame_s'] == json.loads(manifest.read_text())['frame_s']
    assert cli.main([*words, '--every', '-1']) == 1 and cli.main([*words, '--every', '7']) == 1
    assert "'no frames': expected at least one (nothing annotated: 18)" in capsys.readouterr().err

    pictures = ['manifest', 'pictures', '--out', str(tmp_path / 'pictures'), '--data']
    assert cli.main([*pictures, str(manifest)]) == 0
    (frame,) = ManifestSamples(manifest, ClipConfig())[0].clip.frames
    seen = load_image(tmp_path / 'pictures' / 'drawn_060.png')
    np.testing.assert_array_equal(seen, frame.image)
    line = json.loads(manifest.read_text()) | {'video': 'gone.mp4'}
    every.write_text(json.dumps(line))
    assert cli.main([*pictures, str(every)]) == 1
    assert 'left out: drawn_060: ' in capsys.readouterr().out
    every.write_text(json.dumps(line | {'id': '../drawn'}))
    assert cli.main([*pictures, str(every)]) == 1
    assert "id = '../drawn'" in capsys.readouterr().err
