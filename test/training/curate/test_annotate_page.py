"""The annotation page does its whole job in a headless Chromium."""

from __future__ import annotations

import needs

needs.annotate()

import json
import signal
from pathlib import Path

import chromium
import numpy as np
import pytest
from annotating import Annotate, make_work
from chromium import Chromium
from drawn_clip import FRAME_RATE, DrawnClip

from cs3_ros.collision import NS_PER_S, Mask
from cs3_ros.metrics import iou
from cs3_training.data.manifest import read_manifest

pytestmark = pytest.mark.skipif(
    chromium.program() is None, reason='no Chromium: apt-get install chromium'
)


@pytest.fixture(scope='module')
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DrawnClip]:
    folder = tmp_path_factory.mktemp('annotate')
    return folder, make_work(folder)[0]


class Person:
    """Somebody in front of the page."""

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a pixel of the frame is."""
        text = "document.querySelector('#picture')"
        scale, left, top = json.loads(self.browser.value(f'{text}.dataset.view'))
        edge = self.browser.value(f'(({text}).getBoundingClientRect().toJSON())')
        return edge['left'] + left + scale * x, edge['top'] + top + scale * y

    def drag(self, *points: tuple[float, float]) -> None:
        self.browser.drag(*(self.spot(*point) for point in points))
        self.saved()

    def saved(self) -> None:
        self.browser.wait('#status', 'saved')

    def box(self, mask: Mask) -> None:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        self.browser.press('b')
        self.drag(
            (columns[0], rows[0]), (columns[0] + 30, rows[0] + 30),
            (columns[-1] + 1, rows[-1] + 1),
        )  # fmt: skip

    def begin(self, url: str, place: str) -> None:
        self.browser.open(url)
        self.browser.wait('#place', place)
        self.saved()


def drawings(folder: Path) -> dict[str, dict]:
    paths = sorted((folder / 'out' / 'drawings').glob('*.json'))
    return {path.stem: json.loads(path.read_text()) for path in paths}


def test_two_candidates_from_the_first_key_to_the_manifest(
    work: tuple[Path, DrawnClip], tmp_path: Path
) -> None:
    folder, clip = work
    first, second = 'drawn_0.40_1.40', 'drawn_1.50_2.50'
    right, left = clip.masks[0]
    with Chromium(tmp_path / 'profile') as browser:
        person = Person(browser)
        with Annotate(folder) as command:
            person.begin(command.url, f'1 of 2 · {first}')
            assert 'lite: grabcut' in browser.text('#masker')
            assert browser.text('#about') == 'metal-ceramic-collision · 0.40 · mug and tin'
            # the frame: two back, one forth, back to the onset, one on
            browser.wait('#frame', '+0 ms')
            browser.press('ArrowLeft', 'ArrowLeft', 'ArrowRight')
            browser.wait('#frame', '-33 ms')
            browser.press('Home')
            browser.wait('#frame', '+0 ms')
            # two objects with the mouse, and points and the brush on the first
            person.box(right)
            browser.press('2')
            person.box(left)
            assert browser.text('#frame').startswith('object 2')
            browser.press('1', 'i')
            person.drag(centre(right))
            browser.press('e')
            person.drag((5, 470))
            browser.press('p', '+')
            person.drag((20, 20), (60, 20), (60, 60))
            drawn = drawings(folder)[first]['objects'][0]
            assert [len(drawn[name]) for name in ('include', 'exclude', 'strokes')] == [1, 1, 1]
            browser.press('r')
            person.drag((20, 20), (60, 60))
            browser.press('u', 'u')  # neither was meant
            person.saved()
            assert not drawings(folder)[first]['objects'][0]['strokes']
            x0, y0, x1, y1 = drawings(folder)[first]['objects'][0]['box']
            browser.press('p', '-', '-')  # the edges, which the masker left out
            person.drag((x0 + 12, y0 + 9), (x1 - 12, y0 + 9), (x1 - 12, y1 - 12))
            assert not (folder / 'out' / 'manifest.jsonl').read_text()
            browser.press('Enter')
            browser.wait('#place', f'2 of 2 · {second} · 1 done')
            person.saved()
            person.box(left)
            before = drawings(folder)[second]
            assert command.end(signal.SIGKILL)[0] == -signal.SIGKILL
        with Annotate(folder) as command:  # nothing is lost
            person.begin(command.url, f'2 of 2 · {second} · 1 done')
            assert drawings(folder)[second] == before
            browser.press('x')
            person.saved()
            assert drawings(folder)[second]['objects'] == []
            browser.press('Enter')  # not without an object
            browser.wait('#status', 'not saved: drawn_1.50_2.50')
            browser.press('l', 'l')  # without a mouse: a box, moved, made smaller
            browser.press(*'K' * 60, shift=True)
            person.saved()
            (box,) = [each['box'] for each in drawings(folder)[second]['objects']]
            assert box == [162, 120, 482, 240]
            browser.press('Enter')
            browser.wait('#place', '2 done')
            person.saved()
            browser.press('PageUp')
            browser.wait('#place', first)
            person.saved()
            assert browser.text('#verdict') == 'done'
            assert 'done' in command.end(signal.SIGINT)[1]
            assert command.process.returncode == 0
        assert not [text for text in browser.complaints if '400' not in text]
    frames = read_manifest(folder / 'out' / 'manifest.jsonl')
    assert [frame.id for frame in frames] == [first, second]
    frame_s = clip.click_frames[0] / FRAME_RATE
    assert frames[0].frame_ns == pytest.approx(frame_s * NS_PER_S, abs=1e6)
    assert frames[0].onset_ns == round(clip.click_times_s[0], 3) * NS_PER_S
    assert frames[0].video.resolve() == clip.path and frames[0].group == 'drawn'
    ours, other = frames[0].load_masks()
    assert iou(ours, right) > 0.8 and iou(other, left) > 0.8
    assert len(frames[1].load_masks()) == 1


def centre(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(np.median(columns)), float(np.median(rows))
