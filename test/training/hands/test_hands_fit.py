"""Fine-tuning of the detector on tiny networks: it begins with COCO's, and the
folder is one that the package loads."""

from __future__ import annotations

import needs

needs.training()

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from miniature_labels import write_rtdetr
from PIL import Image
from transformers import RTDetrV2ForObjectDetection

from cs3_ros.collision import Frame
from cs3_ros.hands.detr import DetrConfig, DetrHands, load_network
from cs3_ros.runtime import Runtime, RuntimeConfig
from cs3_training import cli
from cs3_training.hands.fit import NEW, FitConfig, augment, begin_with
from cs3_training.hands.labels import LABELS, LabelledPicture, write_labels

SIZE = 64


@pytest.fixture(scope='module')
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny RT-DETRv2 with 80 classes, as it comes from COCO."""
    folder = tmp_path_factory.mktemp('coco') / 'rtdetr'
    write_rtdetr(folder)
    return folder


@pytest.fixture(scope='module')
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and val.jsonl: bright hands left and right, dark things below."""
    folder, rng = tmp_path_factory.mktemp('labelled'), np.random.default_rng(0)
    for name, count in (('train', 8), ('val', 3)):
        pictures = []
        for k in range(count):
            image = rng.integers(90, 110, (60, 80, 3)).astype(np.uint8)
            boxes = []
            for side, x in (('left', 5 + int(rng.integers(5))), ('right', 50)):
                image[10:25, x : x + 20], image[30:45, x : x + 15] = 240, 10
                boxes.append((f'{side}_hand', (float(x), 10.0, x + 20.0, 25.0)))
                boxes.append((f'{side}_hand_object', (float(x), 30.0, x + 15.0, 45.0)))
            path = folder / f'{name}_{k}.png'
            Image.fromarray(image).save(path)
            pictures.append(LabelledPicture(path, (80, 60), tuple(boxes), name))
        pictures.append(LabelledPicture(folder / 'gone.png', (80, 60), (), name))
        write_labels(folder / f'{name}.jsonl', pictures)
    return folder


def test_only_what_names_the_classes_is_new(coco: Path) -> None:
    network = begin_with(coco, 0)
    before = RTDetrV2ForObjectDetection.from_pretrained(coco).state_dict()
    after = network.state_dict()
    changed = {k for k in after if k not in before or not torch.equal(after[k], before[k])}
    assert changed and all(any(part in name for part in NEW) for name in changed)
    assert torch.equal(begin_with(coco, 0).state_dict()[min(changed)], after[min(changed)])
    assert list(network.config.id2label.values()) == list(LABELS)


def test_what_is_no_such_network_is_refused(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='config.json: not there'):
        begin_with(tmp_path, 0)
    config = json.loads((coco / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(config | {'model_type': 'detr'}))
    with pytest.raises(ValueError, match='config.json is of a detr'):
        begin_with(tmp_path, 0)
    (tmp_path / 'config.json').write_text(json.dumps(config | {'decoder_layers': 3}))
    (tmp_path / 'model.safetensors').write_bytes((coco / 'model.safetensors').read_bytes())
    with pytest.raises(ValueError, match='lacks [0-9]+ weights'):
        begin_with(tmp_path, 0)


def test_a_run_leaves_what_the_package_loads(
    coco: Path, labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = tmp_path / 'settings.yaml', tmp_path / 'run'
    settings.write_text(
        'steps: 12\nbatch: 4\nwarm_up: 0\nworkers: 0\nsave_every: 6\nvalidate_every: 6\n'
        'lr: 0.002\nlr_backbone: 0.002\nleast_crop: 0.9\n'
    )
    call = ['hands', 'fit', '--out', str(out), '--labels', str(labelled / 'train.jsonl')]
    call += ['--validation', str(labelled / 'val.jsonl'), '--start', str(coco)]
    call += ['--settings', str(settings), '--device', 'cpu', '--threads', '1']
    assert cli.main(call) == 0
    printed = capsys.readouterr().out
    assert '1 of 9 pictures are not there' in printed and 'threshold held objects' in printed
    told = json.loads((out / 'training.json').read_text())
    assert set(told['notes']) >= {'training', 'step', 'start', 'data', 'validation'}
    assert len(load_network(out).config.id2label) == 4
    hands = DetrHands(DetrConfig(str(out), 0.0, 0.0), Runtime(RuntimeConfig('cpu', threads=1)))
    image = np.asarray(Image.open(labelled / 'val_0.png'))
    found = hands.detect([Frame.from_rgb(0, image)], 0)
    assert [hand.side for hand in found] == ['right', 'left'] and hands.preprocessing.height == SIZE
    weights = (out / 'model.safetensors').read_bytes()
    assert weights != (coco / 'model.safetensors').read_bytes()
    assert cli.main(call) == 0 and (out / 'model.safetensors').read_bytes() == weights
    assert cli.main([*call, '--validation', str(labelled / 'train.jsonl')]) == 1
    assert 'holds pictures of --labels' in capsys.readouterr().err


def test_boxes_follow_the_cut_out_and_sides_the_mirror() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 8:28] = 200
    corners = np.array([[0.1, 1 / 6, 0.35, 0.5]], np.float32)
    config, seen = FitConfig(least_crop=0.7), SimpleNamespace(mirrored=0, whole=0)
    for seed in range(40):
        cut, boxes, labels = augment(
            image, corners, np.array([2]), config, np.random.default_rng(seed)
        )
        bright = cut[..., 0] > 100
        if not len(boxes):
            assert bright.sum() < 0.3 * 400
            continue
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        height, width = bright.shape
        np.testing.assert_allclose(boxes[0] * [width, height, width, height], expected, atol=1e-3)
        assert labels[0] in (2, 3)
        seen.mirrored += labels[0] == 3
    assert 10 < seen.mirrored < 30
