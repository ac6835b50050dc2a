"""EdgeTAM: the masks are those that transformers' own processor gives on the same weights."""

import needs

needs.networks()

import json

import numpy as np
import pytest
import torch

pytest.importorskip('timm', reason='no timm: docs/bundles.md says how to install the extra models')

from transformers import EdgeTamModel, Sam2ImageProcessor, Sam2Processor

from cs3_ros.bundles.random_weights import write_random_weights
from cs3_ros.collision import Prompt
from cs3_ros.maskers.edgetam import EdgeTamConfig, EdgeTamMasker
from cs3_ros.runtime import Runtime, RuntimeConfig

BOX, OTHER = (20.0, 10.0, 90.0, 70.0), (60.0, 30.0, 140.0, 90.0)
LENIENT = {'max_hand_iou': 1.0, 'max_point_share': 1.0}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp('home')
    return write_random_weights(home, seed=2, parts=['edgetam']) / 'edgetam'


@pytest.fixture(scope='module')
def masker(folder):
    return build(folder, **LENIENT)


def build(folder, **options):
    runtime = Runtime(RuntimeConfig('cpu', 'float32', threads=1))
    return EdgeTamMasker(EdgeTamConfig(str(folder), **options), runtime)


def picture():
    image = np.full((96, 160, 3), 60, np.uint8)
    image[20:60, 30:80] = (200, 90, 40)
    noise = np.random.default_rng(0).normal(0, 12, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def points(*xy):
    return np.array(xy, np.float32).reshape(-1, 2)


def by_transformers(folder, image, box=None, at=None, labels=None):
    """One prompt, by the classes and calls of transformers' documentation."""
    network = EdgeTamModel.from_pretrained(folder).eval()
    side = network.prompt_encoder.input_image_size
    size = {'height': side, 'width': side}
    processor = Sam2Processor(Sam2ImageProcessor(size=size), target_size=side)
    asked = {'input_boxes': [[list(box)]]} if box else {}
    if at:
        asked = {'input_points': [[at]], 'input_labels': [[labels]]}
    inputs = processor(images=image, return_tensors='pt', **asked)
    with torch.no_grad():
        found = network(**inputs, multimask_output=False)
    masks = processor.post_process_masks(found.pred_masks, inputs['original_sizes'])
    return masks[0][0, 0].numpy()


def test_masks_are_those_of_transformers(folder, masker):
    image = picture()
    prompts = [
        Prompt(BOX),
        Prompt(None, points((50, 40)), points((120, 80))),
        Prompt(OTHER, points((50, 40))),  # of a prompt with a box only that is used
        Prompt(None, points((50, 40))),
    ]
    found = masker.segment(masker.encode(image), prompts)
    expected = [
        by_transformers(folder, image, BOX),
        by_transformers(folder, image, at=[[50, 40], [120, 80]], labels=[1, 0]),
        by_transformers(folder, image, OTHER),
        by_transformers(folder, image, at=[[50, 40]], labels=[1]),
    ]
    for mask, reference in zip(found, expected, strict=True):
        assert mask.shape == (96, 160) and mask.dtype == bool
        assert 0 < reference.mean() < 1
        assert np.count_nonzero(mask != reference) <= 2  # a logit at zero may fall either way


def test_a_guess_is_asked_by_its_points_and_the_middle_of_the_hands(folder, masker):
    image, hand = picture(), points((110, 70), (130, 70), (130, 90), (110, 90))
    encoded = masker.encode(image)
    guess = Prompt(BOX, points((50, 40)), exclude=(hand,), guessed=True)
    plain = Prompt(None, points((50, 40)), points((120, 80)))
    first, second = masker.segment(encoded, [guess, plain])
    assert (first == second).all()
    (box,) = masker.segment(encoded, [Prompt(BOX, exclude=(hand,), guessed=True)])
    assert (box == masker.segment(encoded, [Prompt(BOX)])[0]).all()  # a guess without points


def test_masks_that_cannot_be_right_are_replaced(folder):
    strict = build(folder, max_point_share=0.0)
    encoded = strict.encode(picture())
    outside = Prompt((200.0, 10.0, 260.0, 60.0))
    empty, there, rejected = strict.segment(
        encoded, [outside, Prompt(BOX), Prompt(None, points((50, 40)))]
    )
    assert not empty.any() and there.any() and not rejected.any()
    assert strict.segment(encoded, []) == []
    with pytest.raises(ValueError, match='EdgeTAM needs a box or at least one positive point'):
        strict.segment(encoded, [Prompt()])
    with pytest.raises(ValueError, match='expected finite pixels'):
        strict.segment(encoded, [Prompt((0.0, float('nan'), 9.0, 9.0))])


def test_the_same_in_the_same_out(masker):
    encoded = masker.encode(picture())
    first = masker.segment(encoded, [Prompt(BOX), Prompt(OTHER)])
    again = masker.segment(masker.encode(picture()), [Prompt(BOX), Prompt(OTHER)])
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


def test_what_is_no_edgetam_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='model is empty: name it in the bundle'):
        EdgeTamMasker(EdgeTamConfig(), Runtime(RuntimeConfig('cpu', 'float32', threads=1)))
    with pytest.raises(FileNotFoundError, match='config.json: expected'):
        build(tmp_path)
    config = json.loads((folder / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'model.safetensors').write_bytes(b'no tensors')
    with pytest.raises(ValueError, match='model.safetensors'):
        build(tmp_path)
    config['vision_config']['backbone_config']['architecture'] = 'hf-hub:someone/code'
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match="backbone_config.architecture = 'hf-hub:someone/code'"):
        build(tmp_path)
