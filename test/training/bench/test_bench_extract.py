"""The benchmark of the extraction cuts the same both ways."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path

import pytest

from cs3_training.bench import extraction
from cs3_training.cli import main


def test_the_command_prints_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'bench.json'
    words = ['bench', 'extract', '--seconds', '40', '--height', '96', '--workers', '1']
    assert main([*words, '--json', str(path)]) == 0
    found = json.loads(path.read_text())
    assert found['segments'] > 2 and found['pictures'] > found['segments']
    assert found['ratio'] == pytest.approx(found['plain_s'] / found['extract_s'])
    printed = capsys.readouterr().out
    assert f'{found["ratio"]:.1f} x as fast.' in printed and '`extract`, 1 processes' in printed


def test_what_is_not_the_same_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, 'plain_row', lambda *_: 1)
    with pytest.raises(RuntimeError, match='expected'):
        extraction.measure(40, 96, 1)


def test_wrong_calls_say_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['bench', 'extract', '--seconds', '1']) == 1
    assert '--seconds 1.0: expected at least 10' in capsys.readouterr().err
