"""Parts of the nano recipe: settings, words, questions, views, scores, losses."""

from __future__ import annotations

import needs

needs.training()

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cs3_ros.networks.clipseg import load_tokenizer
from cs3_training.evaluation.detection import (
    average_precision,
    best_threshold,
    roc_auc,
)
from cs3_training.nano import config as settings
from cs3_training.nano import queries
from cs3_training.nano.hands import boxes
from cs3_training.nano.image_text import contrast, spread
from cs3_training.nano.loop import rate
from cs3_training.nano.masks import MasksStage, mask_losses, prompt
from cs3_training.nano.networks import tiny_clipseg
from cs3_training.nano.queries import (
    CLASSES,
    Query,
    class_numbers,
    name_objects,
    numbers_named,
)
from cs3_training.nano.tokens import LENGTH, Texts, write_tokenizer
from cs3_training.nano.views import look, whole
from cs3_training.synth.config import WorldConfig
from cs3_training.synth.store import HAND, HANDS, SLOTS, Scenes
from cs3_training.synth.vocabulary import MATERIALS, SHAPES, WORDS

RED, METAL, BOWL = 0, 0, 0
GREEN, WOOD, PLATE = 3, 3, 1


@pytest.fixture(scope='module')
def scene() -> Scenes:
    """One picture of 64 pixels: object 1 on the left, 2 on the right, a left hand below."""
    numbers = np.zeros((1, 64, 64), np.uint8)
    numbers[0, 8:24, 4:20], numbers[0, 8:40, 40:60] = 1, 2
    numbers[0, 48:60, 4:24] = HANDS[0]
    objects = np.full((1, SLOTS, 5), -1, np.int8)
    objects[0, 0] = (RED, METAL, BOWL, 1, 1)
    objects[0, 1] = (GREEN, WOOD, PLATE, 1, 0)
    image = np.repeat(numbers[..., None], 3, 3)
    sound = np.zeros((1, 32000), np.int16)
    return Scenes(
        image, numbers, sound, objects, np.array([[METAL, WOOD]], np.int8),
        WorldConfig(), range(1), Path('none'), 'x',
    )  # fmt: skip


def test_settings_come_from_preset_and_file(tmp_path):
    path = tmp_path / 'nano.yaml'
    path.write_text('seed: 3\nclip: {steps: 7}\n')
    config = settings.make_config('smoke', path)
    assert (config.seed, config.clip.steps, config.clip.vision_width) == (3, 7, 32)
    assert config.scaled(2).clip.steps == 14
    assert config.scaled(2).scenes == config.scenes


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('clap: {}', 'unknown key.*clap'),
        ('clip: {stepz: 1}', 'clip.*unknown key.*stepz'),
        ('clip: {steps: 0}', 'steps = 0'),
        ('scenes: {size: 5}', 'scenes.*size = 5'),
        ('scenes: {pairs: many}', 'scenes.*pairs'),
        ('clip: 3', 'clip: expected a mapping'),
        ('- 1', 'expected a mapping'),
        ('{', 'is not valid YAML'),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, message):
    path = tmp_path / 'nano.yaml'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        settings.make_config('default', path)


def test_every_word_of_the_world_is_one_token(tmp_path):
    size = write_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert all(len(tokenizer(word)['input_ids']) == 3 for word in WORDS)
    ids = Texts(tmp_path)(['a photo of a metal bowl', 'cup'])
    assert ids.shape == (2, LENGTH)
    assert (ids.argmax(1) == torch.tensor([7, 2])).all() and int(ids.max()) == size - 1


def test_the_longest_text_fits(tmp_path, monkeypatch):
    write_tokenizer(tmp_path)
    texts = Texts(tmp_path)
    # every choice of words falls on the longest
    monkeypatch.setattr(
        queries, '_pick', lambda words, rng: max(words, key=lambda w: len(w.split()))
    )
    rng = np.random.default_rng(0)
    for material in range(len(MATERIALS)):
        for shape in range(len(SHAPES)):
            things = np.array([[0, material, shape], [1, (material + 1) % len(MATERIALS), shape]])
            for kind in ('material', 'both', 'all'):
                for _ in range(4):  # both templates
                    texts([queries.name_objects(things, kind, rng).text])


@torch.no_grad()
def test_patches_start_by_looking_at_their_neighbours(tmp_path):
    torch.manual_seed(0)
    model = tiny_clipseg(settings.ClipStageConfig(), write_tokenizer(tmp_path))
    tower = model.clip.vision_model
    places = tower.embeddings.position_embedding.weight[1:].unflatten(0, (16, 16))  # [16, 16, W]
    near = torch.cosine_similarity(places[8, 8], places[8, [9, 11, 15]], dim=-1)  # [3]
    below = torch.cosine_similarity(places[8, 8], places[[9, 11, 15], 8], dim=-1)  # [3]
    assert (near.diff() < 0).all() and torch.allclose(near, below, atol=1e-5)
    attention = tower.encoder.layers[0].self_attn
    query, key = attention.q_proj.weight[:64], attention.k_proj.weight[:64]  # of the first head
    product = query.T @ key  # [W, W]
    assert product.diagonal().mean() > 5 * product.abs().mean()
    product = attention.out_proj.weight @ attention.v_proj.weight  # [W, W]
    assert product.diagonal().mean() == pytest.approx(-0.4, abs=0.05)


def test_what_a_text_names(scene):
    objects = scene.objects[0]
    metal, plate = Query('', ((-1, METAL, -1),)), Query('', ((-1, -1, PLATE),))
    both = Query('', (*metal.wanted, *plate.wanted), HANDS)
    assert np.flatnonzero(numbers_named(metal, objects)).tolist() == [1]
    assert np.flatnonzero(numbers_named(both, objects)).tolist() == [1, 2, *HANDS]
    assert metal.tells(objects[:1]) and not metal.tells(objects[:2])
    assert both.tells(objects[:2]) and not both.tells(objects[:1])
    anything = Query('', ((-1, -1, -1),))
    assert np.flatnonzero(anything.rows(objects)).tolist() == [0, 1]  # no empty slots


def test_texts_speak_of_their_objects(scene):
    rng = np.random.default_rng(0)
    objects = scene.objects[0]
    for kind in ('material', 'shape', 'both', 'colour', 'all'):
        query = name_objects(objects[:2], kind, rng)
        assert query.tells(objects[:2]) and ' and ' in query.text
        assert set(query.text.split()) <= set(WORDS)
    twice = name_objects(objects[[0, 0]], 'material', rng)
    assert ' and ' not in twice.text and len(twice.wanted) == 1


def test_classes_of_the_patches(scene):
    named = class_numbers(scene.objects[0])
    assert named.shape == (len(CLASSES), 256)
    assert np.flatnonzero(named[METAL]).tolist() == [1]
    assert np.flatnonzero(named[len(MATERIALS) + PLATE]).tolist() == [2]
    assert np.flatnonzero(named[len(MATERIALS) + len(SHAPES)]).tolist() == list(HANDS)
    masks = spread(torch.from_numpy(named[None]), torch.from_numpy(scene.numbers))
    assert masks.shape == (1, len(CLASSES), 64, 64) and int(masks[0, METAL].sum()) == 256


def test_a_mirrored_view_has_mirrored_hands(scene):
    plain = whole(scene, 0, 64)
    assert plain.box(HANDS[0]) == (4, 48, 24, 60) and boxes(plain)[1] == [0, 2]
    for seed in range(20):
        view = look(scene, 0, 64, np.random.default_rng(seed), zoom=0)
        mirrored = bool(view.numbers[10, 63 - 10] == 1)
        side = int(mirrored)
        assert view.counts[HANDS[side]] == 240 and view.counts[HANDS[1 - side]] == 0
        assert view.objects[0, HAND] == 1 + side
        assert boxes(view)[1] == [side, 2 + side]
        if mirrored:
            assert view.box(HANDS[1]) == (40, 48, 60, 60)
            return
    raise AssertionError('never mirrored')


def test_boxes_in_units_of_the_picture(scene):
    places, labels = boxes(whole(scene, 0, 64))
    assert labels == [0, 2]
    np.testing.assert_allclose(places[1], np.array([12, 16, 16, 16]) / 64)


def test_prompts_lie_on_what_they_ask_for(scene):
    view, rng = whole(scene, 0, 64), np.random.default_rng(1)
    kinds = set()
    for _ in range(60):
        points, labels, asked = prompt(view, rng)
        kinds.add(tuple(labels.tolist()))
        for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
            if label in (0, 1):
                assert (view.numbers[int(y), int(x)] == asked) == bool(label)
        if labels[0] == 2:
            assert (points[1] - points[0] > 0).all()
    assert {(2, 3, -2), (1, -2, -2), (1, 0, -2)} <= kinds


def test_masks_learn_prompts_before_pictures(scene):
    config = settings.MasksConfig(
        steps=8, batch=1, prompts=2, blind=9, image_size=64, embed=8, width=32
    )
    stage = MasksStage(config, scene, scene, 0)
    parts = {
        'trunk': stage.network.image_encoder.trunk.patch_embed,
        'decoder': stage.network.sam_mask_decoder.transformer,
    }
    for step, learning in ((1, {'decoder'}), (2, {'trunk', 'decoder'})):  # a quarter of 8 at most
        stage.network.zero_grad()
        stage.losses(stage.samples()[step])['total'].backward()
        assert learning == {
            name
            for name, part in parts.items()
            if any(p.grad is not None and p.grad.any() for p in part.parameters())
        }


def test_roc_auc():
    scores = np.array([0.1, 0.4, 0.35, 0.8], np.float32)
    assert roc_auc(scores, np.array([False, False, True, True])) == pytest.approx(0.75)
    assert roc_auc(scores, np.ones(4, bool)) == 0.5


def test_average_precision():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    hits = np.array([True, False, True, False])
    assert average_precision(scores, hits, 2) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, hits, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(scores, hits, 0) == 0


def test_threshold_of_the_best_f1():
    scores = np.array([0.9, 0.8, 0.415, 0.3, 0.2])
    hits = np.array([True, True, True, False, False])
    assert best_threshold(scores, hits, 4) == 0.31  # 3 of 3 boxes, 3 of 4 found, down to 0.41
    hits = np.array([True, False, False, False, True])
    # taking the first alone: 2 / (1 + 1); all five: 4 / (5 + 1)
    assert best_threshold(scores, hits, 1) == 0.81
    assert best_threshold(scores, np.zeros(5, bool), 4) == 0.5


def test_contrast_with_several_true_captions():
    similarity = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    truth = torch.tensor([[True, False, True], [False, True, False]])
    e = math.e
    rows = (math.log(1 / (2 + 1 / e)) + math.log(e**2 / (2 + e**2))) / 2
    columns = (2 * math.log(e / (1 + e)) + math.log(e**2 / (1 + e**2))) / 3
    assert contrast(similarity, truth).item() == pytest.approx(-(rows + columns) / 2, abs=1e-6)


def test_mask_losses():
    truth = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
    sure = (truth * 2 - 1) * 30
    bce, dice, iou = mask_losses(torch.cat([sure, -sure], 1), truth)
    assert bce[0, 0] < 1e-6 and bce[0, 1].item() == pytest.approx(30 * 2 / 3) and dice[0, 0] < 1e-4
    assert dice[0, 1].item() == pytest.approx(1 - 1 / 5, abs=1e-4)
    assert iou.tolist() == [[1, 0]]


def test_learning_rate_rises_and_falls():
    config = settings.PretrainConfig(steps=100, warm_up=10)
    rates = [rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, abs=1e-3) and max(rates) > 0.97
    assert 0.009 < rates[-1] < 0.02
