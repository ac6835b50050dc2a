"""The pictures of the demo's events: for the report, the video and the README."""

from __future__ import annotations

import needs

needs.opencv()

import pytest
from demo_run import BUNDLE, SECOND, SIZE, live, report_of, saver, truth
from fakes import ClickRecording

from cs3_ros.demo import pictures
from cs3_ros.demo.pictures import make_pictures, shown_size
from cs3_ros.demo.score import compare
from cs3_ros.files.images import load_image
from cs3_ros.ros.live_run import LiveEvent, LiveRun


def test_the_files_for_video_and_readme(tmp_path):
    _, made, _ = report_of(tmp_path, truth(), live())
    assert set(made.stills) == {SECOND} and set(made.strips) == {0}
    still, strip = load_image(made.stills[SECOND]), load_image(made.strips[0])
    width, height = shown_size(SIZE)
    assert still.shape == (height, width, 3) and strip.shape == (height, 3 * width + 16, 3)
    inside, outside = still[height // 2, width // 2].astype(int), still[height // 2, 5].astype(int)
    assert inside[0] - inside[2] > outside[0] - outside[2] + 50, 'orange'
    assert len(made.levels) > 100 and max(level for _, level in made.levels) > 0.1


@pytest.mark.parametrize(
    'size, factor', [((352, 352), 2), ((96, 64), 7), ((1280, 720), 1), ((4000, 20), 1)]
)
def test_small_pictures_are_enlarged(size, factor):
    assert shown_size(size) == (size[0] * factor, size[1] * factor)


def test_an_event_whose_frame_never_came_has_no_pictures(tmp_path):
    between_frames = LiveEvent(SECOND, 1.0, 1.5, SECOND + 5)
    lost = LiveRun([between_frames], {}, {}, {}, {})
    rows = compare(lost.events, 0, None)
    recording = ClickRecording((1.0,), size=SIZE)
    made = make_pictures(recording, rows, lost, saver(tmp_path), BUNDLE.name)
    assert made.jpegs == {} and made.stills == {} and made.strips == {}


def test_an_event_without_masks_is_shown_on_the_overlay_at_its_onset():
    run = live()
    assert [run.picture_ns(event) for event in run.events] == [SECOND, SECOND * 3 // 2]
    assert run.picture_ns(LiveEvent(SECOND * 3, 1.0)) == 0, 'its overlay never came'


def test_a_caption_says_no_more_than_the_truth_does(tmp_path, monkeypatch):
    captions = []
    draw = pictures.answer_picture
    monkeypatch.setattr(
        pictures,
        'answer_picture',
        lambda image, labels, names, caption, masks: (
            captions.append(caption) or draw(image, labels, names, caption, masks)
        ),
    )
    report_of(tmp_path, truth(), live())
    assert [caption[-1] for caption in captions] == [
        'IoU 1.00',
        'no collision in the truth',
        'IoU 0.00',
    ]
