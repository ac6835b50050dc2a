"""``cs3 demo``, the command behind ``make demo``, on a short clip with the bundle ``lite``."""

from __future__ import annotations

import needs

needs.ros()

from pathlib import Path

import numpy as np
from fakes import ClickRecording

from cs3_ros.files.media import VideoFile
from cs3_ros.files.truth import ClipTruth, TrueEvent, TrueFrame, runs_of, write_truth
from cs3_ros.files.video_writer import VideoWriter


def test_the_demo_tells_and_shows_its_events(start, tmp_path: Path) -> None:
    needs.hands()
    clip, truth, out = tmp_path / 'my clip.mp4', tmp_path / 'truth.json', tmp_path / 'demo'
    recording = ClickRecording((1.0,), duration_s=2.0, size=(128, 96))
    with VideoWriter(clip, recording.size, 30.0, recording.sound_format) as writer:
        for frame in recording.frames():
            writer.write(frame.stamp_ns, frame.image)
        for chunk in recording.sound():
            writer.write_sound(chunk)
    box = np.zeros((96, 128), bool)
    box[40:80, 30:90] = True
    times_ns = [round(k * 1e9 / 30) for k in range(24, 37)]
    frames = tuple(TrueFrame(time_ns, (runs_of(box),)) for time_ns in times_ns)
    event = TrueEvent(1_000_000_000, ('a click',), frames)
    write_truth(truth, ClipTruth('a click', 128, 96, (event,)))
    process = start('demo', str(clip), '--truth', str(truth), '--out', str(out))
    assert process.wait(120) == 0, process.text
    lines = process.text.splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith('event '))
    seconds, _, error_ms = lines[head + 1].split()[:3]
    assert abs(float(seconds) - 1.0) < 0.05 and abs(float(error_ms)) < 50
    assert lines[head + 2].startswith('mean ')
    assert '1 event(s): ' in process.text and ' 60 frames and 10' in process.text
    overlay = VideoFile(out / 'overlay.mp4')
    assert overlay.size[0] == 640 and 480 < overlay.size[1] < 530
    assert sum(1 for _ in overlay.frames()) == 60
    report = (out / 'report.html').read_text('utf-8')
    assert 'a click' in report and 'bundle' in report.lower() and 'alt="published"' in report
    assert '<th>masker encode</th>' in report, 'from the diagnostics'
