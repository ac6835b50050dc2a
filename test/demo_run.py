"""A run of the demo that was not live: what a subscriber may have got, and what is true."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from fakes import ClickRecording
from html_page import Page

from cs3_ros.bundles.bundle import Bundle
from cs3_ros.collision import Image
from cs3_ros.demo.pictures import EventPictures, make_pictures
from cs3_ros.demo.report import write_report
from cs3_ros.demo.score import EventRow, compare
from cs3_ros.files.images import as_jpeg, save_image
from cs3_ros.files.truth import ClipTruth, TrueEvent, TrueFrame, runs_of
from cs3_ros.ros.live_run import LiveEvent, LiveRun
from cs3_ros.trigger.assembler import ClipConfig

SECOND = 1_000_000_000
SIZE = (96, 64)
MASK = np.zeros((64, 96), bool)
MASK[16:48, 24:60] = True
BUNDLE = Bundle(
    name='tiny',
    description='A <b>bundle</b>.',
    warning='It knows ONLY & nothing.',
    clip=ClipConfig(audio_after_s=0.5),
    stages={},
    weights=(),
    folder=Path(),
)


def truth(about: str = 'two clicks', thing: str = 'a <cup>') -> ClipTruth:
    """Two collisions, at 1 s and at 2 s, of one object each."""

    def event(second: int) -> TrueEvent:
        frame = TrueFrame(second * SECOND, (runs_of(MASK),))
        return TrueEvent(second * SECOND, (thing,), (frame,))

    return ClipTruth(about, *SIZE, (event(1), event(2)))


def live(label: str = 'left_hand', stage: str = 'masks') -> LiveRun:
    """The click at 1 s was answered, at 1.5 s nothing was found, the one at 2 s was missed."""
    picture = as_jpeg(np.full((64, 96, 3), 90, np.uint8))
    labels = MASK.astype(np.uint8)
    answered = LiveEvent(SECOND + 2_000_000, 5.0, 5.7, SECOND, (label,), labels)
    return LiveRun(
        [answered, LiveEvent(SECOND * 3 // 2, 6.0)],
        {SECOND: picture, SECOND * 3 // 2: picture},
        {SECOND: picture},
        {SECOND + 2_000_000: {stage: 12.4, 'verify': 0.2}},
        {'frames': 90, 'with_objects': 1, 'without_objects': 1, 'no_frame': 3},
    )


def saver(folder: Path) -> Callable[[str, Image], Path]:
    """What writes the pictures of a run."""

    def save(name: str, image: Image) -> Path:
        save_image(folder / name, image)
        return folder / name

    return save


def report_of(
    folder: Path,
    known: ClipTruth | None,
    run: LiveRun,
    bundle: Bundle = BUNDLE,
    clip: str = 'my <clip>.mp4',
) -> tuple[list[EventRow], EventPictures, Page]:
    """The rows, the pictures and the report of a run on a recording with clicks at 1 and 2 s."""
    recording = ClickRecording((1.0, 2.0), size=SIZE)
    rows = compare(run.events, 0, known)
    pictures = make_pictures(recording, rows, run, saver(folder), bundle.name)
    write_report(folder / 'report.html', bundle, Path(clip), rows, run, pictures, known)
    return rows, pictures, Page((folder / 'report.html').read_text('utf-8'))
