"""The soak benchmark runs through all its phases, and tells what it must tell."""

from __future__ import annotations

import needs

needs.ros()
needs.psutil()

import json
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cs3_ros.ros.environment import prepare_environment

prepare_environment()

from cs3_ros.bench.soak_absurd import Absurd, claiming
from cs3_ros.bench.soak_events import TRACK_S, _spans, slope
from cs3_ros.bench.soak_peers import small_jpeg
from cs3_ros.bench.soak_phases import MOST_GROWTH_MB, PHASES, Soak

STAND_INS = str(Path(__file__).resolve().parents[1] / 'apt_stand_ins')
REAL = all(find_spec(name) for name in ('message_filters', 'cv_bridge'))


def soak(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Figures and output of a short soak, with the packages from apt or their stand-ins."""
    inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    if not REAL:
        inherited['PYTHONPATH'] = os.pathsep.join([STAND_INS, inherited.get('PYTHONPATH', '')])
    file = tmp_path / 'soak.json'
    options = ['--minutes', '0.05', '--seed', '3', '--depth', '--json', str(file), *arguments]
    command = [sys.executable, '-m', 'cs3_ros.cli', 'bench', 'soak', *options]
    ended = subprocess.run(command, env=inherited, capture_output=True, timeout=170, check=False)
    printed = ended.stdout.decode()
    assert ended.returncode == 0, printed + ended.stderr.decode()
    return json.loads(file.read_text()), printed


def test_a_short_soak_accounts_for_every_message(tmp_path):
    figures, printed = soak(tmp_path)
    assert figures['ok'] and figures['death'] == '' and figures['statuses'] == [0, 0]
    assert [phase['name'] for phase in figures['phases']] == list(PHASES)
    for phase in figures['phases']:
        assert phase['used'] + phase['refused'] + phase['lost'] == phase['sent']
        assert phase['untold'] == 0 and phase['growth_mb'] <= MOST_GROWTH_MB
        assert phase['highest_mb'] >= phase['rss_mb'] > 50 and phase['contact_mb'] > 50
        assert f'| {phase["name"]} |' in printed
    sent = {phase['name']: phase['sent'] for phase in figures['phases']}
    assert sent['8 channels at 96 kHz, 2.5 ms'] > 100 and sent['4K JPEG at 30 Hz'] > 10
    refused = {phase['name']: phase['refused'] for phase in figures['phases']}
    assert refused['absurd JPEG, sound, infos'] > 0 and refused['absurd depth, camera_info'] > 5
    assert figures['kills'] == {'count': 3, 'seconds': figures['kills']['seconds'], 'wrong': []}


def test_events_with_tracking_and_depth_are_accounted_for(tmp_path):
    figures, printed = soak(tmp_path, '--events', '20')
    assert figures['ok'] and figures['phases'][0]['name'] == 'events 1 to 20'
    (block,) = figures['blocks']
    assert figures['totals'] == block and f'contact.contacts {block["contact.contacts"]}' in printed
    assert block['events'] == block['done'] == 20 and block['failed_tracks'] == 0
    assert block['tracked_frames'] + block['dropped_track_frames'] > 180  # ten each
    points = {name: n for name, n in block.items() if name.startswith('contact.') and n}
    lost = points.pop('contact.lost_depth', 0)
    assert sum(points.values()) == 20 and 16 - lost <= points['contact.contacts'] <= 16
    assert points['contact.no_depth'] and points['contact.no_depth_image']
    assert 'untold' not in printed and figures['phases'][0]['untold'] == 0


def test_frames_to_which_masks_are_carried_on():
    events, ns = [1000, 5000], round(TRACK_S * 1e9)
    frames = [999, 1000, 4999, 5000, 5000 + ns, 5001 + ns]
    assert _spans(events, frames) == {1000, 4999, 5000, 5000 + ns}
    assert _spans([], frames) == set()


def test_a_leak_has_a_slope():
    filled = [100.0, 140.0, *(150.0 + 0.5 * k for k in range(6))]
    assert slope(filled, 250) == pytest.approx(2.0)
    assert slope([150.0] * 8, 250) == pytest.approx(0.0)


@pytest.mark.skipif(REAL, reason='message_filters and cv_bridge are installed')
def test_depth_without_the_packages_from_apt_is_refused(capsys):
    from cs3_ros.cli import main

    assert main(['bench', 'soak', '--depth']) == 1
    assert 'apt install ros-jazzy-message-filters' in capsys.readouterr().err


class Quiet:
    """A peer of a node that counts less than was sent, and a process that grows."""

    state = 'inactive'

    def __init__(self, sent: int, counts: dict[str, int]) -> None:
        self.sent = 0
        self.would_send = sent
        self._counts = counts

    def counted(self, *names: str) -> int:
        return sum(self._counts.get(name, 0) for name in names)

    def counted_contact(self, *names: str) -> int:
        return 0

    def begin(self) -> None:
        self.sent = self.sent_depth = 0

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: None


class Growing:
    rss_mb = 100.0

    def cost(self) -> tuple[float, float]:
        self.rss_mb += 60.0
        return 0.0, self.rss_mb


@pytest.mark.parametrize(
    ('sent', 'counts', 'verdict'),
    [
        (10, {'frames': 7, 'refused_audio': 1, 'lost_frames': 2}, 'ok'),
        (10, {'frames': 7, 'refused_audio': 1}, '2 messages untold'),
        (10, {'frames': 11}, '-1 messages untold'),
        (10, {'lost_audio': 10}, 'nothing was used'),
        (0, {}, 'ok'),
    ],
)
def test_messages_that_the_diagnostics_miss_are_told(sent, counts, verdict):
    peer = Quiet(sent, counts)
    tested = Soak(Growing(), None, peer, 1.0, 1)  # type: ignore[arg-type]

    def phase(tested: Soak) -> str:
        peer.sent = peer.would_send
        return ''

    tested.run('first', phase)
    tested.run('second', phase)
    assert [p.verdict for p in tested.phases][0] == verdict
    grown = 'memory grew by 60 MB'
    both = grown if verdict == 'ok' else f'{verdict}; {grown}'
    assert tested.phases[1].verdict == both and tested.phases[1].growth_mb == 60


def test_the_same_seed_gives_the_same_absurd_messages():
    first, again = (Absurd(random.Random(5), small_jpeg()) for _ in range(2))
    for _ in range(50):
        assert first.compressed(10**18) == again.compressed(10**18)
        assert first.raw(10**18) == again.raw(10**18)
        assert first.audio(10**18) == again.audio(10**18)
        assert first.info() == again.info()
        assert first.depth(10**18) == again.depth(10**18)


def test_a_jpeg_can_claim_another_size():
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(claiming(small_jpeg(), 32, 48), np.uint8), 1)
    assert picture.shape == (32, 48, 3)


def test_no_time_is_refused(capsys):
    from cs3_ros.cli import main

    assert main(['bench', 'soak', '--minutes', '0']) == 1
    assert 'expected a positive number of minutes' in capsys.readouterr().err
