"""What a stage computes and what it trains, alone and over two processes."""

from __future__ import annotations

import needs

needs.training()

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from sounding_training_fakes import CONFIG, NETWORK, batch, network

from cs3_training.sounding.config import STAGES
from cs3_training.sounding.losses import consensus, detection, three_way
from cs3_training.sounding.model import SoundingTask, assemble

BEATS = replace(NETWORK, sound='beats')


def task(stage: str, sizes=NETWORK, **changes) -> SoundingTask:
    config = replace(CONFIG.stage(stage), **changes)
    return SoundingTask(network(sizes), stage, config).eval()


def moved(one: SoundingTask) -> set[str]:
    """Names of the parameters that get a gradient that is not all zeros."""
    torch.manual_seed(1)
    one(batch())['total'].backward()
    return {n for n, p in one.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


SLOT_ATTENTION, DECODER = 'network.slots.slot_attn.', ('network.slots.', 'network.aligner.slot')
SOUND = ('network.sound.', 'network.aligner.audio')
TEXT = ('network.aligner.text',)


@pytest.mark.parametrize('sizes', [NETWORK, BEATS], ids=['ast', 'beats'])
@pytest.mark.parametrize('stage', STAGES)
def test_gradients_flow_only_where_the_paper_trains(stage, sizes):
    one = task(stage, sizes)
    names, found = [n for n, _ in one.named_parameters()], moved(one)
    first = ('network.sound.model.layers.0.', 'network.sound.beats.encoder.layers.0.')
    expected = set()
    for name in names:
        if stage == 'slots':
            learns = name.startswith('network.slots.')
        else:
            learns = name.startswith((*DECODER, *SOUND)) and not name.startswith(SLOT_ATTENTION)
            if stage != 'detect':
                learns = (learns or name.startswith(TEXT)) and not name.startswith(first)
        expected |= {name} if learns else set()
    trained = {n for n, p in one.named_parameters() if p.requires_grad}
    assert trained == expected
    odd = {n for n in expected - found if 'k_proj.bias' not in n}  # softmax does not see these
    assert found <= expected and not odd
    lacking = [n for n, p in one.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == [], 'DistributedDataParallel wants a gradient for everything that learns'


def test_the_head_alone_may_learn():
    one = SoundingTask(network(BEATS), 'align', CONFIG.align, train_sound=False)
    sound = {n for n, p in one.named_parameters() if p.requires_grad and 'network.sound.' in n}
    assert sound == {
        f'network.sound.head.{k}.{kind}' for k in (0, 1) for kind in ('weight', 'bias')
    }


def test_frozen_towers_stay_in_evaluation_mode():
    one = task('align').train()
    assert not one.network.vision.training and not one.network.text.training
    assert one.network.slots.training and one.network.sound.training


def test_against_loops():
    """Pooling, embedding and loss of one clip after another."""
    clips = batch(others=3)
    for stage in ('align', 'refine', 'detect'):
        one = task(stage, background_share=1.0) if stage == 'detect' else task(stage)
        net, rows, others = one.network, [], torch.zeros(4, 3, 10)
        with torch.no_grad():
            for k in range(4):
                v, n = torch.zeros(2, 10), torch.zeros(2, 10)
                for frame in range(2):
                    patches = net.embed_patches(clips.pixels[k, frame][None])[0]
                    for number in range(2):
                        mask = clips.masks[k, frame, number]
                        if mask.any():
                            v[number] += patches[mask].mean(0) / 2
                        n[number] += patches[~mask].mean(0) / 2
                    for number in range(3):
                        if (mask := clips.others[k, frame, number]).any():
                            others[k, number] += patches[mask].mean(0) / 2
                heard = net.sound.spectrogram(clips.sound[k][None])
                a, t = net.embed_sound(heard)[0], net.embed_text(clips.ids[k][None])[0]
                rows.append((v.mean(0), a, t, n.mean(0)))
            v, a, t, n = (torch.stack(part) for part in zip(*rows, strict=True))
            valid = torch.tensor([True, False, True, True])
            found = one(clips)
            if stage == 'align':
                expected = three_way(v, a, t, 0.2, valid)
            elif stage == 'refine':
                everything = torch.ones(4, dtype=torch.bool)
                expected = three_way(v, a, t, 0.2, everything)
                expected = expected + 0.5 * consensus(v, a, t, 0.5, 1.0)
            else:
                there = clips.others.any(3).any(1)
                assert there.tolist()[1] == [False, True, True]
                expected = detection(v, n, a, 0.2, valid, others, there)
        torch.testing.assert_close(found['total'], expected, rtol=1e-5, atol=1e-5)


def test_the_slots_stage_writes_patches_again():
    one, clips = task('slots'), batch()
    with torch.no_grad():
        pixels = clips.pixels.flatten(0, 1)
        target = one.network.vision(pixels)
        expected = ((one.network.slots(target).patches - target) ** 2).mean()
        torch.testing.assert_close(one(clips)['total'], expected)


def test_the_order_of_objects_and_pictures_has_no_say():
    clips = batch()
    turned = replace(clips, pixels=clips.pixels.flip(1), masks=clips.masks.flip(1, 2))
    with torch.no_grad():
        one = task('refine')
        torch.testing.assert_close(one(turned)['total'], one(clips)['total'])


def test_what_is_missing_is_told():
    bare = replace(NETWORK, use_slots=False)
    with pytest.raises(ValueError, match='stage slots: the network has no slots'):
        task('slots', bare)
    task('align', bare)
    without = network()
    without.text = None
    with pytest.raises(ValueError, match='stage align: the network has no text tower'):
        SoundingTask(without, 'align', CONFIG.align)
    with pytest.raises(ValueError, match='needs BEATs weights'):
        assemble(BEATS, without.vision)
    with pytest.raises(ValueError, match='3 blocks of the sound tower frozen: it has 3'):
        task('align', frozen_blocks=3)


WORKER = """
import json, os
import torch, torch.distributed as dist
from dataclasses import fields, replace
from sounding_training_fakes import CONFIG, batch, network
from cs3_training.sounding.model import Batch, SoundingTask
torch.set_num_threads(1)
dist.init_process_group('gloo')
found = {}
config = replace(CONFIG, detect=replace(CONFIG.detect, background_share=1.0))
for stage in ('align', 'refine', 'detect'):
    task = SoundingTask(network(), stage, config.stage(stage)).eval()
    model = torch.nn.parallel.DistributedDataParallel(task)
    whole, mine = batch(), slice(dist.get_rank() * 2, dist.get_rank() * 2 + 2)
    part = Batch(**{f.name: getattr(whole, f.name)[mine] for f in fields(whole)})
    losses = model(part)
    losses['total'].backward()
    norms = {n: p.grad.norm().item() for n, p in task.named_parameters() if p.requires_grad}
    found[stage] = {'total': losses['total'].item(), 'norms': norms}
if dist.get_rank() == 0:
    print(json.dumps(found))
dist.destroy_process_group()
"""


def test_two_processes_compute_the_joint_batch():
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(31_500 + os.getpid() % 2000),
        WORLD_SIZE='2',
    )
    workers = [
        subprocess.Popen(
            [sys.executable, '-c', WORKER],
            env=dict(environment, RANK=str(number)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    joint = json.loads(outputs[0])
    for stage in ('align', 'refine', 'detect'):
        one = task(stage, background_share=1.0) if stage == 'detect' else task(stage)
        losses = one(batch())
        losses['total'].backward()
        assert joint[stage]['total'] == pytest.approx(losses['total'].item(), rel=1e-4)
        for name, value in one.named_parameters():
            if value.requires_grad:
                expected = pytest.approx(value.grad.norm().item(), rel=1e-3, abs=1e-6)
                assert joint[stage]['norms'][name] == expected


def test_the_fields_of_a_batch_are_those_of_the_samples():
    assert [field.name for field in fields(batch())] == [
        'pixels', 'masks', 'valid', 'sound', 'others', 'ids',
    ]  # fmt: skip
