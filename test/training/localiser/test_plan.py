"""``cs3-train train --plan``, and the recipes of the paper's trainings."""

from __future__ import annotations

import needs

needs.training()

import dataclasses
import re
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
import yaml
from documents import ROOT

from cs3_training.cli import main
from cs3_training.localiser import plan
from cs3_training.localiser.losses import LossConfig
from cs3_training.localiser.plan import Plan
from cs3_training.localiser.train import TrainConfig, load_config
from cs3_training.synth.config import WorldConfig, split_seeds
from cs3_training.synth.store import make_scenes

RECIPES = ROOT / 'training' / 'recipes'
FITS = Plan('CPU', 2, 16, 10**9, 10**10, 0.5, 0.1, 50_000, 10**9, 10**10, 10**9, False)


@pytest.mark.parametrize('name, area', [('epic_cs3', 1.0), ('ego4d_cs3', 0.1)])
def test_the_recipes_are_the_papers_and_say_where_each_value_is_from(name, area) -> None:
    path = RECIPES / f'{name}.yaml'
    config = load_config(path)
    assert (config.steps, config.batch, config.lr) == (50_000, 32, 1e-6)
    assert (config.loss.area_positive, config.loss.area_weight) == (0.1, area)
    assert config.train_beats and not config.loss.area_negative
    fields = {f.name for cls in (TrainConfig, LossConfig) for f in dataclasses.fields(cls)}
    text = path.read_text('utf-8')
    named = set(re.findall(r'^ *(\w+):', text, re.M))
    assert named == fields, 'every setting is in the recipe'
    about_result = text.partition('# What changes nothing')[0]
    for line in re.findall(r'^ *\w+: \S.*', about_result, re.M):
        assert re.search(r'# (paper|ACL-SSL|ours)\b', line), line
    changed = dataclasses.replace(config.loss, area_weight=1.0)
    own = TrainConfig(workers=4)
    assert dataclasses.replace(config, loss=changed) == own, 'the defaults are the paper, too'
    assert yaml.safe_load(text)['steps'] == 50_000


def test_the_slurm_script_parses_and_names_recipes_that_are_there() -> None:
    script = RECIPES / 'train.slurm'
    subprocess.run(['bash', '-n', script], check=True)
    for name in re.findall(r'training/recipes/\S+', script.read_text('utf-8')):
        assert (ROOT / name).is_file()


@pytest.fixture(scope='module')
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('plan') / 'scenes'
    make_scenes(folder, WorldConfig(size=96, seconds=1.0), split_seeds('train', 0, 6))
    return folder


def call(scenes: Path, tmp_path: Path, settings: str) -> list[str]:
    (tmp_path / 'settings.yaml').write_text(settings)
    words = ['train', '--out', str(tmp_path / 'run'), '--scenes', str(scenes), '--settings']
    return [*words, str(tmp_path / 'settings.yaml'), '--device', 'cpu', '--threads', '1', '--plan']


@pytest.mark.parametrize('batch, concluded', [(2, False), (6, True)])
def test_a_plan_probes_and_keeps_nothing(
    batch, concluded, scenes, tmp_path, cs3_home, capsys
) -> None:
    settings = f'steps: 1000\nbatch: {batch}\nprecision: float32\nworkers: 0\n'
    assert main(call(scenes, tmp_path, settings)) == 0
    printed = capsys.readouterr().out
    assert f'1 on CPU, {batch} pairs of a step each' in printed
    assert ('concluded from batches of 2 and 4' in printed) == concluded
    steps, days = re.search(r'(\d+) steps, ([\d.]+) days', printed).groups()
    assert steps == '1000' and 0 <= float(days) < 1
    used, there = map(
        float, re.search(r'memory of each +([\d.]+) GB of ([\d.]+)', printed).groups()
    )
    assert 0.1 < used < there
    assert not (tmp_path / 'run').exists()


def test_what_cannot_fit_is_refused(scenes, tmp_path, cs3_home, capsys, monkeypatch) -> None:
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(plan.shutil, 'disk_usage', lambda path: usage(10, 10, 0))
    monkeypatch.setattr(plan, '_memory_there', lambda device: 10**6)
    assert main(call(scenes, tmp_path, 'steps: 10\nbatch: 2\nworkers: 0\n')) == 1
    printed = capsys.readouterr().out
    assert printed.count('cannot run: ') == 2
    assert 'lower columns' in printed and 'name another --out' in printed


def test_days_and_limits() -> None:
    assert FITS.days == pytest.approx(50_000 * 0.5 / 86_400) and not FITS.problems
    slow = dataclasses.replace(FITS, load_s=1.0)
    assert slow.days == 2 * FITS.days and 'more workers' in slow.as_text()
    assert 'more workers' not in FITS.as_text()
    assert dataclasses.replace(FITS, memory=10**10).problems
    assert dataclasses.replace(FITS, disk=10**11).problems


def test_a_gpu_that_is_full_is_told(monkeypatch) -> None:
    import torch

    class Full:
        model, device = torch.nn.Linear(1, 1), torch.device('cpu')

        def losses(self, module, batch):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory')

    with pytest.raises(ValueError, match='16 pairs does not fit the GPU: lower columns'):
        plan._steps(Full(), [torch.zeros(16)], 1)
