"""Every command and every block of docs/data.md runs on miniature data sets, from top to bottom:
from videos to shards, hands, training, tables and reports."""

from __future__ import annotations

import needs

needs.training()
needs.hands()

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from documents import ROOT, code_blocks
from PIL import Image

sys.path.append(str(ROOT / 'test' / 'training' / 'data'))
from miniature import UIDS, even, make_ego4d, make_epic, make_video
from miniature_labels import (
    RATES,
    make_ego4d_val,
    make_epic_val,
    write_hands23,
    write_masks,
    write_rtdetr,
    write_visor,
)

from cs3_training.bench import extraction, loader
from cs3_training.cli import main
from cs3_training.data.manifest import read_manifest

PAGE = ROOT / 'docs' / 'data.md'
SMALL = {'steps': 2, 'batch': 2, 'workers': 0, 'columns': 2, 'precision': 'float32'}
"""Sizes that a test can wait for, in place of those of the recipes."""


@pytest.fixture
def data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path) -> Path:
    """A folder with all that the page names, and the weights in its home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CS3_HOME', str(tiny_weights))
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0})  # commands then start no workers
    _, epic = make_epic(tmp_path / 'EPIC-KITCHENS')
    _, ego4d = make_ego4d(tmp_path / 'ego4d')
    shutil.copy(epic, 'epic_train_filtered.csv')
    shutil.copy(ego4d, 'ego4d_train_filtered.csv')
    shutil.rmtree(tmp_path / 'ego4d' / 'v2')  # that of the evaluation has the same names
    epic_ids, ego4d_ids = make_epic_val(tmp_path), make_ego4d_val(tmp_path)
    rows = epic.read_text().splitlines()
    sounds = [f'{row},{"class_id" if not k else 10}' for k, row in enumerate(rows)]
    Path('EPIC_Sounds_train.csv').write_text(
        '\n'.join(sounds).replace('metal-wood-collision', 'metal / wood collision')
    )
    Path('ego4dsounds_train.tsv').write_text(
        'video_uid\tnarration_source\tnarration_ind\tclip_start\tclip_end\n'
        f'{UIDS[0]}\tnarration_pass_1\t7\t3.0\t6.0\n'
    )
    for name, count in (('train', 4), ('val', 2)):
        write_visor(Path('VISOR'), name, 'P01_01' if name == 'train' else 'P01_03', count)
    write_others()
    write_rtdetr(Path('rtdetr_v2_r50vd'))
    write_hands23(Path('hands23_result.json'), list(epic_ids))
    write_masks(Path('other_masks'), list(epic_ids)[:3])
    write_clip(Path('clips/drawn'))
    settings = SMALL | {'lr': 0.001}
    del settings['columns']
    Path('fit.yaml').write_text(json.dumps(settings))
    Path('training/recipes').mkdir(parents=True)
    for recipe in (ROOT / 'training' / 'recipes').glob('*.yaml'):
        text = recipe.read_text('utf-8')
        for key, value in SMALL.items():
            text, count = re.subn(rf'^{key}: \S+', f'{key}: {value}', text, flags=re.M)
            assert count == 1, key
        Path('training/recipes', recipe.name).write_text(text)
    Path('visor').symlink_to('VISOR/annotations/train')
    line = {'id': 'a', 'video': 'a.mp4', 'frame_s': 1, 'masks': 'one.png'}
    Path('manifest.jsonl').write_text(json.dumps(line))
    Image.fromarray(np.ones((4, 5), np.uint8)).save('one.png')
    assert ego4d_ids and len(epic_ids) == 2 * len(RATES)
    return tmp_path


def write_others() -> None:
    """Hands23's and EgoHOS's labels of one picture each."""
    for name in ('hands23/allMergedBlur/EK_1.jpg', 'egohos/train/image/a.jpg'):
        Path(name).parent.mkdir(parents=True)
        Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save(name)
    for folder in ('hands23/allMergedTxt', 'hands23/allMergedSplit', 'egohos/train/label'):
        Path(folder).mkdir(parents=True)
    Path('hands23/allMergedTxt/EK_1.jpg.txt').write_text(
        'left_hand | object_contact | 5,5,30,30 | 20,20,50,50 | tool_,_held | None | Pow-Pris'
    )
    Path('hands23/allMergedSplit/TRAIN.txt').write_text('EK_1.jpg\n')
    values = np.zeros((60, 80), np.uint8)
    values[5:20, 5:20], values[25:50, 5:40] = 2, 5
    Image.fromarray(values).save('egohos/train/label/a.png')


def write_clip(folder: Path) -> None:
    """A clip folder with masks at its peak."""
    made = make_video(folder / 'clip.mp4', even(1, 30), [0.5], seconds=1)  # type: ignore[arg-type]
    (folder / 'clip.json').write_text(json.dumps({'peak_frame': 15}))
    write_masks(folder / 'masks', ['015'])
    assert len(made.stamps_s) == 30


def test_every_command_and_block_runs(
    data_sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('webdataset', reason='pip install webdataset (extra train)')
    for benchmark in (extraction, loader):  # which have tests of their own
        for name in ('measure', 'as_text', 'as_json'):
            monkeypatch.setattr(benchmark, name, lambda *_: None)
    names: dict[str, object] = {}
    calls = []
    # the section on hands is one that both data sets refer to: it comes before them
    for block in sorted(code_blocks(PAGE), key=lambda b: 'hands convert' not in b.text):
        if block.language == 'python':
            exec(compile(block.text, 'docs/data.md', 'exec'), names)
        elif block.language == 'yaml':
            Path(block.title).write_text(block.text)
        elif block.language == 'json':
            Path('example.jsonl').write_text(block.text)
            assert len(read_manifest(Path('example.jsonl'))) == 1
        else:
            for line in block.text.splitlines():
                words = shlex.split(line)
                assert words[0] == 'cs3-train'
                assert main(words[1:]) == 0, (line, capsys.readouterr())
                calls.append(' '.join(words[1 : 3 if words[1] in ('hands', 'manifest') else 2]))
    assert {call: calls.count(call) for call in sorted(set(calls) - {'bench'})} == {
        'evaluate': 5, 'extract': 4, 'hands convert': 4, 'hands detect': 2,
        'hands fit': 1, 'manifest clips': 1, 'manifest ego4d': 1, 'manifest epic': 1,
        'manifest pictures': 1, 'train': 4,
    }  # fmt: skip
    assert len(list(data_sets.glob('shards/*/report.json'))) == 4
    printed = capsys.readouterr().out
    assert '(4, 5)' in printed
    for name, rows in (('epic', {'full', 'av', 'right_left'}), ('epic_hands23', {'touch'})):
        summary = json.loads(Path(f'reports/{name}/summary.json').read_text())
        assert rows <= set(summary['rows']) and summary['paper'] == 'epic'
        assert summary['rows']['full']['n'] == 10 and not summary['left_out']
        assert Path(f'reports/{name}/report.html').stat().st_size > 10_000
    ego4d = json.loads(Path('reports/ego4d/summary.json').read_text())
    assert ego4d['paper'] == 'ego4d' and ego4d['rows']['av']['n'] == 4
    others = json.loads(Path('reports/epic_others/summary.json').read_text())
    assert others['rows']['other']['miou'] == 30, 'three of ten are perfect, seven lack'
    assert {path.name for path in Path('runs/epic_cs3').iterdir()} >= {'audio_visual.safetensors'}
