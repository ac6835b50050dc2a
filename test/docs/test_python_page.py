"""Every block of docs/python.md runs, in one go, and prints what the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import needs
import pytest
from documents import ROOT, code_blocks

PAGE = ROOT / 'docs' / 'python.md'


def test_every_block_prints_what_the_page_says(
    short_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    needs.hands()
    shutil.copy(short_clip, tmp_path / 'clip.mp4')
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks(PAGE)
    assert {block.language for block in blocks} == {'python', 'text'}
    names: dict[str, object] = {}
    printed = ''
    for number, block in enumerate(blocks, 1):
        if block.language == 'text':
            assert printed == block.text
            printed = ''
            continue
        assert not printed, f'the page does not show {printed!r}'
        exec(compile(block.text, f'docs/python.md, block {number}', 'exec'), names)
        printed = capsys.readouterr().out
    assert not printed
    assert {'labels.png', 'overlay.jpg', 'bag'} <= {path.name for path in tmp_path.iterdir()}


def test_the_first_block_has_ten_lines() -> None:
    assert code_blocks(PAGE)[0].text.count('\n') == 10
