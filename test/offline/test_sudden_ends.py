"""However a run ends, what it leaves is true, and the next one clears up."""

from __future__ import annotations

import needs

needs.opencv()

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from fake_run import start, status
from fakes import click_sound
from tiny_media import write_media

from cs3_ros.collision import Frame
from cs3_ros.files.media import VideoFile
from cs3_ros.files.output_folder import MARKER

FRAMES, CLICKS_S = 36, (0.3, 0.8)
STEPS = 110
"""More than a run has."""


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> Path:
    sound = click_sound(CLICKS_S, FRAMES / 30)[:, None]
    return write_media(tmp_path_factory.mktemp('video') / 'clip.mkv', frames=FRAMES, sound=sound)


@pytest.fixture(scope='module')
def whole(video, tmp_path_factory) -> list[str]:
    """Names of all that a whole run leaves."""
    out = tmp_path_factory.mktemp('whole')
    assert status(start(['run', str(video), '--out', str(out)])) == 0
    assert check(out) == len(CLICKS_S) and (out / 'overlay.mp4').exists()
    return names(out)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*'))


def check(out: Path) -> int:
    """What lies there is true; returns the number of events told."""
    for path in out.rglob('*'):
        if path.suffix in ('.png', '.jpg') and '.part.' not in path.name:
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, path
    if (out / 'overlay.mp4').exists():
        frames = [item for item in VideoFile(out / 'overlay.mp4') if isinstance(item, Frame)]
        assert len(frames) == FRAMES
    if not (out / 'events.json').exists():
        return 0
    entries = json.loads((out / 'events.json').read_text())
    for entry in entries:
        pictures = [entry['label_image'], entry['overlay'], *(o['mask'] for o in entry['objects'])]
        assert len(pictures) == 4 and all((out / picture).is_file() for picture in pictures)
    return len(entries)


def test_kill_9_leaves_nothing_untrue(video, whole, tmp_path):
    """At 50 random steps of runs into one folder, one after the other."""
    (tmp_path / 'labels').mkdir(parents=True)
    out, told = tmp_path / 'out', set()
    chance = random.Random(12)
    for number in range(50):
        process = start(['run', str(video), '--out', str(out)], kill_at=chance.randrange(STEPS))
        ended = status(process)
        assert ended in (-signal.SIGKILL, 0), number
        told.add((ended, check(out)))
        if out.exists() and number % 10 == 3:
            (out / 'labels').mkdir(exist_ok=True)
            (out / 'labels' / 'mine.txt').write_text(f'{number}')
    assert {(-signal.SIGKILL, count) for count in range(3)} <= told  # it was hit all over the run
    (out / 'labels' / 'mine.txt').unlink()
    assert status(start(['run', str(video), '--out', str(out)])) == 0
    assert names(out) == whole


@pytest.mark.parametrize('sign, ends', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_what_was_found(video, whole, tmp_path, sign, ends):
    chance = random.Random(3)
    for number in range(4):
        out = tmp_path / str(number)
        step = chance.randrange(10, 60)
        assert status(start(['run', str(video), '--out', str(out)], step, sign)) == ends
        check(out)
        assert not [name for name in names(out) if '.part' in name or name == 'overlay.mp4']
    assert status(start(['run', str(video), '--out', str(out)])) == 0
    assert names(out) == whole


def test_a_second_signal_ends_it_at_once(video, tmp_path):
    out = tmp_path / 'out'
    process = start(['run', str(video), '--out', str(out)], pause_s=30)
    wait_for(out / 'events.json')
    os.kill(process.pid, signal.SIGSTOP)  # both signals wait, of which the other comes second
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    assert status(process) in (-signal.SIGTERM, -signal.SIGINT, 130, 143)


def test_two_runs_into_one_folder(video, whole, tmp_path):
    out, log = tmp_path / 'out', tmp_path / 'log'
    first = start(['run', str(video), '--out', str(out)], pause_s=0.5)
    wait_for(out / 'events.json')
    os.kill(first.pid, signal.SIGSTOP)  # so that it is still there when the other one has started
    try:
        assert status(start(['run', str(video), '--out', str(out), '--force'], log=log)) == 1
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert 'another command is writing into it' in log.read_text()
    assert status(first) == 0 and check(out) == 2 and names(out) == whole


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f'{path} does not appear'
        time.sleep(0.01)


@pytest.mark.parametrize('most_bytes', [0, 100, 300, 1000, 3000, 9000])
def test_files_that_cannot_grow(video, tmp_path, most_bytes):
    out, log = tmp_path / 'out', tmp_path / 'log'
    given = ['run', str(video), '--out', str(out)]
    assert status(start(given, most_bytes=most_bytes)) == 1
    check(out)
    assert not [name for name in names(out) if '.part' in name]
    assert status(start(given, log=log)) == 0, log.read_text()
    assert check(out) == 2


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    place = tmp_path / 'disk'
    place.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=128k', 'cs3_test', str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('only root may mount a small disk')
    yield place
    subprocess.run(['umount', str(place)], check=True)


def test_a_full_disk(video, small_disk, tmp_path):
    """Of each page more that is free the run gets further; it says 1 until all of it fits."""
    log, page, ends = tmp_path / 'log', 4096, []
    out = small_disk / 'out'
    for free in range(1, 31, 3):
        (small_disk / 'filler').write_bytes(b'x' * 1)
        stat = os.statvfs(small_disk)
        (small_disk / 'filler').write_bytes(b'x' * page * max(stat.f_bavail + 1 - free, 1))
        ends.append(status(start(['run', str(video), '--out', str(out)], log=log)))
        count = check(out)
        assert ends[-1] in (0, 1), log.read_text()
        assert ends[-1] == 1 or (count == 2 and (out / 'overlay.mp4').exists())
        assert not [name for name in names(out) if '.part' in name]
        if ends[-1]:
            assert 'No space left' in log.read_text()
    assert ends[0] == 1 and ends[-1] == 0
    assert MARKER in names(out)
