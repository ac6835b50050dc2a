"""``cs3 demo``, the command behind ``make demo``, on a short clip with the bundle ``lite``."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import ClickRecording

from cs3_ros.media import VideoFile
from cs3_ros.video_writer import VideoWriter


def test_the_demo_tells_and_shows_its_events(start, tmp_path: Path) -> None:
    pytest.importorskip('mediapipe', reason='pip install "cs3_ros[lite]"')
    clip = tmp_path / 'my clip.mp4'
    recording = ClickRecording((1.0,), duration_s=2.0, size=(128, 96))
    with VideoWriter(clip, recording.size, 30.0, recording.sound_format) as writer:
        for frame in recording.frames():
            writer.write(frame.stamp_ns, frame.image)
        for chunk in recording.sound():
            writer.write_sound(chunk)
    process = start('demo', str(clip), '--out', str(tmp_path / 'demo'))
    assert process.wait(120) == 0, process.text
    table = process.text[process.text.index('onset s') :].splitlines()
    assert abs(float(table[1].split()[0]) - 1.0) < 0.05
    assert '1 event(s): ' in process.text and '\n60 frames and 10' in process.text
    overlay = VideoFile(tmp_path / 'demo' / 'overlay.mp4')
    assert overlay.size == (128, 96) and sum(1 for _ in overlay.frames()) == 60
    assert len(list((tmp_path / 'demo' / 'demo_files').glob('*.jpg'))) == 1
