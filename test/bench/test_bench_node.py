"""The node benchmark runs, ends by itself and writes figures that make sense."""

from __future__ import annotations

import needs

needs.ros()
needs.psutil()

import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cs3_ros.ros.environment import prepare_environment

prepare_environment()


def bench(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k != '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    command = [sys.executable, '-m', 'cs3_ros.cli', 'bench', 'node', *arguments]
    return subprocess.Popen(command, env=inherited, stdout=subprocess.PIPE, **options)


def figures(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    process = bench(*arguments, '--json', str(tmp_path / 'new' / 'figures.json'))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads((tmp_path / 'new' / 'figures.json').read_text()), output.decode()


def test_idle_counts_what_arrives(tmp_path):
    needs.hands()
    idle, printed = figures(tmp_path, '--seconds', '1', '--warm-up', '0')
    assert idle['bundle'] == 'lite' and idle['seconds'] >= 1
    assert idle['published_frames'] >= 30 and idle['published_chunks'] >= 50
    for name in ('node', 'plain'):
        process = idle[name]
        assert process['frames'] + process['lost_frames'] == idle['published_frames']
        assert process['frames'] > 0 and process['lost_frames'] >= 0
        assert 0 < process['cpu_percent'] < 400
        assert min(process['rss_start_mb'], process['rss_end_mb']) > 50
    node = idle['node']
    assert node['chunks'] > 0 and node['lost_chunks'] >= 0 and node['onsets'] == 0
    assert idle['cpu_ratio'] == pytest.approx(
        node['cpu_percent'] / idle['plain']['cpu_percent'], rel=1e-9
    )
    assert '| cs3 node (lite) |' in printed and '| plain, decodes |' in printed


def test_every_click_is_answered(tmp_path):
    events, printed = figures(tmp_path, '--events', '20')
    assert events['events'] == events['onsets'] == events['answered'] == 20
    assert events['needless_onsets'] == events['dropped'] == events['failed'] == 0
    assert events['block'] == 2 and len(events['rss_mb']) == 10 and min(events['rss_mb']) > 50
    assert events['rss_growth_mb'] == events['rss_mb'][-1] - events['rss_mb'][0]
    latency = events['onset_to_masks_ms']
    assert 0 < latency['p50'] <= latency['p95'] and math.isfinite(latency['p95'])
    assert 'first 2 against last 2' in printed


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_the_children_end_with_the_benchmark(how):
    import psutil

    # As a shell starts what runs behind an &: a SIGINT just before ROS listens must not be lost.
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    process = bench('--events', '1000000', preexec_fn=ignore)
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 30
    try:
        while not children and time.monotonic() < deadline:
            time.sleep(0.05)
            children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(how)
        # An interrupted import of a C extension has a status of its own.
        assert process.wait(30) != 0
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    finally:
        process.kill()


def test_a_node_that_fails_is_told():
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    from cs3_ros.bench.node import DiagnosticsListener

    class Ears:
        def create_subscription(self, message_type, topic, callback, depth):
            self.hear = callback

    ears = Ears()
    listener = DiagnosticsListener(ears)
    listener.until(lambda: True, 'nothing', ())
    status = DiagnosticStatus(level=DiagnosticStatus.ERROR, name='cs3/cs3: node', message='no eyes')
    ears.hear(DiagnosticArray(status=[status]))
    with pytest.raises(RuntimeError, match='no eyes'):
        listener.until(lambda: False, 'pictures', ())


def test_a_bad_place_for_the_figures_is_told_at_once(tmp_path):
    from cs3_ros.cli import main

    assert main(['bench', 'node', '--json', str(tmp_path)]) == 1
