"""A video file and a raw bag of it give the same label images, with the real stages of ``lite``."""

from __future__ import annotations

import needs

needs.opencv()

from pathlib import Path

import drawn_clip
import numpy as np
import pytest

from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.files.bag_writer import make_bag
from cs3_ros.files.bags import BagRecording
from cs3_ros.files.media import VideoFile
from cs3_ros.offline.run import Run
from cs3_ros.settings import Settings


def test_video_and_raw_bag_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs.hands()
    monkeypatch.setattr(drawn_clip, 'CLICK_FRAMES', (27,))
    monkeypatch.setattr(drawn_clip, 'SECONDS', 1.3)
    clip = drawn_clip.make_drawn_clip(tmp_path / 'clip.mp4')
    bag = BagRecording(make_bag(clip.path, tmp_path / 'bag', image='raw'))
    bundle = load_bundle('lite')
    collisions = []
    for recording in (VideoFile(clip.path, origin_ns=bag.origin_ns), bag):
        run = Run(recording, bundle, bundle.build(), Settings())
        (found,) = run
        assert found.frame_index == 27 and not run.failed
        collisions.append(found.collision)
    video, replayed = collisions
    labels = video.label_image()
    assert len(video.objects) == 2 and np.isin([0, 1, 2], labels).all()
    assert video.onset == replayed.onset and video.verdict.rule == replayed.verdict.rule
    assert [o.label for o in video.objects] == [o.label for o in replayed.objects]
    np.testing.assert_array_equal(labels, replayed.label_image())
