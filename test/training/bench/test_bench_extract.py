"""The benchmark of the extraction cuts the same both ways."""

from __future__ import annotations

import needs

needs.training()

import json
import sys
from pathlib import Path

import pytest

from cs3_training.bench import extraction
from cs3_training.cli import main

FFMPEG = """#!{python}
import sys
words = sys.argv[1:]
if words == ['-version']:
    print('ffmpeg version 7.1 and so on')
    sys.exit()
with open(__file__ + '.calls', 'a') as file:
    print(words.index('-ss') < words.index('-i'), file=file)
if words[-1].endswith('.wav'):
    open(words[-1], 'wb').close()
else:
    for number in range(int(words[words.index('-frames:v') + 1]) // {shared}):
        open(words[-1] % (number + 1), 'wb').close()
"""


def ffmpeg(path: Path, monkeypatch: pytest.MonkeyPatch, shared: int = 1) -> None:
    """A program that is called as ffmpeg and makes files without content."""
    path.write_text(FFMPEG.format(python=sys.executable, shared=shared))
    path.chmod(0o755)
    monkeypatch.setattr(extraction.shutil, 'which', lambda name: str(path))


def test_the_command_prints_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ffmpeg(tmp_path / 'ffmpeg', monkeypatch)
    path = tmp_path / 'bench.json'
    words = ['bench', 'extract', '--seconds', '40', '--height', '96', '--workers', '1']
    assert main([*words, '--json', str(path)]) == 0
    found = json.loads(path.read_text())
    assert found['segments'] > 2 and found['pictures'] > found['segments']
    assert found['ratio'] == pytest.approx(found['plain']['wall_s'] / found['ours']['wall_s'])
    assert found['cpu_ratio'] == pytest.approx(found['plain']['cpu_s'] / found['ours']['cpu_s'])
    printed = capsys.readouterr().out
    ratios = [found[name] for name in ('ratio', 'cpu_ratio', 'unsought_ratio')]
    told = '{:.1f} x as fast as the loop that seeks, with {:.1f} x less CPU time; {:.1f} x as'
    assert told.format(*ratios) in printed
    assert found['unsought_rows'] == 3 and found['unsought_ratio'] > 0
    calls = (tmp_path / 'ffmpeg.calls').read_text().split()
    assert calls.count('True') == 2 * found['segments'], 'sought before it decodes'
    assert calls.count('False') == 2 * found['unsought_rows']
    assert 'two calls of ffmpeg version 7.1' in printed and '`extract`, 1 processes' in printed


def test_what_is_not_the_same_is_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ffmpeg(tmp_path / 'ffmpeg', monkeypatch, shared=2)
    with pytest.raises(RuntimeError, match='about as many pictures'):
        extraction.measure(30, 96, 250, 1)


def test_without_ffmpeg_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction.shutil, 'which', lambda name: None)
    monkeypatch.setitem(sys.modules, 'imageio_ffmpeg', None)
    with pytest.raises(FileNotFoundError, match='apt-get install ffmpeg'):
        extraction.measure(30, 96, 250, 1)


def test_wrong_calls_say_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['bench', 'extract', '--seconds', '1']) == 1
    assert '--seconds 1.0: expected at least 10' in capsys.readouterr().err
