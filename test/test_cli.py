"""The command line: help at once, wrong calls, failures in one line, what is handed on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import needs
import pytest

from cs3_ros import cli
from cs3_ros.bench import command as bench
from cs3_ros.doctor import command as doctor
from cs3_ros.ros.command import node_arguments

COMMANDS = [
    [],
    ['run'],
    ['replay'],
    ['bag'],
    ['bag', 'make'],
    ['bag', 'play'],
    ['node'],
    ['mic'],
    ['contact'],
    ['fetch'],
    ['bundles'],
    ['doctor'],
    ['bench'],
    ['demo'],
]
HEAVY = ('torch', 'cv2', 'mediapipe', 'rclpy', 'av', 'rosbags', 'scipy', 'tqdm', 'numpy')


def called(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status and what was printed."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as ended:
        status = ended.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_every_command_is_listed():
    assert set(cli.COMMANDS) == {words[0] for words in COMMANDS if words}
    listed = cli.make_parser().format_help()
    assert all(f'\n    {name} ' in listed for name in cli.COMMANDS)


@pytest.mark.parametrize('words', COMMANDS, ids=' '.join)
def test_help(capsys, words):
    status, out, err = called(capsys, *words, '--help')
    assert status == 0 and not err
    assert out.startswith(f'usage: {" ".join(["cs3", *words])} ')
    assert max(map(len, out.splitlines())) < 120


@pytest.mark.parametrize('name', bench.BENCHES)
def test_help_of_the_benchmarks(capsys, name):
    if name in ('lite', 'live'):
        needs.opencv()
    status, out, err = called(capsys, 'bench', name, '--help')
    assert status == 0 and '--json' in out and not err


def test_help_imports_nothing_heavy():
    """In a process of its own: this one has imported all of it."""
    script = f"""
import json, sys
from cs3_ros import cli
for words in {COMMANDS!r}:
    try:
        cli.main([*words, '--help'])
    except SystemExit:
        pass
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    result = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_the_table_of_bundles(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv('CS3_HOME', str(tmp_path))
    status, out, _ = called(capsys, 'bundles')
    lines = out.splitlines()
    assert status == 0 and str(tmp_path) in lines[0]
    assert any(line.startswith('zero_shot  missing 11 of 11 files') for line in lines)


@pytest.mark.parametrize(
    'words',
    [
        [],
        ['fly'],
        ['run'],
        ['run', 'a.mp4', 'b.mp4'],
        ['run', 'a.mp4', '--start', 'soon'],
        ['run', 'a.mp4', '--frobnicate'],
        ['bag'],
        ['bag', 'make', 'a.mp4'],
        ['bag', 'make', 'a.mp4', 'b', '--image', 'gif'],
        ['bag', 'play', 'bag', '--rate', 'fast'],
        ['bench', 'nothing'],
        ['bench'],
        ['doctor', 'now'],
        ['mic', '--rate', 'high'],
        ['fetch'],
        ['fetch', 'zero_shot', 'cs3'],
        ['bundles', 'zero_shot'],
    ],
    ids=' '.join,
)
def test_a_wrong_call_ends_with_2_and_the_usage(capsys, words):
    status, out, err = called(capsys, *words)
    assert status == 2 and not out and err.startswith('usage: cs3')


@pytest.mark.parametrize(
    'words, reason',
    [
        (['run', 'missing.mp4'], 'missing.mp4'),
        (['run', 'text.mp4'], 'text.mp4'),
        (['run', 'text.mp4', '--start', '0'], '--start 0: expected'),
        (['run', 'text.mp4', '--start', 'nan'], '--start nan: expected'),
        (['replay', 'missing'], 'missing: no such bag'),
        (['replay', 'text.mp4'], 'cannot be read as a bag'),
        (['bag', 'make', 'missing.mp4', 'out'], 'missing.mp4'),
        (['bag', 'make', 'text.mp4', '.'], 'exists already'),
        (['demo', 'missing.mp4'], 'missing.mp4'),
        (['fetch', 'light'], "'light' not found: expected one of "),
        (['fetch', 'zero_shot', '--mirror', 'disk'], "--mirror: 'disk': expected a URL"),
        (['fetch', 'zero_shot', '--from', 'disk'], '--from disk: expected a folder'),
    ],
    ids=lambda value: value if isinstance(value, str) else ' '.join(value),
)
def test_a_failure_ends_with_1_and_one_line(capsys, tmp_path, monkeypatch, words, reason):
    if words[0] in ('run', 'replay'):
        needs.opencv()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CS3_HOME', 'weights')
    Path('text.mp4').write_text('this is no video')
    status, out, err = called(capsys, *words)
    assert status == 1, err
    (line,) = err.strip().splitlines()
    name = ' '.join(words[: 2 if words[0] == 'bag' else 1])
    assert line.startswith(f'cs3 {name}: ') and reason in line


@pytest.mark.parametrize(
    'error, status',
    [(ValueError('bad'), 1), (ImportError('none'), 1), (RuntimeError('no'), 1), (OSError('io'), 1)],
)
def test_errors_of_a_command_are_told_not_traced(capsys, monkeypatch, error, status):
    def fail(options):
        raise error

    monkeypatch.setattr(doctor, 'run', fail)
    assert called(capsys, 'doctor') == (status, '', f'cs3 doctor: {error}\n')


def test_errors_of_a_benchmark_are_told_not_traced(capsys, monkeypatch):
    def fail(name):
        raise ImportError("No module named 'librosa': pip install librosa")

    monkeypatch.setattr(bench, 'make_parser', fail)
    status, out, err = called(capsys, 'bench', 'onset')
    assert status == 1 and err.startswith('cs3 bench onset: No module named') and not out


def test_an_interruption_ends_with_130(capsys, monkeypatch):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, 'run', interrupt)
    assert called(capsys, 'doctor') == (130, '', 'interrupted\n')


def test_a_reader_that_goes_away_is_no_failure():
    """``cs3 --help | head -1``."""
    command = f'{sys.executable} -m cs3_ros.cli run --help | head -1'
    result = subprocess.run(['sh', '-c', command], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    'words, expected',
    [
        ([], ['--ros-args']),
        (['--bundle', 'nano'], ['--ros-args', '-p', 'bundle:=nano']),
        (['--no-autostart'], ['--ros-args', '-p', 'autostart:=false']),
        (['--params', 'my.yaml'], ['--ros-args', '--params-file', 'my.yaml']),
        (
            ['--params', 'my.yaml', '--bundle', 'b', '--ros-args', '-p', 'bundle:=c'],
            ['--ros-args', '--params-file', 'my.yaml', '-p', 'bundle:=b', '-p', 'bundle:=c'],
        ),
        (
            ['--ros-args', '-r', '__ns:=/robot', '--log-level', 'debug', '--'],
            ['--ros-args', '-r', '__ns:=/robot', '--log-level', 'debug', '--'],
        ),
        (
            ['--ros-args', '-p', 'a:=1', '--', '--ros-args', '-p', 'b:=2'],
            ['--ros-args', '-p', 'a:=1', '--', '--ros-args', '-p', 'b:=2'],
        ),
    ],
    ids=lambda words: ' '.join(words),
)
def test_what_the_node_is_given(words, expected):
    options, rest = cli.make_parser().parse_known_args(['node', *words])
    options.ros_arguments = rest
    assert node_arguments(options) == expected


@pytest.mark.parametrize(
    'words', [['--params', 'missing.yaml'], ['rubbish'], ['--ros-args', '-p', 'bundle']]
)
def test_wrong_arguments_of_the_node_are_told_not_traced(capfd, words):
    needs.ros()
    status, out, err = called(capfd, 'node', *words)
    assert status in (1, 2) and 'Traceback' not in err and words[-1] in err
