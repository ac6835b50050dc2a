"""``make gpu``: whatever happens to a step, the others run and the files are whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import needs
import pytest
from documents import ROOT

sys.path.insert(0, str(ROOT / 'tools'))
import gpu
import gpu_carry
import gpu_page

STATUSES = {'waiting', 'running', 'done', 'failed', 'timed out', 'skipped'}
LEAVES = 'import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(\'{{"left": 1}}\'); '


def step(name: str, code: str, seconds: float = 60.0, imports: tuple[str, ...] = ()) -> gpu.Step:
    return gpu.Step(name, f'Title of {name}', seconds, ('-c', code, '{result}'), imports)


def ran(tmp_path: Path, *todo: gpu.Step, minutes: float = 5.0) -> dict:
    report = gpu.Report(tmp_path / 'out', dry=True)
    report.data['machine'] = {'lacking': ['nowhere']}
    open_ends = gpu.run(todo, report, minutes, dict(os.environ))
    data = whole(tmp_path / 'out')
    assert open_ends == sum(one['status'] != 'done' for one in data['steps'].values())
    return data['steps']


def whole(out: Path) -> dict:
    """The JSON, which fits its form, and a page that was made of it."""
    data = json.loads((out / 'gpu.json').read_text())
    assert set(data) == {'format', 'dry', 'commit', 'started', 'seconds', 'machine', 'steps'}
    for one in data['steps'].values():
        assert one['status'] in STATUSES and one['title']
        ended = one['status'] in ('done', 'failed', 'timed out')
        assert ({'exit', 'seconds', 'command', 'tail', 'result'} <= set(one)) == ended
        assert ('reason' in one) == (one['status'] == 'skipped')
    page = (out / 'gpu.md').read_text()
    assert page.startswith('# GPU in one call')
    assert all(f'| {one["title"]} | ' in page for one in data['steps'].values())
    return data


def is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid)


def test_a_step_that_crashes_takes_nothing_along(tmp_path: Path) -> None:
    found = ran(
        tmp_path,
        step('crash', LEAVES + 'print("so far"); sys.stdout.flush(); import os; os.abort()'),
        step('raise', 'raise ValueError("told")'),
        step('half', LEAVES.replace('1}}', '') + 'print("x" * 9)'),
        step('good', LEAVES + 'print("\\n".join(map(str, range(99))))'),
    )
    assert (found['crash']['status'], found['crash']['exit']) == ('failed', -signal.SIGABRT)
    assert found['crash']['result'] == {'left': 1} and 'so far' in found['crash']['tail']
    assert found['raise']['exit'] == 1 and found['raise']['tail'][-1] == 'ValueError: told'
    assert found['half'] | {'seconds': 0} == found['half'] | {'result': None, 'seconds': 0}
    assert found['good']['status'] == 'done' and found['good']['tail'][-1] == '98'
    assert len(found['good']['tail']) == gpu.TAIL


def test_a_step_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / 'pids'
    code = (
        'import pathlib, signal, subprocess, sys, time\n'
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
        'pathlib.Path(sys.argv[1]).write_text("[1]")\n'
        f'pathlib.Path({str(pids)!r}).write_text(str(child.pid))\n'
        'time.sleep(60)\n'
    )
    found = ran(tmp_path, step('hang', code, 3.0), step('next', 'pass'))
    assert found['hang']['status'] == 'timed out' and found['hang']['result'] == [1]
    assert found['hang']['exit'] == -signal.SIGKILL
    assert gone(int(pids.read_text())) and found['next']['status'] == 'done'


def test_what_cannot_run_says_why(tmp_path: Path) -> None:
    found = ran(tmp_path, step('lacks', 'pass', imports=('json', 'nowhere')))
    assert found['lacks']['reason'].startswith('missing here: nowhere; install it, or')
    found = ran(tmp_path, step('late', 'pass'), minutes=0.01)
    assert found['late']['reason'] == 'no time left of 0.01 minutes'


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_what_was_measured_outlives_the_script(tmp_path: Path, number: int) -> None:
    out, pid = tmp_path / 'out', tmp_path / 'pid'
    endless = (
        f'import os, pathlib, time; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()));'
        'time.sleep(60)'
    )
    code = (
        'import gpu, os, pathlib, signal, sys\n'
        'signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))\n'
        f'todo = [gpu.Step("first", "First", 60, ("-c", {LEAVES!r}, "{{result}}")),'
        f' gpu.Step("second", "Second", 60, ("-c", {endless!r}))]\n'
        f'gpu.run(todo, gpu.Report(pathlib.Path({str(out)!r}), True), 5, dict(os.environ))\n'
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT / 'tools')}
    script = subprocess.Popen([sys.executable, '-c', code], env=environment)
    end = time.monotonic() + 30
    while not (pid.exists() and pid.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    script.send_signal(number)
    assert script.wait(20) == (-number if number == signal.SIGKILL else 143)
    steps = whole(out)['steps']
    assert (steps['first']['status'], steps['first']['result']) == ('done', {'left': 1})
    assert steps['second']['status'] == 'running'
    assert gone(int(pid.read_text()))


def test_everything_that_needs_a_gpu_is_asked_for() -> None:
    todo = {one.name: one for one in gpu.steps(dry=False)}
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / 'test').rglob('*.py')
        if re.search(r'^@pytest\.mark\.gpu$', path.read_text('utf-8'), re.M)
    }
    assert marked == {word for word in todo['tests'].command if word.endswith('.py')} != set()
    sizes = {one.command[one.command.index('--sam2') + 1] for one in todo.values() if
             one.name.startswith('pipeline')}  # fmt: skip
    assert sizes == {'tiny', 'small', 'base_plus', 'large'}
    for name, one in todo.items():
        if name.startswith('pipeline'):
            assert ' none graphs compile both' in ' '.join(one.command)
    assert '--profile' in todo['profile'].command and '32' in todo['trainer'].command
    assert {one.name for one in gpu.steps(dry=True)} <= set(todo)


def test_the_commands_exist() -> None:
    from cs3_ros.bench import command as bench

    for dry in (False, True):
        for one in gpu.steps(dry):
            if one.command[1] == 'cs3_ros.cli':
                bench.make_parser(one.command[3]).parse_args(one.command[4:])


def test_what_is_carried_along_is_used_where_it_is_missing(tmp_path, monkeypatch) -> None:
    if find_spec('sam2') is None:
        pytest.skip('sam2 is not installed')
    monkeypatch.setattr(gpu_carry, 'CARRY', tmp_path)
    monkeypatch.setattr(gpu_carry, 'CARRIED', {'sam2': 'sam2', 'iniconfig': 'json', 'none': 'no'})
    assert 0 < gpu_carry.carry() < 64 * 2**20
    assert (tmp_path / 'sam2' / 'sam2' / '__init__.py').is_file()
    assert not list(tmp_path.rglob('*.pyc')) and (tmp_path / 'commit').read_text().strip()
    monkeypatch.setattr(gpu_carry, '_installed', lambda module: module == 'json')
    assert gpu_carry.carried() == [str(tmp_path / 'sam2')]
    monkeypatch.setattr(gpu_carry, 'CARRIED', {'numpy': 'numpy'})
    with pytest.raises(SystemExit, match='of numpy is compiled'):
        gpu_carry.carry()


def test_junit_becomes_counts() -> None:
    text = (
        '<testsuites><testsuite><testcase classname="a" name="one"/><testcase classname="a" '
        'name="two"><failure message="no&#10;more"/></testcase><testcase classname="a" '
        'name="three"><skipped message="x"/></testcase></testsuite></testsuites>'
    )
    found = gpu._junit(text)
    assert found['passed'] == ['a.one']
    assert found['skipped'] == [{'name': 'a.three', 'message': 'x'}]
    steps = {'tests': {'title': 'T', 'status': 'failed', 'result': found}}
    page = gpu_page.page(
        {'dry': False, 'machine': {}, 'commit': 'c', 'started': 's', 'seconds': 1, 'steps': steps}
    )
    assert (
        '1 passed, 1 failed, 1 skipped.' in page
        and '- failed: a.two: no\n- skipped: a.three: x' in page
    )


def on_one_core() -> None:
    """Networks take every core that they may use; beside other tests more are slower than one."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def test_the_dry_run_does_it_all(tmp_path: Path) -> None:
    """With tiny networks on the CPU, from the outside; ``profile`` stands for its kin."""
    needs.training()
    call = [sys.executable, 'tools/gpu.py', '--dry', '--out', str(tmp_path)]
    call += ['--only', 'tests', '--only', 'profile', '--only', 'trainer']
    done = subprocess.run(
        call, cwd=ROOT, capture_output=True, text=True, timeout=300, preexec_fn=on_one_core
    )
    data = whole(tmp_path)
    page = (tmp_path / 'gpu.md').read_text()
    assert done.returncode == 0, done.stdout + done.stderr + page
    steps = data['steps']
    assert [one['status'] for one in steps.values()] == ['done'] * 3
    assert steps['tests']['result']['failed'] == [] and steps['tests']['result']['skipped']
    none, graphs = steps['profile']['result']['variants']
    assert none['milliseconds']['ours']['finish']['p50'] > 0
    assert 'has no CUDA graphs' in graphs['failed']
    assert none['profile']['finish']['operations'] > 100
    assert steps['trainer']['result']['sizes'][0]['batch'] == 2
    for words in ('| none | finish |', '| tiny | 2 | once |', '0 passed, 0 failed, 1 skipped'):
        assert words in page, words
    steps |= {'pipeline-tiny': steps['profile'], 'naive': steps['profile']}
    page = gpu_page.page(data)
    for words in ('| sam2 tiny | none |', 'has no CUDA graphs', 'None: it was left out.'):
        assert words in page, words


def test_without_a_gpu_nothing_is_run(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, '_machine', lambda todo, environment: {'gpu': None})
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert gpu.main(['--out', str(tmp_path)]) == 2
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert '--dry' in capsys.readouterr().err
    assert whole(tmp_path)['steps'] == {}
