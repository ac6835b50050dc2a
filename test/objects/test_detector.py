"""Any detector of transformers as a proposer: its boxes are those of its own image processor."""

import needs

needs.networks()

import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

from cs3_ros.bundles.random_weights import _TINY_DETR, _TINY_RESNET
from cs3_ros.objects.detector import DetectorConfig, DetectorObjects
from cs3_ros.runtime import Runtime, RuntimeConfig

NAMES = ['cup', 'person', 'bowl', 'knife']


def labels():
    return {'id2label': dict(enumerate(NAMES)), 'label2id': {n: k for k, n in enumerate(NAMES)}}


@pytest.fixture(scope='module', params=['rt_detr_v2', 'yolos'])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if request.param == 'rt_detr_v2':
        backbone = RTDetrResNetConfig(**_TINY_RESNET)
        config = RTDetrV2Config(backbone_config=backbone, **_TINY_DETR, **labels())
        network = RTDetrV2ForObjectDetection(config)
        RTDetrImageProcessor(size={'height': 64, 'width': 64}).save_pretrained(path)
    else:
        config = YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            image_size=[64, 96], patch_size=16, num_detection_tokens=9, **labels(),
        )  # fmt: skip
        network = YolosForObjectDetection(config)
        for parameter in network.parameters():  # else all of its boxes are equal
            torch.nn.init.normal_(parameter, std=0.1)
        YolosImageProcessor(size={'height': 64, 'width': 96}).save_pretrained(path)
    network.save_pretrained(path)
    return path


def proposer(folder, **options):
    runtime = Runtime(RuntimeConfig('cpu', 'float32', threads=1))
    return DetectorObjects(DetectorConfig(str(folder), **options), runtime)


def test_its_boxes_are_those_of_transformers(folder):
    image = np.random.default_rng(1).integers(0, 256, (90, 160, 3)).astype(np.uint8)
    found = proposer(folder, min_score=0.01, max_iou=1.0).propose(image)
    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        seen = network(**processor(images=image, return_tensors='pt'))
    (expected,) = processor.post_process_object_detection(
        seen, threshold=0.01, target_sizes=[(90, 160)]
    )
    limit = np.array([160, 90, 160, 90])
    wanted = [
        (NAMES[label], score, np.clip(box, 0, limit))
        for label, score, box in zip(
            *(expected[key].tolist() for key in ('labels', 'scores', 'boxes')), strict=True
        )
        if NAMES[label] != 'person'
    ]
    wanted = [one for one in wanted if (one[2][2:] - one[2][:2]).min() >= 4]
    wanted.sort(key=lambda one: -one[1])
    assert len(found) == len(wanted) > 2
    for got, (name, score, box) in zip(found, wanted, strict=True):
        assert got.name == name and got.score == pytest.approx(score, abs=1e-5)
        assert got.box == pytest.approx(box, abs=1e-2)


def test_what_is_no_detector_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='model is empty'):
        proposer('')
    with pytest.raises(OSError):
        proposer(tmp_path)
    for name in ('config.json', 'model.safetensors', 'preprocessor_config.json'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(config | {'num_hidden_layers': 10**6}))
    with pytest.raises(ValueError, match='num_hidden_layers'):
        proposer(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'clip'}))
    with pytest.raises(ValueError, match='clip|CLIP'):
        proposer(tmp_path)
    (tmp_path / 'preprocessor_config.json').unlink()
    with pytest.raises(OSError, match='preprocessor_config.json: expected'):
        proposer(tmp_path)
