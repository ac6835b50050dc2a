"""The benchmarks of networks, tried out on tiny ones; no figure of time is looked at."""

import needs

needs.networks()

import argparse
import dataclasses
import json
import time

import numpy as np
import pytest
import torch
from torch.nn import functional

from cs3_ros.bench import naive, pipeline, precision
from cs3_ros.bench.events import fixed_boxes, random_event
from cs3_ros.bench.fake_stages import BothHands, BoxMasker
from cs3_ros.bench.pipeline_run import PipelineRun
from cs3_ros.bench.stage_watch import OperationCounter, watched
from cs3_ros.bundles.bundle import load_bundle
from cs3_ros.collision import Localisation
from cs3_ros.localisers.motion import MotionLocaliser
from cs3_ros.pipeline import Pipeline
from cs3_ros.verification import verify

TINY = ['--random-weights', '--networks', 'tiny', '--device', 'cpu', '--size', '96x64']
STAGES = {'localiser_encode', 'masker_encode', 'hands', 'localiser_locate', 'masks'}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _main(module, *arguments):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return module.main(parser.parse_args([*TINY, *arguments]))


def test_tables_and_json(tmp_path, capsys):
    assert _main(pipeline, '--events', '2', '--json', str(tmp_path / 'out.json')) == 0
    result = json.loads((tmp_path / 'out.json').read_text())
    assert (result['events'], result['precision'], result['size']) == (2, 'float32', '96x64')
    times = result['milliseconds']
    assert set(times['ours']) == {'prepare', 'finish', 'both', 'processor'} and not times['contact']
    assert all(row['p50'] > 0 for row in times['ours'].values())
    assert set(times['alone']) == STAGES and set(times['host']) == STAGES | {'decode', 'verify'}
    assert set(result['operations']) == STAGES
    assert all(0 < row['kernels'] < row['operations'] for row in result['operations'].values())
    assert result['naive_lacks'] == []
    plain, ours = times['naive']['all'], times['ours']['both']
    assert result['ratio']['both'] == pytest.approx(plain['p50'] / ours['p50'])
    assert result['ratio']['finish'] > result['ratio']['both'] > 0
    assert result['peak_memory_gib']['ours'] > 0
    printed = capsys.readouterr().out
    assert '| prepare |' in printed and '| localiser_locate |' in printed and ' x (wait' in printed


@pytest.mark.parametrize(
    'masker, name',
    [
        (['grabcut'], 'grabcut'),
        (['sam2', '--sam2', 'tiny', '--side', '64'], 'sam2 tiny at 64 pixels'),
    ],
)
def test_a_bundle_without_networks_and_another_masker(tmp_path, capsys, masker, name):
    needs.hands()
    out = tmp_path / 'out.json'
    options = ['--bundle', 'small', '--events', '1', '--no-naive', '--json', str(out)]
    assert _main(pipeline, *options, '--masker', *masker) == 0
    result = json.loads(out.read_text())
    alone = result['milliseconds']['alone']
    assert set(alone) == STAGES | {'objects'} and alone['objects']['p50'] > 0
    assert result['masker'] == name and f'masks by {name}' in capsys.readouterr().out


class Middle:
    """Localiser that hears the middle of the picture."""

    def encode(self, frames, index):
        return frames[index].image.shape[:2]

    def locate(self, encoded, audio):
        height, width = encoded
        return Localisation(np.ones(encoded, np.float32), (1, 1, width / 2, height / 2), 0.5)


class Slow:
    """A strategy of its own, which counts how often it is asked."""

    asked = 0

    def encode(self, frame):
        return None

    def verify(self, encoded, audio, candidates, config):
        self.asked += 1
        time.sleep(0.03)
        return verify(candidates, config)


def test_a_strategy_stands_beside_contact():
    slow, stages = Slow(), dict(hands=BothHands(), localiser=Middle())
    run = PipelineRun(load_bundle('nano'), torch.device('cpu'), (96, 64))
    run.take(Pipeline('fake', BoxMasker(), verifier=slow, **stages))
    run.measure(2, False)
    result = run.result(run)
    times = result['milliseconds']
    assert set(times['contact']) == set(times['ours']) and result['events'] == 2
    assert times['ours']['finish']['p50'] > times['contact']['finish']['p50'] + 10
    assert {'verifier_encode', 'verify'} <= set(times['host']), 'those of the strategy'
    assert slow.asked == 1 + 1 + 1 + 2 + 2, 'warm-up, answer, operations, events, stages alone'


def test_interrupted_tells_what_was_measured(tmp_path, monkeypatch, capsys):
    events = []
    once = PipelineRun._event

    def interrupted(self, seed):
        if seed == 2:
            raise KeyboardInterrupt
        events.append(seed)
        once(self, seed)

    monkeypatch.setattr(PipelineRun, '_event', interrupted)
    out = tmp_path / 'out.json'
    assert _main(pipeline, '--events', '5', '--no-naive', '--json', str(out)) == 130
    result = json.loads(out.read_text())
    assert events[-1] == 1 and result['events'] == 1
    assert result['ratio'] is None and result['milliseconds']['naive'] == {}
    printed = capsys.readouterr().out
    assert 'interrupted' in printed and 'no plain composition: it was left out' in printed


@pytest.mark.parametrize(
    'arguments', [['--size', '1280'], ['--size', '8x8'], ['--events', '0'], ['--size', '-96x64']]
)
def test_wrong_options(arguments):
    with pytest.raises(ValueError, match='expected'):
        _main(pipeline, *[f'{arguments[0]}={arguments[1]}'])


def test_only_sam2_has_a_side():
    with pytest.raises(ValueError, match='--side 64: expected the masker sam2, not grabcut'):
        _main(pipeline, '--bundle', 'lite', '--side', '64')


def test_own_weights_of_another_masker_are_those_of_its_size():
    options = argparse.Namespace(masker='sam2', sam2='tiny', side=0, random_weights=False)
    bundle = pipeline.with_masker(load_bundle('small', as_written=True), options)
    assert bundle.stages['masker'] == {'type': 'sam2', 'checkpoint': 'sam2/sam2.1_hiera_tiny.pt'}
    assert [file.path for file in bundle.weights] == ['yolox/yolox_nano.onnx']
    assert not bundle.fallback
    assert pipeline.masker_name(bundle, options) == 'sam2 (sam2.1_hiera_tiny.pt)'


def test_a_bundle_without_counterparts_has_no_plain_composition():
    lacks = naive.missing(load_bundle('lite'))
    assert lacks == [
        'a counterpart of localiser motion',
        'a counterpart of hands mediapipe',
        'a counterpart of masker grabcut',
    ]


def test_a_checkpoint_with_beats_inside_has_no_plain_composition():
    stages = {**load_bundle('cs3').stages}
    stages['localiser'] = {k: v for k, v in stages['localiser'].items() if k != 'beats'}
    bundle = dataclasses.replace(load_bundle('cs3'), stages=stages)
    assert naive.missing(bundle) == ['a file of BEATs alone']


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(naive.importlib.util, 'find_spec', lambda name: None)
    assert 'the package speechbrain' in naive.missing(load_bundle('cs3'))


def test_operations_are_counted_apart_and_by_stage():
    counter = OperationCounter()
    layer = torch.nn.Linear(4, 3)
    with torch.inference_mode():
        with counter('one'):
            functional.dropout(layer(torch.zeros(2, 4)).relu_(), training=False)
        with counter('two'):
            torch.zeros(6).view(2, 3)
        with counter('resized'):
            functional.interpolate(torch.zeros(1, 1, 4, 4), (8, 8), mode='bicubic')
    assert counter.counts == {
        'one': {'operations': 5, 'kernels': 3},  # zeros, transposed weight, addmm, relu_, dropout
        'two': {'operations': 2, 'kernels': 1},
        'resized': {'operations': 2, 'kernels': 2},
    }


def test_every_stage_is_watched():
    names = []

    class Watch:
        def __init__(self, name):
            names.append(name)

        def __enter__(self):
            pass

        def __exit__(self, *error):
            pass

    plain = Pipeline('fake', BoxMasker(), hands=BothHands())
    clip = random_event(1, 96, 64, 0.1)
    collision = watched(plain, Watch)(clip)
    assert names == ['masker_encode', 'hands', 'masks']
    for found, expected in zip(collision.candidates, plain(clip).candidates, strict=True):
        assert np.array_equal(found.mask, expected.mask)


def test_events_are_random_but_the_same_again():
    one, two, other = (random_event(seed, 100, 70, 2.0) for seed in (1, 1, 2))
    assert one.frame.image.shape == (70, 100, 3) and one.audio.samples.size == 96_000
    assert np.array_equal(one.frame.image, two.frame.image)
    assert np.array_equal(one.audio.samples, two.audio.samples)
    assert not np.array_equal(one.frame.image, other.frame.image)
    assert not np.array_equal(one.audio.samples, other.audio.samples)
    assert 48_000 <= np.abs(one.audio.samples).argmax() < 49_000


def test_a_part_of_the_picture_moves_where_frames_round_it_are_asked_for():
    clip = random_event(1, 120, 60, 0.0, around=3)
    assert len(clip.frames) == 7 and clip.frame.stamp_ns == clip.onset.stamp_ns
    assert np.array_equal(clip.frame.image, random_event(1, 120, 60, 0.0).frame.image)
    stamps = np.diff([frame.stamp_ns for frame in clip.frames]) / 1e9
    assert stamps == pytest.approx([1 / 30] * 6, abs=1e-6)
    before, after = (clip.frames[k].image for k in (2, 4))
    assert np.array_equal(before[20:40, 39:79], after[20:40, 41:81])
    assert np.array_equal(before[:20], after[:20])
    assert MotionLocaliser().encode(clip.frames, 3) is not None


def test_fixed_boxes_touch_inside_of_the_picture():
    right, left = fixed_boxes(720, 1280)
    assert left[2] == right[0] and left[1::2] == right[1::2]
    for x0, y0, x1, y1 in (right, left):
        assert 0 <= x0 < x1 <= 1280 and 0 <= y0 < y1 <= 720


def test_precision(tmp_path, capsys):
    out = tmp_path / 'out.json'
    status = _main(precision, '--pictures', '1', '--sounds', '2', '--json', str(out))
    result = json.loads(out.read_text())
    figures = result['figures']
    assert status == 0 and result['good']
    assert figures['correlation of logits']['least'] >= 0.99
    assert figures['IoU of binarised maps']['least'] >= 0.95
    assert figures['spatial deviation of logits']['least'] > 0.01
    assert 'yes' in capsys.readouterr().out


def test_precision_tells_when_maps_differ(monkeypatch, capsys):
    monkeypatch.setattr(precision, '_correlation', lambda one, two: 0.98)
    assert _main(precision, '--pictures', '1', '--sounds', '1') == 1
    assert 'NO' in capsys.readouterr().out


@pytest.mark.parametrize('wrong', [['--precision', 'float32'], ['--sounds', '0']])
def test_precision_wrong_options(wrong):
    with pytest.raises(ValueError, match='expected'):
        _main(precision, *wrong)


@pytest.mark.gpu
def test_on_the_gpu(tmp_path):
    out = tmp_path / 'out.json'
    assert _main(pipeline, '--device', 'cuda', '--events', '2', '--json', str(out)) == 0
    assert json.loads(out.read_text())['precision'] == 'bfloat16'
