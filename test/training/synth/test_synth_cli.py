"""``cs3-train synth``: what a person types."""

import needs

needs.training()

import json
from pathlib import Path

import pytest

from cs3_training.cli import main


def test_preview_writes_a_sheet_and_a_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    assert main(['synth', 'preview', '--out', str(tmp_path), '--seeds', '4-6', '--clips', '0']) == 0
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert sheet is not None and sheet.shape[0] > 2 * 352 and sheet.shape[1] > 4 * 352
    assert 'sheet.png' in capsys.readouterr().out


def test_stats_judge_every_property(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'new' / 'stats.json'
    status = main(['synth', 'stats', '--scenes', '6', '--seed0', '500', '--json', str(file)])
    figures = json.loads(file.read_text())
    good = [one['ok'] for one in figures['required'].values()]
    assert len(good) == 7 and status == (0 if all(good) else 1)
    out = capsys.readouterr().out
    assert '6 scenes, seeds 500-505' in out and 'Centre mIoU' in out


def test_two_processes_count_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    main(['synth', 'stats', '--scenes', '4'])
    one = capsys.readouterr().out
    main(['synth', 'stats', '--scenes', '4', '--workers', '2'])
    assert capsys.readouterr().out == one


@pytest.mark.parametrize('seeds', ['7-3', 'x', ''])
def test_wrong_seeds_are_refused(seeds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(['synth', 'preview', '--out', 'x', '--seeds', seeds])
    assert error.value.code == 2 and 'expected A-B' in capsys.readouterr().err


def test_failures_are_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['synth', 'stats', '--scenes', '0']) == 1
    assert 'expected at least 1' in capsys.readouterr().err
