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
from typing import Any

import pytest

from cs3_ros.ros.environment import prepare_environment

prepare_environment()

from cs3_ros.bench.soak_peers import Absurd, claiming, small_jpeg
from cs3_ros.bench.soak_phases import MOST_GROWTH_MB, PHASES, Soak


def test_a_short_soak_accounts_for_every_message(tmp_path):
    inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    file = tmp_path / 'soak.json'
    options = ['--minutes', '0.05', '--seed', '3', '--json', str(file)]
    command = [sys.executable, '-m', 'cs3_ros.cli', 'bench', 'soak', *options]
    ended = subprocess.run(command, env=inherited, capture_output=True, timeout=170, check=False)
    printed = ended.stdout.decode()
    assert ended.returncode == 0, printed + ended.stderr.decode()
    figures = json.loads(file.read_text())
    assert figures['ok'] and figures['death'] == '' and figures['status'] == 0
    assert [phase['name'] for phase in figures['phases']] == list(PHASES)
    for phase in figures['phases']:
        assert phase['used'] + phase['refused'] + phase['lost'] == phase['sent']
        assert phase['untold'] == 0 and phase['growth_mb'] <= MOST_GROWTH_MB
        assert phase['highest_mb'] >= phase['rss_mb'] > 50
        assert f'| {phase["name"]} |' in printed
    sent = {phase['name']: phase['sent'] for phase in figures['phases']}
    assert sent['8 channels at 96 kHz, 2.5 ms'] > 100 and sent['4K JPEG at 30 Hz'] > 10
    assert figures['phases'][1]['refused'] > 0
    assert figures['kills'] == {'count': 3, 'seconds': figures['kills']['seconds'], 'wrong': []}


class Quiet:
    """A peer of a node that counts less than was sent, and a process that grows."""

    state = 'inactive'

    def __init__(self, sent: int, counts: dict[str, int]) -> None:
        self.sent = 0
        self.would_send = sent
        self._counts = counts

    def counted(self, *names: str) -> int:
        return sum(self._counts.get(name, 0) for name in names)

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
    tested = Soak(Growing(), peer, 1.0, 1)  # type: ignore[arg-type]

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


def test_a_jpeg_can_claim_another_size():
    import cv2
    import numpy as np

    picture = cv2.imdecode(np.frombuffer(claiming(small_jpeg(), 32, 48), np.uint8), 1)
    assert picture.shape == (32, 48, 3)


def test_no_time_is_refused(capsys):
    from cs3_ros.cli import main

    assert main(['bench', 'soak', '--minutes', '0']) == 1
    assert 'expected a positive number of minutes' in capsys.readouterr().err
