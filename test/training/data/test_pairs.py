"""Shards as a training draws from them: the right picture and sound, each sample once."""

from __future__ import annotations

import needs

needs.training()

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import words
from miniature import make_ego4d, make_epic, number_of
from segmenter_fakes import segmenter

pytest.importorskip('webdataset', reason='pip install webdataset (extra train)')

from cs3_ros.collision import NS_PER_S
from cs3_training import loop
from cs3_training.cli import main
from cs3_training.data.excerpts import RATE, Sound
from cs3_training.data.pairs import SIDE, ShardPairs
from cs3_training.data.records import Segment
from cs3_training.data.sampling import draw
from cs3_training.localiser.train import TrainConfig, Trainer

QUICK = TrainConfig(steps=4, batch=2, precision='float32', columns=2, workers=0, save_every=1)
SECONDS = 2
CLICKS = [0.5, 1.5, 2.25, 4.0, 5.5]
ROWS = [(0.3, 0.9), (1.3, 1.7), (3.7, 4.35), (2.0, 5.6)]


@pytest.fixture(scope='module')
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('epic')
    assert main(words(make_epic(folder), folder / 'shards')) == 0
    return folder / 'shards'


def onsets(sound: np.ndarray) -> np.ndarray:
    """Seconds from the first sample."""
    loud = np.flatnonzero(np.abs(sound) > 0.25) / RATE
    return loud[np.diff(loud, prepend=-10) > 0.05]


def test_a_short_segment_is_heard_about_its_middle(shards: Path) -> None:
    pairs = ShardPairs(shards)
    assert len(pairs) == 12
    for index, (start, stop) in enumerate(ROWS[:3]):
        seen = set()
        for seed in range(8):
            image, sound = pairs.draw(index, np.random.default_rng(seed))
            assert image.shape == (SIDE, SIDE, 3) and sound.shape == (SECONDS * RATE,)
            begin = (start + stop) / 2 - 1
            inside = [click - begin for click in CLICKS if 0.01 < click - begin < SECONDS - 0.01]
            heard = onsets(sound)
            np.testing.assert_allclose(heard[heard > 0.01], inside, atol=0.005)
            seen.add(number_of(image))
            assert start - 0.02 < number_of(image) * 1001 / 60000 < stop + 0.02
        assert len(seen) > 1


def test_ego4d_is_heard_about_its_loudest_sample(tmp_path: Path) -> None:
    data = make_ego4d(tmp_path)
    assert main(words(data, tmp_path / 'shards', dataset='ego4d')) == 0
    pairs = ShardPairs(tmp_path / 'shards')
    _, sound = pairs.draw(1, np.random.default_rng(0))  # 3.75 to 6.75 s, click at 5.0
    np.testing.assert_allclose(onsets(sound), [1.0], atol=0.005)
    _, sound = pairs.draw(0, np.random.default_rng(0))  # 0 to 3 s, click at 1.2
    np.testing.assert_allclose(onsets(sound), [1.0], atol=0.005)


@pytest.mark.parametrize('dataset', ['epic', 'ego4d'])
@pytest.mark.parametrize('length_s', [0.3, 2.0, 3.0, 8.0])
def test_what_is_drawn_lies_in_the_segment(dataset: str, length_s: float) -> None:
    start, stop = 5 * NS_PER_S, round((5 + length_s) * NS_PER_S)
    segment = Segment('a', dataset, 'v', start, stop)  # type: ignore[arg-type]
    samples = np.zeros(round((length_s + 2) * RATE), np.int16)
    samples[round((1 + 0.4 * length_s) * RATE)] = 9999
    sound = Sound(start - NS_PER_S, samples, np.ones(len(samples), bool))
    times = [start + round((k + 0.5) / 10 * length_s * NS_PER_S) for k in range(10)]
    found = [draw(segment, sound, times, np.random.default_rng(seed)) for seed in range(200)]
    pictures = Counter(picture for picture, _ in found)
    for picture, first in found:
        begin = sound.start_ns + first * NS_PER_S // RATE
        assert begin <= times[picture] <= begin + 2 * NS_PER_S
        if length_s > 2:
            assert start - 1e5 <= begin <= stop - 2 * NS_PER_S + 1e5
    if dataset == 'epic':
        assert len(pictures) == 10, 'any of them'
        begins = {first for _, first in found}
        assert len(begins) == 1 if length_s <= 2 else len(begins) > 150
    else:
        peak = start + 0.4 * length_s * NS_PER_S
        assert all(abs(times[picture] - peak) <= 1.5 * NS_PER_S for picture in pictures)
        assert len({first for _, first in found}) == 1


def test_a_run_on_shards_goes_on_bit_by_bit(
    shards: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trainer(segmenter(tiny_weights), ShardPairs(shards), QUICK, tmp_path / 'whole')
    whole.run()
    rates = loop.learning_rate

    def die(step: int, config: loop.LoopConfig) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return rates(step, config)

    with monkeypatch.context() as patch:
        patch.setattr('cs3_training.loop.learning_rate', die)
        with pytest.raises(KeyboardInterrupt):
            Trainer(segmenter(tiny_weights), ShardPairs(shards), QUICK, tmp_path / 'b').run()
    again = Trainer(segmenter(tiny_weights), ShardPairs(shards), QUICK, tmp_path / 'b')
    assert again.step == 3
    again.run()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


SCRIPT = """
import json, sys
from pathlib import Path
from cs3_training.data.pairs import ShardPairs
from cs3_training.localiser.train import PairSamples, TrainConfig
from cs3_training.loop import batches
from cs3_training.processes import process_group, rank

class Indices(ShardPairs):
    def draw(self, index, rng):
        image, sound = super().draw(index, rng)
        sound[0] = index
        return image, sound

with process_group(False):
    config = TrainConfig(batch=4, steps=3, workers=1)
    samples = PairSamples(Indices(Path(sys.argv[1])), config)
    seen = [int(value) for _, sounds in batches(samples, config, 0) for value in sounds[:, 0]]
    Path(sys.argv[2], f'{rank()}.json').write_text(json.dumps(seen))
"""


def test_two_processes_see_each_sample_once(shards: Path, tmp_path: Path) -> None:
    (tmp_path / 'script.py').write_text(SCRIPT)
    subprocess.run(
        [
            *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
            *('--nproc-per-node', '2', str(tmp_path / 'script.py'), str(shards), str(tmp_path)),
        ],
        check=True,
        timeout=120,
    )
    seen = [json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2)]
    assert len(seen[0]) == len(seen[1]) == 6
    assert sorted(seen[0] + seen[1]) == list(range(12))
    assert seen[0] + seen[1] != sorted(seen[0] + seen[1])


def test_shards_that_are_not_whole_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no report.json there: expected the shards'):
        ShardPairs(tmp_path)
    copy = tmp_path / 'copy'
    shutil.copytree(shards, copy)
    digest = ShardPairs(copy).digest
    assert digest == ShardPairs(shards).digest
    tar = copy / 'shard-000001.tar'
    data = bytearray(tar.read_bytes())
    data[512:600] = bytes(88)
    tar.write_bytes(data)
    with pytest.raises(ValueError, match='00000004: no sample of cs3-train extract'):
        ShardPairs(copy).draw(4, np.random.default_rng(0))
    tar.write_bytes(data[:5000])
    with pytest.raises(ValueError, match='not as its account says'):
        ShardPairs(copy)
    account = copy / 'shard-000000.json'
    changed = json.loads(account.read_text()) | {'sha256': 'another'}
    account.write_text(json.dumps(changed))
    tar.write_bytes(data)
    assert ShardPairs(copy).digest != digest


def test_the_loader_is_measured(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ['bench', 'loader', '--shards', str(shards), '--workers', '2', '--batches', '3']
    assert main([*call, '--pairs', '4', '--step-s', '0.5']) == 0
    printed = capsys.readouterr().out
    assert '12 pairs in' in printed and 'A step of 0.5 s at batch 4 takes 8 pairs/s' in printed
    assert main([*call, '--pairs', '1']) == 1
    assert '--pairs 1: expected at least 2' in capsys.readouterr().err
