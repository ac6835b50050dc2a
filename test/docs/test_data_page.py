"""Every command and every block of docs/data.md runs on miniature data sets."""

from __future__ import annotations

import needs

needs.training()

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, code_blocks

pytest.importorskip('cs3_training', reason='pip install -e training')
pytest.importorskip('cv2', reason='the extra train is not installed')
sys.path.append(str(ROOT / 'test' / 'training' / 'data'))
from miniature import UIDS, make_ego4d, make_epic, write_epic

from cs3_training.bench import extraction, loader
from cs3_training.cli import main

PAGE = ROOT / 'docs' / 'data.md'


@pytest.fixture
def data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page names."""
    monkeypatch.chdir(tmp_path)
    _, epic = make_epic(tmp_path / 'EPIC-KITCHENS')
    _, ego4d = make_ego4d(tmp_path / 'ego4d')
    shutil.copy(epic, 'epic_train_filtered.csv')
    write_epic(Path('epic_val_filtered.csv'), [('P01_01', 1.3, 1.7)], [1.55])
    rows = epic.read_text().splitlines()
    sounds = [f'{row},{"class_id" if not k else 10}' for k, row in enumerate(rows)]
    Path('EPIC_Sounds_train.csv').write_text(
        '\n'.join(sounds).replace('metal-wood-collision', 'metal / wood collision')
    )
    for name in ('train', 'val'):
        shutil.copy(ego4d, f'ego4d_{name}_filtered.csv')
    Path('ego4dsounds_train.tsv').write_text(
        'video_uid\tnarration_source\tnarration_ind\tclip_start\tclip_end\n'
        f'{UIDS[0]}\tnarration_pass_1\t7\t3.0\t6.0\n'
    )
    frame = {
        'image': {'video': 'P01_01', 'name': 'P01_01_frame_0000000140.jpg'},
        'annotations': [{'id': 'a', 'name': 'pan', 'class_id': 5, 'segments': [[[1, 1], [9, 9]]]}],
    }  # fmt: skip
    Path('visor').mkdir()
    Path('visor/P01_01.json').write_text(json.dumps({'video_annotations': [frame]}))
    Path('masks').mkdir()
    np.savez('masks/P01_01_0.npz', a=np.ones((4, 5), bool))
    line = {'id': 'P01_01_0', 'video': 'P01_01.MP4', 'frame_s': 1, 'masks': 'masks/P01_01_0.npz'}
    Path('manifest.jsonl').write_text(json.dumps(line))
    Path('train.yaml').write_text(
        'steps: 1\nbatch: 2\nprecision: float32\nworkers: 0\ncolumns: 2\n'
    )
    return tmp_path


def test_every_command_and_block_runs(
    data_sets: Path,
    cs3_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = extraction.Measured(
        8, 40, 480, 250, 120.0, extraction.Cost(6.0, 9.0), extraction.Cost(2.0, 4.0), 2, 'ffmpeg 7'
    )
    monkeypatch.setattr(extraction, 'measure', lambda *_: measured)
    loaded = loader.Loaded(320, 32, 2, 0.1, extraction.Cost(1.0, 2.0))
    monkeypatch.setattr(loader, 'measure', lambda *_: loaded)
    names: dict[str, object] = {}
    calls = []
    for block in code_blocks(PAGE):
        if block.language == 'python':
            if 'shards import samples' in block.text and not has_webdataset():
                names['Path'] = Path
                continue
            exec(compile(block.text, 'docs/data.md', 'exec'), names)
            continue
        for line in block.text.splitlines():
            words = shlex.split(line)
            assert words[0] == 'cs3-train'
            assert main(words[1:]) == 0, line
            calls.append(words[1])
    assert calls == ['extract'] * 6 + ['train', 'bench', 'bench']
    assert len(list(data_sets.glob('shards/*/report.json'))) == 6
    assert (data_sets / 'run' / 'audio_visual.safetensors').is_file()
    printed = capsys.readouterr().out
    assert '3.0 x as fast, with 2.2 x less CPU time.' in printed and '(4, 5)' in printed


def has_webdataset() -> bool:
    try:
        import webdataset  # noqa: F401
    except ImportError:
        return False
    return True
