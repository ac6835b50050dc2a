"""The weakly supervised step: against plain loops, in pieces, and over two processes."""

from __future__ import annotations

import needs

needs.training()

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from segmenter_fakes import CALM, batch, segmenter, sides

from cs3_training.localiser.losses import feature_mask, info_nce


@pytest.fixture(scope='module')
def home(tiny_weights: Path) -> Path:
    return tiny_weights


def test_against_one_pair_at_a_time(home):
    model = segmenter(home)
    pixels, fbank = batch(model, 3)
    found = model(pixels, fbank, CALM, columns=2)
    with torch.no_grad():
        audio = torch.cat([model.embed_audio(one[None]) for one in fbank])
        image, feature, areas = torch.zeros(3, 3), torch.zeros(3, 3), torch.zeros(3)
        for i in range(3):
            features = model.clipseg.encode_image(pixels[i : i + 1])
            dense = model.clipseg.dense_features(features)[0]
            for j in range(3):
                logits = model.clipseg.decode(features, audio[j : j + 1])
                soft = feature_mask(logits, dense.shape[-2:])[0, 0]
                pooled = (soft * dense).sum((1, 2))
                feature[i, j] = F.cosine_similarity(pooled, audio[j], dim=0)
                if i == j:
                    own = (model.mask.scale * logits[0, 0] + model.mask.bias > 0).float()
                    areas[i] = own.mean()
            seen = model.clipseg.embed_image(pixels[i : i + 1] * own_of(model, pixels, audio, i))
            image[i] = F.cosine_similarity(seen, audio)
    torch.testing.assert_close(found.image, info_nce(image, 0.07), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.feature, info_nce(feature, 0.07), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.area, (areas - 0.1).abs().mean())
    torch.testing.assert_close(found.total, found.image + found.feature + found.area)


def own_of(model, pixels, audio, index):
    features = model.clipseg.encode_image(pixels[index : index + 1])
    logits = model.clipseg.decode(features, audio[index : index + 1])
    return (model.mask.scale * logits + model.mask.bias > 0).float()


@pytest.mark.parametrize(('columns', 'recompute'), [(1, True), (2, True), (4, True), (2, False)])
def test_pieces_give_the_same_losses_and_gradients(home, columns, recompute):
    config = replace(CALM, area_negative=True)
    results = []
    for size, again in ((3, True), (columns, recompute)):
        model = segmenter(home)
        losses = model(*batch(model, 3), config, columns=size, recompute=again)
        losses.total.backward()
        results.append((losses.total.detach(), sides(model)))
    (total, gradients), (other, others) = results
    torch.testing.assert_close(total, other)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('train_beats', [True, False])
def test_only_the_sound_side_learns(home, train_beats):
    model = segmenter(home, train_beats=train_beats)
    model.train()
    assert not model.clipseg.training and model.beats.training == train_beats
    model(*batch(model, 2)).total.backward()
    moved = {name.split('.')[0] for name, g in sides(model).items() if g.abs().sum() > 0}
    assert moved == {'audio_token', 'mask'} | ({'beats'} if train_beats else set())
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == [], 'DistributedDataParallel wants a gradient for everything that learns'


@pytest.mark.parametrize('without', ['image', 'feature', 'area'])
def test_a_loss_without_weight_has_no_say(home, without):
    model = segmenter(home)
    config = replace(CALM, **{f'{without}_weight': 0.0})
    losses = model(*batch(model, 2), config)
    others = {'image', 'feature', 'area'} - {without}
    expected = sum(getattr(losses, name) for name in others)
    torch.testing.assert_close(losses.total, expected)


WORKER = """
import json, os, sys
import torch, torch.distributed as dist
from pathlib import Path
from segmenter_fakes import CALM, batch, segmenter
home, count = Path(sys.argv[1]), int(os.environ['WORLD_SIZE'])
torch.set_num_threads(1)
dist.init_process_group('gloo')
model = torch.nn.parallel.DistributedDataParallel(segmenter(home))
pixels, fbank = batch(model.module, 4)
mine = slice(dist.get_rank() * 4 // count, (dist.get_rank() + 1) * 4 // count)
losses = model(pixels[mine], fbank[mine], CALM, 3)
losses.total.backward()
if dist.get_rank() == 0:
    norms = {n: p.grad.norm().item() for n, p in model.module.named_parameters() if p.requires_grad}
    print(json.dumps({'total': losses.total.item(), 'norms': norms}))
dist.destroy_process_group()
"""


def test_two_processes_compute_the_joint_batch(home, tmp_path):
    model = segmenter(home)
    losses = model(*batch(model, 4), CALM, columns=3)
    losses.total.backward()
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(29_500 + os.getpid() % 2000),
        WORLD_SIZE='2',
    )
    workers = [
        subprocess.Popen(
            [sys.executable, '-c', WORKER, str(home)],
            env=dict(environment, RANK=str(number)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    joint = json.loads(outputs[0])
    assert joint['total'] == pytest.approx(losses.total.item(), rel=1e-4)
    for name, gradient in sides(model).items():
        assert joint['norms'][name] == pytest.approx(gradient.norm().item(), rel=1e-3, abs=1e-6)
